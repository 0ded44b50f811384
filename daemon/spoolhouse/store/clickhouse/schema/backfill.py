"""Count the rows that a new rollup lacks, while others insert.

Each pass lists the batches that the target has nothing of, leaves out those whose insert is running, and counts the
rest in statements that check again; the server runs them one at a time, for all instances. So each batch is counted
once, by the materialized view or by one instance here: the insert of a listed batch is running or finished, and after a
finished insert the view's rows were there before the statement checked for them. On a replica they may arrive later
than the batch's rows, from the server that took both: the backfill waits for that. After a kill the next run continues.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from spoolhouse.errors import TransientError
from spoolhouse.monitoring import heartbeat
from spoolhouse.store.clickhouse.driver import Driver, Parameter, insert_query_id
from spoolhouse.store.clickhouse.schema.backfill_sql import ROWS, BackfillStatements
from spoolhouse.store.clickhouse.schema.migration_progress import MigrationProgress

_STILL_RUNNING = 216
PAUSE = 0.5
"""Seconds between two checks of the running inserts."""


class Backfill:
    """The backfill of one target."""

    def __init__(self, statements: BackfillStatements, driver: Driver, progress: MigrationProgress) -> None:
        """Prepare the backfill of the target that `backfill_sql` describes."""
        self._statements = statements
        self._driver = driver
        self._progress = progress
        self._done = 0
        self._total = 0

    async def run(self) -> None:
        """Return when the target counts every row, thanks to this instance or another. Raises `StoreError`.

        The materialized view must exist. Inserts that began before it bypass it: the backfill waits for them.
        """
        older = await self._running()
        while await self._driver.execute(self._statements.ready):
            settled = not older & await self._running()
            await self._sync()
            left = await self._partitions()
            self._total = max(self._total, self._done + sum(left.values()))
            counted = [await self._partition(partition) for partition in left]
            if any(counted):
                continue
            if settled:
                # The inserts of the remaining batches are running, and go through the materialized view.
                break
            await asyncio.sleep(PAUSE)
        self._progress.filled(self._statements.target, self._done)

    async def left(self) -> int:
        """Return the number of rows that are not counted yet."""
        return sum((await self._partitions()).values())

    async def _partitions(self) -> Mapping[str, int]:
        rows = await self._driver.execute(self._statements.left)
        return {str(partition): int(str(count)) for partition, count in rows}

    async def _running(self) -> frozenset[str]:
        return frozenset(str(query) for (query,) in await self._driver.execute(self._statements.running))

    async def _sync(self) -> None:
        for statement in self._statements.sync:
            await self._driver.execute(statement)

    async def _partition(self, partition: str) -> bool:
        """Count the batches of a partition that are ready; return whether there were any."""
        anything = False
        while await self._some(partition):
            anything = True
        return anything

    async def _some(self, partition: str) -> bool:
        """Count the batches of one list."""
        found = await self._driver.execute(self._statements.missing, {"partition": partition})
        running = await self._running()
        await self._sync()
        listed = [(str(batch), int(str(rows))) for batch, rows in found]
        batches = [(batch, rows) for batch, rows in listed if insert_query_id(batch) not in running]
        for some in portions(batches):
            self._progress.filling(self._statements.target, self._done, self._total)
            await self._count(partition, [batch for batch, _ in some])
            self._done += sum(rows for _, rows in some)
        return bool(batches)

    async def _count(self, partition: str, batches: Sequence[str]) -> None:
        values: Mapping[str, Parameter] = {"partition": partition, "batches": batches}
        while True:
            try:
                await self._driver.execute(self._statements.count, values, query_id=self._statements.query_id)
            except TransientError as error:
                if error.code != _STILL_RUNNING:
                    raise
                # Another instance runs the statement, or a killed one has left it running.
                with heartbeat.idle():
                    await asyncio.sleep(PAUSE)
            else:
                return


def portions(batches: Sequence[tuple[str, int]]) -> Iterator[Sequence[tuple[str, int]]]:
    """Yield the batches in groups of at most `ROWS` rows; a larger batch is a group of its own."""
    group: list[tuple[str, int]] = []
    for batch in batches:
        if group and sum(rows for _, rows in group) + batch[1] > ROWS:
            yield group
            group = []
        group.append(batch)
    if group:
        yield group
