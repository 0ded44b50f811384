"""How large the tables of a DuckDB file are, and which times their rows cover."""

from collections.abc import Iterable

import duckdb

from spoolhouse.events.declaration import Table
from spoolhouse.store.duckdb.quoting import identifier, literal
from spoolhouse.store.duckdb.schema import LATEST, existing_columns
from spoolhouse.store.table_size import TableSize


def table_sizes(connection: duckdb.DuckDBPyConnection, tables: Iterable[Table], *, prefix: str) -> list[TableSize]:
    """Return all tables and their views. Raises `duckdb.Error`."""
    [(block,)] = connection.execute("SELECT block_size FROM pragma_database_size()").fetchall()
    found = []
    for table in tables:
        found += [
            _table(connection, table, prefix + table.name, block),
            _view(connection, prefix + table.name + LATEST),
        ]
    return found


def _table(connection: duckdb.DuckDBPyConnection, table: Table, name: str, block: int) -> TableSize:
    columns = tuple(existing_columns(connection, name))
    if not columns:
        return TableSize(table=name, engine=None)
    time = identifier(table.time)
    times = f"strftime(min({time}), '%Y-%m-%d %H:%M:%S.%g'), strftime(max({time}), '%Y-%m-%d %H:%M:%S.%g')"
    [(rows, oldest, newest)] = connection.execute(f"SELECT count(*), {times} FROM {identifier(name)}").fetchall()
    [(blocks,)] = connection.execute(
        f"SELECT count(DISTINCT block_id) FROM pragma_storage_info({literal(name)}) WHERE persistent AND block_id >= 0"
    ).fetchall()
    return TableSize(
        table=name, engine="table", rows=rows, bytes_on_disk=blocks * block, oldest=oldest, newest=newest,
        columns=columns,
    )  # fmt: skip


def _view(connection: duckdb.DuckDBPyConnection, name: str) -> TableSize:
    found = connection.execute("SELECT 1 FROM duckdb_views() WHERE view_name = ?", [name]).fetchone()
    return TableSize(table=name, engine=None if found is None else "view")
