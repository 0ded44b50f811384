"""Read a live database as values."""

from collections.abc import Mapping

from msgspec import Struct, field

from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.schema import server_ddl
from spoolhouse.store.clickhouse.schema.render import Schema, earlier_names, object_names, settings_of
from spoolhouse.store.clickhouse.schema.tables import TEXT_INDEX_SINCE


class LiveIndex(Struct, frozen=True, kw_only=True):
    """A data skipping index as the server describes it."""

    expression: str
    type: str
    stored: bool = True
    """Some part of the table has it: an added index covers later inserts only."""


class LiveTable(Struct, frozen=True, kw_only=True):
    """A table or view as the server describes it; the texts are in the server's own spelling."""

    engine: str
    engine_full: str = ""
    """Engine with arguments, keys, TTL and settings; empty for a view."""
    partition_key: str = ""
    sorting_key: str = ""
    comment: str = ""
    rows: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)
    """Type by name."""
    codecs: Mapping[str, str] = field(default_factory=dict)
    """Codec by the name of the column; columns without a codec of their own are left out."""
    indexes: Mapping[str, LiveIndex] = field(default_factory=dict)


class LiveDatabase(Struct, frozen=True, kw_only=True):
    """The objects of one database whose names the schema uses; others are ignored."""

    exists: bool
    tables: Mapping[str, LiveTable]
    unknown: frozenset[str] = frozenset()
    """The schema's table settings that the server, an older one, does not know."""
    has_text_indexes: bool = True


_SETTINGS = "SELECT name FROM system.merge_tree_settings WHERE has({names:Array(String)}, name)"
_DATABASE = "SELECT count() FROM system.databases WHERE name = {database:String}"
_TABLES = """
SELECT name, engine, engine_full, partition_key, sorting_key, comment, ifNull(total_rows, 0) FROM system.tables
WHERE database = {database:String} AND has({names:Array(String)}, name)
"""
_COLUMNS = """
SELECT table, name, type, compression_codec FROM system.columns
WHERE database = {database:String} AND has({names:Array(String)}, table)
"""
_INDEXES = """
SELECT table, name, expr, type_full, data_uncompressed_bytes FROM system.data_skipping_indices
WHERE database = {database:String} AND has({names:Array(String)}, table)
"""
_BUILDING = """
SELECT table, extract(command, 'MATERIALIZE INDEX `?(\\w+)') FROM system.mutations
WHERE database = {database:String} AND has({names:Array(String)}, table) AND NOT is_done
"""


async def read_live(schema: Schema, driver: Driver) -> LiveDatabase:
    """Return the live objects of `schema`; raises `StoreError` like any query.

    The driver may be connected to any database. An object that is invisible to the user counts as missing, and creating
    it does nothing.
    """
    if schema.database is None:
        raise ValueError("a schema without a database cannot be read")
    about = {"database": schema.database, "names": (*object_names(schema), *earlier_names(schema))}
    found = await driver.execute(_DATABASE, {"database": schema.database})
    # Before the indexes: rows that come in between have theirs, and are not to look as if they lacked them.
    listed = [tuple(map(str, row)) for row in await driver.execute(_TABLES, about)]
    columns: dict[str, dict[str, str]] = {}
    codecs: dict[str, dict[str, str]] = {}
    for table, name, kind, codec in (tuple(map(str, row)) for row in await driver.execute(_COLUMNS, about)):
        columns.setdefault(table, {})[name] = kind
        if codec:
            codecs.setdefault(table, {})[name] = codec
    indexes: dict[str, dict[str, LiveIndex]] = {}
    building = {(str(table), str(name)) for table, name in await driver.execute(_BUILDING, about)}
    for table, name, expression, kind, size in (tuple(map(str, row)) for row in await driver.execute(_INDEXES, about)):
        stored = size != "0" or (table, name) in building
        indexes.setdefault(table, {})[name] = LiveIndex(expression=expression, type=kind, stored=stored)
    tables = {
        name: LiveTable(
            engine=engine,
            engine_full=engine_full,
            partition_key=partition_key,
            sorting_key=sorting_key,
            comment=comment,
            rows=int(rows),
            columns=columns.get(name, {}),
            codecs=codecs.get(name, {}),
            indexes=indexes.get(name, {}),
        )
        for name, engine, engine_full, partition_key, sorting_key, comment, rows in listed
    }
    wanted = settings_of(schema)
    known = {str(name) for (name,) in await driver.execute(_SETTINGS, {"names": sorted(wanted)})}
    [(version,)] = await driver.execute("SELECT version()")
    return LiveDatabase(
        exists=bool(found[0][0]),
        tables=tables,
        unknown=wanted - known,
        has_text_indexes=server_ddl.version(str(version)) >= TEXT_INDEX_SINCE,
    )
