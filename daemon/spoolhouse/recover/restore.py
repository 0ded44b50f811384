"""Rows that a person wants to be in ClickHouse: looked for where they landed once, and brought to where they lack.

What is there is decided by lineage, in rollups too: by the batch that brought the rows, and by the id under which a
replay has brought them back before. It does not matter how long ago that was.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import SpoolError
from spoolhouse.events.declaration import Table
from spoolhouse.store.clickhouse.driver import RowsInsert
from spoolhouse.store.clickhouse.landing.presence import find, objects, partitions_of, require_no_running_attempt
from spoolhouse.store.clickhouse.landing.repair import Repaired, Repairer
from spoolhouse.store.clickhouse.landing.replica_sync import sync_replica


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Rows that came in one batch."""

    table: Table
    landed_as: str
    """The batch id that they carry if they have landed as they were sent."""
    id: str
    """The batch id that they get if they are brought back; the same each time."""
    clock_ms: int
    rows: Callable[[], AsyncIterator[Rows]]
    count: int = 1
    """How many they are."""

    def insert(self, prefix: str) -> RowsInsert:
        """Return the insert that would bring the rows back."""
        return RowsInsert(
            table=prefix + self.table.name,
            columns=self.table.columns,
            batch_id=self.id,
            token=self.id,
            clock_ms=self.clock_ms,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of `rows` rows of `table`. `lacking`: where the batch was not found; `mended`: what was brought."""

    table: str
    batch: str
    rows: int
    lacking: tuple[Repaired, ...] = ()
    repaired: tuple[Repaired, ...] = ()


async def bring_back(repairer: Repairer, wanted: Wanted, *, dry_run: bool) -> Outcome:
    """Bring rows to each partition of their table, and of its rollups, that has nothing of their batch.

    With `dry_run` nothing is changed, and `lacking` may name partitions whose rows have expired, or were superseded.
    Raises `StoreError`; `SpoolError` where nobody can tell what is missing.
    """
    shards, prefix = repairer.shards, repairer.prefix
    if shards is not None and shards.through:
        raise SpoolError(
            "clickhouse.distributed_inserts has put it on several shards, and by month nobody can tell what one of them"
            " has lost: `spoolhouse verify` says which rows are missing"
        )
    partitions: set[str] = set()
    count = 0
    async for rows in wanted.rows():
        partitions |= partitions_of(rows, wanted.table)
        count += rows.count
    await require_no_running_attempt(repairer.driver, [wanted.id], prefix=prefix, shards=shards)
    await sync_replica(repairer.driver, objects(wanted.table, prefix=prefix))
    found = await find(repairer.driver, wanted.table, [wanted.landed_as, wanted.id], prefix=prefix, shards=shards)
    lacking = tuple(
        Repaired(table=name, partition=partition)
        for name in objects(wanted.table, prefix=prefix)
        for partition in sorted(partitions - found.of(name))
    )
    repaired: tuple[Repaired, ...] = ()
    if lacking and not dry_run:
        repaired = await repairer.repair(wanted.table, wanted.insert(prefix), wanted.rows(), found)
        await repairer.drop_staging(wanted.id)
    return Outcome(table=wanted.table.name, batch=wanted.landed_as, rows=count, lacking=lacking, repaired=repaired)
