"""From a rollup's declaration to its three objects: the target, the feed into it, and the view to read."""

from dataclasses import dataclass

from spoolhouse.core.declaration import Rollup, Table
from spoolhouse.schema.ddl import (
    ColumnDefinition,
    Database,
    TableDefinition,
    Ttl,
    ViewDefinition,
    identifier,
    identifiers,
    qualified,
)
from spoolhouse.schema.figures import LAST_INGESTED_AT, Figure, figures
from spoolhouse.schema.readable import readable_select
from spoolhouse.schema.tables import BATCH_ID, BATCH_TYPE, column_type, table_settings

HOUR = "hour"
FOLD_DAYS = 30
"""For so long after its ingest time a batch's rows are told apart in a target; then they may be folded into others.

Folded are neighbours in the sorting key: a younger batch that lies between two old ones keeps them apart until it is
old, too. Whoever asks for a batch by its id in a target must not take an older one's absence for a loss.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollupDefinition:
    """The three objects of one rollup, to be created in this order."""

    target: TableDefinition
    feed: ViewDefinition
    view: ViewDefinition


def target_name(rollup: Rollup, *, prefix: str) -> str:
    """Return the name of the table that holds the figures, a row for each batch and combination of keys."""
    stem = rollup.name.removesuffix("_stats")
    return prefix + (stem if stem != rollup.name else f"{rollup.name}_figures")


def feed_name(rollup: Rollup, *, prefix: str) -> str:
    """Return the name of the materialized view that fills the target."""
    return target_name(rollup, prefix=prefix) + "_feed"


def view_name(rollup: Rollup, *, prefix: str) -> str:
    """Return the name of the view to read."""
    return prefix + rollup.name


def group_keys(rollup: Rollup) -> tuple[str, ...]:
    """Return what one row of the readable view stands for, in the order of the target's sorting key."""
    return (*rollup.keys, HOUR, *rollup.trailing_keys)


def rollup_definition(
    table: Table, rollup: Rollup, *, database: Database, prefix: str, durable: bool = False
) -> RollupDefinition:
    """Return the objects of `rollup`, which is one of `table`'s."""
    target = _target(table, rollup, target_name(rollup, prefix=prefix), durable=durable)
    return RollupDefinition(
        target=target,
        feed=_feed(table, rollup, target=target, database=database, prefix=prefix),
        view=_view(rollup, target=target, database=database, prefix=prefix),
    )


def _feed(table: Table, rollup: Rollup, *, target: TableDefinition, database: Database, prefix: str) -> ViewDefinition:
    source = prefix + table.name
    return ViewDefinition(
        name=feed_name(rollup, prefix=prefix),
        target=target.name,
        select=feed_select(table, rollup, source=qualified(database, source)),
        fingerprint=feed_select(table, rollup, source=identifier(source)),
    )


def _view(rollup: Rollup, *, target: TableDefinition, database: Database, prefix: str) -> ViewDefinition:
    bare = readable_select(rollup, keys=group_keys(rollup), target=identifier(target.name))
    # The server remembers the types that a view shows from when it was made: other types are another view.
    types = ", ".join(column.type for column in target.columns)
    return ViewDefinition(
        name=view_name(rollup, prefix=prefix),
        select=readable_select(rollup, keys=group_keys(rollup), target=qualified(database, target.name)),
        fingerprint=f"{bare}\n{types}",
    )


def feed_select(table: Table, rollup: Rollup, *, source: str) -> str:
    """Return the SELECT that makes rows of the target out of `source`: a quoted name, or a subquery in brackets."""
    columns = [identifier(key) for key in rollup.keys]
    columns.append(f"toStartOfHour({identifier(rollup.time)}) AS {identifier(HOUR)}")
    columns += [identifier(key) for key in (*rollup.trailing_keys, BATCH_ID)]
    columns += [f"{figure.of_lines} AS {identifier(figure.column)}" for figure in figures(table, rollup)]
    where = "" if rollup.count_when is None else f"\nWHERE {identifier(rollup.count_when)} IS NOT NULL"
    return (
        "SELECT\n    "
        + ",\n    ".join(columns)
        + f"\nFROM {source}{where}\nGROUP BY {identifiers((*group_keys(rollup), BATCH_ID))}"
    )


def _target(table: Table, rollup: Rollup, name: str, *, durable: bool) -> TableDefinition:
    parts = figures(table, rollup)
    return TableDefinition(
        name=name,
        columns=(
            *(_key_column(table, key) for key in group_keys(rollup)),
            ColumnDefinition(name=BATCH_ID, type=BATCH_TYPE),
            *(ColumnDefinition(name=figure.column, type=figure.type) for figure in parts),
        ),
        engine="AggregatingMergeTree",
        partition_column=HOUR,
        order_by=(*group_keys(rollup), BATCH_ID),
        ttl=Ttl(column=HOUR, days=rollup.ttl_days, fold=_fold(rollup, parts)),
        settings=table_settings(durable=durable),
    )


def _key_column(table: Table, key: str) -> ColumnDefinition:
    return ColumnDefinition(name=key, type="DateTime('UTC')" if key == HOUR else column_type(table.column(key)))


def _fold(rollup: Rollup, parts: tuple[Figure, ...]) -> str:
    # By ingest time, never by the hour: a batch of old events must be found for as long as it may be looked for.
    # A constant in place of any(batch_id) is accepted by the server, which then fails every merge.
    assignments = [f"{identifier(BATCH_ID)} = any({identifier(BATCH_ID)})"]
    assignments += [f"{identifier(figure.column)} = {figure.merged}" for figure in parts]
    return (
        f"toDateTime({identifier(LAST_INGESTED_AT)}) + toIntervalDay({FOLD_DAYS})\n"
        f"    GROUP BY {identifiers(group_keys(rollup))}\n    SET " + ",\n        ".join(assignments)
    )
