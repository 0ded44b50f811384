"""Lands batches in DuckDB: the rows of a batch, and its id in `batches`, are one transaction.

So a batch is there as a whole or not at all, whenever the process ends, and one that is sent again adds nothing.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from functools import partial

import duckdb

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import OperatorError, TooLargeError, TransientError
from spoolhouse.events.declaration import Table
from spoolhouse.events.ledger import LEDGER
from spoolhouse.failpoints import reach
from spoolhouse.spool.batch import BatchToLand
from spoolhouse.spool.ledger_rows import entry_rows
from spoolhouse.spool.lineage import Entry
from spoolhouse.store.duckdb import schema
from spoolhouse.store.duckdb.database import Database
from spoolhouse.store.duckdb.quoting import identifier
from spoolhouse.store.duckdb.rows import RowsFile, value, written
from spoolhouse.store.duckdb.staging import STAGED, count_different, make_staged, stage
from spoolhouse.store.migration import Refusal


async def _one(rows: Rows) -> AsyncIterator[Rows]:
    yield rows


class _NotLandedError(Exception):
    """Ends a transaction that only checks."""


class DuckDbStore:
    """Lands batches in one file; it satisfies `pipeline.ports.Store` and `SentBatches`."""

    def __init__(self, database: Database, *, prefix: str, fingerprint: str = "") -> None:
        """Land in the tables of `database` whose names begin with `prefix`."""
        self.database = database
        self.fingerprint = fingerprint
        """Of the declarations in force; may be changed at any time."""
        self._prefix = prefix

    def name(self, table: Table) -> str:
        """Return the full name of a table."""
        return self._prefix + table.name

    async def land(self, batch: BatchToLand) -> None:
        """Return once the file has all of a batch; see `pipeline.ports.Store`."""
        try:
            async with batch.rows() as pieces, written(pieces, self.database.path.parent) as rows:
                await self.database.run(partial(self._land, batch, rows))
            reach("duckdb.committed")
        except TooLargeError as error:
            if batch.may_be_cut:
                raise
            raise TransientError(error.message, hint=error.hint) from None

    async def may_refuse(self, tables: Collection[Table]) -> bool:
        """Tell whether a table has a constraint, or a column of another type; see `pipeline.ports.Store`."""
        return await self.database.run(partial(self._may_refuse, tables))

    async def check(self, batch: BatchToLand) -> None:
        """Put a batch into its table, and take it back; see `pipeline.ports.Store`."""
        async with batch.rows() as pieces, written(pieces, self.database.path.parent) as rows:
            try:
                await self.database.run(partial(self._check, batch, rows))
            except _NotLandedError:
                return

    async def find(self, shipment: str, tables: Collection[Table]) -> Mapping[str, int]:
        """Return the ids of the batches of a shipment that have landed in any of `tables`, with their rows."""
        return await self.database.run(partial(self._find, shipment, [table.name for table in tables]))

    async def record(self, entries: Sequence[Entry]) -> None:
        """Write entries of the ledger; one that is written twice is shown once. Raises `StoreError`."""
        rows, clock_ms = entry_rows(entries), max(entry.clock_ms for entry in entries)
        async with written(_one(rows), self.database.path.parent) as file:
            await self.database.run(partial(self._insert, LEDGER, file, "ledger", clock_ms))

    async def first_row(self, table: Table) -> Mapping[str, object] | None:
        """Return a row of a table; None if it has none. Raises `StoreError`."""
        return await self.database.run(partial(self._first_row, table))

    async def plan(self, tables: Collection[Table]) -> schema.FilePlan:
        """Return the differences between the file and the declarations. Raises `StoreError`."""
        return await self.database.run(lambda own: schema.plan(own, tables, prefix=self._prefix))

    async def prepare(self, tables: Collection[Table]) -> tuple[Refusal, ...]:
        """Bring the tables up to date; return what only a person may settle. Raises `StoreError`."""
        return await self.database.run(lambda own: schema.bring_up_to_date(own, tables, prefix=self._prefix))

    async def expire(self, tables: Collection[Table], now_ms: int) -> None:
        """Delete rows that are older than their table's TTL, and let their room be used again. Raises `StoreError`."""
        if await self.database.run(lambda own: schema.expire(own, tables, now_ms, prefix=self._prefix)):
            await self.database.checkpoint()

    def _first_row(self, table: Table, connection: duckdb.DuckDBPyConnection) -> Mapping[str, object] | None:
        names = [column.name for column in table.columns]
        listed = ", ".join(f"{identifier(name)}::VARCHAR" for name in names)
        row = connection.execute(f"SELECT {listed} FROM {identifier(self.name(table))} LIMIT 1").fetchone()
        return None if row is None else dict(zip(names, row, strict=True))

    def _land(self, batch: BatchToLand, rows: RowsFile, connection: duckdb.DuckDBPyConnection) -> None:
        clock_ms, batches = batch.shipment.clock_ms, identifier(self._prefix + schema.BATCHES)
        known = connection.execute(
            f"SELECT 1 FROM {batches} WHERE shipped_at = make_timestamp_ms(?)::TIMESTAMP_MS AND batch_id = ?",
            [clock_ms, batch.id],
        ).fetchone()
        if known is not None:
            if batch.shipment.fingerprint != self.fingerprint:
                self._expect_same_rows(batch, rows, connection)
            return
        self._insert(batch.table, rows, batch.id, clock_ms, connection)
        connection.execute(
            f"INSERT INTO {batches} VALUES (make_timestamp_ms(?), ?, ?, ?)",
            [clock_ms, batch.id, batch.table.name, rows.count],
        )
        reach("duckdb.before_commit")

    def _expect_same_rows(self, batch: BatchToLand, rows: RowsFile, connection: duckdb.DuckDBPyConnection) -> None:
        """Raise `OperatorError` if another version has landed other rows under this id."""
        make_staged(batch.table, connection)
        stage(batch.table, rows, batch.id, batch.shipment.clock_ms, connection)
        others = count_different(batch.table, self._prefix, batch.id, connection)
        connection.execute(f"DROP TABLE {STAGED}")
        if others:
            raise OperatorError(
                f"shipment {batch.shipment.id} was journalled under other declarations, and {others} of its rows differ"
                f" from those that have landed in {batch.table.name}",
                hint="let the version (and the event files) that claimed it finish it, then upgrade",
            )

    def _check(self, batch: BatchToLand, rows: RowsFile, connection: duckdb.DuckDBPyConnection) -> None:
        self._insert(batch.table, rows, batch.id, batch.shipment.clock_ms, connection)
        raise _NotLandedError

    def _insert(
        self, table: Table, rows: RowsFile, batch_id: str, clock_ms: int, connection: duckdb.DuckDBPyConnection
    ) -> None:
        names = [*(column.name for column in table.columns), schema.INGESTED_AT, schema.BATCH_ID]
        values = [value(column, number) for number, column in enumerate(table.columns, start=1)]
        connection.execute(
            f"INSERT INTO {identifier(self.name(table))} ({', '.join(map(identifier, names))})"
            f" SELECT {', '.join(values)}, make_timestamp_ms(?)::TIMESTAMP_MS, ? FROM {rows.sql}",
            [clock_ms, batch_id],
        )

    def _may_refuse(self, tables: Collection[Table], connection: duckdb.DuckDBPyConnection) -> bool:
        for table in tables:
            declared, there = schema.columns_of(table), schema.existing_columns(connection, self.name(table))
            differ = any(there.get(name, kind) != kind for name, kind in declared.items())
            if differ or schema.has_constraints(connection, self.name(table)):
                return True
        return False

    def _find(self, shipment: str, tables: Sequence[str], connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
        found = connection.execute(
            f"SELECT batch_id, row_count FROM {identifier(self._prefix + schema.BATCHES)}"
            " WHERE starts_with(batch_id, ?) AND list_contains(?, table_name)",
            [f"{shipment}:", list(tables)],
        )
        return dict(found.fetchall())
