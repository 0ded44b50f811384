"""Derive a rollup's three objects from its declaration: target, materialized view, and the view to read."""

from collections.abc import Mapping

from msgspec import Struct

from spoolhouse.events.declaration import Grain, Rollup, Table
from spoolhouse.events.naming import materialized_view_name, target_name, versions, view_name
from spoolhouse.store.clickhouse.quoting import identifier, identifiers
from spoolhouse.store.clickhouse.schema.aggregates import LAST_INGESTED_AT, Aggregate, aggregates, condition
from spoolhouse.store.clickhouse.schema.ddl import (
    ColumnDefinition,
    Database,
    TableDefinition,
    Ttl,
    ViewDefinition,
    qualified,
)
from spoolhouse.store.clickhouse.schema.rollup_view import readable_select
from spoolhouse.store.clickhouse.schema.tables import BATCH_ID, BATCH_TYPE, PLAIN, Storage, column_type

NULLABLE_KEY = "allow_nullable_key"
"""The table setting without which no key may be NULL. A line without a model differs from one whose model is ''."""
_GRAINS: Mapping[Grain, tuple[str, str]] = {
    Grain.HOUR: ("toStartOfHour", "DateTime('UTC')"),
    Grain.DAY: ("toDate", "Date"),
}
"""The function that rounds a time to the grain, and the grain's type."""
COMPACT_DAYS = 30
"""Days after its ingest time in which a batch's rows stay apart in a target; then they may be compacted with others.

Neighbours in the sorting key are compacted: a younger batch between two old ones keeps them apart until it is old too.
The absence of an older batch id in a target is therefore no loss.
"""


class RollupDefinition(Struct, frozen=True, kw_only=True):
    """The three objects of one rollup, to be created in this order."""

    table: Table
    rollup: Rollup
    source: str
    """The name of the table whose rows it counts."""
    target: TableDefinition
    materialized_view: ViewDefinition
    view: ViewDefinition
    earlier_feeds: tuple[str, ...]
    """The materialized views into the targets of earlier versions."""


def group_keys(rollup: Rollup) -> tuple[str, ...]:
    """Return the keys of one row, in the order of the target's sorting key."""
    return (*rollup.keys, rollup.grain, *rollup.trailing_keys)


def rollup_definition(
    table: Table,
    rollup: Rollup,
    *,
    database: Database,
    prefix: str,
    storage: Storage = PLAIN,
    shown_prefix: str | None = None,
) -> RollupDefinition:
    """Return the objects of `rollup`, which belongs to `table`.

    `shown_prefix` is the prefix of the names that people read, where rows are kept under others.
    """
    target = _target(table, rollup, target_name(rollup, prefix=prefix), storage)
    shown = prefix if shown_prefix is None else shown_prefix
    return RollupDefinition(
        table=table,
        rollup=rollup,
        source=prefix + table.name,
        target=target,
        materialized_view=_materialized_view(table, rollup, target=target, database=database, prefix=prefix),
        view=_view(rollup, target=target, database=database, prefix=shown),
        earlier_feeds=tuple(materialized_view_name(version, prefix=prefix) for version in versions(rollup)[:-1]),
    )


def _materialized_view(
    table: Table, rollup: Rollup, *, target: TableDefinition, database: Database, prefix: str
) -> ViewDefinition:
    source = prefix + table.name
    return ViewDefinition(
        name=materialized_view_name(rollup, prefix=prefix),
        target=target.name,
        select=rollup_select(table, rollup, source=qualified(database, source)),
        fingerprint=rollup_select(table, rollup, source=identifier(source)),
        on_cluster=target.on_cluster,
    )


def _view(rollup: Rollup, *, target: TableDefinition, database: Database, prefix: str) -> ViewDefinition:
    figures_name = target_name(rollup, prefix=prefix)
    bare = readable_select(rollup, keys=group_keys(rollup), target=identifier(figures_name))
    # The server remembers a view's types from its creation: other types are another view.
    types = ", ".join(column.type for column in target.columns)
    return ViewDefinition(
        name=view_name(rollup, prefix=prefix),
        select=readable_select(rollup, keys=group_keys(rollup), target=qualified(database, figures_name)),
        fingerprint=f"{bare}\n{types}",
        on_cluster=target.on_cluster,
        version=rollup.version,
    )


def counted(rollup: Rollup) -> str:
    """Return the SQL condition for the rows that the rollup counts."""
    conditions = [] if rollup.count_when is None else [f"{identifier(rollup.count_when)} IS NOT NULL"]
    conditions += [] if rollup.count_unless is None else [f"{identifier(rollup.count_unless)} IS NULL"]
    conditions += [condition(rollup.only)] if rollup.only else []
    return " AND ".join(conditions) or "1"


def kept(rollup: Rollup) -> str:
    """Return the SQL condition for rows that stay in the target for at least a day more.

    Expired rows vanish at the next merge: they must not count as lost, and be counted again. The day allows for a
    session's time zone, by which a Date begins, and for clocks that differ.
    """
    start, _ = _GRAINS[rollup.grain]
    return f"toDateTime({start}({identifier(rollup.time)})) + toIntervalDay({rollup.ttl_days - 1}) > now()"


def rollup_select(table: Table, rollup: Rollup, *, source: str) -> str:
    """Return the SELECT that aggregates `source`, a quoted name or a subquery in brackets, into rows of the target."""
    columns = [identifier(key) for key in rollup.keys]
    start, _ = _GRAINS[rollup.grain]
    columns.append(f"{start}({identifier(rollup.time)}) AS {identifier(rollup.grain)}")
    columns += [identifier(key) for key in (*rollup.trailing_keys, BATCH_ID)]
    columns += [f"{aggregate.of_lines} AS {identifier(aggregate.column)}" for aggregate in aggregates(table, rollup)]
    where = "" if counted(rollup) == "1" else f"\nWHERE {counted(rollup)}"
    return (
        "SELECT\n    "
        + ",\n    ".join(columns)
        + f"\nFROM {source}{where}\nGROUP BY {identifiers((*group_keys(rollup), BATCH_ID))}"
    )


def _target(table: Table, rollup: Rollup, name: str, storage: Storage) -> TableDefinition:
    parts = aggregates(table, rollup)
    nullable = any(table.column(key).nullable for key in (*rollup.keys, *rollup.trailing_keys))
    return TableDefinition(
        name=name,
        columns=(
            *(_key_column(table, rollup, key) for key in group_keys(rollup)),
            ColumnDefinition(name=BATCH_ID, type=BATCH_TYPE),
            *(ColumnDefinition(name=aggregate.column, type=aggregate.type) for aggregate in parts),
        ),
        engine="AggregatingMergeTree",
        partition_column=rollup.grain,
        order_by=(*group_keys(rollup), BATCH_ID),
        ttl=Ttl(column=rollup.grain, days=rollup.ttl_days, compaction=_compaction(rollup, parts)),
        settings={**storage.settings, **({NULLABLE_KEY: 1} if nullable else {})},
        replicated=storage.replicated,
        on_cluster=storage.on_cluster,
    )


def _key_column(table: Table, rollup: Rollup, key: str) -> ColumnDefinition:
    _, kind = _GRAINS[rollup.grain]
    return ColumnDefinition(name=key, type=kind if key == rollup.grain else column_type(table.column(key)))


def _compaction(rollup: Rollup, parts: tuple[Aggregate, ...]) -> str:
    # By ingest time, never by the hour: a batch of old events must be findable for as long as it may be checked. The
    # server accepts a constant in place of any(batch_id), and then fails every merge.
    assignments = [f"{identifier(BATCH_ID)} = any({identifier(BATCH_ID)})"]
    assignments += [f"{identifier(aggregate.column)} = {aggregate.merged}" for aggregate in parts]
    return (
        f"toDateTime({identifier(LAST_INGESTED_AT)}) + toIntervalDay({COMPACT_DAYS})\n"
        f"    GROUP BY {identifiers(group_keys(rollup))}\n    SET " + ",\n        ".join(assignments)
    )
