"""Rows of a DuckDB file on their way into another store, as batches that are the same each time.

The table `copies` says which rows are in which batch, and is committed before the batch is sent: rows that one batch of
the file has brought, of one project and one day, are never in two of them. So a copy that is repeated, to whichever
store, sends the batches that the store does not have, and makes new ones of new rows alone.
"""

from collections.abc import Iterator, Sequence
from datetime import date

import duckdb
from msgspec import Struct

from spoolhouse.decode.rows import Rows
from spoolhouse.events.declaration import Column, Kind, Table
from spoolhouse.store.duckdb.quoting import identifier
from spoolhouse.store.duckdb.schema import BATCH_ID, TYPES

COPIES = "copies"
_ROWS = 50_000
_BYTES = 32 << 20
"""Of a batch, about: more only where a single batch of the file has more."""
_PIECE = 1000
"""Rows that are handed over at once."""


class Selection(Struct, frozen=True, kw_only=True):
    """The rows to copy: of one project, or of all; of the days from `since` to `until`, both included."""

    project: str | None = None
    since: date = date.min
    until: date = date.max


class Copy(Struct, frozen=True, kw_only=True):
    """A batch of rows: of one project and one day."""

    id: str
    table: Table
    project: str
    day: date
    planned_ms: int
    """When it was made up."""


class Copying:
    """The batches of one file. Methods are for one transaction each, and raise `duckdb.Error`."""

    def __init__(self, selection: Selection, *, prefix: str) -> None:
        """Copy these rows of the tables whose names begin with `prefix`."""
        self._selection = selection
        self._prefix = prefix
        self._copies = identifier(prefix + COPIES)

    def plan(self, connection: duckdb.DuckDBPyConnection, tables: Sequence[Table], now_ms: int) -> list[Copy]:
        """Return the batches of the selected rows; make up those of rows that are in none yet."""
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self._copies} (copy_id VARCHAR, table_name VARCHAR, project_id VARCHAR,"
            " day DATE, source_batch VARCHAR, planned_at TIMESTAMP_MS)"
        )
        for table in tables:
            self._add(connection, table, now_ms)
        by_name = {table.name: table for table in tables}
        found = connection.execute(
            f"SELECT DISTINCT copy_id, table_name, project_id, day, epoch_ms(planned_at) FROM {self._copies}"
            f" WHERE {self._selected('day')} ORDER BY day, table_name, project_id, copy_id",
            self._values,
        )
        return [
            Copy(id=one, table=by_name[table], project=project, day=day, planned_ms=planned_ms)
            for one, table, project, day, planned_ms in found.fetchall()
            if table in by_name
        ]

    def rows(self, connection: duckdb.DuckDBPyConnection, copy: Copy) -> list[Rows]:
        """Return the rows of a batch, as far as the file still has them; always in the same order."""
        values = ", ".join(map(_json, copy.table.columns))
        found = connection.execute(
            f"SELECT json_array({values})::VARCHAR FROM {identifier(self._prefix + copy.table.name)}"
            f" WHERE project_id = ? AND {_day(copy.table)} = ?"
            f" AND {BATCH_ID} IN (SELECT source_batch FROM {self._copies} WHERE copy_id = ?) ORDER BY rowid",
            [copy.project, copy.day, copy.id],
        )
        return list(_pieces(found))

    def _add(self, connection: duckdb.DuckDBPyConnection, table: Table, now_ms: int) -> None:
        """Join rows of the same project and day, some batches of the file at a time, and give them an id."""
        texts = [identifier(column.name) for column in table.columns if TYPES[column.kind] == "VARCHAR"]
        size = " + ".join(f"coalesce(strlen({name}), 0)" for name in texts)
        before = "OVER (PARTITION BY project_id, day ORDER BY source_batch ROWS UNBOUNDED PRECEDING)"
        connection.execute(
            f"INSERT INTO {self._copies}"
            f" WITH units AS (SELECT project_id, {_day(table)} AS day, {BATCH_ID} AS source_batch, count(*) AS rows,"
            f" sum({size}) AS bytes FROM {identifier(self._prefix + table.name)}"
            f" WHERE {self._selected(_day(table))} GROUP BY ALL),"
            f" fresh AS (FROM units ANTI JOIN (FROM {self._copies} WHERE table_name = ?)"
            " USING (project_id, day, source_batch)),"
            f" cut AS (SELECT *, (sum(rows) {before} - rows) // {_ROWS} AS by_rows,"
            f" (sum(bytes) {before} - bytes) // {_BYTES} AS by_bytes FROM fresh)"
            " SELECT 'copy-' || md5(concat_ws(chr(0), ?, project_id, day::VARCHAR, string_agg(source_batch, chr(0)"
            " ORDER BY source_batch) OVER (PARTITION BY project_id, day, by_rows, by_bytes))),"
            " ?, project_id, day, source_batch, make_timestamp_ms(?) FROM cut",
            [*self._values, table.name, table.name, table.name, now_ms],
        )

    def _selected(self, day: str) -> str:
        return f"(?::VARCHAR IS NULL OR project_id = ?) AND {day} BETWEEN ? AND ?"

    @property
    def _values(self) -> list[object]:
        one = self._selection
        return [one.project, one.project, one.since, one.until]


def _day(table: Table) -> str:
    return f"{identifier(table.time)}::DATE"


def _json(column: Column) -> str:
    """Return the expression of a value as a canonical row has it."""
    name = identifier(column.name)
    return f"strftime({name}, '%Y-%m-%dT%H:%M:%S.%gZ')" if column.kind is Kind.TIME else name


def _pieces(found: duckdb.DuckDBPyConnection) -> Iterator[Rows]:
    while some := found.fetchmany(_PIECE):
        yield Rows(data="".join(f"{line}\n" for (line,) in some).encode(), count=len(some))
