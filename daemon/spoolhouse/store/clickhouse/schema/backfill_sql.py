"""How a rollup gets the figures of rows that its feed has not seen: the statements. Pure.

A target that lacks such rows says so in its comment, and its batches are not folded meanwhile, so that each of them can
be looked for. The figures of a batch are added where the target has none of it, partition by partition. What is
counted by the feed in the same moment is left to the feed: an insert under way is known by its query id.

Counted are the rows that there are: a line that was delivered again has collapsed with its first delivery, or has not.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from spoolhouse.store.clickhouse.driver import ONE_BLOCK_ROWS, insert_query_id
from spoolhouse.store.clickhouse.quoting import identifier, identifiers, literal
from spoolhouse.store.clickhouse.schema.ddl import Database, TableDefinition, qualified
from spoolhouse.store.clickhouse.schema.rollups import FOLD_DAYS, RollupDefinition, counted, feed_select, kept
from spoolhouse.store.clickhouse.schema.tables import BATCH_ID, INGESTED_AT

FILL_ID = "spoolhouse:fill:"
BATCHES = 1000
"""How many batches one statement counts at most: their ids travel with it."""
ROWS = 5_000_000
"""How many rows one statement counts at most, but for a batch that is larger by itself: what is shown moves on."""


class Extent(StrEnum):
    """Which rows a target lacks, as its comment says."""

    ALL = "spoolhouse: counts only some of the rows so far"
    """It came after the rows."""
    RECENT = "spoolhouse: counts only some of the recent rows so far"
    """It had no feed for a while. Older batches may be folded by now, and cannot be told from missing ones."""


_ONE_PART = ", ".join(
    f"{name} = {value}"
    for name, value in {
        # The server may remember figures of which it has lost the part.
        "insert_deduplicate": 0,
        # One writer that gathers all rows into one block. However many threads read and group them.
        "max_insert_threads": 1,
        "min_insert_block_size_rows": ONE_BLOCK_ROWS,
        "min_insert_block_size_bytes": 0,
        # They are grouped as they are to be kept.
        "optimize_on_insert": 0,
    }.items()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """The statements that fill one target; `{partition:String}` and `{batches:Array(String)}` are bound to them."""

    target: str
    source: str
    query_id: str
    """See `fill_id`: no two instances count the same batch."""
    running: str
    """The ids of the inserts that are under way, on any server that has these rows."""
    sync: tuple[str, ...]
    """Wait until a replica has what the others had when it was asked."""
    ready: str
    """Whether the target is still to be filled: no row where another instance has finished."""
    left: str
    """Partitions, and rows in them that are not counted."""
    missing: str
    """Batches of a partition that are not counted, and their rows; the first `BATCHES`.

    None once the target is whole: its old batches are folded then, and look as if they were missing.
    """
    count: str
    """Counts those of some batches that are still missing."""
    whole: str
    """All of it as one statement."""


def fill_id(target: str) -> str:
    """Return the id of a query that adds, by hand, what a target may lack: the server runs one of them at a time."""
    return FILL_ID + target


def filling(definition: RollupDefinition, extent: Extent, database: Database) -> Filling:
    """Return how the target of a rollup is filled from the rows of its table, to the given extent."""
    target, source = definition.target, definition.source
    rows, reporter = qualified(database, source), qualified(database, target.name)
    batch = identifier(BATCH_ID)
    wanted = f"{counted(definition.rollup)} AND {kept(definition.rollup)}"
    if extent is Extent.RECENT:
        # A day less than would be safe if both clocks agreed.
        wanted += f" AND {identifier(INGESTED_AT)} > now() - toIntervalDay({FOLD_DAYS - 1})"
    absent = f"(_partition_id, {batch}) NOT IN (SELECT _partition_id, {batch} FROM {reporter})"
    here = "_partition_id = {partition:String}"
    counted_here = f"{batch} NOT IN (SELECT {batch} FROM {reporter} WHERE {here})"
    still = (
        f"(SELECT comment FROM system.tables WHERE database = {_name(database)}"
        f" AND name = {literal(target.name)}) = {literal(extent)}"
    )
    some = f"{here} AND {batch} IN {{batches:Array(String)}} AND {wanted} AND {counted_here} AND {still}"
    return Filling(
        target=target.name,
        source=source,
        query_id=fill_id(target.name),
        running=_running(target.on_cluster),
        sync=tuple(
            f"SYSTEM SYNC REPLICA {qualified(database, name)} LIGHTWEIGHT"
            for name in ((source, target.name) if target.replicated else ())
        ),
        ready=f"SELECT 1 WHERE {still}",
        left=f"SELECT _partition_id, count() FROM {rows} WHERE {wanted} AND {absent} GROUP BY 1 ORDER BY 1",
        missing=(
            f"SELECT {batch}, count() FROM {rows} WHERE {here} AND {wanted} AND {counted_here} AND {still}"
            f" GROUP BY 1 ORDER BY 1 LIMIT {BATCHES}"
        ),
        count=counting(definition, database, source=f"(SELECT * FROM {rows} WHERE {some})"),
        whole=counting(definition, database, source=f"(SELECT * FROM {rows} WHERE {wanted} AND {absent})"),
    )


def _running(cluster: str) -> str:
    processes = f"clusterAllReplicas({literal(cluster)}, system.processes)" if cluster else "system.processes"
    return (
        # Initial: an insert through a Distributed table reaches its shards under other ids.
        f"SELECT DISTINCT initial_query_id FROM {processes}"
        f" WHERE startsWith(initial_query_id, {literal(insert_query_id(''))})"
        f" AND NOT startsWith(initial_query_id, {literal(FILL_ID)})"
    )


def counting(definition: RollupDefinition, database: Database, *, source: str) -> str:
    """Return the statement that adds the figures of the rows in `source`, a subquery in brackets, to the target.

    Of each partition it makes one part, whatever the user's profile says: there as a whole, or not at all.
    """
    target = definition.target
    columns = identifiers(tuple(column.name for column in target.columns))
    head = f"INSERT INTO {qualified(database, target.name)} ({columns})\nSETTINGS {_ONE_PART}\n"
    return head + feed_select(definition.table, definition.rollup, source=source)


def waiting(target: TableDefinition, extent: Extent, database: Database) -> str:
    """Return the statement that marks a live target as one to be filled, and keeps its batches apart."""
    return f"{_alter(target, database)} MODIFY COMMENT {literal(extent)}, MODIFY TTL {target.ttl.unfolded.sql()}"


def finished(target: TableDefinition, database: Database) -> str:
    """Return the statement that marks a target as whole, and lets its old batches be folded."""
    return f"{_alter(target, database)} MODIFY COMMENT '', MODIFY TTL {target.ttl.sql()}"


def unmarked(target: TableDefinition, database: Database) -> str:
    """Return the statement that marks a target as whole, on this replica: another one has let its batches be folded."""
    return f"{_alter(target, database)} MODIFY COMMENT ''"


def _alter(target: TableDefinition, database: Database) -> str:
    # Never on a cluster: each shard is filled by itself. The replicas of one share the TTL; each has its own comment.
    return replace(target, on_cluster="").alter(database)


def _name(database: Database) -> str:
    return "currentDatabase()" if database is None else literal(database)
