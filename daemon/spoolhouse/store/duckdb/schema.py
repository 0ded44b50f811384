"""Derive the DuckDB tables from the declarations, and bring a file up to date.

A table is append only and has no index: rows are found by the minima and maxima that DuckDB keeps of each column. Its
view `…_latest` shows the newest version of each row. `batches` has a row for each batch that has landed.
"""

from collections.abc import Iterable, Iterator, Mapping

import duckdb
from msgspec import Struct

from spoolhouse.events.declaration import Column, Kind, Table
from spoolhouse.events.ledger import LEDGER
from spoolhouse.store.duckdb.quoting import identifier, literal
from spoolhouse.store.migration import Change, Refusal

BATCHES = "batches"
BATCH_ID = "batch_id"
INGESTED_AT = "ingested_at"
LATEST = "_latest"
DAY_MS = 86_400_000

TYPES: Mapping[Kind, str] = {
    Kind.TEXT: "VARCHAR",
    Kind.CHOICE: "VARCHAR",
    Kind.SCALAR: "VARCHAR",
    Kind.ANY: "VARCHAR",
    Kind.BOOLEAN: "BOOLEAN",
    Kind.INTEGER: "BIGINT",
    Kind.INTEGER32: "INTEGER",
    Kind.NUMBER: "DOUBLE",
    Kind.TIME: "TIMESTAMP_MS",
    Kind.JSON: "VARCHAR",
    Kind.NUMBERS: "DOUBLE[]",
    Kind.COUNTS: "UBIGINT[]",
    Kind.TEXTS: "VARCHAR[]",
}
_OWN = {INGESTED_AT: "TIMESTAMP_MS", BATCH_ID: "VARCHAR"}
"""The columns of ours in every table: the shipment's journalled time, and the row's batch."""


def columns_of(table: Table) -> Mapping[str, str]:
    """Return the type of each column of a table, in their order."""
    return {**{column.name: TYPES[column.kind] for column in table.columns}, **_OWN}


class FilePlan(Struct, frozen=True, kw_only=True):
    """The way from a file to the declared schema."""

    changes: tuple[Change, ...]
    refusals: tuple[Refusal, ...]

    @property
    def empty(self) -> bool:
        """True where the file and the declarations agree."""
        return not self.changes and not self.refusals


def plan(connection: duckdb.DuckDBPyConnection, tables: Iterable[Table], *, prefix: str) -> FilePlan:
    """Compare a file with the declarations. Raises `duckdb.Error`."""
    changes: list[Change] = []
    refusals: list[Refusal] = []
    names = {name for (name,) in connection.execute("SELECT view_name FROM duckdb_views()").fetchall()}
    if not existing_columns(connection, prefix + BATCHES):
        changes.append(Change(name=prefix + BATCHES, what="+ table", statement=_batches(prefix)))
    for table in tables:
        name, view = prefix + table.name, prefix + table.name + LATEST
        there = existing_columns(connection, name)
        own = list(_differences(table, name, there))
        changes += [one for one in own if isinstance(one, Change)]
        refusals += [one for one in own if isinstance(one, Refusal)]
        # A view has the columns that its table had when the view was made.
        if view not in names or any(isinstance(one, Change) for one in own):
            changes.append(Change(name=view, what="+ view", statement=_latest(table, prefix)))
    return FilePlan(changes=tuple(changes), refusals=tuple(refusals))


def _differences(table: Table, name: str, there: Mapping[str, str]) -> Iterator[Change | Refusal]:
    if not there:
        yield Change(name=name, what="+ table", statement=_table(table, name))
        return
    columns = {column.name: _column(column) for column in table.columns}
    for column, kind in columns_of(table).items():
        alter = f"ALTER TABLE {identifier(name)}"
        if column not in there:
            definition = columns.get(column, f"{identifier(column)} {kind}")
            yield Change(name=name, what=f"+ column {column} {kind}", statement=f"{alter} ADD COLUMN {definition}")
        elif there[column] != kind:
            yield Refusal(
                name=name,
                reason=f"column {column} is {there[column]}, and {kind} is declared",
                statement=f"{alter} ALTER {identifier(column)} TYPE {kind}",
            )


def bring_up_to_date(
    connection: duckdb.DuckDBPyConnection, tables: Iterable[Table], *, prefix: str
) -> tuple[Refusal, ...]:
    """Make what is missing, and return the differences that only a person may settle. Raises `duckdb.Error`."""
    todo = plan(connection, tables, prefix=prefix)
    for change in todo.changes:
        connection.execute(change.statement)
    return todo.refusals


def expire(connection: duckdb.DuckDBPyConnection, tables: Iterable[Table], now_ms: int, *, prefix: str) -> int:
    """Delete the rows that are older than their table's TTL; return how many. Raises `duckdb.Error`.

    The next checkpoint frees their room, by groups of about 100 000 rows that have landed one after the other.
    """
    times = {prefix + table.name: (table.time, table.ttl_days) for table in tables}
    # A batch is remembered for as long as its entries in the ledger.
    times[prefix + BATCHES] = ("shipped_at", LEDGER.ttl_days)
    deleted = 0
    for name, (time, days) in times.items():
        if existing_columns(connection, name).get(time) != TYPES[Kind.TIME]:
            continue  # it is missing, or another one than is declared
        gone = connection.execute(
            f"DELETE FROM {identifier(name)} WHERE {identifier(time)} < make_timestamp_ms(?)::TIMESTAMP_MS",
            [now_ms - days * DAY_MS],
        ).fetchone()
        deleted += 0 if gone is None else int(gone[0])
    return deleted


def existing_columns(connection: duckdb.DuckDBPyConnection, name: str) -> Mapping[str, str]:
    """Return the type of each column that a table has in the file; nothing if there is no such table."""
    found = connection.execute(
        "SELECT column_name, data_type FROM duckdb_columns()"
        " WHERE database_name = current_database() AND schema_name = 'main' AND table_name = ? ORDER BY column_index",
        [name],
    )
    return dict(found.fetchall())


def has_constraints(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Tell whether a table may refuse a row."""
    found = connection.execute(
        "SELECT 1 FROM duckdb_constraints() WHERE database_name = current_database() AND schema_name = 'main'"
        " AND table_name = ? LIMIT 1",
        [name],
    )
    return found.fetchone() is not None


def _batches(prefix: str) -> str:
    """No index: the shipment's time, which nearly always grows, leads to a batch."""
    return (
        f"CREATE TABLE {identifier(prefix + BATCHES)}"
        " (shipped_at TIMESTAMP_MS, batch_id VARCHAR, table_name VARCHAR, row_count BIGINT)"
    )


def _table(table: Table, name: str) -> str:
    own = [f"{identifier(name)} {kind}" for name, kind in _OWN.items()]
    columns = ", ".join([*map(_column, table.columns), *own])
    return f"CREATE TABLE {identifier(name)} ({columns})"


def _column(column: Column) -> str:
    """The default is for rows that are older than the column."""
    default = ""
    if isinstance(column.default, str):
        default = f" DEFAULT {literal(column.default)}"
    elif column.default is not None:
        default = f" DEFAULT {column.default}"
    elif column.kind in {Kind.NUMBERS, Kind.COUNTS, Kind.TEXTS}:
        default = " DEFAULT []"
    return f"{identifier(column.name)} {TYPES[column.kind]}{default}"


def _latest(table: Table, prefix: str) -> str:
    """Return the view of the newest version of each row: the last that was ingested, of equal ones."""
    keys = ", ".join(identifier(name) for name in table.order_by)
    return (
        f"CREATE OR REPLACE VIEW {identifier(prefix + table.name + LATEST)} AS"
        f" SELECT * FROM {identifier(prefix + table.name)}"
        f" QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY recorded_at DESC, rowid DESC) = 1"
    )
