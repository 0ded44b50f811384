"""One run of the daemon: how it starts, which tasks there are, and how it drains. It owns their task groups."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from spoolhouse.errors import BadSettingError, SpoolhouseError, StoreError
from spoolhouse.events import registry
from spoolhouse.events.declaration import EventType, tables
from spoolhouse.monitoring.heartbeat import STUCK_AFTER, Heartbeat
from spoolhouse.monitoring.logs import configure
from spoolhouse.monitoring.progress import Silent
from spoolhouse.monitoring.status_line import StatusLine
from spoolhouse.monitoring.systemd import Notifier, keep_telling
from spoolhouse.pipeline.arrivals import arrivals
from spoolhouse.pipeline.decode import decode
from spoolhouse.pipeline.scan import counted
from spoolhouse.pipeline.watch import watch
from spoolhouse.service.options import look
from spoolhouse.service.prepare import await_ready, keep_guard, prepare_and_guard
from spoolhouse.service.preview import show_first_row
from spoolhouse.service.reload import take_over
from spoolhouse.service.wiring import Stages
from spoolhouse.settings import Settings

log = structlog.get_logger(__name__)

T = TypeVar("T")

EXIT_OK = 0
EXIT_CRASH = 1
EXIT_LEFT_OVER = 1
EXIT_UNAVAILABLE = 69
EXIT_OUT_OF_TIME = 75


async def beside(work: Coroutine[object, object, T], *attendants: Coroutine[object, object, None]) -> T:
    """Do `work` with attendants beside it, which end with it; what it raises comes as it is."""
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


@dataclass(slots=True, kw_only=True)
class Service:
    """One run."""

    stages: Stages
    reread: Callable[[], Settings] | None = None
    hangup: asyncio.Event = field(default_factory=asyncio.Event)
    """The settings are to be read again."""
    notifier: Notifier = field(default_factory=Notifier)
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    """The service manager knows that the start is over: no reload is told of before."""
    stop: asyncio.Event = field(init=False)
    heartbeat: Heartbeat = field(init=False)

    def __post_init__(self) -> None:
        """Note what everybody shares."""
        self.stop, self.heartbeat = self.stages.stop, self.stages.reporter.heartbeat

    async def live(self) -> int:
        """Lead the run with its attendants beside it, which end with it; return the exit code."""
        telling = keep_telling(self.notifier, self.heartbeat, lambda: str(self.standing()))
        return await beside(self.lead(), telling, self.follow_settings())

    async def lead(self) -> int:
        """Go through the run's whole life, and return the exit code."""
        stages = self.stages
        if self.notifier.wanted:
            await self._count_backlog()
        if self.stop.is_set():
            return EXIT_OK
        # A server that is down is something to wait for, not a start that failed.
        self.notifier.ready(str(self.standing()))
        self.is_ready.set()
        async with asyncio.TaskGroup() as group:
            counting = group.create_task(self._keep_counting(), name="count")
            ready = await await_ready(
                stages.settings, stages.driver, stages.health, self.stop, once=stages.once, events=stages.events
            )
            counting.cancel()
        if not ready:
            return EXIT_OK if self.stop.is_set() else EXIT_UNAVAILABLE
        log.info("started", instance=stages.instance.id, spool=os.fspath(stages.instance.spool), once=stages.once)
        await self.work()
        left = stages.once and (stages.is_left_over() or stages.settler.outcome.failed)
        return EXIT_LEFT_OVER if left else EXIT_OK

    async def _keep_counting(self) -> None:
        """While ClickHouse is awaited there are no arrivals yet, but somebody may want to know what piles up."""
        while True:
            await self._count_backlog()
            await asyncio.sleep(self.stages.settings.spool.poll_interval_ms / 1000)

    async def _count_backlog(self) -> None:
        spool = self.stages.settings.spool
        stock = await asyncio.to_thread(counted, spool.root, self.stages.events.keys(), spool.project_id)
        self.stages.in_flight.note(stock)

    async def work(self) -> None:
        """Run all stages until what is claimed has settled: after a stop, or with `once` when nothing is left."""
        stages, channels = self.stages, self.stages.channels
        news_in, batches_in = channels.news_in, channels.batches_in
        workers = stages.settings.workers
        await stages.gate.look()
        try:
            async with asyncio.TaskGroup() as group:
                follow = self.heartbeat.follow
                group.create_task(follow("arrivals", self._arrivals()))
                group.create_task(follow("claim", stages.claimer.run(channels.places)))
                adopting = stages.adopter.run(channels.shipments_in, news_in.clone(), self.stop, once=stages.once)
                group.create_task(follow("adopt", adopting))
                for number in range(workers.decoders):
                    decoding = decode(
                        channels.shipments,
                        batches_in.clone(),
                        news_in.clone(),
                        reader=stages.reader,
                        instances=stages.instances,
                        disk=stages.disk,
                    )
                    group.create_task(follow(f"decode-{number}", decoding))
                batches_in.close()
                for number in range(workers.inserters):
                    inserting = stages.inserter.run(channels.batches, news_in.clone())
                    group.create_task(follow(f"insert-{number}", inserting, limit=self._patience))
                news_in.close()
                group.create_task(follow("settle", self._settle()))
                recording = stages.recorder.run()
                group.create_task(follow("record", recording, limit=self._patience))
                if not stages.once:
                    self._attend(group)
        finally:
            stages.executor.shutdown(wait=False, cancel_futures=True)
        if stages.once:
            await self._sample()

    async def _settle(self) -> None:
        await self.stages.settler.run(self.stages.channels.news)
        self.stages.recorder.end()

    def _attend(self, group: asyncio.TaskGroup) -> None:
        """Start what a run without an end has beside the stages, until the stop."""
        stages, follow = self.stages, self.heartbeat.follow
        group.create_task(watch(stages.settings.spool.root, stages.wake, self.stop), name="watch")
        group.create_task(follow("gate", stages.gate.run(self.stop)))
        group.create_task(follow("retention", stages.retention.run(self.stop)))
        guarding = keep_guard(lambda: stages.settings, stages.driver, stages.health, self.stop, stages.events)
        guard = group.create_task(follow("guard", guarding, limit=self._patience))
        # It claims nothing: a statement of its own that gets no answer is no reason to use up the grace.
        group.create_task(self._cancel_at_the_stop(guard), name="unguard")
        if not isinstance(stages.progress, Silent):
            group.create_task(self._show_first_rows(), name="sample")

    async def _cancel_at_the_stop(self, task: asyncio.Task[None]) -> None:
        await self.stop.wait()
        task.cancel()

    @property
    def _patience(self) -> float:
        """For so long a stage may wait for ClickHouse: a statement that is broken off in time is no stuck stage."""
        clickhouse = self.stages.settings.clickhouse
        return STUCK_AFTER + clickhouse.connect_timeout + clickhouse.timeout

    async def _arrivals(self) -> None:
        stages = self.stages
        await arrivals(
            stages.channels.places_in,
            spool=stages.instance.spool,
            types=stages.events.keys(),
            look=lambda: look(stages.settings),
            in_flight=stages.in_flight,
            wake=stages.wake,
            stop=self.stop,
            finished=stages.is_idle if stages.once else None,
            progress=stages.progress,
        )

    async def follow_settings(self) -> None:
        """At each hangup read the settings and the event types again, for ever; bad ones change nothing."""
        stages = self.stages
        await self.is_ready.wait()
        while self.reread is not None:
            await self.hangup.wait()
            self.hangup.clear()
            if self.stop.is_set():
                continue
            self.notifier.reloading()
            try:
                fresh = await asyncio.to_thread(self.reread)
                events = await asyncio.to_thread(registry.load, fresh.events.folder)
                # While ClickHouse is awaited, whatever is declared when it answers is prepared.
                if events != stages.events and stages.health.answered:
                    await prepare_and_guard(stages.settings, stages.driver, stages.health, events)
            except (BadSettingError, StoreError) as error:
                log.error("reload_refused", error=str(error), hint="nothing has changed: mend it, and reload again")
            else:
                self._take_over(fresh, events)
            self.notifier.ready(str(self.standing()))

    def _take_over(self, fresh: Settings, events: Mapping[str, EventType]) -> None:
        """Put in force what can change now, and say what."""
        old = self.stages.settings
        reloaded = take_over(old, fresh)
        secrets = {*old.secrets(), *fresh.secrets()}
        configure(level=reloaded.settings.log.level, style=reloaded.settings.log.format, secrets=secrets)
        changed = self.stages.take_over(reloaded.settings, events)
        log.info("reloaded", taken=reloaded.taken, event_types=changed)
        if reloaded.needs_restart:
            log.warning("restart_needed", settings=reloaded.needs_restart, hint="they stay as they were until then")

    def standing(self) -> StatusLine:
        """Return how things are just now."""
        stages, outcome = self.stages, self.stages.settler.outcome
        return StatusLine(
            prepared=stages.health.answered,
            stopping=self.stop.is_set(),
            grace=stages.settings.shutdown.grace,
            waiting=stages.in_flight.waiting,
            claimed=stages.unacknowledged,
            settled=outcome.files,
            rejected=outcome.rejected,
            troubles={**stages.health.troubles, **stages.health.holds},
            outage=stages.health.outage(),
            paused=stages.gate.paused,
            stuck=self.heartbeat.stuck(),
        )

    async def _show_first_rows(self) -> None:
        """Once the first backlog has landed, read a row back: something for a person to look at."""
        while not self.stop.is_set():
            if self.stages.settler.outcome.files and self.stages.is_idle():
                await self._sample()
                return
            await asyncio.sleep(0.2)

    async def _sample(self) -> None:
        stages = self.stages
        if not isinstance(stages.progress, Silent):
            prefix, rows = stages.settings.clickhouse.table_prefix, stages.settler.outcome.rows
            await show_first_row(stages.driver, stages.progress, prefix, tables(stages.events), rows)

    async def close(self) -> None:
        """Let go of all homes; those that are empty are removed."""
        for instance in list(self.stages.instances.values()):
            try:
                empty = await asyncio.to_thread(instance.is_empty)
                await asyncio.to_thread(instance.remove if empty else instance.close)
            except (OSError, SpoolhouseError) as error:
                log.warning("home_not_closed", instance=instance.id, error=str(error))
