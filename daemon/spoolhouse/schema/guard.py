"""Which tables would take a repeated batch twice, or forget an acknowledged one when the power fails."""

import re
from collections.abc import Iterable

from spoolhouse.core.ports import Driver
from spoolhouse.schema import spelling
from spoolhouse.schema.render import Schema, object_names
from spoolhouse.schema.tables import DEDUPLICATION_WINDOW, SYNCED, WINDOW

_NAME = r"(`(?:[^`\\]|\\.)+`|\w+)"
_FEED = re.compile(rf"^CREATE MATERIALIZED VIEW {_NAME}\.{_NAME}.*? TO {_NAME}\.{_NAME}(?: |$)", re.DOTALL)

# `dependencies_…` are the materialized views that an insert is pushed to, whoever made them, in whichever database.
_FEEDS = """
SELECT database, toString(uuid), name, create_table_query FROM system.tables
WHERE engine = 'MaterializedView' AND (database, name) IN
(
    SELECT arrayJoin(arrayZip(dependencies_database, dependencies_table)) FROM system.tables
    WHERE database = {database:String} AND has({names:Array(String)}, name)
)
"""
_ENGINES = """
SELECT concat(database, '.', name) AS full_name, engine, engine_full FROM system.tables
WHERE has({names:Array(String)}, full_name) AND engine LIKE '%MergeTree'
ORDER BY full_name
"""


async def unguarded(schema: Schema, driver: Driver) -> tuple[str, ...]:
    """Return the tables, as `database.name`, that forget tokens too soon, or remember none: no insert is safe there.

    Looked at are the event tables, and every target that a materialized view on them or on a rollup target feeds, also
    views that are not ours: a batch that is repeated after a crash would be counted twice in there. Tables that
    replicate keep their tokens elsewhere and are never in the answer. Raises `StoreError`.
    """
    if schema.database is None:
        raise ValueError("a schema without a database cannot be looked up")
    names = object_names(schema)
    feeds = await driver.execute(_FEEDS, {"database": schema.database, "names": names})
    candidates = {f"{schema.database}.{name}" for name in names} | set(_targets(feeds))
    engines = await driver.execute(_ENGINES, {"names": sorted(candidates)})
    return tuple(
        str(name)
        for name, engine, full in engines
        if spelling.is_local(str(engine)) and spelling.setting(str(full), DEDUPLICATION_WINDOW) < WINDOW
    )


async def unsynced(schema: Schema, driver: Driver) -> tuple[str, ...]:
    """Return our tables, as `database.name`, that acknowledge rows before they are on the disk. Raises `StoreError`."""
    names = [f"{schema.database}.{name}" for name in object_names(schema)]
    engines = await driver.execute(_ENGINES, {"names": names})
    return tuple(
        str(name)
        for name, _, full in engines
        if any(spelling.setting(str(full), setting) < wanted for setting, wanted in SYNCED.items())
    )


def _targets(feeds: Iterable[tuple[object, ...]]) -> Iterable[str]:
    for database, uuid, name, statement in feeds:
        found = _FEED.match(str(statement))
        if found is not None:
            yield f"{_unquoted(found[3])}.{_unquoted(found[4])}"
        else:
            # A view without TO keeps its rows in a hidden table, which is named by one of the two.
            yield f"{database}..inner_id.{uuid}"
            yield f"{database}..inner.{name}"


def _unquoted(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name[1:-1]) if name.startswith("`") else name
