"""One run of the daemon: its start, its tasks and its end. All asyncio tasks are created here."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TypeVar

import structlog
from msgspec import Struct, field

from spoolhouse.errors import BadSettingError, SpoolhouseError, StoreError
from spoolhouse.events import registry
from spoolhouse.events.declaration import EventType, tables
from spoolhouse.monitoring.heartbeat import STUCK_AFTER
from spoolhouse.monitoring.logs import configure
from spoolhouse.monitoring.progress import Silent
from spoolhouse.monitoring.systemd import Notifier, keep_notifying
from spoolhouse.pipeline.arrivals import arrivals
from spoolhouse.pipeline.decode import decode
from spoolhouse.pipeline.scan import counted
from spoolhouse.pipeline.watch import watch
from spoolhouse.service.prepare import await_ready, keep_guard, prepare_and_guard
from spoolhouse.service.preview import show_first_row
from spoolhouse.service.reload import take_over
from spoolhouse.service.shared import Shared
from spoolhouse.service.status_reporter import StatusReporter
from spoolhouse.service.wiring import Stages
from spoolhouse.settings import Settings

log = structlog.get_logger(__name__)

T = TypeVar("T")

EXIT_OK = 0
EXIT_CRASH = 1
EXIT_LEFT_OVER = 1
EXIT_UNAVAILABLE = 69
EXIT_OUT_OF_TIME = 75

_IDLE_POLL = 0.05
"""Seconds between two checks whether a run with an end is idle."""
_COUNT_AFTER = 0.5
"""Seconds that the start waits for the store before it counts the backlog."""


async def beside(work: Coroutine[object, object, T], *attendants: Coroutine[object, object, None]) -> T:
    """Run `work` with attendants, which are cancelled at its end; its error is raised as it is, in no group."""
    results: list[T] = []
    failures: list[Exception] = []
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(attendant) for attendant in attendants]
        try:
            results.append(await work)
        except Exception as error:  # noqa: BLE001  # it is raised below, outside of the group
            failures.append(error)
        finally:
            for task in tasks:
                task.cancel()
    for failure in failures:
        raise failure
    return results[0]


class Service(Struct, kw_only=True):
    """One run, once the spool can be used."""

    shared: Shared
    stages: Stages
    reporter: StatusReporter
    reread: Callable[[], Settings] | None = None
    hangup: asyncio.Event
    """The settings are to be read again."""
    notifier: Notifier
    announce: Callable[[], None] | None = None
    """Says where questions are answered, once the store is ours. It blocks on the disk."""
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    """The service manager knows that the start is over: no reload is reported before."""
    _left_pending: bool = False
    """Files were left in the spool when a run with an end was idle: refused ones, or the gate was closed."""

    @property
    def stop(self) -> asyncio.Event:
        """The stop of all stages."""
        return self.shared.stop

    async def run(self) -> int:
        """Start, work and drain; meanwhile notify the service manager, and reload settings. Return the exit code."""
        notifying = keep_notifying(self.notifier, self.shared.heartbeat, self.reporter.line)
        return await beside(self._start_and_work(), notifying, self._follow_settings())

    async def _start_and_work(self) -> int:
        shared, stages = self.shared, self.stages
        if self.notifier.wanted:
            await self._count_backlog()
        if self.stop.is_set():
            return EXIT_OK
        # A server that is down is something to wait for, not a start that failed.
        self.notifier.ready(self.reporter.line())
        self.is_ready.set()
        async with asyncio.TaskGroup() as group:
            counting = group.create_task(self._keep_counting(), name="count")
            ready = await await_ready(
                shared.settings, stages.backend, shared.health, self.stop, once=shared.once, events=shared.events
            )
            counting.cancel()
        if not ready:
            return EXIT_OK if self.stop.is_set() else EXIT_UNAVAILABLE
        if self.announce is not None:
            await asyncio.to_thread(self.announce)
        log.info("started", instance=stages.instance.id, spool=os.fspath(stages.instance.spool), once=shared.once)
        await self._work()
        left = self._left_pending or stages.is_left_over() or stages.settler.outcome.failed
        return EXIT_LEFT_OVER if shared.once and left else EXIT_OK

    async def _keep_counting(self) -> None:
        """Count the pending files while the daemon waits for ClickHouse: there are no scans yet.

        It begins after a moment: if ClickHouse answers at once, the first scan counts the files.
        """
        pause = self.stages.settings.spool.poll_interval_ms / 1000
        await asyncio.sleep(min(pause, _COUNT_AFTER))
        while True:
            await self._count_backlog()
            await asyncio.sleep(pause)

    async def _count_backlog(self) -> None:
        spool, by = self.stages.settings.spool, self.stages.options.value.scan
        stock = await asyncio.to_thread(counted, spool.root, self.stages.events.keys(), by.project_id, by.names)
        self.stages.in_flight.note(stock)

    async def _work(self) -> None:
        """Run all stages until a stop, then until the claimed files are settled."""
        stages, channels = self.stages, self.stages.channels
        news_in, batches_in = channels.news_in, channels.batches_in
        workers = stages.settings.workers
        await stages.gate.check()
        try:
            async with asyncio.TaskGroup() as group:
                follow = self.shared.heartbeat.follow
                group.create_task(follow("arrivals", self._arrivals()))
                group.create_task(follow("claim", stages.claimer.run(channels.places)))
                adopting = stages.adopter.run(channels.shipments_in, news_in.clone(), self.stop)
                group.create_task(follow("adopt", adopting))
                for number in range(workers.decoders):
                    decoding = decode(
                        channels.shipments,
                        batches_in.clone(),
                        news_in.clone(),
                        reader=stages.reader,
                        instances=stages.instances,
                        disk=stages.disk,
                        recent=self.shared.recent,
                        postponed=stages.postponed,
                        is_left=stages.inserter.is_left,
                    )
                    group.create_task(follow(f"decode-{number}", decoding))
                batches_in.close()
                for number in range(workers.inserters):
                    inserting = stages.inserter.run(channels.batches, news_in.clone())
                    group.create_task(follow(f"insert-{number}", inserting, limit=self._patience))
                news_in.close()
                # Before settle: after a stop at the very start, all stages end in their first step, and settle ends
                # the recorder, which must have begun (test_a_stop_drains_and_exits_0).
                group.create_task(follow("record", stages.recorder.run(), limit=self._patience))
                group.create_task(follow("settle", self._settle()))
                if self.shared.once:
                    group.create_task(self._stop_when_idle(), name="idle")
                else:
                    self._attend(group)
        finally:
            stages.executor.shutdown(wait=False, cancel_futures=True)
        if self.shared.once:
            await self._sample()

    async def _settle(self) -> None:
        await self.stages.settler.run(self.stages.channels.news)
        self.stages.recorder.end()

    async def _stop_when_idle(self) -> None:
        """Stop once nothing is in flight and a scan that began then finds nothing to claim.

        A ledger that refuses is waited for as long as anything else that does, counted from then on.
        """
        stages = self.stages
        waits_since: float | None = None
        while not self.stop.is_set():
            if stages.is_idle():
                # Those of now: a scan that begins meanwhile forgets the older ones, to try them again.
                refused = stages.in_flight.refused
                is_pending = await asyncio.to_thread(stages.has_claimable, refused)
                is_closed = not stages.gate.open.is_set()
                if stages.is_idle() and (is_closed or not is_pending):
                    waits_since = time.monotonic() if waits_since is None else waits_since
                    if not stages.recorder.left or self.shared.options.value.retry.is_used_up(waits_since):
                        self._left_pending = is_pending or bool(refused)
                        self.shared.request_stop()
                        return
                self.shared.wake.set()
            await asyncio.sleep(_IDLE_POLL)

    def _attend(self, group: asyncio.TaskGroup) -> None:
        """Start the tasks that a daemon has besides its stages (a run with `--once` has none of them)."""
        stages, follow = self.stages, self.shared.heartbeat.follow
        group.create_task(watch(stages.settings.spool.root, stages.in_flight, stages.wake, self.stop), name="watch")
        group.create_task(follow("gate", stages.gate.run(self.stop)))
        group.create_task(follow("retention", stages.retention.run(self.stop)))
        guarding = keep_guard(lambda: stages.settings, stages.backend, stages.health, self.stop, stages.events)
        guard = group.create_task(follow("guard", guarding, limit=self._patience))
        # It claims nothing, so its unanswered statement need not use up the grace.
        group.create_task(self._cancel_at_the_stop(guard), name="unguard")
        if not isinstance(stages.progress, Silent):
            group.create_task(self._show_first_rows(), name="sample")

    async def _cancel_at_the_stop(self, task: asyncio.Task[None]) -> None:
        await self.stop.wait()
        task.cancel()

    @property
    def _patience(self) -> float:
        """How long a stage may wait for the store: one whose statement is broken off in time is not stuck."""
        return STUCK_AFTER + self.stages.backend.patience

    async def _arrivals(self) -> None:
        stages = self.stages
        await arrivals(
            stages.channels.places_in,
            spool=stages.instance.spool,
            types=stages.events.keys(),
            options=stages.options,
            in_flight=stages.in_flight,
            wake=stages.wake,
            stop=self.stop,
            progress=stages.progress,
        )

    async def _follow_settings(self) -> None:
        """At each hangup read the settings and the event types again; wrong ones change nothing."""
        shared, stages = self.shared, self.stages
        await self.is_ready.wait()
        while self.reread is not None:
            await self.hangup.wait()
            self.hangup.clear()
            if self.stop.is_set():
                continue
            self.notifier.reloading()
            try:
                fresh = await asyncio.to_thread(self.reread)
                events = await asyncio.to_thread(registry.load, fresh.events)
                # Before the first answer of ClickHouse this is left to the start, which waits for it.
                if events != shared.events and shared.health.answered:
                    await prepare_and_guard(stages.backend, shared.health, events)
            except (BadSettingError, StoreError) as error:
                log.error("reload_refused", error=str(error), hint="nothing has changed: correct it, and reload again")
            else:
                self._take_over(fresh, events)
            self.notifier.ready(self.reporter.line())

    def _take_over(self, fresh: Settings, events: Mapping[str, EventType]) -> None:
        """Put the live settings in force, and log the changes."""
        old = self.shared.settings
        reloaded = take_over(old, fresh)
        secrets = {*old.secrets(), *fresh.secrets()}
        configure(level=reloaded.settings.log.level, style=reloaded.settings.log.format, secrets=secrets)
        changed = self.stages.take_over(reloaded.settings, events)
        log.info("reloaded", taken=reloaded.taken, event_types=changed)
        if reloaded.needs_restart:
            log.warning("restart_needed", settings=reloaded.needs_restart, hint="they stay as they were until then")

    async def _show_first_rows(self) -> None:
        """Once the first backlog has landed, read a row back and show it."""
        while not self.stop.is_set():
            if self.stages.settler.outcome.files and self.stages.is_idle():
                await self._sample()
                return
            await asyncio.sleep(0.2)

    async def _sample(self) -> None:
        stages = self.stages
        if not isinstance(stages.progress, Silent):
            await show_first_row(stages.backend, stages.progress, tables(stages.events), stages.settler.outcome.rows)

    async def close(self) -> None:
        """Close the folders of all instances; empty ones are removed."""
        for instance in list(self.stages.instances.values()):
            try:
                empty = await asyncio.to_thread(instance.is_empty)
                await asyncio.to_thread(instance.remove if empty else instance.close)
            except (OSError, SpoolhouseError) as error:
                log.warning("instance_not_closed", instance=instance.id, error=str(error))
