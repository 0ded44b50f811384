"""Insert: sends each batch with its token, until ClickHouse has acknowledged it.

Promises: an attempt that failed, in whatever way, is repeated with the same rows under the same token; what is
transient is tried for ever, with capped and jittered pauses; what only a person can mend is held, said, and tried now
and then.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from spoolhouse.channel import Receiver, Sender
from spoolhouse.core.backoff import delay
from spoolhouse.core.ports import Driver, Rows, RowsInsert
from spoolhouse.errors import StoreError, TransientError
from spoolhouse.health import Health
from spoolhouse.pipeline.decode import Batch
from spoolhouse.pipeline.settle import Acknowledged, News
from spoolhouse.progress import Progress

log = structlog.get_logger(__name__)


class GivenUpError(StoreError):
    """The patience of a run with an end (`--once`) is used up; everything is recoverable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Persistence:
    """How attempts follow one another. `patience`: seconds of failure after which to give up; None is never."""

    first: float
    cap: float
    patience: float | None = None


class Inserter:
    """The insert stage; its `run` may be started several times, as a pool."""

    def __init__(  # the stage's whole surroundings, each used once
        self,
        driver: Driver,
        *,
        prefix: str,
        fingerprint: str,
        health: Health,
        persistence: Persistence,
        progress: Progress,
    ) -> None:
        """Send through `driver` into tables whose names begin with `prefix`."""
        self._driver = driver
        self._prefix = prefix
        self._fingerprint = fingerprint
        self._health = health
        self._persistence = persistence
        self._progress = progress

    async def run(self, batches: Receiver[Batch], news: Sender[News]) -> None:
        """Insert batches until there are no more."""
        async with news:
            async for batch in batches:
                rows = await self._deliver(batch)
                self._progress.landed(self._table(batch), rows)
                await news.send(Acknowledged(shipment=batch.shipment, batch=batch.id))

    async def _deliver(self, batch: Batch) -> int:
        """Return how many rows were sent, once they are acknowledged."""
        if batch.shipment.replay and batch.shipment.fingerprint != self._fingerprint and await self._landed(batch):
            batch.live.close()
            return 0
        started = time.monotonic()
        attempt = 0
        rows: AsyncIterator[Rows] = batch.live
        while True:
            attempt += 1
            counted = _Counted(rows)
            try:
                await self._driver.insert_rows(self._insert(batch), counted)
            except StoreError as error:
                batch.live.close()
                await self._failed(batch, error, attempt, started)
                rows = batch.reopen(batch)
            else:
                self._health.good(self._table(batch))
                log.debug(
                    "batch_inserted",
                    batch=batch.id,
                    rows=counted.count,
                    attempts=attempt,
                    seconds=round(time.monotonic() - started, 3),
                )
                return counted.count

    def _table(self, batch: Batch) -> str:
        return self._prefix + batch.event.table.name

    def _insert(self, batch: Batch) -> RowsInsert:
        return RowsInsert(
            table=self._table(batch),
            columns=batch.event.table.columns,
            batch_id=batch.id,
            clock_ms=batch.shipment.clock_ms,
        )

    async def _failed(self, batch: Batch, error: StoreError, attempt: int, started: float) -> None:
        self._health.bad(self._table(batch), error)
        patience = self._persistence.patience
        if patience is not None and time.monotonic() - started >= patience:
            raise GivenUpError(error.message, code=error.code, mend=error.mend) from error
        fraction = random.random()  # noqa: S311  # jitter is no secret
        # An operator's mend takes minutes, not milliseconds: such a batch starts where the others end.
        first = self._persistence.first if isinstance(error, TransientError) else self._persistence.cap / 8
        await asyncio.sleep(delay(attempt, first=first, cap=self._persistence.cap, fraction=fraction))

    async def _landed(self, batch: Batch) -> bool:
        """Tell whether any row of a batch is in its table.

        Asked where the token proves nothing: the rows of a shipment that another version of Spoolhouse (or of the
        declarations) has journalled need not be the ones that it sent under that token.
        """
        attempt = 0
        started = time.monotonic()
        while True:
            attempt += 1
            try:
                found = await self._driver.execute(
                    f"SELECT 1 FROM `{self._table(batch)}` WHERE batch_id = {{batch:String}} LIMIT 1",  # noqa: S608  # a declared name
                    {"batch": batch.id},
                )
            except StoreError as error:
                await self._failed(batch, error, attempt, started)
            else:
                log.info("replay_reconciled", batch=batch.id, landed=bool(found))
                return bool(found)


class _Counted:
    """Counts the rows that pass through."""

    def __init__(self, rows: AsyncIterator[Rows]) -> None:
        self._rows = rows
        self.count = 0

    def __aiter__(self) -> AsyncIterator[Rows]:
        return self

    async def __anext__(self) -> Rows:
        rows = await anext(self._rows)
        self.count += rows.count
        return rows
