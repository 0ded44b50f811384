"""Recovery in a DuckDB file: the ledger's rows, lost rows restored, rows compared, events deleted.

Rows to restore or to compare are put into a temporary table first, which no other process ever sees.
"""

from collections.abc import Collection, Sequence
from functools import partial

import duckdb

from spoolhouse.errors import SpoolError
from spoolhouse.events.declaration import Table
from spoolhouse.events.tombstones import DELETABLE, TOMBSTONES
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
from spoolhouse.store.duckdb.quoting import identifier, literal
from spoolhouse.store.duckdb.rows import RowsFile, value, written
from spoolhouse.store.duckdb.schema import BATCH_ID, INGESTED_AT, columns_of

_STAGED = "temp.main.staged"
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
        await self.database.run(partial(_make_staged, table=table))
        for batch in batches:
            try:
                async with written(batch.rows(), self.database.path.parent) as rows:
                    await self.database.run(partial(_stage, batch=batch, rows=rows))
            except SpoolError as error:
                errors[batch.id] = error
        return Comparison(diffs=await self.database.run(partial(self._compare, table)), errors=errors)

    def _restore(
        self, batch: BatchRows, rows: RowsFile, connection: duckdb.DuckDBPyConnection, *, dry_run: bool
    ) -> Restored:
        table, name = batch.table, self._prefix + batch.table.name
        _make_staged(connection, table)
        _stage(connection, batch, rows)
        month = f"strftime({identifier(table.time)}, '%Y%m')"
        there = f"SELECT {month} FROM {identifier(name)} WHERE {BATCH_ID} IN (?, ?)"
        ids = [batch.landed_as, batch.id]
        connection.execute(f"DELETE FROM {_STAGED} WHERE {month} IN ({there})", ids)
        missing = _months(connection, month)
        deleted = 0
        repaired: list[str] = []
        if missing and not dry_run:
            connection.execute(f"DELETE FROM {_STAGED} WHERE {_is_expired(table)}")
            gone = connection.execute(f"DELETE FROM {_STAGED} AS own WHERE {self._is_deleted(table)}").fetchone()
            deleted = 0 if gone is None else int(gone[0])
            repaired = _months(connection, month)
            listed = ", ".join(map(identifier, columns_of(table)))
            connection.execute(f"INSERT INTO {identifier(name)} ({listed}) SELECT {listed} FROM {_STAGED}")
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
            f" FROM {identifier(self._prefix + table.name)} SEMI JOIN {_STAGED} USING ({keys}) GROUP BY {keys}"
        )
        written = (
            f"SELECT {keys}, recorded_at AS _version, {content} AS _content, {_is_expired(table)} AS _expired,"
            f" {BATCH_ID} AS _batch, {self._is_deleted(table)} AS _deleted FROM {_STAGED} AS own"
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

    def _is_deleted(self, table: Table) -> str:
        """Return the SQL condition that a row of `own` was deleted after it had been shipped."""
        stones = identifier(self._prefix + TOMBSTONES.name)
        parts = [
            f"EXISTS (SELECT 1 FROM {stones} AS stone WHERE stone.deleted = {literal(what)}"
            f" AND stone.project_id = own.project_id AND stone.id = own.{identifier(column)}"
            f" AND own.{INGESTED_AT} <= stone.deleted_at)"
            for what, targets in DELETABLE.items()
            for target, column in targets
            if target.name == table.name
        ]
        return f"({' OR '.join(parts)})" if parts else "false"


def _make_staged(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    columns = ", ".join(f"{identifier(name)} {kind}" for name, kind in columns_of(table).items())
    connection.execute(f"CREATE OR REPLACE TEMP TABLE staged ({columns})")


def _stage(connection: duckdb.DuckDBPyConnection, batch: BatchRows, rows: RowsFile) -> None:
    if rows.count:
        values = ", ".join(value(column, number) for number, column in enumerate(batch.table.columns, start=1))
        connection.execute(
            f"INSERT INTO {_STAGED} SELECT {values}, make_timestamp_ms(?)::TIMESTAMP_MS, ? FROM {rows.sql}",
            [batch.clock_ms, batch.id],
        )


def _months(connection: duckdb.DuckDBPyConnection, month: str) -> list[str]:
    return [name for (name,) in connection.execute(f"SELECT DISTINCT {month} FROM {_STAGED} ORDER BY 1").fetchall()]


def _is_expired(table: Table) -> str:
    return f"({identifier(table.time)} + INTERVAL {table.ttl_days} DAY <= now()::TIMESTAMP)"
