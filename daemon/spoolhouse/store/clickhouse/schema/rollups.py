"""From a rollup's declaration to its three objects: the target, the feed into it, and the view to read."""

from collections.abc import Mapping
from dataclasses import dataclass

from spoolhouse.events.declaration import Grain, Rollup, Table
from spoolhouse.events.naming import feed_name, target_name, versions, view_name
from spoolhouse.store.clickhouse.quoting import identifier, identifiers
from spoolhouse.store.clickhouse.schema.aggregates import LAST_INGESTED_AT, Figure, condition, reporter
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
"""The setting of a table without which no key may be NULL. A line without a model is not one whose model is ''."""
_GRAINS: Mapping[Grain, tuple[str, str]] = {
    Grain.HOUR: ("toStartOfHour", "DateTime('UTC')"),
    Grain.DAY: ("toDate", "Date"),
}
"""What makes it of a time, and its type."""
FOLD_DAYS = 30
"""For so long after its ingest time a batch's rows are told apart in a target; then they may be folded into others.

Folded are neighbours in the sorting key: a younger batch that lies between two old ones keeps them apart until it is
old, too. Whoever asks for a batch by its id in a target must not take an older one's absence for a loss.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollupDefinition:
    """The three objects of one rollup, to be created in this order."""

    table: Table
    rollup: Rollup
    source: str
    """The name of the table whose rows it counts."""
    target: TableDefinition
    feed: ViewDefinition
    view: ViewDefinition
    earlier_feeds: tuple[str, ...]
    """What feeds the targets of earlier versions."""


def group_keys(rollup: Rollup) -> tuple[str, ...]:
    """Return what one row of figures stands for, in the order of the target's sorting key."""
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
    """Return the objects of `rollup`, which is one of `table`'s.

    `shown_prefix`: that of the names which people read, where rows are kept under others.
    """
    target = _target(table, rollup, target_name(rollup, prefix=prefix), storage)
    shown = prefix if shown_prefix is None else shown_prefix
    return RollupDefinition(
        table=table,
        rollup=rollup,
        source=prefix + table.name,
        target=target,
        feed=_feed(table, rollup, target=target, database=database, prefix=prefix),
        view=_view(rollup, target=target, database=database, prefix=shown),
        earlier_feeds=tuple(feed_name(version, prefix=prefix) for version in versions(rollup)[:-1]),
    )


def _feed(table: Table, rollup: Rollup, *, target: TableDefinition, database: Database, prefix: str) -> ViewDefinition:
    source = prefix + table.name
    return ViewDefinition(
        name=feed_name(rollup, prefix=prefix),
        target=target.name,
        select=feed_select(table, rollup, source=qualified(database, source)),
        fingerprint=feed_select(table, rollup, source=identifier(source)),
        on_cluster=target.on_cluster,
    )


def _view(rollup: Rollup, *, target: TableDefinition, database: Database, prefix: str) -> ViewDefinition:
    figures_name = target_name(rollup, prefix=prefix)
    bare = readable_select(rollup, keys=group_keys(rollup), target=identifier(figures_name))
    # The server remembers the types that a view shows from when it was made: other types are another view.
    types = ", ".join(column.type for column in target.columns)
    return ViewDefinition(
        name=view_name(rollup, prefix=prefix),
        select=readable_select(rollup, keys=group_keys(rollup), target=qualified(database, figures_name)),
        fingerprint=f"{bare}\n{types}",
        on_cluster=target.on_cluster,
    )


def counted(rollup: Rollup) -> str:
    """Return the SQL that is true for the rows which the rollup counts."""
    conditions = [] if rollup.count_when is None else [f"{identifier(rollup.count_when)} IS NOT NULL"]
    conditions += [condition(rollup.only)] if rollup.only else []
    return " AND ".join(conditions) or "1"


def kept(rollup: Rollup) -> str:
    """Return the SQL that is true for the rows whose figures stay in the target, for a day at least.

    What expires is gone at the next merge: whoever looks for it then must not take it for lost, and count it again. The
    day is for a session's time zone, by which a Date begins, and for clocks that differ.
    """
    start, _ = _GRAINS[rollup.grain]
    return f"toDateTime({start}({identifier(rollup.time)})) + toIntervalDay({rollup.ttl_days - 1}) > now()"


def feed_select(table: Table, rollup: Rollup, *, source: str) -> str:
    """Return the SELECT that makes rows of the target out of `source`: a quoted name, or a subquery in brackets."""
    columns = [identifier(key) for key in rollup.keys]
    start, _ = _GRAINS[rollup.grain]
    columns.append(f"{start}({identifier(rollup.time)}) AS {identifier(rollup.grain)}")
    columns += [identifier(key) for key in (*rollup.trailing_keys, BATCH_ID)]
    columns += [f"{figure.of_lines} AS {identifier(figure.column)}" for figure in reporter(table, rollup)]
    where = "" if counted(rollup) == "1" else f"\nWHERE {counted(rollup)}"
    return (
        "SELECT\n    "
        + ",\n    ".join(columns)
        + f"\nFROM {source}{where}\nGROUP BY {identifiers((*group_keys(rollup), BATCH_ID))}"
    )


def _target(table: Table, rollup: Rollup, name: str, storage: Storage) -> TableDefinition:
    parts = reporter(table, rollup)
    nullable = any(table.column(key).nullable for key in (*rollup.keys, *rollup.trailing_keys))
    return TableDefinition(
        name=name,
        columns=(
            *(_key_column(table, rollup, key) for key in group_keys(rollup)),
            ColumnDefinition(name=BATCH_ID, type=BATCH_TYPE),
            *(ColumnDefinition(name=figure.column, type=figure.type) for figure in parts),
        ),
        engine="AggregatingMergeTree",
        partition_column=rollup.grain,
        order_by=(*group_keys(rollup), BATCH_ID),
        ttl=Ttl(column=rollup.grain, days=rollup.ttl_days, fold=_fold(rollup, parts)),
        settings={**storage.settings, **({NULLABLE_KEY: 1} if nullable else {})},
        replicated=storage.replicated,
        on_cluster=storage.on_cluster,
    )


def _key_column(table: Table, rollup: Rollup, key: str) -> ColumnDefinition:
    _, kind = _GRAINS[rollup.grain]
    return ColumnDefinition(name=key, type=kind if key == rollup.grain else column_type(table.column(key)))


def _fold(rollup: Rollup, parts: tuple[Figure, ...]) -> str:
    # By ingest time, never by the hour: a batch of old events must be found for as long as it may be looked for.
    # A constant in place of any(batch_id) is accepted by the server, which then fails every merge.
    assignments = [f"{identifier(BATCH_ID)} = any({identifier(BATCH_ID)})"]
    assignments += [f"{identifier(figure.column)} = {figure.merged}" for figure in parts]
    return (
        f"toDateTime({identifier(LAST_INGESTED_AT)}) + toIntervalDay({FOLD_DAYS})\n"
        f"    GROUP BY {identifiers(group_keys(rollup))}\n    SET " + ",\n        ".join(assignments)
    )
