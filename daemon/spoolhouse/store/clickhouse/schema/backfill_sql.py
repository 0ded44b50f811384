"""The statements that add rows to a rollup which its materialized view has not counted. Pure.

The comment of a target says that it lacks rows, and its batches are not compacted meanwhile, so that each batch can be
found. A batch is added where the target has nothing of it, partition by partition. A batch that the materialized view
is counting is left to the view: a running insert is known by its query id.

The stored rows are counted: a line that was delivered again may or may not have collapsed with its first delivery.
"""

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from spoolhouse.store.clickhouse.driver import ONE_BLOCK_ROWS, insert_query_id
from spoolhouse.store.clickhouse.quoting import identifier, identifiers, literal
from spoolhouse.store.clickhouse.schema.ddl import Database, TableDefinition, qualified
from spoolhouse.store.clickhouse.schema.rollups import COMPACT_DAYS, RollupDefinition, counted, kept, rollup_select
from spoolhouse.store.clickhouse.schema.tables import BATCH_ID, INGESTED_AT

BACKFILL_ID = "spoolhouse:fill:"
BATCHES = 1000
"""The largest number of batches in one statement, which carries their ids."""
ROWS = 5_000_000
"""The largest number of rows in one statement, except for a larger batch: progress stays visible."""


class MissingRows(StrEnum):
    """The rows that a target lacks, as its comment says."""

    ALL = "spoolhouse: counts only some of the rows so far"
    """The target is newer than the rows."""
    RECENT = "spoolhouse: counts only some of the recent rows so far"
    """The materialized view was missing for a while. Older batches may be compacted by now, and look like missing ones.
    """


_ONE_PART = ", ".join(
    f"{name} = {value}"
    for name, value in {
        # The server may remember the token of a part that it has lost.
        "insert_deduplicate": 0,
        # One writer gathers all rows into one block, however many threads read and group them.
        "max_insert_threads": 1,
        "min_insert_block_size_rows": ONE_BLOCK_ROWS,
        "min_insert_block_size_bytes": 0,
        # The rows are grouped already.
        "optimize_on_insert": 0,
    }.items()
)


class BackfillStatements(Struct, frozen=True, kw_only=True):
    """The statements for one target; `{partition:String}` and `{batches:Array(String)}` are bound to them."""

    target: str
    source: str
    query_id: str
    """See `backfill_id`: no two instances count the same batch."""
    running: str
    """Returns the ids of the running inserts, on any server that has these rows."""
    sync: tuple[str, ...]
    """Waits until a replica has all that the others had at the start of the statement."""
    ready: str
    """Returns a row while the target is incomplete; none once another instance has finished."""
    left: str
    """Returns partitions, and the number of rows in them that are not counted."""
    missing: str
    """Returns batches of a partition that are not counted, and their rows; the first `BATCHES`.

    None once the target is complete: its old batches are compacted then, and look like missing ones.
    """
    count: str
    """Counts those of the given batches that are still missing."""
    whole: str
    """The whole backfill as one statement."""


def backfill_id(target: str) -> str:
    """Return the id of a query that adds missing rows to a target: the server runs one of them at a time."""
    return BACKFILL_ID + target


def backfill_statements(definition: RollupDefinition, extent: MissingRows, database: Database) -> BackfillStatements:
    """Return the statements that fill the target of a rollup from the rows of its table."""
    target, source = definition.target, definition.source
    rows, own = qualified(database, source), qualified(database, target.name)
    batch = identifier(BATCH_ID)
    wanted = f"{counted(definition.rollup)} AND {kept(definition.rollup)}"
    if extent is MissingRows.RECENT:
        # A day less would be enough if both clocks agreed.
        wanted += f" AND {identifier(INGESTED_AT)} > now() - toIntervalDay({COMPACT_DAYS - 1})"
    absent = f"(_partition_id, {batch}) NOT IN (SELECT _partition_id, {batch} FROM {own})"
    here = "_partition_id = {partition:String}"
    counted_here = f"{batch} NOT IN (SELECT {batch} FROM {own} WHERE {here})"
    still = (
        f"(SELECT comment FROM system.tables WHERE database = {_name(database)}"
        f" AND name = {literal(target.name)}) = {literal(extent)}"
    )
    some = f"{here} AND {batch} IN {{batches:Array(String)}} AND {wanted} AND {counted_here} AND {still}"
    return BackfillStatements(
        target=target.name,
        source=source,
        query_id=backfill_id(target.name),
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
        # The initial id: an insert through a Distributed table reaches its shards under other ids.
        f"SELECT DISTINCT initial_query_id FROM {processes}"
        f" WHERE startsWith(initial_query_id, {literal(insert_query_id(''))})"
        f" AND NOT startsWith(initial_query_id, {literal(BACKFILL_ID)})"
    )


def counting(definition: RollupDefinition, database: Database, *, source: str) -> str:
    """Return the statement that counts the rows in `source`, a subquery in brackets, into the target.

    It makes one part in each partition, whatever the user's profile says: whole, or not there.
    """
    target = definition.target
    columns = identifiers(tuple(column.name for column in target.columns))
    head = f"INSERT INTO {qualified(database, target.name)} ({columns})\nSETTINGS {_ONE_PART}\n"
    return head + rollup_select(definition.table, definition.rollup, source=source)


def waiting(target: TableDefinition, extent: MissingRows, database: Database) -> str:
    """Return the statement that marks a live target as incomplete, and stops compacting its batches."""
    return f"{_alter(target, database)} MODIFY COMMENT {literal(extent)}, MODIFY TTL {target.ttl.uncompacted.sql()}"


def finished(target: TableDefinition, database: Database) -> str:
    """Return the statement that marks a target as complete, and lets its old batches be compacted."""
    return f"{_alter(target, database)} MODIFY COMMENT '', MODIFY TTL {target.ttl.sql()}"


def unmarked(target: TableDefinition, database: Database) -> str:
    """Return the statement that marks a target as complete where another replica has allowed compaction."""
    return f"{_alter(target, database)} MODIFY COMMENT ''"


def _alter(target: TableDefinition, database: Database) -> str:
    # Never on a cluster: each shard is filled by itself. The replicas of a shard share the TTL; each has its own
    # comment.
    return replace(target, on_cluster="").alter(database)


def _name(database: Database) -> str:
    return "currentDatabase()" if database is None else literal(database)
