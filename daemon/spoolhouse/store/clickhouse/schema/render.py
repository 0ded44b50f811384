"""The whole schema as a value, and as a script."""

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from spoolhouse.events import declaration
from spoolhouse.events.declaration import EventType, Table
from spoolhouse.events.ledger import LEDGER
from spoolhouse.events.naming import LOCAL, target_name
from spoolhouse.events.tombstones import TOMBSTONES
from spoolhouse.store.clickhouse.schema.cluster import Cluster, DistributedDefinition, sharding_key
from spoolhouse.store.clickhouse.schema.ddl import Database, TableDefinition, placed
from spoolhouse.store.clickhouse.schema.rollups import RollupDefinition, rollup_definition
from spoolhouse.store.clickhouse.schema.tables import TEXT_INDEX, Storage, table_definition

DEFAULT_PREFIX = "mastra_admin_"


def tables_of(events: Mapping[str, EventType]) -> tuple[Table, ...]:
    """Return every table of the event types, and our own, each once."""
    return (*declaration.tables(events).values(), LEDGER, TOMBSTONES)


_HEADER = """\
-- Generated from the declarations in spoolhouse.events.builtin; do not edit. To regenerate:
--     spoolhouse migrate --print > config/schema.sql
--
-- Names are unqualified: run it in the database of your choice. For a database that exists already, use
-- `spoolhouse migrate`, which compares and applies what is missing.
"""


class EventTable(Struct, frozen=True, kw_only=True):
    """One event table and its rollups."""

    name: str
    """The name for people and inserts, with its prefix."""
    table: TableDefinition
    rollups: tuple[RollupDefinition, ...]
    distributed: tuple[DistributedDefinition, ...] = ()
    """In a cluster, the Distributed tables over the table and over each target."""


class Schema(Struct, frozen=True, kw_only=True):
    """All objects of one database."""

    database: Database
    tables: tuple[EventTable, ...]
    on_cluster: str


def declare(
    *,
    database: Database,
    prefix: str = DEFAULT_PREFIX,
    durable: bool = False,
    text_index: bool = False,
    tables: Iterable[Table],
    cluster: Cluster | None = None,
) -> Schema:
    """Return the schema of `tables`. Every name in it is qualified with `database`, unless that is None.

    `durable`: the server syncs rows to its disk before it acknowledges them. `text_index`: it indexes the words of the
    columns that tables declare.
    """
    storage, local = Storage(durable=durable, text_index=text_index), prefix
    if cluster is not None:
        storage = replace(storage, replicated=cluster.keeper, on_cluster=cluster.on)
        local = prefix + LOCAL
    events = []
    for table in tables:
        own = table_definition(table, prefix=local, storage=storage)
        rollups = tuple(
            rollup_definition(table, rollup, database=database, prefix=local, storage=storage, shown_prefix=prefix)
            for rollup in table.rollups
        )
        distributed = () if cluster is None else _distributed(table, own, rollups, prefix, cluster)
        events.append(EventTable(name=prefix + table.name, table=own, rollups=rollups, distributed=distributed))
    return Schema(database=database, tables=tuple(events), on_cluster=storage.on_cluster)


def _distributed(
    table: Table, own: TableDefinition, rollups: tuple[RollupDefinition, ...], prefix: str, cluster: Cluster
) -> tuple[DistributedDefinition, ...]:
    names = [(prefix + table.name, own, sharding_key(table))]
    # No insert uses these.
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
            names += [rollup.target.name, rollup.materialized_view.name, rollup.view.name]
        names += [one.name for one in event.distributed]
    return tuple(names)


def holding_rows(schema: Schema) -> tuple[str, ...]:
    """Return the unqualified name of every table of the schema that holds rows or figures."""
    return tuple(definition.name for event in schema.tables for definition in _kept(event))


def materialized_views(schema: Schema) -> tuple[str, ...]:
    """Return the unqualified name of every materialized view of the schema."""
    return tuple(rollup.materialized_view.name for event in schema.tables for rollup in event.rollups)


def owners(schema: Schema) -> Mapping[str, str]:
    """Return the name of each event table by the unqualified names of all objects that its rows pass through."""
    names: dict[str, str] = {}
    for event in schema.tables:
        into = [event.table.name, *(one.name for one in event.distributed)]
        into += [name for rollup in event.rollups for name in (rollup.target.name, rollup.materialized_view.name)]
        names.update(dict.fromkeys(into, event.name))
    return names


def earlier_names(schema: Schema) -> tuple[str, ...]:
    """Return the unqualified names of the materialized views into the rollups' earlier versions."""
    return tuple(name for event in schema.tables for rollup in event.rollups for name in rollup.earlier_feeds)


def settings_of(schema: Schema) -> frozenset[str]:
    """Return the names of all table settings in the schema."""
    return frozenset(name for event in schema.tables for table in _kept(event) for name in table.settings)


def without_settings(schema: Schema, names: frozenset[str]) -> Schema:
    """Return the schema without settings that a server does not know: it would refuse the whole statement.

    Of our settings only the deduplication windows decide what is stored, and any supported server knows them.
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


def without_text_indexes(schema: Schema) -> Schema:
    """Return the schema for a server that has no text indexes."""

    def known(table: TableDefinition) -> TableDefinition:
        return replace(table, indexes=tuple(index for index in table.indexes if index.type != TEXT_INDEX))

    return replace(schema, tables=tuple(replace(event, table=known(event.table)) for event in schema.tables))


def _kept(event: EventTable) -> tuple[TableDefinition, ...]:
    return (event.table, *(rollup.target for rollup in event.rollups))


def create_database(name: str, on_cluster: str) -> str:
    """Return the statement that creates the database if it is missing."""
    return f"CREATE DATABASE IF NOT EXISTS {placed(None, name, on_cluster)}"


def statements(schema: Schema) -> tuple[str, ...]:
    """Return the statements that create the schema from nothing, in order.

    A target is created before its materialized view, and the view right after the table: an insert after the last
    statement finds every line counted.
    """
    database = schema.database
    result = [] if database is None else [create_database(database, schema.on_cluster)]
    for event in schema.tables:
        result += [rollup.target.create(database) for rollup in event.rollups]
        result.append(event.table.create(database))
        result += [rollup.materialized_view.create(database) for rollup in event.rollups]
        result += [one.create(database) for one in event.distributed]
        result += [rollup.view.create(database) for rollup in event.rollups]
    return tuple(result)


def drops(schema: Schema) -> tuple[str, ...]:
    """Return the statements that drop all objects of the schema, in order: nothing is inserted into what is gone."""

    def drop(kind: str, name: str) -> str:
        return f"DROP {kind} IF EXISTS {placed(schema.database, name, schema.on_cluster)} SYNC"

    views = [
        drop("VIEW", name)
        for event in schema.tables
        for rollup in event.rollups
        for name in (rollup.view.name, rollup.materialized_view.name)
    ]
    tables = [drop("TABLE", one.name) for event in schema.tables for one in event.distributed]
    return (*views, *tables, *(drop("TABLE", name) for name in holding_rows(schema)))


def script(schema: Schema) -> str:
    """Return the schema as one SQL script, for people to read and for `clickhouse-client` to run."""
    return _HEADER + "".join(f"\n{statement};\n" for statement in statements(schema))
