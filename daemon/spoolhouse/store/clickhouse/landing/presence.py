"""Which of a batch is there: by batch id, per partition, in the table and in each of its rollups.

Parts of an insert are committed partition by partition and view by view, so that any of them may be there without the
others. Counts would lie after merges; presence does not, and a partition of a batch is committed as a whole.
"""

import hashlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct, field

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import OperatorError, TransientError
from spoolhouse.events.declaration import Table
from spoolhouse.events.naming import Shards, target_name
from spoolhouse.store.clickhouse.driver import Driver, insert_query_id
from spoolhouse.store.clickhouse.quoting import identifier, literal

STILL_RUNNING = 216
"""ClickHouse's code for a query whose id is that of a running one."""
_ACCESS_DENIED = 497
STAGING = "staging_"
"""Begins the name of each table that a repair, a check or a comparison makes for itself, after the prefix."""
_MONTH = 7
"""How many characters of an RFC 3339 time say its month."""

_lines = msgspec.json.Decoder(list[object]).decode_lines


class Found(Struct, frozen=True, kw_only=True):
    """The partitions (such as 202611) that hold something of a batch, by the name of the table or rollup target."""

    partitions: dict[str, frozenset[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Tell whether anything of the batch is anywhere."""
        return any(self.partitions.values())

    def of(self, name: str) -> frozenset[str]:
        """Return the partitions of one table that hold something of the batch."""
        return self.partitions.get(name, frozenset())

    def covers(self, partitions: set[str]) -> bool:
        """Tell whether the table and each rollup have something of the batch in all of `partitions`."""
        return all(partitions <= found for found in self.partitions.values())


def objects(table: Table, *, prefix: str) -> tuple[str, ...]:
    """Return the names of a table and of the targets of its rollups."""
    return (prefix + table.name, *(target_name(rollup, prefix=prefix) for rollup in table.rollups))


async def find(driver: Driver, table: Table, batch_ids: Sequence[str], *, prefix: str, shards: Shards | None) -> Found:
    """Return where something is of the rows that came with any of `batch_ids`, on any shard. Raises `StoreError`."""
    names = objects(table, prefix=prefix)
    read_from = names if shards is None else objects(table, prefix=shards.prefix)
    queries = [
        f"SELECT {number} AS _object, _partition_id AS _month FROM {identifier(name)}"  # noqa: S608  # declared names
        " WHERE batch_id IN {batches:Array(String)} GROUP BY _month"
        for number, name in enumerate(read_from)
    ]
    found = await driver.execute(" UNION ALL ".join(queries), {"batches": list(batch_ids)})
    partitions: dict[str, set[str]] = {name: set() for name in names}
    for number, partition in found:
        partitions[names[int(str(number))]].add(str(partition))
    return Found(partitions={name: frozenset(some) for name, some in partitions.items()})


async def require_no_running_attempt(
    driver: Driver, batch_ids: Collection[str], *, prefix: str, shards: Shards | None
) -> None:
    """Raise `TransientError` while an earlier attempt is at work: its result cannot be looked up yet.

    A user who may not see the running queries learns it a moment later: a second insert of the same id is refused.
    """
    everywhere = "" if shards is None else f"clusterAllReplicas({literal(shards.cluster)}, "
    processes = f"{everywhere}system.processes{')' if everywhere else ''}"
    named = [name for one in batch_ids for name in (literal(one), staging_name(one, prefix=prefix))]
    try:
        running = await driver.execute(
            # An embedded engine gives its queries ids of its own; the batch's stands in the text of its insert.
            # This very question names it, too; its queries on other shards are no initial queries.
            # What an insert through a Distributed table does there is known by its initial id.
            f"SELECT 1 FROM {processes} WHERE has({{queries:Array(String)}}, initial_query_id) OR (is_initial_query"  # noqa: S608  # a name from the settings
            " AND position(query, 'system.processes') = 0"
            " AND arrayExists(name -> position(query, name) > 0, {named:Array(String)}))",
            {"queries": [insert_query_id(one) for one in batch_ids], "named": named},
        )
    except OperatorError as error:
        if error.code != _ACCESS_DENIED:
            raise
        return
    if running:
        raise TransientError("an earlier attempt of the same insert still runs", code=STILL_RUNNING, ambiguous=True)


def staging_name(batch_id: str, *, prefix: str) -> str:
    """Return the name of the table in which a batch is repaired."""
    return f"{prefix}{STAGING}{hashlib.sha256(batch_id.encode()).hexdigest()[:16]}"


def partitions_of(rows: Rows, table: Table) -> set[str]:
    """Return the partitions that canonical rows of `table` belong to."""
    place = [column.name for column in table.columns].index(table.time)
    return {_partition(str(row[place])) for row in _lines(rows.data)}


def _partition(time: str) -> str:
    if not time.endswith("Z"):
        time = datetime.fromisoformat(time).astimezone(UTC).isoformat()
    return time[:_MONTH].replace("-", "")
