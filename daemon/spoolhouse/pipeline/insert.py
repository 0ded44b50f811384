"""Insert: sends each batch with its token, until ClickHouse has acknowledged it.

Promises: an attempt that failed, in whatever way, is repeated with the same rows under the same token, and then looked
for by its batch id, because a token prevents doubles but proves nothing; what is
transient is tried for ever, with capped and jittered pauses; what only a person can mend is held, said, and tried now
and then, while other batches go on in its place.
"""

import asyncio
import heapq
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import structlog

from spoolhouse import metrics, pulse
from spoolhouse.channel import Receiver, Sender
from spoolhouse.core.backoff import delay
from spoolhouse.core.ports import Driver, Rows, RowsInsert
from spoolhouse.errors import StoreError, TransientError
from spoolhouse.failpoints import reach
from spoolhouse.health import Health
from spoolhouse.pipeline.decode import Batch
from spoolhouse.pipeline.pressure import PartPressure
from spoolhouse.pipeline.settle import Acknowledged, News
from spoolhouse.progress import Progress
from spoolhouse.schema.rollups import target_name

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
        pressure: PartPressure,
        progress: Progress,
    ) -> None:
        """Send through `driver` into tables whose names begin with `prefix`."""
        self._driver = driver
        self._prefix = prefix
        self._fingerprint = fingerprint
        self._health = health
        self.persistence = persistence
        """May be changed at any time."""
        self._pressure = pressure
        self._progress = progress
        self._held: list[_Delivery] = []
        """A heap, by when to try again; shared by the pool."""

    async def run(self, batches: Receiver[Batch], news: Sender[News]) -> None:
        """Insert batches until there are no more, and none is held."""
        async with news:
            while (delivery := await self._next(batches)) is not None:
                rows = await self._deliver(delivery)
                if rows is None:
                    continue
                batch = delivery.batch
                reach("insert.acknowledged")
                metrics.ROWS.labels(self._table(batch)).inc(rows)
                metrics.LAST_LANDED.set_to_current_time()
                self._progress.landed(self._table(batch), rows)
                await news.send(Acknowledged(shipment=batch.shipment, batch=batch.id))

    async def _next(self, batches: Receiver[Batch]) -> "_Delivery | None":
        """Return a held batch whose time has come, or else a new one; None at the end."""
        while True:
            due = self._held[0].due - time.monotonic() if self._held else None
            if due is not None and due <= 0:
                return heapq.heappop(self._held)
            try:
                for batch in await batches.receive_many(1, due):
                    return _Delivery(batch=batch, rows=batch.live)
            except StopAsyncIteration:
                if due is None:
                    return None
                with pulse.resting():
                    await asyncio.sleep(due)

    async def _deliver(self, delivery: "_Delivery") -> int | None:
        """Return how many rows were sent, once they are acknowledged; None if the batch is held."""
        batch = delivery.batch
        if batch.shipment.replay and batch.shipment.fingerprint != self._fingerprint and await self._landed(delivery):
            batch.live.close()
            return 0
        while True:
            delivery.attempts += 1
            pulse.beat()
            counted = _Counted(delivery.rows)
            try:
                reach("insert.before_send")
                async with self._pressure.room(self._table(batch)):
                    began = time.monotonic()
                    await self._driver.insert_rows(self._insert(delivery), counted)
                metrics.INSERT_SECONDS.labels(self._table(batch)).observe(time.monotonic() - began)
                reach("insert.answered")
            except StoreError as error:
                batch.live.close()
                delivery.rows = batch.reopen()
                pause = self._failed(delivery, error)
                if isinstance(error, TransientError):
                    with pulse.resting():
                        await asyncio.sleep(pause)
                    continue
                # Held: others go on in its place. It streams nothing now, so it costs no memory to speak of.
                delivery.due = time.monotonic() + pause
                heapq.heappush(self._held, delivery)
                return None
            self._health.good(self._table(batch))
            doubtful = batch.shipment.replay or delivery.attempts > 1
            if doubtful and counted.count and not await self._landed(delivery):
                # Non-replicated tables log the token before the part is there: a server that dies between the two
                # answers every repeat with "done", and has no row.
                log.error("token_without_rows", batch=batch.id, token=delivery.token)
                delivery.tokens += 1
                delivery.rows = batch.reopen()
                continue
            log.debug("batch_inserted", batch=batch.id, rows=counted.count, attempts=delivery.attempts)
            return counted.count

    def _table(self, batch: Batch) -> str:
        return self._prefix + batch.table.name

    def _insert(self, delivery: "_Delivery") -> RowsInsert:
        batch = delivery.batch
        return RowsInsert(
            table=self._table(batch),
            columns=batch.table.columns,
            batch_id=batch.id,
            token=delivery.token,
            clock_ms=batch.shipment.clock_ms,
        )

    def _failed(self, delivery: "_Delivery", error: StoreError) -> float:
        """Record a failed attempt, and return how long to wait before the next; `GivenUpError` if there is none."""
        self._health.bad(self._table(delivery.batch), error)
        now = time.monotonic()
        delivery.failing_since = delivery.failing_since or now
        patience = self.persistence.patience
        if patience is not None and now - delivery.failing_since >= patience:
            raise GivenUpError(error.message, code=error.code, mend=error.mend) from error
        fraction = random.random()  # noqa: S311  # jitter is no secret
        # An operator's mend takes minutes, not milliseconds: such a batch starts where the others end.
        first = self.persistence.first if isinstance(error, TransientError) else self.persistence.cap / 8
        return delay(delivery.attempts, first=first, cap=self.persistence.cap, fraction=fraction)

    async def _landed(self, delivery: "_Delivery") -> bool:
        """Tell whether any row of a batch is in its table, or in one of its rollups.

        Asked where the token proves nothing: after an attempt without a clean answer, on a replay, and for the rows
        of a shipment that another version of Spoolhouse (or of the declarations) has journalled, which need not be
        the ones that it sent under that token. The rollups count, because the rows may have expired since.
        """
        batch = delivery.batch
        table = self._table(batch)
        rollups = [target_name(rollup, prefix=self._prefix) for rollup in batch.table.rollups]
        looks = [f"SELECT 1 FROM `{name}` WHERE batch_id = {{batch:String}} LIMIT 1" for name in (table, *rollups)]  # noqa: S608  # declared names
        while True:
            try:
                found = await self._driver.execute(" UNION ALL ".join(looks), {"batch": batch.id})
            except StoreError as error:
                delivery.attempts += 1
                with pulse.resting():
                    await asyncio.sleep(self._failed(delivery, error))
            else:
                reach("insert.looked")
                self._health.good(table)
                return bool(found)


@dataclass(slots=True, kw_only=True, order=True)
class _Delivery:
    """A batch on its way: what was tried so far, and when to try again."""

    due: float = 0.0
    batch: Batch = field(compare=False)
    rows: AsyncIterator[Rows] = field(compare=False)
    attempts: int = field(compare=False, default=0)
    failing_since: float | None = field(compare=False, default=None)
    tokens: int = field(compare=False, default=0)
    """Tokens that were swallowed so far."""

    @property
    def token(self) -> str:
        """The token of the next attempt."""
        return self.batch.id if self.tokens == 0 else f"{self.batch.id}~{self.tokens}"


class _Counted:
    """Counts the rows that pass through."""

    def __init__(self, rows: AsyncIterator[Rows]) -> None:
        self._rows = rows
        self.count = 0

    def __aiter__(self) -> AsyncIterator[Rows]:
        return self

    async def __anext__(self) -> Rows:
        rows = await anext(self._rows)
        reach("insert.sending")
        self.count += rows.count
        return rows
