"""Insert: hands each batch to the store, until the store has all of it.

Promises: errors that pass are retried until the batch lands, with capped and jittered pauses; a row that the store
refuses is found and rejected alone; a batch that needs a person is held, reported, and tried now and then, while other
batches are sent. After a stop the daemon waits for neither a person nor a server: the next start continues.
"""

import asyncio
import math
import time

import structlog

from spoolhouse.errors import (
    AwayError,
    LeftError,
    RejectedDataError,
    StoreError,
    TooLargeError,
    TransientError,
    UnreachableError,
)
from spoolhouse.failpoints import reach
from spoolhouse.monitoring import heartbeat, metrics
from spoolhouse.monitoring.health import Health
from spoolhouse.monitoring.progress import Progress
from spoolhouse.pipeline.batch_delivery import BatchDelivery, Landed
from spoolhouse.pipeline.bisect import RowBisector
from spoolhouse.pipeline.channel import Receiver, Sender
from spoolhouse.pipeline.held_batches import AWAY, HeldBatches
from spoolhouse.pipeline.messages import Acknowledged, Batch, News
from spoolhouse.pipeline.options import Current, Options
from spoolhouse.pipeline.ports import SentBatches, Store
from spoolhouse.pipeline.whole_lines import RoundError, UncheckedError, WholeLines
from spoolhouse.retry import Attempt, Retries

log = structlog.get_logger(__name__)

_POLL = 0.5
"""Seconds between two checks of the held batches."""
_PASSING_ATTEMPTS = 3
"""How often in a row a table may answer with a transient error, before that counts as the table's own problem."""


_LAST_ATTEMPTS = 3
"""How often in a row, after a stop, no server may answer, before all is left to the next start."""
_LAST_PAUSE = 0.2
"""Seconds between these attempts."""


class Inserter:
    """The insert stage; its `run` may be started several times, as a pool."""

    def __init__(  # the stage's whole surroundings, each used once
        self,
        store: Store,
        *,
        sent: SentBatches,
        health: Health,
        options: Current[Options],
        bisector: RowBisector,
        progress: Progress,
        stop: asyncio.Event,
    ) -> None:
        """Land batches in `store`."""
        self._stop = stop
        self._is_away = False
        """After a stop: no server answers, and nothing more is tried."""
        self._unanswered = 0
        """Last attempts in a row, of all inserters, that had no answer."""
        self._left: set[str] = set()
        """Shipments with a batch that could not be read, or cut up, for a disk that refused after the stop."""
        self._store = store
        self._health = health
        self._options = options
        self.bisector = bisector
        self._whole_lines = WholeLines(store=store, sent=sent, bisector=bisector)
        self._progress = progress
        self._held_batches = HeldBatches(options=options)
        """Shared by the pool."""

    def is_left(self, shipment: str) -> bool:
        """Tell whether a shipment is left to the next start, because a batch of it is."""
        if not self._stop.is_set():
            return False
        return self._is_away or shipment in self._left or self._held_batches.holds(shipment)

    def pace(self) -> None:
        """Shorten the waits of held batches to the pauses of options that have just changed."""
        self._held_batches.pace(time.monotonic())

    async def run(self, batches: Receiver[Batch], news: Sender[News]) -> None:
        """Insert batches until there are no more, and none is held that could be waited for."""
        async with news:
            while (delivery := await self._next(batches)) is not None:
                try:
                    acknowledged = await self._deliver(delivery)
                except LeftError:
                    self._leave(delivery.batch)
                    continue
                if acknowledged is not None:
                    await news.send(acknowledged)

    def _leave(self, batch: Batch) -> None:
        batch.live.close()
        self._left.add(batch.shipment.id)

    async def _next(self, batches: Receiver[Batch]) -> BatchDelivery | None:
        """Return a held batch whose time has come, or else a new one; None at the end."""
        while True:
            is_over = self._stop.is_set()
            # After a stop no batch becomes due any more; the table of a released one takes rows.
            delivery = None if self._is_away else self._held_batches.take(-math.inf if is_over else time.monotonic())
            if delivery is not None:
                return delivery
            # Another inserter releases batches without a signal: with anything held, check now and then.
            due = _POLL if is_over else max(0.0, self._held_batches.due() - time.monotonic())
            wait = min(_POLL, due) if self._held_batches else None
            try:
                for batch in await batches.receive_many(1, wait):
                    try:
                        delivery = await self._delivery(batch)
                    except LeftError:
                        self._leave(batch)
                        continue
                    if self._is_away:
                        delivery.discard_live()
                        continue
                    if not self._held_batches.is_closed(delivery.table):
                        return delivery
                    delivery.discard_live()
                    self._held_batches.join(delivery)
            except StopAsyncIteration:
                if wait is None or is_over:
                    return None
                with heartbeat.idle():
                    await asyncio.sleep(wait)

    async def _delivery(self, batch: Batch) -> BatchDelivery:
        delivery = BatchDelivery(
            batch,
            table=self._store.name(batch.table),
            retries=Retries(retry_policy=self._options.value.retry),
            before_end=self._whole_lines.before_end,
        )
        if batch.shipment.replay:
            delivery.resume(await self.bisector.cuts(batch))
        return delivery

    async def _deliver(self, delivery: BatchDelivery) -> Acknowledged | None:
        """Land the rest of a batch; return once all rows have landed or are rejected; None if it is held."""
        while not delivery.batch.is_withdrawn():
            heartbeat.beat()
            attempt = Attempt(self._stop)
            try:
                if isinstance(delivery.state, Landed):
                    acknowledged = await self._conclude(delivery, delivery.state)
                    self._opened(delivery)
                    return acknowledged
                await self._land(delivery)
                continue
            except StoreError as error:
                # Not kept beyond this block: its frames would keep the files of the attempt open.
                delivery.discard_live()
                if delivery.batch.is_withdrawn():
                    continue
                if isinstance(error, AwayError):
                    self._await_server(delivery, error)
                    return None
                self._let_others_go(delivery)
                own = self._is_own(delivery, error)
                table = error.table if isinstance(error, RoundError) else delivery.table
                self._health.bad(table, error, own=own)
                if own or not isinstance(error, TransientError):
                    # It streams nothing now, so it costs no memory to speak of.
                    self._held_batches.hold(delivery, error, time.monotonic(), place=table)
                    return None
                if attempt.is_left(error):
                    self._unanswered += 1
                    # One connection that breaks is no server that is away: the others' batches can still land.
                    self._is_away = self._unanswered >= _LAST_ATTEMPTS
                    if self._is_away:
                        return None
                delivery.retries.retry_policy = self._options.value.retry
                pause = _LAST_PAUSE if self._unanswered else delivery.retries.failed(error)
            await attempt.pause(pause, self._health.pause)
        self._drop(delivery)
        return None

    def _drop(self, delivery: BatchDelivery) -> None:
        """Drop a batch that decode has taken back; its errors hold no table any more."""
        delivery.discard_live()
        self._held_batches.drop(delivery)
        if not self._held_batches.is_closed(delivery.table):
            self._health.good(delivery.table)

    async def _land(self, delivery: BatchDelivery) -> None:
        """Land the whole batch or its next part, or cut it up. Raises `StoreError`, but not for a refused row."""
        try:
            async with self._whole_lines.sending(delivery):
                if isinstance(delivery.state, Landed):
                    return  # nothing is left of it
                await delivery.expect_all_rows()
                await self._store.land(delivery.to_land)
        except UncheckedError:
            delivery.discard_live()
        except RejectedDataError as error:
            metrics.RETRIES.labels(str(error.code), "data").inc()
            if not await self._whole_lines.refused(delivery.batch, error):
                await self.bisector.divide(delivery, error)
        except TooLargeError:
            await self.bisector.lighten(delivery)
        else:
            delivery.batch.round.landed.add(delivery.batch.id)
            delivery.landed()
            self._unanswered = 0
            self._opened(delivery)

    def _is_own(self, delivery: BatchDelivery, error: StoreError) -> bool:
        """Tell whether a transient error counts as this table's own: the server answers, and the table keeps refusing.

        Where all tables refuse, each is held by itself after as many attempts: so it need not be known which it is.
        """
        if isinstance(error, UnreachableError):
            return self._health.breaks_off(delivery.table)
        if not isinstance(error, TransientError) or error.code is None:
            return False
        return self._held_batches.is_closed(delivery.table) or delivery.retries.failures + 1 >= _PASSING_ATTEMPTS

    def _await_server(self, delivery: BatchDelivery, error: AwayError) -> None:
        """Hold a batch that may be on a server which is away, while other batches go to one that answers."""
        if not delivery.waits:
            log.warning(
                "batch_waits",
                batch=delivery.to_land.id,
                table=delivery.table,
                error=error.message,
                hint=error.hint,
            )
        delivery.waits = True
        metrics.RETRIES.labels("none", "transient").inc()
        # The table itself is well: the other server takes its rows.
        self._health.good(delivery.table)
        # It may have been the one that its table was tried with: another one takes its turn.
        self._held_batches.drop(delivery)
        self._held_batches.hold(delivery, error, time.monotonic(), place=AWAY)

    def _opened(self, delivery: BatchDelivery) -> None:
        """Report that a table takes rows; release the batches that waited for it, or for the same server."""
        self._health.landed(delivery.table)
        self._held_batches.open(delivery.table)
        if delivery.held_at not in {"", AWAY, delivery.table}:
            # Its round was held for another table, which refuses no more than may be left out.
            self._health.good(delivery.held_at)
            self._held_batches.open(delivery.held_at)
            delivery.held_at = ""
        self._let_others_go(delivery)

    def _let_others_go(self, delivery: BatchDelivery) -> None:
        """Release all batches that wait for a server, once one of them waits no more."""
        if delivery.waits:
            delivery.waits = False
            self._held_batches.open(AWAY)

    async def _conclude(self, delivery: BatchDelivery, state: Landed) -> Acknowledged:
        """Reject the rows that the store refused, and return the acknowledgement of the others."""
        batch = delivery.batch
        refused = await self.bisector.reject(batch, state.refused)
        reach("insert.acknowledged")
        with heartbeat.idle():
            rows = await batch.count - len(state.refused)
        metrics.ROWS.labels(delivery.table).inc(rows)
        metrics.LAST_LANDED.set_to_current_time()
        self._progress.landed(delivery.table, rows)
        return Acknowledged(
            shipment=batch.shipment,
            batch=batch.id,
            table=batch.table.name,
            parts=state.parts,
            refused=refused.rows,
            rejected=refused.lines,
            left_out=refused.left_out,
        )
