"""What a run of the daemon is made of: it wires the stages together, and owns the task groups that they run in."""

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from spoolhouse import declarations, terms
from spoolhouse.channel import Receiver, Sender, channel
from spoolhouse.core.declaration import EventType, tables
from spoolhouse.core.jsonl import LineDecoder
from spoolhouse.core.ledger import LEDGER
from spoolhouse.core.ports import Driver
from spoolhouse.core.shipment import Packer, Shipment
from spoolhouse.errors import BadSettingError, SpoolhouseError, StoreError
from spoolhouse.figures import Figures, Work
from spoolhouse.health import Health
from spoolhouse.landing.ledger import LedgerWriter
from spoolhouse.log import configure
from spoolhouse.notify import Notifier, keep_telling
from spoolhouse.pipeline.adopt import Adopter
from spoolhouse.pipeline.arrivals import Desk, arrivals, look_through, note_backlog, watch
from spoolhouse.pipeline.claim import Claimer
from spoolhouse.pipeline.decode import Batch, decode
from spoolhouse.pipeline.disk import Disk
from spoolhouse.pipeline.gate import Gate
from spoolhouse.pipeline.insert import Inserter
from spoolhouse.pipeline.poison import Poison
from spoolhouse.pipeline.pressure import PartPressure, filled
from spoolhouse.pipeline.retention import Retention
from spoolhouse.pipeline.settle import News, Settler
from spoolhouse.progress import Progress, Silent
from spoolhouse.pulse import STUCK_AFTER, Pulse
from spoolhouse.reload import take_over
from spoolhouse.sample_row import show_a_row
from spoolhouse.settings import Settings
from spoolhouse.spool.home import Home
from spoolhouse.spool.journal import FileState
from spoolhouse.spool.layout import Place
from spoolhouse.spool.shipments import Reader
from spoolhouse.spool.tails import Tails
from spoolhouse.standing import Standing
from spoolhouse.startup import await_ready, keep_guard, prepare_and_guard

log = structlog.get_logger(__name__)

EXIT_OK = 0
EXIT_CRASH = 1
EXIT_LEFT_OVER = 1
EXIT_UNAVAILABLE = 69
EXIT_OUT_OF_TIME = 75

_PLACES = 500
_NEWS = 1000


@dataclass(slots=True, kw_only=True)
class Service:
    """One run: everything that its stages share."""

    settings: Settings
    driver: Driver
    home: Home
    once: bool
    events: dict[str, EventType]
    """Shared with whoever looks at them; a reload changes it."""
    progress: Progress
    figures: Figures
    disk: Disk
    notifier: Notifier = field(default_factory=Notifier)
    stop: asyncio.Event = field(init=False)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Something changed in the spool."""
    reread: Callable[[], Settings] | None = None
    hangup: asyncio.Event = field(default_factory=asyncio.Event)
    """The settings are to be read again."""
    desk: Desk = field(default_factory=Desk)
    health: Health = field(init=False)
    pulse: Pulse = field(init=False)
    homes: dict[str, Home] = field(init=False)
    tails: Tails = field(default_factory=Tails)
    ledger: LedgerWriter = field(init=False)
    settler: Settler = field(init=False)
    adopter: Adopter = field(init=False)
    pressure: PartPressure = field(init=False)
    gate: Gate = field(init=False)
    reader: Reader | None = None
    claimer: Claimer | None = None
    inserter: Inserter | None = None

    def __post_init__(self) -> None:
        """Make the parts that outlive the stages."""
        self.stop, self.health, self.pulse = self.figures.stop, self.figures.health, self.figures.pulse
        self.homes = {self.home.instance: self.home}
        ending = terms.ending(self.settings)
        self.ledger = LedgerWriter(
            driver=self.driver,
            prefix=self.settings.clickhouse.insert_prefix,
            health=self.health,
            persistence=terms.persistence(self.settings, once=self.once),
        )
        self.settler = Settler(
            homes=self.homes,
            tails=self.tails,
            ending=ending,
            record=self.ledger.write,
            progress=self.progress,
            disk=self.disk,
            wake=self.wake,
        )
        self.adopter = Adopter(
            own=self.home,
            homes=self.homes,
            tails=self.tails,
            types=self.events.keys(),
            interval=self.settings.adopt.interval,
            append_watch_ms=ending.append_watch_ms,
            now_ms=terms.now_ms,
        )
        self.pressure = PartPressure(
            self.driver,
            filled(tables(self.events).values(), prefix=self.settings.clickhouse.insert_prefix),
            self.stop,
        )
        self.gate = Gate(self.home.spool, self.health, lambda: terms.watermark(self.settings))
        self.figures.work = Work(
            home=self.home,
            homes=self.homes,
            desk=self.desk,
            settler=self.settler,
            adopter=self.adopter,
            gate=self.gate,
        )

    async def live(self) -> int:
        """Lead the run with its attendants beside it, which end with it; return the exit code."""
        async with asyncio.TaskGroup() as group:
            telling = keep_telling(self.notifier, self.pulse, lambda: str(self.standing()))
            attendants = [group.create_task(telling), group.create_task(self.follow_settings())]
            try:
                return await self.lead()
            finally:
                for attendant in attendants:
                    attendant.cancel()

    async def lead(self) -> int:
        """Go through the run's whole life, and return the exit code."""
        if self.notifier.wanted:
            await self._count_backlog()
        # A server that is down is something to wait for, not a start that failed.
        self.notifier.ready(str(self.standing()))
        async with asyncio.TaskGroup() as group:
            counting = group.create_task(self._keep_counting(), name="count")
            ready = await await_ready(
                self.settings, self.driver, self.health, self.stop, once=self.once, events=self.events
            )
            counting.cancel()
        if not ready:
            return EXIT_OK if self.stop.is_set() else EXIT_UNAVAILABLE
        log.info("started", instance=self.home.instance, spool=os.fspath(self.home.spool), once=self.once)
        await self.work()
        return self.verdict()

    async def _keep_counting(self) -> None:
        """While ClickHouse is awaited there are no arrivals yet, but somebody may want to know what piles up."""
        while True:
            await asyncio.sleep(self.settings.spool.poll_interval_ms / 1000)
            await self._count_backlog()

    async def _count_backlog(self) -> None:
        spool = self.settings.spool
        found = await asyncio.to_thread(look_through, spool.root, self.events.keys(), spool.project_id)
        note_backlog(found, self.desk)

    async def follow_settings(self) -> None:
        """At each hangup read the settings and the event types again, for ever; bad ones change nothing."""
        while self.reread is not None:
            await self.hangup.wait()
            self.hangup.clear()
            if self.stop.is_set():
                continue
            self.notifier.reloading()
            try:
                fresh = await asyncio.to_thread(self.reread)
                events = await asyncio.to_thread(declarations.load, fresh.events.folder)
                # While ClickHouse is awaited, whatever is declared when it answers is prepared.
                if events != self.events and self.health.answered:
                    await prepare_and_guard(self.settings, self.driver, self.health, events)
            except (BadSettingError, StoreError) as error:
                log.error("reload_refused", error=str(error), mend="nothing has changed: mend it, and reload again")
            else:
                self._take_over(fresh, events)
            self.notifier.ready(str(self.standing()))

    def _take_over(self, fresh: Settings, events: Mapping[str, EventType]) -> None:
        """Put in force what can change now; stages that are not made yet look at it when they are."""
        reloaded = take_over(self.settings, fresh)
        secrets = {*self.settings.secrets(), *fresh.secrets()}
        settings = self.settings = reloaded.settings
        configure(level=settings.log.level, style=settings.log.format, secrets=secrets)
        changed = sorted(name for name in events.keys() | self.events if events.get(name) != self.events.get(name))
        declarations.replace(self.events, events)
        self.settler.ending = terms.ending(settings)
        self.adopter.interval = settings.adopt.interval
        self.adopter.append_watch_ms = self.settler.ending.append_watch_ms
        self.disk.first, self.disk.cap = settings.retry.first, settings.retry.cap
        self.ledger.persistence = terms.persistence(settings, once=self.once)
        if self.claimer is not None and self.inserter is not None and self.reader is not None:
            self.claimer.terms = terms.terms(settings, events)
            self.claimer.packer.packing = terms.packing(settings)
            self.inserter.persistence = self.ledger.persistence
            self.inserter.poison.tolerance = terms.tolerance(settings)
            self.inserter.fingerprint = terms.terms(settings, events).fingerprint
            if changed:
                self.reader.editions.follow(events, LineDecoder(events))
                self.pressure.watch(filled(tables(events).values(), prefix=settings.clickhouse.insert_prefix))
        self.wake.set()
        log.info("reloaded", taken=reloaded.taken, event_types=changed)
        if reloaded.needs_restart:
            log.warning("restart_needed", settings=reloaded.needs_restart, mend="they stay as they were until then")

    def standing(self) -> Standing:
        """Return how things are just now."""
        outcome = self.settler.outcome
        return Standing(
            prepared=self.health.answered,
            stopping=self.stop.is_set(),
            grace=self.settings.shutdown.grace,
            waiting=self.desk.waiting,
            claimed=sum(len(home.unacknowledged) for home in list(self.homes.values())),
            settled=outcome.files,
            rejected=outcome.rejected,
            troubles={**self.health.troubles, **self.health.holds},
            paused=self.gate.paused,
            stuck=self.pulse.stuck(),
        )

    async def work(self) -> None:
        """Run all stages until what is claimed has settled: after a stop, or with `once` when nothing is left."""
        workers = self.settings.workers
        places_in, places = channel(_PLACES, Place)
        shipments_in, shipments = channel(workers.shipments, Shipment)
        batches_in, batches = channel(1, Batch)
        news_in: Sender[News]
        news: Receiver[News]
        news_in, news = channel(_NEWS)
        # One thread: decoding holds the interpreter, and a second one would only fight the event loop for it (measured:
        # a sixth slower). The other decoders read, and wait for room, meanwhile.
        executor = ThreadPoolExecutor(1, thread_name_prefix="decode")
        reader = self.reader = Reader(self.homes, self.events, LineDecoder(self.events), executor)
        claimer = self.claimer = self._claimer(shipments_in.clone(), news_in.clone())
        inserter = self.inserter = self._inserter()
        # A statement that is broken off in time is no stuck stage.
        clickhouse = self.settings.clickhouse
        patience = STUCK_AFTER + clickhouse.connect_timeout + clickhouse.timeout
        await self.gate.look()
        try:
            async with asyncio.TaskGroup() as group:
                follow = self.pulse.follow
                group.create_task(follow("arrivals", self._arrivals(places_in)))
                group.create_task(follow("claim", claimer.run(places)))
                adopting = self.adopter.run(shipments_in, news_in.clone(), self.stop, once=self.once)
                group.create_task(follow("adopt", adopting))
                for number in range(workers.decoders):
                    decoding = decode(
                        shipments, batches_in.clone(), news_in.clone(), reader=reader, homes=self.homes, disk=self.disk
                    )
                    group.create_task(follow(f"decode-{number}", decoding))
                batches_in.close()
                for number in range(workers.inserters):
                    inserting = inserter.run(batches, news_in.clone())
                    group.create_task(follow(f"insert-{number}", inserting, limit=patience))
                news_in.close()
                group.create_task(follow("settle", self.settler.run(news)))
                if not self.once:
                    root = self.settings.spool.root
                    group.create_task(watch(root, self.wake, self.stop), name="watch")
                    group.create_task(follow("pressure", self.pressure.run()))
                    group.create_task(follow("gate", self.gate.run(self.stop)))
                    guarding = keep_guard(lambda: self.settings, self.driver, self.health, self.stop, self.events)
                    retention = Retention(self.home, self.homes, lambda: terms.custom(self.settings))
                    group.create_task(follow("retention", retention.run(self.stop)))
                    group.create_task(follow("guard", guarding, limit=patience))
                    if not isinstance(self.progress, Silent):
                        group.create_task(self._show_first_rows(), name="sample")
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
        if self.once:
            await self._sample()

    async def _arrivals(self, out: Sender[Place]) -> None:
        await arrivals(
            out,
            spool=self.home.spool,
            types=self.events.keys(),
            look=lambda: terms.look(self.settings),
            desk=self.desk,
            wake=self.wake,
            stop=self.stop,
            finished=self._is_idle if self.once else None,
            progress=self.progress,
        )

    def _claimer(self, out: Sender[Shipment], news: Sender[News]) -> Claimer:
        return Claimer(
            home=self.home,
            terms=terms.terms(self.settings, self.events),
            packer=Packer(
                terms.packing(self.settings),
                strain=self._strain,
            ),
            tails=self.tails,
            desk=self.desk,
            out=out,
            news=news,
            writable=self.health.writable,
            gate=self._opened if self.once else self.gate.open,
            is_held=self._is_held,
            stop=self.stop,
            disk=self.disk,
        )

    def _inserter(self) -> Inserter:
        return Inserter(
            self.driver,
            prefix=self.settings.clickhouse.insert_prefix,
            shards=self.settings.clickhouse.shards,
            fingerprint=terms.terms(self.settings, self.events).fingerprint,
            homes=self.homes,
            health=self.health,
            persistence=terms.persistence(self.settings, once=self.once),
            poison=Poison(homes=self.homes, tolerance=terms.tolerance(self.settings), disk=self.disk),
            pressure=self.pressure,
            progress=self.progress,
        )

    @property
    def _opened(self) -> asyncio.Event:
        """A gate that never closes: a run with an end leaves files where they are, and ends."""
        gate = asyncio.Event()
        gate.set()
        return gate

    def _tables(self, name: str) -> list[str]:
        """Return the full names of the tables that lines of an event type land in; none if it is declared no more."""
        event = self.events.get(name)
        return [] if event is None else [self.settings.clickhouse.insert_prefix + table for table in event.tables]

    def _strain(self, name: str) -> float:
        """Tell how near an event type's tables are to more parts than ClickHouse takes."""
        return max((self.pressure.of(table) for table in self._tables(name)), default=0.0)

    def _is_held(self, name: str) -> bool:
        """Tell whether what lands an event type waits for a person, or all does in a run that cannot wait."""
        if self.once and not self.gate.open.is_set():
            return True
        ledger = self.settings.clickhouse.insert_prefix + LEDGER.name
        return any(self.health.is_held(table) for table in (*self._tables(name), ledger))

    def _is_idle(self) -> bool:
        """Tell whether all that was ever claimed, or found in dead homes, is in its final place."""
        return self.adopter.looked and not self.desk.under_way and not self._unsettled()

    def _unsettled(self) -> bool:
        """Tell whether a claimed file is on its way; one that cannot be moved as things are is on no way."""
        return bool(self.tails.grown) or any(
            file.state is not FileState.FINAL and (home.instance, file.number) not in self.settler.stuck
            for home in list(self.homes.values())
            for file in list(home.files.values())
        )

    def verdict(self) -> int:
        """Return the exit code of a run that ended by itself or by a stop in time."""
        left = self._unsettled() or bool(self.settler.stuck or self.desk.refused or self.adopter.held)
        return EXIT_LEFT_OVER if self.once and (left or self.settler.outcome.failed) else EXIT_OK

    async def _show_first_rows(self) -> None:
        """Once the first backlog has landed, read a row back: something for a person to look at."""
        while not self.stop.is_set():
            if self.settler.outcome.files and self._is_idle():
                await self._sample()
                return
            await asyncio.sleep(0.2)

    async def _sample(self) -> None:
        if not isinstance(self.progress, Silent):
            prefix, rows = self.settings.clickhouse.table_prefix, self.settler.outcome.rows
            await show_a_row(self.driver, self.progress, prefix, tables(self.events), rows)

    async def close(self) -> None:
        """Let go of all homes; those that are empty are removed."""
        for home in list(self.homes.values()):
            try:
                empty = await asyncio.to_thread(home.is_empty)
                await asyncio.to_thread(home.remove if empty else home.close)
            except (OSError, SpoolhouseError) as error:
                log.warning("home_not_closed", instance=home.instance, error=str(error))
