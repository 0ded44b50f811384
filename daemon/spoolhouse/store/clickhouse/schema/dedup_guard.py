"""Find the tables that would take a repeated batch twice, or lose an acknowledged one when the power fails."""

import re
from collections.abc import Iterable, Mapping, Sequence

from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.schema import server_ddl
from spoolhouse.store.clickhouse.schema.render import Schema, object_names
from spoolhouse.store.clickhouse.schema.tables import DEDUPLICATION_WINDOW, SYNCED, WINDOW

_NAME = r"(`(?:[^`\\]|\\.)+`|\w+)"
_FEED = re.compile(rf"^CREATE MATERIALIZED VIEW {_NAME}\.{_NAME}.*? TO {_NAME}\.{_NAME}(?: |$)", re.DOTALL)

# `dependencies_…` are the materialized views that an insert goes through, by any creator, in any database.
_DEPENDENCIES = """
SELECT name, arrayZip(dependencies_database, dependencies_table) FROM system.tables
WHERE database = {database:String} AND has({names:Array(String)}, name)
"""
_FEEDS = """
SELECT database, toString(uuid), name, create_table_query FROM system.tables
WHERE engine = 'MaterializedView' AND has({databases:Array(String)}, database) AND has({names:Array(String)}, name)
"""
# The server writes out the engine of each table of these databases: on one with hundreds of others, that takes seconds.
_ENGINES = """
SELECT concat(database, '.', name) AS full_name, engine, engine_full FROM system.tables
WHERE has({databases:Array(String)}, database) AND has({names:Array(String)}, full_name) AND engine LIKE '%MergeTree'
ORDER BY full_name
"""

Target = tuple[str, str]
"""A table by its database and its name."""


async def unguarded(schema: Schema, driver: Driver) -> Mapping[str, tuple[str, ...]]:
    """Return, by name, the event tables that are unsafe to insert into, with the tables that remember too few tokens.

    A cause is the table itself, or a target, as `database.name`, of a materialized view on it or on the target of one
    of its rollups, also of a view that is not ours: such a table would count a batch twice that is repeated after a
    crash. Replicated tables keep their tokens elsewhere and are never in the answer. Raises `StoreError`.
    """
    if schema.database is None:
        raise ValueError("a schema without a database cannot be checked")
    fed = await _fed(schema, schema.database, driver)
    reached = {
        event.name: {
            target
            for name in (event.table.name, *(rollup.target.name for rollup in event.rollups))
            for target in ((schema.database, name), *fed.get(name, ()))
        }
        for event in schema.tables
    }
    engines = await _engines(set().union(*reached.values()), driver)
    lonely = [
        name
        for name, engine, full in engines
        if server_ddl.is_local(engine) and server_ddl.setting(full, DEDUPLICATION_WINDOW) < WINDOW
    ]
    names = {table: {_full(target) for target in targets} for table, targets in reached.items()}
    found = {table: tuple(name for name in lonely if name in names[table]) for table in reached}
    return {table: names for table, names in found.items() if names}


async def _engines(tables: Iterable[Target], driver: Driver) -> Sequence[tuple[str, str, str]]:
    """Return the name, as `database.name`, the engine and its settings of each of these that keeps rows."""
    wanted = sorted(tables)
    about = {"databases": sorted({database for database, _ in wanted}), "names": [_full(table) for table in wanted]}
    return [(str(name), str(engine), str(full)) for name, engine, full in await driver.execute(_ENGINES, about)]


def _full(table: Target) -> str:
    return ".".join(table)


async def _fed(schema: Schema, database: str, driver: Driver) -> Mapping[str, set[Target]]:
    """Return the targets of the views on each of our tables."""
    names = object_names(schema)
    views = {
        str(name): [(str(where), str(view)) for where, view in _pairs(pairs)]
        for name, pairs in await driver.execute(_DEPENDENCIES, {"database": database, "names": names})
    }
    known = {pair for pairs in views.values() for pair in pairs}
    about = {"databases": sorted({where for where, _ in known}), "names": sorted({view for _, view in known})}
    targets: dict[tuple[str, str], tuple[Target, ...]] = {}
    for where, uuid, view, statement in await driver.execute(_FEEDS, about) if known else ():
        targets[str(where), str(view)] = tuple(_targets(str(where), str(uuid), str(view), str(statement)))
    return {name: {target for pair in pairs for target in targets.get(pair, ())} for name, pairs in views.items()}


def _pairs(value: object) -> Iterable[tuple[object, object]]:
    return [tuple(pair) for pair in value] if isinstance(value, list) else ()


async def unsynced(schema: Schema, driver: Driver) -> tuple[str, ...]:
    """Return our tables, as `database.name`, that acknowledge rows before they are on the disk. Raises `StoreError`."""
    if schema.database is None:
        raise ValueError("a schema without a database cannot be checked")
    engines = await _engines([(schema.database, name) for name in object_names(schema)], driver)
    return tuple(
        name
        for name, _, full in engines
        if any(server_ddl.setting(full, setting) < wanted for setting, wanted in SYNCED.items())
    )


def _targets(database: str, uuid: str, name: str, statement: str) -> Iterable[Target]:
    found = _FEED.match(statement)
    if found is not None:
        return [(_unquoted(found[3]), _unquoted(found[4]))]
    # A view without TO keeps its rows in a hidden table, which has one of two names.
    return [(database, f".inner_id.{uuid}"), (database, f".inner.{name}")]


def _unquoted(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name[1:-1]) if name.startswith("`") else name
