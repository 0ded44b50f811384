"""Rows that are compared with those of a table: they are put into a temporary one, which no other process ever sees."""

import duckdb

from spoolhouse.events.declaration import Table
from spoolhouse.events.tombstones import DELETABLE, TOMBSTONES
from spoolhouse.store.duckdb.quoting import identifier, literal
from spoolhouse.store.duckdb.rows import RowsFile, value
from spoolhouse.store.duckdb.schema import BATCH_ID, INGESTED_AT, columns_of

STAGED = "temp.main.staged"


def make_staged(table: Table, connection: duckdb.DuckDBPyConnection) -> None:
    """Make `STAGED` anew, without rows, for those of `table`. Raises `duckdb.Error`."""
    columns = ", ".join(f"{identifier(name)} {kind}" for name, kind in columns_of(table).items())
    connection.execute(f"CREATE OR REPLACE TEMP TABLE staged ({columns})")


def stage(table: Table, rows: RowsFile, batch_id: str, clock_ms: int, connection: duckdb.DuckDBPyConnection) -> None:
    """Put the rows of a batch into `STAGED`. Raises `duckdb.Error`."""
    if rows.count:
        values = ", ".join(value(column, number) for number, column in enumerate(table.columns, start=1))
        connection.execute(
            f"INSERT INTO {STAGED} SELECT {values}, make_timestamp_ms(?)::TIMESTAMP_MS, ? FROM {rows.sql}",
            [clock_ms, batch_id],
        )


def count_different(table: Table, prefix: str, batch_id: str, connection: duckdb.DuckDBPyConnection) -> int:
    """Return how many rows of a batch have landed and are not staged, or the other way round. Raises `duckdb.Error`.

    Rows are compared by key and version. Staged ones that a person or the TTL has deleted count for nothing.
    """
    key = ", ".join(identifier(name) for name in (*table.order_by, "recorded_at"))
    landed = f"SELECT {key} FROM {identifier(prefix + table.name)} WHERE {BATCH_ID} = $1"
    staged = f"SELECT {key} FROM {STAGED} AS own"
    kept = f"{staged} WHERE NOT {is_expired(table)} AND NOT {is_deleted(table, prefix)}"
    [(count,)] = connection.execute(
        f"SELECT (SELECT count(*) FROM ({landed} EXCEPT ALL {staged}))"
        f" + (SELECT count(*) FROM ({kept} EXCEPT ALL {landed}))",
        [batch_id],
    ).fetchall()
    return int(count)


def is_deleted(table: Table, prefix: str) -> str:
    """Return the SQL condition that a row of `own` was deleted after it had been shipped."""
    stones = identifier(prefix + TOMBSTONES.name)
    parts = [
        f"EXISTS (SELECT 1 FROM {stones} AS stone WHERE stone.deleted = {literal(what)}"
        f" AND stone.project_id = own.project_id AND stone.id = own.{identifier(column)}"
        f" AND own.{INGESTED_AT} <= stone.deleted_at)"
        for what, targets in DELETABLE.items()
        for target, column in targets
        if target.name == table.name
    ]
    return f"({' OR '.join(parts)})" if parts else "false"


def is_expired(table: Table) -> str:
    """Return the SQL condition that a row is older than its table's TTL."""
    return f"({identifier(table.time)} + INTERVAL {table.ttl_days} DAY <= now()::TIMESTAMP)"
