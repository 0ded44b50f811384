"""The whole schema as a value, and as a script."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from spoolhouse.core import declaration
from spoolhouse.core.declaration import EventType, Table
from spoolhouse.core.events import BUILT_IN
from spoolhouse.core.ledger import LEDGER
from spoolhouse.schema.ddl import Database, TableDefinition, identifier
from spoolhouse.schema.rollups import RollupDefinition, rollup_definition
from spoolhouse.schema.tables import table_definition

DEFAULT_PREFIX = "mastra_admin_"


def tables_of(events: Mapping[str, EventType]) -> tuple[Table, ...]:
    """Return every table that event types need, our own among them, each once."""
    return (*declaration.tables(events).values(), LEDGER)


TABLES = tables_of(BUILT_IN)

_HEADER = """\
-- Generated from the declarations in spoolhouse.core.events; do not edit. To regenerate:
--     spoolhouse migrate --print > config/schema.sql
--
-- Names are unqualified: run it in the database of your choice. For a database that exists already, use
-- `spoolhouse migrate`, which compares and applies what is missing.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTable:
    """One event table and its rollups."""

    table: TableDefinition
    rollups: tuple[RollupDefinition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Everything that should be in one database."""

    database: Database
    tables: tuple[EventTable, ...]


def declare(
    *, database: Database, prefix: str = DEFAULT_PREFIX, durable: bool = False, tables: Iterable[Table] = TABLES
) -> Schema:
    """Return the schema of `tables`. Every name in it is qualified with `database`, unless that is None.

    `durable`: the server syncs rows to its disk before it acknowledges them.
    """
    return Schema(
        database=database,
        tables=tuple(
            EventTable(
                table=table_definition(table, prefix=prefix, durable=durable),
                rollups=tuple(
                    rollup_definition(table, rollup, database=database, prefix=prefix, durable=durable)
                    for rollup in table.rollups
                ),
            )
            for table in tables
        ),
    )


def object_names(schema: Schema) -> tuple[str, ...]:
    """Return the unqualified name of every table and view of the schema."""
    names: list[str] = []
    for event in schema.tables:
        names.append(event.table.name)
        for rollup in event.rollups:
            names += [rollup.target.name, rollup.feed.name, rollup.view.name]
    return tuple(names)


def earlier_names(schema: Schema) -> tuple[str, ...]:
    """Return the unqualified names of what the rollups' earlier versions were fed by."""
    return tuple(name for event in schema.tables for rollup in event.rollups for name in rollup.earlier_feeds)


def create_database(name: str) -> str:
    """Return the statement that makes sure of the database."""
    return f"CREATE DATABASE IF NOT EXISTS {identifier(name)}"


def statements(schema: Schema) -> tuple[str, ...]:
    """Return the statements that create the schema from nothing, in order.

    A target is there before what feeds it, and a feed follows its table at once: whoever inserts only after all of
    them have run finds every line counted.
    """
    database = schema.database
    result = [] if database is None else [create_database(database)]
    for event in schema.tables:
        result += [rollup.target.create(database) for rollup in event.rollups]
        result.append(event.table.create(database))
        result += [rollup.feed.create(database) for rollup in event.rollups]
        result += [rollup.view.create(database) for rollup in event.rollups]
    return tuple(result)


def script(schema: Schema) -> str:
    """Return the whole as one SQL script, for people to read and for `clickhouse-client` to run."""
    return _HEADER + "".join(f"\n{statement};\n" for statement in statements(schema))
