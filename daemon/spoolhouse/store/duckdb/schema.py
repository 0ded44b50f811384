"""Derive the DuckDB tables from the declarations, and bring a file up to date.

A table is append only and has no index: rows are found by the minima and maxima that DuckDB keeps of each column. Its
view `…_latest` shows the newest version of each row. `batches` has a row for each batch that has landed.
"""

from collections.abc import Iterable, Mapping

import duckdb

from spoolhouse.events.declaration import Column, Kind, Table
from spoolhouse.store.duckdb.quoting import identifier, literal

BATCHES = "batches"
BATCH_ID = "batch_id"
INGESTED_AT = "ingested_at"
LATEST = "_latest"

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


def bring_up_to_date(connection: duckdb.DuckDBPyConnection, tables: Iterable[Table], *, prefix: str) -> None:
    """Make the tables and views that are missing, and add the columns that tables lack. Raises `duckdb.Error`."""
    connection.execute(_batches(prefix))
    for table in tables:
        connection.execute(_table(table, prefix))
        there = existing_columns(connection, prefix + table.name)
        missing = [column for column in table.columns if column.name not in there]
        for column in missing:
            connection.execute(f"ALTER TABLE {identifier(prefix + table.name)} ADD COLUMN {_column(column)}")
        connection.execute(_latest(table, prefix))


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
        f"CREATE TABLE IF NOT EXISTS {identifier(prefix + BATCHES)}"
        " (shipped_at TIMESTAMP_MS, batch_id VARCHAR, table_name VARCHAR, row_count BIGINT)"
    )


def _table(table: Table, prefix: str) -> str:
    own = [f"{identifier(name)} {kind}" for name, kind in _OWN.items()]
    columns = ", ".join([*map(_column, table.columns), *own])
    return f"CREATE TABLE IF NOT EXISTS {identifier(prefix + table.name)} ({columns})"


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
