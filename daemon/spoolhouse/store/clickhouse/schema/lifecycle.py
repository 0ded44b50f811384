"""The schema from code: its names and statements, whether a database has it, and how it is made and dropped.

It is the schema of the built-in event types on one server. The user needs the rights to create and drop tables.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec

from spoolhouse.errors import OperatorError
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.drivers.connect import connect
from spoolhouse.store.clickhouse.schema import migrate
from spoolhouse.store.clickhouse.schema.introspect import read_live
from spoolhouse.store.clickhouse.schema.render import DEFAULT_PREFIX, Schema, declare, drops, tables_of


def _schema(database: str | None = None, table_prefix: str = DEFAULT_PREFIX) -> Schema:
    return declare(database=database, prefix=table_prefix, tables=tables_of(BUILT_IN))


def _tables(schema: Schema) -> dict[str, str]:
    """Return the statement for each table by its name; a rollup's rows are in a table, too."""
    found = [one for event in schema.tables for one in (*(rollup.target for rollup in event.rollups), event.table)]
    return {one.name: one.create(schema.database) for one in found}


def _views(schema: Schema) -> dict[str, str]:
    rollups = [rollup for event in schema.tables for rollup in event.rollups]
    views = [view for rollup in rollups for view in (rollup.materialized_view, rollup.view)]
    return {view.name: view.create(schema.database) for view in views}


TABLE_SQL: Mapping[str, str] = _tables(_schema())
"""The statement that creates each table, with names that are not qualified; by name, with the default prefix."""
VIEW_SQL: Mapping[str, str] = _views(_schema())
"""The same for views; they need the tables."""
TABLE_NAMES = tuple(TABLE_SQL)
VIEW_NAMES = tuple(VIEW_SQL)


class SchemaStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Which objects a database lacks."""

    is_initialized: bool
    """It lacks none."""
    missing_tables: tuple[str, ...]
    missing_views: tuple[str, ...]


@asynccontextmanager
async def _opened(url: str, username: str | None, password: str | None) -> AsyncIterator[Driver]:
    # The schema's own database may be missing, and a connection to it would fail.
    driver = connect(url, username=username, password=password, database="default")
    try:
        yield driver
    finally:
        await driver.close()


async def check_schema_status(
    url: str,
    *,
    username: str | None = None,
    password: str | None = None,
    database: str = "default",
    table_prefix: str = DEFAULT_PREFIX,
) -> SchemaStatus:
    """Return what is missing. Raises `StoreError`."""
    schema = _schema(database, table_prefix)
    async with _opened(url, username, password) as driver:
        live = await read_live(schema, driver)
    tables, views = (
        tuple(one for one in names if one not in live.tables) for names in (_tables(schema), _views(schema))
    )
    return SchemaStatus(is_initialized=not (tables or views), missing_tables=tables, missing_views=views)


async def run_migrations(
    url: str,
    *,
    username: str | None = None,
    password: str | None = None,
    database: str = "default",
    table_prefix: str = DEFAULT_PREFIX,
) -> None:
    """Create what is missing, as `spoolhouse migrate` does. Harmless to repeat.

    Raises `OperatorError` for a difference that only a person may settle, once all else is done; `StoreError`.
    """
    async with _opened(url, username, password) as driver:
        left = await migrate.migrate(_schema(database, table_prefix), driver)
    if left.refusals:
        raise OperatorError(str(left.refusals[0]), hint="see `spoolhouse migrate --check`")


async def drop_all_tables(
    url: str,
    *,
    username: str | None = None,
    password: str | None = None,
    database: str = "default",
    table_prefix: str = DEFAULT_PREFIX,
) -> None:
    """Drop all tables and views of the schema, with all that is in them, for good; the database stays.

    For tests. Harmless to repeat. Raises `StoreError`.
    """
    async with _opened(url, username, password) as driver:
        for statement in drops(_schema(database, table_prefix)):
            await driver.execute(statement)
