"""Insert: sends each batch with its token, until ClickHouse has acknowledged it.

Promises: a token stands for the same rows, always; it prevents doubles, but proves nothing, so that after an attempt
without a clean answer, and on every replay, the batch is looked for, and only what is missing of it is brought there;
what is transient is tried for ever, with capped and jittered pauses; a row that ClickHouse refuses is found and
rejected alone; what only a person can mend is held, said, and tried now and then, while other batches go on. After a
stop neither that nor a server that is away is waited for: the journal has it for the next start.
"""

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import replace

import structlog

from spoolhouse.errors import (
    OperatorError,
    RejectedDataError,
    StoreError,
    TransientError,
    UnfetchedError,
    UnreachableError,
)
from spoolhouse.events.naming import Shards
from spoolhouse.failpoints import reach
from spoolhouse.monitoring import heartbeat, metrics
from spoolhouse.monitoring.health import Health
from spoolhouse.monitoring.progress import Progress
from spoolhouse.pipeline.batch_delivery import BatchDelivery, CountedRows
from spoolhouse.pipeline.bisect import RowBisector
from spoolhouse.pipeline.channel import Receiver, Sender
from spoolhouse.pipeline.held_batches import AWAY, HeldBatches
from spoolhouse.pipeline.messages import Acknowledged, Batch, News
from spoolhouse.retry import Attempt, Retries, RetryPolicy
from spoolhouse.spool.instance import Instance
from spoolhouse.store.clickhouse.driver import Driver, RowsInsert
from spoolhouse.store.clickhouse.landing.presence import Found, find, objects, require_no_running_attempt
from spoolhouse.store.clickhouse.landing.repair import Repairer
from spoolhouse.store.clickhouse.landing.replica_sync import sync_replica
from spoolhouse.store.clickhouse.landing.row_diff import count_mismatched
from spoolhouse.store.clickhouse.replicas import servers_of

log = structlog.get_logger(__name__)

_LOOK = 0.5
"""Seconds between two looks at what is held."""
_MOVES = 3
"""How often at once a batch goes to another server, before that counts as trouble."""

_PASSING_ATTEMPTS = 3
"""How often in a row a table may refuse what should pass, before that counts as this table's own trouble."""

_BACK = "let the host answer again; one that is gone for good: take it out of clickhouse.url, and restart"


class Inserter:
    """The insert stage; its `run` may be started several times, as a pool."""

    def __init__(  # the stage's whole surroundings, each used once
        self,
        driver: Driver,
        *,
        prefix: str,
        shards: Shards | None = None,
        fingerprint: str,
        instances: Mapping[str, Instance],
        health: Health,
        retry_policy: RetryPolicy,
        bisector: RowBisector,
        progress: Progress,
        stop: asyncio.Event,
    ) -> None:
        """Send through `driver` into tables whose names begin with `prefix`; `shards`: which are in a cluster."""
        self._stop = stop
        self._is_away = False
        """After a stop: the server is away, and nothing more is tried."""
        self._servers = servers_of(driver)
        self._prefix = prefix
        self._shards = shards
        self._through = shards is not None and shards.through
        self.fingerprint = fingerprint
        """May be changed at any time."""
        self._instances = instances
        self._health = health
        self._retry_policy = retry_policy
        self.bisector = bisector
        self._progress = progress
        self._held_batches = HeldBatches(retry_policy=retry_policy)
        """Shared by the pool."""

    def pace(self, retry_policy: RetryPolicy) -> None:
        """Try what fails again as `persistence` says, what is held by now too."""
        self._retry_policy = retry_policy
        self._held_batches.pace(retry_policy, time.monotonic())
        self._servers.pace(first=retry_policy.first, cap=retry_policy.cap)

    async def run(self, batches: Receiver[Batch], news: Sender[News]) -> None:
        """Insert batches until there are no more, and none is held that could be waited for."""
        async with news:
            while (delivery := await self._next(batches)) is not None:
                if (acknowledged := await self._deliver(delivery)) is not None:
                    await news.send(acknowledged)

    async def _next(self, batches: Receiver[Batch]) -> BatchDelivery | None:
        """Return a held batch whose time has come, or else a new one; None at the end."""
        while True:
            is_over = self._stop.is_set()
            # After a stop nothing becomes due any more; what is free has a table that takes rows.
            delivery = None if self._is_away else self._held_batches.take(-math.inf if is_over else time.monotonic())
            if delivery is not None:
                return delivery
            # What another inserter lets go is not told here: with anything held, look again now and then.
            wait = min(_LOOK, max(0.0, self._held_batches.due() - time.monotonic())) if self._held_batches else None
            try:
                for batch in await batches.receive_many(1, wait):
                    delivery = await self._delivery(batch)
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
            batch=batch,
            table=self._prefix + batch.table.name,
            retries=Retries(retry_policy=self._retry_policy),
            doubtful=batch.shipment.replay,
        )
        if batch.shipment.replay:
            delivery.resume(await self.bisector.cuts(batch))
        return delivery

    async def _deliver(self, delivery: BatchDelivery) -> Acknowledged | None:
        """Send what is left of a batch; return once all of it has landed or is rejected; None if it is held."""
        moves = 0
        while True:
            heartbeat.beat()
            attempt = Attempt(self._stop)
            try:
                if delivery.is_complete:
                    acknowledged = await self._conclude(delivery)
                    self._opened(delivery)
                    return acknowledged
                await delivery.expect_all_rows()
                if await self._send(delivery):
                    delivery.next(landed=True)
                    self._opened(delivery)
                continue
            except StoreError as error:
                # Not kept beyond this block: with its frames it would keep open what the attempt has opened.
                delivery.failed(error)
                is_elsewhere = isinstance(error, UnreachableError) and self._servers.is_split
                if isinstance(error, UnfetchedError) or (is_elsewhere and delivery.doubtful):
                    self._await_server(delivery, error)
                    return None
                if is_elsewhere and moves < _MOVES:
                    moves += 1
                    continue
                self._let_others_go(delivery)
                own = self._is_own(delivery, error)
                self._health.bad(delivery.table, error, own=own)
                if own or not isinstance(error, TransientError):
                    # It streams nothing now, so it costs no memory to speak of.
                    self._held_batches.hold(delivery, error, time.monotonic())
                    return None
                if attempt.is_left(error):
                    self._is_away = True
                    return None
                delivery.retries.retry_policy = self._retry_policy
                pause = delivery.retries.failed(error)
            await attempt.pause(pause, self._health.pause)

    def _is_own(self, delivery: BatchDelivery, error: StoreError) -> bool:
        """Tell whether something transient is taken for one table's: the server answers, and keeps refusing.

        Where all tables refuse, each is held by itself after as many attempts: so nobody has to know which it is.
        """
        if not isinstance(error, TransientError) or isinstance(error, UnreachableError) or error.code is None:
            return False
        return self._held_batches.is_closed(delivery.table) or delivery.retries.failures + 1 >= _PASSING_ATTEMPTS

    def _await_server(self, delivery: BatchDelivery, error: StoreError) -> None:
        """Put a batch aside that may be on a server which is away, while others go to one that is not."""
        if not delivery.waits:
            log.warning(
                "batch_waits",
                batch=delivery.batch_id,
                table=delivery.table,
                error=error.message,
                hint=_BACK if isinstance(error, UnreachableError) else error.hint,
            )
        delivery.waits = True
        metrics.RETRIES.labels("none", "transient").inc()
        # It says nothing of the table: the other server takes its rows.
        self._health.good(delivery.table)
        self._held_batches.hold(delivery, error, time.monotonic(), place=AWAY)

    def _opened(self, delivery: BatchDelivery) -> None:
        """Say that a table takes rows; those that have waited for it may go, or for what this one has waited for."""
        self._health.landed(delivery.table)
        self._held_batches.open(delivery.table)
        self._let_others_go(delivery)

    def _let_others_go(self, delivery: BatchDelivery) -> None:
        """Let all be tried that wait for a server, after one of them was, and need not wait any more."""
        if delivery.waits:
            delivery.waits = False
            self._held_batches.open(AWAY)

    async def _send(self, delivery: BatchDelivery) -> bool:
        """Send what comes next, once; return true if ClickHouse has it now, false if it is to be sent in another way.

        Raises `StoreError`, but not for a row that ClickHouse refuses.
        """
        insert = delivery.insert()
        server = await self._server(delivery)
        if delivery.doubtful and not self._through:
            await require_no_running_attempt(
                server, [insert.batch_id], prefix=self._prefix, shards=self._elsewhere(delivery)
            )
            # A view that failed is not mended from here: it gets the rows by the same token once more.
            found = Found() if delivery.in_view else await self._find(delivery)
            if delivery.batch.shipment.replay and delivery.batch.shipment.fingerprint != self.fingerprint:
                await self._expect_same_rows(delivery, found)
            if found:
                await self._complete(delivery, found)
                return True
            # No attempt runs, and nothing of it is there: so it may be cut up. One that has met a view is there.
            if delivery.is_too_large and not delivery.in_view and await self.bisector.lighten(delivery):
                return False
        try:
            reach("insert.before_send")
            rows = await self._insert(delivery, insert, server)
            reach("insert.answered")
        except RejectedDataError as error:
            delivery.discard_live()
            # A token stands for the same rows: a batch of which anything is there must not be cut up.
            if not await self._find(delivery):
                metrics.RETRIES.labels(str(error.code), "data").inc()
                await self.bisector.divide(delivery, error)
                return False
            delivery.doubtful = True
            raise
        log.debug("batch_inserted", batch=insert.batch_id, rows=rows.count)
        if delivery.doubtful and rows.count and not self._through:
            found = await self._find(delivery)
            if not found and not delivery.lost_tokens:
                # Non-replicated tables log the token before the part is there: a server that dies between the two
                # answers every repeat with "done", and has no row.
                log.error("token_without_rows", batch=insert.batch_id, token=insert.token)
                delivery.lost_tokens += 1
                return False
            await self._complete(delivery, found, rows.partitions)
        return True

    async def _insert(self, delivery: BatchDelivery, insert: RowsInsert, server: Driver) -> CountedRows:
        """Insert what comes next; return what was seen of its rows. Raises `StoreError`."""
        async with delivery.rows() as source:
            rows = CountedRows(source, delivery.batch.table, closely=delivery.doubtful)
            began = time.monotonic()
            await server.insert_rows(insert, rows)
            metrics.INSERT_SECONDS.labels(delivery.table).observe(time.monotonic() - began)
            return rows

    async def _server(self, delivery: BatchDelivery) -> Driver:
        """Return the server for an attempt: while there is doubt the one that may have something, else any.

        After a restart nobody knows which one that is: then all have to answer, and none may be at work on it still.
        Whichever is taken has to have what the others have.
        """
        if delivery.server is None or not delivery.doubtful:
            delivery.server = await self._servers.pick()
        server = delivery.server
        # Tokens are enough for what goes through Distributed tables: no more is asked.
        if delivery.doubtful and self._servers.are_several and not self._through:
            if delivery.batch.shipment.replay:
                for other in await self._servers.others(server):
                    await require_no_running_attempt(
                        other, [delivery.batch_id], prefix=self._prefix, shards=self._shards
                    )
            await sync_replica(server, objects(delivery.batch.table, prefix=self._prefix))
        return server

    def _elsewhere(self, delivery: BatchDelivery) -> Shards | None:
        """Return on which shards a batch may be besides its server's.

        On all, for whoever had it before, or for a single host that may stand for many. Of several hosts it is known
        which one has what was sent from here: nobody has to wait for another.
        """
        is_known = self._servers.are_several and not delivery.batch.shipment.replay
        return None if is_known else self._shards

    def _repairer(self, delivery: BatchDelivery) -> Repairer:
        """Return what mends on the server that the attempt is made on."""
        if delivery.server is None:
            raise ValueError("no attempt is made")
        return Repairer(driver=delivery.server, prefix=self._prefix, shards=self._shards)

    async def _find(self, delivery: BatchDelivery) -> Found:
        found = await find(
            self._repairer(delivery).driver,
            delivery.batch.table,
            [delivery.batch_id],
            prefix=self._prefix,
            shards=self._elsewhere(delivery),
        )
        reach("insert.looked")
        return found

    async def _complete(self, delivery: BatchDelivery, found: Found, partitions: set[str] | None = None) -> None:
        """Bring to ClickHouse what it lacks of a batch that it has a part of."""
        if partitions is None:
            async with delivery.rows() as source:
                watched = CountedRows(source, delivery.batch.table, closely=True)
                async for _ in watched:
                    pass
            partitions = watched.partitions
        if not found.covers(partitions):
            never_landed = bool(delivery.lost_tokens) and not found
            async with delivery.rows() as rows:
                await self._repairer(delivery).repair(
                    delivery.batch.table, delivery.insert(), rows, found, never_landed=never_landed
                )
        repairer = self._repairer(delivery)
        await repairer.drop_staging(delivery.batch_id)
        if delivery.batch.shipment.replay:
            # Whoever mended it before, and was killed, may have done so on another server.
            for other in await self._servers.others(repairer.driver):
                await replace(repairer, driver=other).drop_staging(delivery.batch_id)

    async def _expect_same_rows(self, delivery: BatchDelivery, found: Found) -> None:
        """Raise `OperatorError` if another version sent other rows under these ids: presence proves nothing then."""
        shipment = delivery.batch.shipment
        async with delivery.rows() as rows:
            others = await count_mismatched(
                self._repairer(delivery),
                delivery.batch.table,
                delivery.insert(),
                rows,
                found=found.of(delivery.table),
                shipment=shipment.id,
            )
        if others:
            raise OperatorError(
                f"shipment {shipment.id} was journalled under other declarations, and {others} of its rows differ from"
                " what they were sent as",
                hint="let the version (and the event files) that claimed it finish it, then upgrade",
            )

    async def _conclude(self, delivery: BatchDelivery) -> Acknowledged:
        """Reject the rows that ClickHouse refused, and return the news of the rest."""
        batch = delivery.batch
        refused, left_out = await self.bisector.reject(delivery)
        reach("insert.acknowledged")
        with heartbeat.idle():
            rows = await batch.count - len(delivery.refused)
        metrics.ROWS.labels(delivery.table).inc(rows)
        metrics.LAST_LANDED.set_to_current_time()
        self._progress.landed(delivery.table, rows)
        return Acknowledged(
            shipment=batch.shipment,
            batch=batch.id,
            table=batch.table.name,
            parts=delivery.parts(),
            refused=refused,
            left_out=left_out,
        )
