"""Recovery in ClickHouse: the ledger's rows, lost rows restored partition by partition, and rows compared.

Rows to compare are put into a table of their own, many batches at once, and compared with the real one in one
statement: a dozen statements for each file took far longer than its rows.
"""

from collections.abc import Collection, Sequence

from msgspec import Struct

from spoolhouse.errors import SpoolError
from spoolhouse.events.ledger import LEDGER
from spoolhouse.events.tombstones import TOMBSTONES
from spoolhouse.recover.ports import BatchRows, ClaimedFile, Comparison, LedgerRow, Partition, Restored
from spoolhouse.store.clickhouse.driver import Driver, RowsInsert
from spoolhouse.store.clickhouse.landing import ledger_read
from spoolhouse.store.clickhouse.landing.presence import find, objects, partitions_of, require_no_running_attempt
from spoolhouse.store.clickhouse.landing.repair import Repaired, Repairer
from spoolhouse.store.clickhouse.landing.replica_sync import sync_replica
from spoolhouse.store.clickhouse.landing.row_diff import compare
from spoolhouse.store.clickhouse.landing.staged_batches import staged


class Recovery(Struct, frozen=True, kw_only=True):
    """The `RecoveryStore` of ClickHouse."""

    driver: Driver
    prefix: str
    """That of the tables under which all shards are read."""
    repairer: Repairer

    async def sync_ledger(self) -> None:
        """Wait for the parts of the ledger, and of the tombstones, that other replicas have."""
        await sync_replica(self.driver, [self.repairer.prefix + table.name for table in (LEDGER, TOMBSTONES)])

    async def ledger_of_files(self, places: Sequence[str]) -> list[LedgerRow]:
        """Return the ledger's rows of files."""
        return await ledger_read.of_files(self.driver, places, prefix=self.prefix)

    async def ledger_of_batch(self, batch: str) -> list[LedgerRow]:
        """Return the ledger's rows of a batch."""
        return await ledger_read.of_batch(self.driver, batch, prefix=self.prefix)

    async def files_since(self, since_ms: int) -> list[ClaimedFile]:
        """Return the files that were claimed since then."""
        return await ledger_read.files_since(self.driver, since_ms, prefix=self.prefix)

    async def complete_shipments(self, shipments: Collection[str]) -> set[str]:
        """Return the shipments that the ledger knows: it is written once a shipment is complete."""
        return await ledger_read.complete(self.driver, shipments, prefix=self.prefix)

    async def restore(self, batch: BatchRows, *, dry_run: bool) -> Restored:
        """Bring rows to the partitions that have nothing of their batch."""
        repairer, table = self.repairer, batch.table
        shards, prefix = repairer.shards, repairer.prefix
        if shards is not None and shards.through:
            raise SpoolError(
                "clickhouse.distributed_inserts has put it on several shards, and the months that are there do not tell"
                " what one shard has lost: `spoolhouse verify` says which rows are missing"
            )
        partitions: set[str] = set()
        count = 0
        async for rows in batch.rows():
            partitions |= partitions_of(rows, table)
            count += rows.count
        await require_no_running_attempt(self.driver, [batch.id], prefix=prefix, shards=shards)
        await sync_replica(self.driver, objects(table, prefix=prefix))
        found = await find(self.driver, table, [batch.landed_as, batch.id], prefix=prefix, shards=shards)
        missing = tuple(
            Partition(table=name, partition=partition)
            for name in objects(table, prefix=prefix)
            for partition in sorted(partitions - found.of(name))
        )
        repaired: tuple[Repaired, ...] = ()
        deleted = 0
        if missing and not dry_run:
            insert = self._insert(batch)
            staging, deleted = await repairer.stage_kept(table, insert, batch.rows())
            repaired = await repairer.fill(table, insert, staging, found)
            await repairer.drop_staging(batch.id)
        return Restored(
            table=table.name,
            batch=batch.landed_as,
            rows=count,
            missing=missing,
            repaired=tuple(Partition(table=one.table, partition=one.partition) for one in repaired),
            deleted=deleted,
        )

    async def compare(self, batches: Sequence[BatchRows]) -> Comparison:
        """Compare rows by way of a staging table, which is dropped after."""
        repairer, table = self.repairer, batches[0].table
        ids = [batch.id for batch in batches]
        await require_no_running_attempt(self.driver, ids, prefix=repairer.prefix, shards=repairer.shards)
        await sync_replica(self.driver, [repairer.prefix + table.name])
        async with staged(self.driver, batches, prefix=repairer.prefix) as own:
            diffs = await compare(repairer, table, own.name)
        return Comparison(diffs=diffs, errors=own.errors)

    def _insert(self, batch: BatchRows) -> RowsInsert:
        return RowsInsert(
            table=self.repairer.prefix + batch.table.name,
            columns=batch.table.columns,
            batch_id=batch.id,
            token=batch.id,
            clock_ms=batch.clock_ms,
        )
