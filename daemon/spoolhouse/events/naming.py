"""The names of tables and views in a database and in a cluster."""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from spoolhouse.events.declaration import Rollup, Table

LOCAL = "local_"
"""In a cluster it stands after the prefix in the names of the tables that hold a shard's own rows."""


class Shards(Struct, frozen=True, kw_only=True):
    """What an insert needs to know about a cluster."""

    cluster: str
    prefix: str
    """The prefix of the Distributed tables. A batch is searched there on all shards, because an earlier attempt may
    have gone to another one."""
    through: bool
    """Inserts go through them, too. Each shard knows the token, and presence on one shard proves nothing about the
    others: a batch in doubt is sent again as a whole."""


def target_name(rollup: Rollup, *, prefix: str) -> str:
    """Return the name of the table of the aggregates, a row for each batch and combination of keys."""
    stem = rollup.name.removesuffix("_stats")
    stem = stem if stem != rollup.name else f"{rollup.name}_figures"
    return prefix + (stem if rollup.version == 1 else f"{stem}_v{rollup.version}")


def materialized_view_name(rollup: Rollup, *, prefix: str) -> str:
    """Return the name of the materialized view that fills the target."""
    return target_name(rollup, prefix=prefix) + "_feed"


def view_name(rollup: Rollup, *, prefix: str) -> str:
    """Return the name of the view to read."""
    return prefix + rollup.name


def versions(rollup: Rollup) -> tuple[Rollup, ...]:
    """Return the rollup as it is named in each of its versions so far, the first one first."""
    return tuple(replace(rollup, version=version) for version in range(1, rollup.version + 1))


def names_of(table: Table) -> Iterator[str]:
    """Yield, without the prefix, every name that a table and its rollups take.

    Also those of a rollup's earlier versions, whose targets stay, and those of each shard's own tables in a cluster.
    """
    yield from (table.name, LOCAL + table.name)
    for rollup in table.rollups:
        yield view_name(rollup, prefix="")
        for version in versions(rollup):
            for name in (target_name(version, prefix=""), materialized_view_name(version, prefix="")):
                yield from (name, LOCAL + name)
