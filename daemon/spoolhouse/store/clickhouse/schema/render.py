"""The whole schema as a value, and as a script."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from spoolhouse.events import declaration
from spoolhouse.events.declaration import EventType, Table
from spoolhouse.events.ledger import LEDGER
from spoolhouse.events.naming import LOCAL, target_name
from spoolhouse.store.clickhouse.schema.cluster import Cluster, DistributedDefinition, sharding_key
from spoolhouse.store.clickhouse.schema.ddl import Database, TableDefinition, placed
from spoolhouse.store.clickhouse.schema.rollups import RollupDefinition, rollup_definition
from spoolhouse.store.clickhouse.schema.tables import Storage, table_definition

DEFAULT_PREFIX = "mastra_admin_"


def tables_of(events: Mapping[str, EventType]) -> tuple[Table, ...]:
    """Return every table that event types need, our own among them, each once."""
    return (*declaration.tables(events).values(), LEDGER)


_HEADER = """\
-- Generated from the declarations in spoolhouse.events.builtin; do not edit. To regenerate:
--     spoolhouse migrate --print > config/schema.sql
--
-- Names are unqualified: run it in the database of your choice. For a database that exists already, use
-- `spoolhouse migrate`, which compares and applies what is missing.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTable:
    """One event table and its rollups."""

    name: str
    """The name that people and inserts know, with its prefix."""
    table: TableDefinition
    rollups: tuple[RollupDefinition, ...]
    fronts: tuple[DistributedDefinition, ...] = ()
    """In a cluster, what stands before the table and each target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Everything that should be in one database."""

    database: Database
    tables: tuple[EventTable, ...]
    on_cluster: str = ""


def declare(
    *,
    database: Database,
    prefix: str = DEFAULT_PREFIX,
    durable: bool = False,
    tables: Iterable[Table],
    cluster: Cluster | None = None,
) -> Schema:
    """Return the schema of `tables`. Every name in it is qualified with `database`, unless that is None.

    `durable`: the server syncs rows to its disk before it acknowledges them.
    """
    if cluster is None:
        storage, local = Storage(durable=durable), prefix
    else:
        storage = Storage(durable=durable, replicated=cluster.keeper, on_cluster=cluster.on)
        local = prefix + LOCAL
    events = []
    for table in tables:
        own = table_definition(table, prefix=local, storage=storage)
        rollups = tuple(
            rollup_definition(table, rollup, database=database, prefix=local, storage=storage, shown_prefix=prefix)
            for rollup in table.rollups
        )
        fronts = () if cluster is None else _fronts(table, own, rollups, prefix, cluster)
        events.append(EventTable(name=prefix + table.name, table=own, rollups=rollups, fronts=fronts))
    return Schema(database=database, tables=tuple(events), on_cluster=storage.on_cluster)


def _fronts(
    table: Table, own: TableDefinition, rollups: tuple[RollupDefinition, ...], prefix: str, cluster: Cluster
) -> tuple[DistributedDefinition, ...]:
    names = [(prefix + table.name, own, sharding_key(table))]
    # Nobody inserts into these.
    names += [(target_name(rollup.rollup, prefix=prefix), rollup.target, "rand()") for rollup in rollups]
    return tuple(
        DistributedDefinition(name=name, local=local, sharding_key=key, cluster=cluster) for name, local, key in names
    )


def object_names(schema: Schema) -> tuple[str, ...]:
    """Return the unqualified name of every table and view of the schema."""
    names: list[str] = []
    for event in schema.tables:
        names.append(event.table.name)
        for rollup in event.rollups:
            names += [rollup.target.name, rollup.feed.name, rollup.view.name]
        names += [front.name for front in event.fronts]
    return tuple(names)


def holding_rows(schema: Schema) -> tuple[str, ...]:
    """Return the unqualified name of every table of the schema that holds rows or figures."""
    return tuple(definition.name for event in schema.tables for definition in _kept(event))


def feeds(schema: Schema) -> tuple[str, ...]:
    """Return the unqualified name of every view of the schema that counts what is inserted."""
    return tuple(rollup.feed.name for event in schema.tables for rollup in event.rollups)


def owners(schema: Schema) -> Mapping[str, str]:
    """Return, by the unqualified name of whatever its rows go into or through, the name of each event table."""
    names: dict[str, str] = {}
    for event in schema.tables:
        into = [event.table.name, *(front.name for front in event.fronts)]
        into += [name for rollup in event.rollups for name in (rollup.target.name, rollup.feed.name)]
        names.update(dict.fromkeys(into, event.name))
    return names


def earlier_names(schema: Schema) -> tuple[str, ...]:
    """Return the unqualified names of what the rollups' earlier versions were fed by."""
    return tuple(name for event in schema.tables for rollup in event.rollups for name in rollup.earlier_feeds)


def settings_of(schema: Schema) -> frozenset[str]:
    """Return the names of all settings that its tables have."""
    return frozenset(name for event in schema.tables for table in _kept(event) for name in table.settings)


def without_settings(schema: Schema, names: frozenset[str]) -> Schema:
    """Return the schema for a server that does not know some settings of tables: it would refuse the whole statement.

    None of ours decides what is stored but the deduplication windows, which any server has that speaks of them.
    """

    def known(table: TableDefinition) -> TableDefinition:
        return replace(table, settings={name: value for name, value in table.settings.items() if name not in names})

    return replace(
        schema,
        tables=tuple(
            replace(
                event,
                table=known(event.table),
                rollups=tuple(replace(rollup, target=known(rollup.target)) for rollup in event.rollups),
            )
            for event in schema.tables
        ),
    )


def _kept(event: EventTable) -> tuple[TableDefinition, ...]:
    return (event.table, *(rollup.target for rollup in event.rollups))


def create_database(name: str, on_cluster: str = "") -> str:
    """Return the statement that makes sure of the database."""
    return f"CREATE DATABASE IF NOT EXISTS {placed(None, name, on_cluster)}"


def statements(schema: Schema) -> tuple[str, ...]:
    """Return the statements that create the schema from nothing, in order.

    A target is there before what feeds it, and a feed follows its table at once: whoever inserts only after all of
    them have run finds every line counted.
    """
    database = schema.database
    result = [] if database is None else [create_database(database, schema.on_cluster)]
    for event in schema.tables:
        result += [rollup.target.create(database) for rollup in event.rollups]
        result.append(event.table.create(database))
        result += [rollup.feed.create(database) for rollup in event.rollups]
        result += [front.create(database) for front in event.fronts]
        result += [rollup.view.create(database) for rollup in event.rollups]
    return tuple(result)


def script(schema: Schema) -> str:
    """Return the whole as one SQL script, for people to read and for `clickhouse-client` to run."""
    return _HEADER + "".join(f"\n{statement};\n" for statement in statements(schema))
