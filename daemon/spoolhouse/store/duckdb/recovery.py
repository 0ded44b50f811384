"""Recovery in a DuckDB file: the ledger's rows, lost rows restored, rows compared, events deleted.

Rows to restore or to compare are put into a temporary table first, which no other process ever sees.
"""

from collections.abc import Collection, Sequence
from functools import partial

import duckdb

from spoolhouse.errors import SpoolError
from spoolhouse.events.declaration import Table
from spoolhouse.recover.ports import (
    DELETED,
    DIFFERENT,
    EXPIRED,
    MISSING,
    SUPERSEDED,
    THERE,
    BatchRows,
    ClaimedFile,
    Comparison,
    LedgerRow,
    Partition,
    Restored,
    RowDiff,
)
from spoolhouse.store.duckdb import ledger
from spoolhouse.store.duckdb.database import Database
from spoolhouse.store.duckdb.quoting import identifier
from spoolhouse.store.duckdb.rows import RowsFile, written
from spoolhouse.store.duckdb.schema import BATCH_ID, columns_of
from spoolhouse.store.duckdb.staging import STAGED, is_deleted, is_expired, make_staged, stage

_EXAMPLES = 5


class Recovery:
    """The `RecoveryStore` of a DuckDB file."""

    def __init__(self, database: Database, *, prefix: str) -> None:
        """Recover in the tables of `database` whose names begin with `prefix`."""
        self.database = database
        self._prefix = prefix

    async def sync_ledger(self) -> None:
        """Return at once: the ledger is in one place."""

    async def ledger_of_files(self, places: Sequence[str]) -> list[LedgerRow]:
        """Return the ledger's rows of files."""
        return await self.database.run(partial(ledger.of_files, places=places, prefix=self._prefix))

    async def ledger_of_batch(self, batch: str) -> list[LedgerRow]:
        """Return the ledger's rows of a batch."""
        return await self.database.run(partial(ledger.of_batch, batch=batch, prefix=self._prefix))

    async def files_since(self, since_ms: int) -> list[ClaimedFile]:
        """Return the files that were claimed since then."""
        return await self.database.run(partial(ledger.files_since, since_ms=since_ms, prefix=self._prefix))

    async def complete_shipments(self, shipments: Collection[str]) -> set[str]:
        """Return the shipments that the ledger knows: it is written once a shipment is complete."""
        return await self.database.run(partial(ledger.complete, shipments=shipments, prefix=self._prefix))

    async def restore(self, batch: BatchRows, *, dry_run: bool) -> Restored:
        """Bring rows to the months that have nothing of their batch, in one transaction."""
        async with written(batch.rows(), self.database.path.parent) as rows:
            return await self.database.run(partial(self._restore, batch, rows, dry_run=dry_run))

    async def compare(self, batches: Sequence[BatchRows]) -> Comparison:
        """Compare rows by way of a temporary table."""
        errors: dict[str, SpoolError] = {}
        table = batches[0].table
        await self.database.run(partial(make_staged, table))
        for batch in batches:
            try:
                async with written(batch.rows(), self.database.path.parent) as rows:
                    await self.database.run(partial(stage, batch.table, rows, batch.id, batch.clock_ms))
            except SpoolError as error:
                errors[batch.id] = error
        return Comparison(diffs=await self.database.run(partial(self._compare, table)), errors=errors)

    def _restore(
        self, batch: BatchRows, rows: RowsFile, connection: duckdb.DuckDBPyConnection, *, dry_run: bool
    ) -> Restored:
        table, name = batch.table, self._prefix + batch.table.name
        make_staged(table, connection)
        stage(table, rows, batch.id, batch.clock_ms, connection)
        month = f"strftime({identifier(table.time)}, '%Y%m')"
        there = f"SELECT {month} FROM {identifier(name)} WHERE {BATCH_ID} IN (?, ?)"
        ids = [batch.landed_as, batch.id]
        connection.execute(f"DELETE FROM {STAGED} WHERE {month} IN ({there})", ids)
        missing = _months(connection, month)
        deleted = 0
        repaired: list[str] = []
        if missing and not dry_run:
            connection.execute(f"DELETE FROM {STAGED} WHERE {is_expired(table)}")
            gone = connection.execute(f"DELETE FROM {STAGED} AS own WHERE {is_deleted(table, self._prefix)}").fetchone()
            deleted = 0 if gone is None else int(gone[0])
            repaired = _months(connection, month)
            listed = ", ".join(map(identifier, columns_of(table)))
            connection.execute(f"INSERT INTO {identifier(name)} ({listed}) SELECT {listed} FROM {STAGED}")
        return Restored(
            table=table.name,
            batch=batch.landed_as,
            rows=rows.count,
            missing=tuple(Partition(table=name, partition=one) for one in missing),
            repaired=tuple(Partition(table=name, partition=one) for one in repaired),
            deleted=deleted,
        )

    def _compare(self, table: Table, connection: duckdb.DuckDBPyConnection) -> dict[str, list[RowDiff]]:
        keys = ", ".join(map(identifier, table.order_by))
        content = f"hash({', '.join(identifier(column.name) for column in table.columns)})"
        held = (
            f"SELECT {keys}, max(recorded_at) AS _latest, list(DISTINCT {content}) AS _contents"
            f" FROM {identifier(self._prefix + table.name)} SEMI JOIN {STAGED} USING ({keys}) GROUP BY {keys}"
        )
        written = (
            f"SELECT {keys}, recorded_at AS _version, {content} AS _content, {is_expired(table)} AS _expired,"
            f" {BATCH_ID} AS _batch, {is_deleted(table, self._prefix)} AS _deleted FROM {STAGED} AS own"
        )
        judged = (
            f"SELECT _batch, ({keys})::VARCHAR AS _row, CASE WHEN list_contains(_contents, _content) THEN '{THERE}'"
            f" WHEN _latest IS NULL THEN CASE WHEN _expired THEN '{EXPIRED}' WHEN _deleted THEN '{DELETED}'"
            f" ELSE '{MISSING}' END WHEN _latest > _version THEN '{SUPERSEDED}' ELSE '{DIFFERENT}' END AS _verdict"
            f" FROM ({written}) LEFT JOIN ({held}) USING ({keys})"
        )
        found = connection.execute(
            f"SELECT _batch, _verdict, count(*), min(_row, {_EXAMPLES}) FROM ({judged})"
            " GROUP BY _batch, _verdict ORDER BY _batch, _verdict"
        )
        verdicts: dict[str, list[RowDiff]] = {}
        for batch, verdict, count, examples in found.fetchall():
            one = RowDiff(verdict=verdict, rows=count, examples=tuple(examples))
            verdicts.setdefault(batch, []).append(one)
        return verdicts


def _months(connection: duckdb.DuckDBPyConnection, month: str) -> list[str]:
    return [name for (name,) in connection.execute(f"SELECT DISTINCT {month} FROM {STAGED} ORDER BY 1").fetchall()]
