"""How large the tables of a schema are, and which times their rows cover."""

from collections.abc import Mapping

import msgspec

from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.quoting import identifier
from spoolhouse.store.clickhouse.schema.ddl import qualified
from spoolhouse.store.clickhouse.schema.render import Schema, object_names
from spoolhouse.store.clickhouse.typed_rows import typed
from spoolhouse.store.table_size import TableSize

_TABLES = """
SELECT name, engine, total_rows, total_bytes, columns FROM system.tables
LEFT JOIN (
    SELECT table AS name, groupArray(column) AS columns FROM (
        SELECT table, name AS column FROM system.columns
        WHERE database = {database:String} AND has({names:Array(String)}, table) ORDER BY table, position
    ) GROUP BY table
) AS of_table USING (name)
WHERE database = {database:String} AND has({names:Array(String)}, name)
"""


class _Row(msgspec.Struct, array_like=True, frozen=True):
    name: str
    engine: str
    rows: int | None
    size: int | None
    columns: tuple[str, ...]


async def table_sizes(schema: Schema, driver: Driver) -> list[TableSize]:
    """Return all tables and views of a schema with a database. Raises `StoreError`."""
    if schema.database is None:
        raise ValueError("a schema without a database cannot be looked up")
    definitions = [event.table for event in schema.tables]
    definitions += [rollup.target for event in schema.tables for rollup in event.rollups]
    times = {definition.name: definition.partition_column for definition in definitions}
    names = object_names(schema)
    rows = typed(await driver.execute(_TABLES, {"database": schema.database, "names": names}), _Row)
    found = {row.name: row for row in rows}
    return [await _size(name, schema.database, found, times, driver) for name in names]


async def _size(
    name: str, database: str, found: Mapping[str, _Row], times: Mapping[str, str], driver: Driver
) -> TableSize:
    row = found.get(name)
    if row is None:
        return TableSize(table=name, engine=None)
    oldest = newest = None
    if row.rows and name in times:
        table, column = qualified(database, name), identifier(times[name])
        sql = f"SELECT toString(min({column})), toString(max({column})) FROM {table}"  # noqa: S608  # declared names
        [(oldest, newest)] = typed(await driver.execute(sql), tuple[str, str])
    return TableSize(
        table=name, engine=row.engine, rows=row.rows, bytes_on_disk=row.size, oldest=oldest, newest=newest,
        columns=row.columns,
    )  # fmt: skip
