"""Counting rows into a rollup that was not there when they came, while others are inserted.

Each pass lists the batches that the target has nothing of, leaves out those whose insert runs just now, and counts the
rest in statements that look once more and that the server runs one at a time, whoever sends them. So a batch is
counted by its feed or here, and by one instance: a batch that was listed had its insert under way, or over, and where
it was over the feed's figures were there before the statement looked for them. On a replica they may come later than
the rows, from where both were inserted: what is under way in between is awaited. Killed anywhere, the next run goes on.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from spoolhouse.errors import TransientError
from spoolhouse.monitoring import heartbeat
from spoolhouse.store.clickhouse.driver import Driver, Parameter, insert_query_id
from spoolhouse.store.clickhouse.schema.backfill_sql import ROWS, Filling
from spoolhouse.store.clickhouse.schema.migration_progress import Report

_STILL_RUNNING = 216
_PAUSE = 0.5
"""Seconds between two looks at what others are doing."""


class Backfill:
    """One target being filled."""

    def __init__(self, filling: Filling, driver: Driver, report: Report) -> None:
        """Do nothing yet."""
        self._filling = filling
        self._driver = driver
        self._report = report
        self._done = 0
        self._total = 0

    async def run(self) -> None:
        """Return when the target counts every row, thanks to this instance or another. Raises `StoreError`.

        The feed has to be there. Inserts that are older than it bypass it, and are waited for.
        """
        older = await self._running()
        while await self._driver.execute(self._filling.ready):
            settled = not older & await self._running()
            await self._sync()
            left = await self._partitions()
            self._total = max(self._total, self._done + sum(left.values()))
            counted = [await self._partition(partition) for partition in left]
            if any(counted):
                continue
            if settled:
                # What is left has its insert under way, and with it its feed.
                break
            await asyncio.sleep(_PAUSE)
        self._report.filled(self._filling.target, self._done)

    async def left(self) -> int:
        """Return how many rows are not counted yet."""
        return sum((await self._partitions()).values())

    async def _partitions(self) -> Mapping[str, int]:
        rows = await self._driver.execute(self._filling.left)
        return {str(partition): int(str(count)) for partition, count in rows}

    async def _running(self) -> frozenset[str]:
        return frozenset(str(query) for (query,) in await self._driver.execute(self._filling.running))

    async def _sync(self) -> None:
        for statement in self._filling.sync:
            await self._driver.execute(statement)

    async def _partition(self, partition: str) -> bool:
        """Count what can be counted of a partition; tell whether that was anything."""
        anything = False
        while await self._some(partition):
            anything = True
        return anything

    async def _some(self, partition: str) -> bool:
        """Count the batches of one list."""
        found = await self._driver.execute(self._filling.missing, {"partition": partition})
        running = await self._running()
        await self._sync()
        listed = [(str(batch), int(str(rows))) for batch, rows in found]
        batches = [(batch, rows) for batch, rows in listed if insert_query_id(batch) not in running]
        for some in portions(batches):
            self._report.filling(self._filling.target, self._done, self._total)
            await self._count(partition, [batch for batch, _ in some])
            self._done += sum(rows for _, rows in some)
        return bool(batches)

    async def _count(self, partition: str, batches: Sequence[str]) -> None:
        values: Mapping[str, Parameter] = {"partition": partition, "batches": batches}
        while True:
            try:
                await self._driver.execute(self._filling.count, values, query_id=self._filling.query_id)
            except TransientError as error:
                if error.code != _STILL_RUNNING:
                    raise
                # Another instance, or what a killed one has left running.
                with heartbeat.idle():
                    await asyncio.sleep(_PAUSE)
            else:
                return


def portions(batches: Sequence[tuple[str, int]]) -> Iterator[Sequence[tuple[str, int]]]:
    """Yield the batches in groups of at most `ROWS` rows; one that is larger is a group of its own."""
    group: list[tuple[str, int]] = []
    for batch in batches:
        if group and sum(rows for _, rows in group) + batch[1] > ROWS:
            yield group
            group = []
        group.append(batch)
    if group:
        yield group
