"""What a live database holds, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from spoolhouse.core.ports import Driver
from spoolhouse.schema.render import Schema, object_names


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveIndex:
    """A data skipping index as the server describes it."""

    expression: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTable:
    """A table or view as the server describes it; the texts are the server's own spelling."""

    engine: str
    engine_full: str = ""
    """Engine with arguments, keys, TTL and settings; empty for a view."""
    partition_key: str = ""
    sorting_key: str = ""
    comment: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Type by name."""
    indexes: Mapping[str, LiveIndex] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveDatabase:
    """Those objects of one database whose names the schema claims; all others are nobody's business."""

    exists: bool
    tables: Mapping[str, LiveTable]


_DATABASE = "SELECT count() FROM system.databases WHERE name = {database:String}"
_TABLES = """
SELECT name, engine, engine_full, partition_key, sorting_key, comment FROM system.tables
WHERE database = {database:String} AND has({names:Array(String)}, name)
"""
_COLUMNS = """
SELECT table, name, type FROM system.columns
WHERE database = {database:String} AND has({names:Array(String)}, table)
"""
_INDEXES = """
SELECT table, name, expr, type_full FROM system.data_skipping_indices
WHERE database = {database:String} AND has({names:Array(String)}, table)
"""


async def read_live(schema: Schema, driver: Driver) -> LiveDatabase:
    """Return what the server has of `schema`; raises `StoreError` like any query.

    The driver may be connected to any database. An object that the user may not see counts as missing, and creating
    it does nothing.
    """
    if schema.database is None:
        raise ValueError("a schema without a database cannot be looked up")
    about = {"database": schema.database, "names": object_names(schema)}
    found = await driver.execute(_DATABASE, {"database": schema.database})
    columns: dict[str, dict[str, str]] = {}
    for table, name, kind in await driver.execute(_COLUMNS, about):
        columns.setdefault(str(table), {})[str(name)] = str(kind)
    indexes: dict[str, dict[str, LiveIndex]] = {}
    for table, name, expression, kind in await driver.execute(_INDEXES, about):
        indexes.setdefault(str(table), {})[str(name)] = LiveIndex(expression=str(expression), type=str(kind))
    tables = {
        name: LiveTable(
            engine=engine,
            engine_full=engine_full,
            partition_key=partition_key,
            sorting_key=sorting_key,
            comment=comment,
            columns=columns.get(name, {}),
            indexes=indexes.get(name, {}),
        )
        for name, engine, engine_full, partition_key, sorting_key, comment in (
            tuple(map(str, row)) for row in await driver.execute(_TABLES, about)
        )
    }
    return LiveDatabase(exists=bool(found[0][0]), tables=tables)
