"""The stages of a run, the channels between them and all that they share: made from the settings once, none running.

The service starts them. A reload tells them of other settings and event types.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from spoolhouse.events import registry
from spoolhouse.events.declaration import EventType
from spoolhouse.events.ledger import LEDGER
from spoolhouse.monitoring.health import Health
from spoolhouse.monitoring.progress import Progress
from spoolhouse.pipeline.adopt import Adopter
from spoolhouse.pipeline.arrivals import InFlightFiles
from spoolhouse.pipeline.bisect import RowBisector
from spoolhouse.pipeline.channel import Receiver, Sender, channel
from spoolhouse.pipeline.claim import Claimer
from spoolhouse.pipeline.claim_gate import ClaimGate
from spoolhouse.pipeline.disk_retry import DiskRetry
from spoolhouse.pipeline.insert import Inserter
from spoolhouse.pipeline.messages import Batch, News
from spoolhouse.pipeline.record import LedgerRecorder
from spoolhouse.pipeline.retention import Retention
from spoolhouse.pipeline.settle import Settler
from spoolhouse.service import options
from spoolhouse.service.status_reporter import Sources, StatusReporter
from spoolhouse.settings import Settings
from spoolhouse.spool.append_watch import AppendWatch
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal import FileState
from spoolhouse.spool.layout import Place
from spoolhouse.spool.shipment import Packer, Shipment
from spoolhouse.spool.shipment_reader import ShipmentReader
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.landing.ledger_write import write_entries
from spoolhouse.store.clickhouse.store import ClickHouseStore

_PLACES = 500
_NEWS = 1000


class Channels:
    """What joins the stages. Whoever starts them gives each its ends, and closes what is left over."""

    def __init__(self, shipments: int) -> None:
        """Let at most so many shipments wait to be decoded."""
        self.places_in, self.places = channel(_PLACES, Place)
        self.shipments_in, self.shipments = channel(shipments, Shipment)
        self.batches_in, self.batches = channel(1, Batch)
        self.news_in: Sender[News]
        self.news: Receiver[News]
        self.news_in, self.news = channel(_NEWS)


@dataclass(slots=True, kw_only=True)
class Stages:
    """The stages of one run."""

    settings: Settings
    """In force; a reload changes them."""
    driver: Driver
    instance: Instance
    once: bool
    events: dict[str, EventType]
    """Shared with whoever looks at them; a reload changes it."""
    progress: Progress
    reporter: StatusReporter
    disk: DiskRetry
    stop: asyncio.Event = field(init=False)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Something changed in the spool."""
    health: Health = field(init=False)
    instances: dict[str, Instance] = field(init=False)
    in_flight: InFlightFiles = field(default_factory=InFlightFiles)
    append_watch: AppendWatch = field(default_factory=AppendWatch)
    channels: Channels = field(init=False)
    executor: ThreadPoolExecutor = field(init=False)
    """One thread: decoding holds the interpreter, and a second one would only fight the event loop for it (measured: a
    sixth slower). The other decoders read, and wait for room, meanwhile."""
    gate: ClaimGate = field(init=False)
    adopter: Adopter = field(init=False)
    claimer: Claimer = field(init=False)
    reader: ShipmentReader = field(init=False)
    store: ClickHouseStore = field(init=False)
    inserter: Inserter = field(init=False)
    recorder: LedgerRecorder = field(init=False)
    settler: Settler = field(init=False)
    retention: Retention = field(init=False)

    def __post_init__(self) -> None:
        """Make them, each from what stands before it."""
        self.stop, self.health = self.reporter.stop, self.reporter.health
        self.instances = {self.instance.id: self.instance}
        self.health.waiting = lambda: self.in_flight.waiting + self.unacknowledged
        self.channels = Channels(self.settings.workers.shipments)
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self.gate = ClaimGate(self.instance.spool, self.health, lambda: options.min_free(self.settings))
        self.adopter = self._adopter()
        self.claimer = self._claimer()
        self.reader = ShipmentReader(
            self.instances, self.events, self.claimer.options.fingerprint, self.executor, self.disk
        )
        self.store = ClickHouseStore(
            self.driver,
            prefix=self._insert_prefix,
            shards=self.settings.clickhouse.shards,
            fingerprint=self.claimer.options.fingerprint,
        )
        self.inserter = self._inserter()
        self.recorder = self._recorder()
        self.adopter.unwritten = self.recorder.unwritten
        self.settler = Settler(
            instances=self.instances,
            append_watch=self.append_watch,
            settle_options=options.settle_options(self.settings),
            progress=self.progress,
            disk=self.disk,
            wake=self.wake,
            unwritten=self.recorder.unwritten,
        )
        self.retention = Retention(self.instance, self.instances, lambda: options.retention_policy(self.settings))
        self.reporter.work = Sources(
            instance=self.instance,
            instances=self.instances,
            in_flight=self.in_flight,
            settler=self.settler,
            recorder=self.recorder,
            adopter=self.adopter,
            gate=self.gate,
        )

    def _adopter(self) -> Adopter:
        return Adopter(
            own=self.instance,
            instances=self.instances,
            append_watch=self.append_watch,
            types=self.events.keys(),
            interval=self.settings.adopt.interval,
            append_watch_ms=options.settle_options(self.settings).append_watch_ms,
            now_ms=options.now_ms,
        )

    def _claimer(self) -> Claimer:
        gate = self.gate.open
        if self.once:
            # A run with an end leaves files where they are, and ends.
            gate = asyncio.Event()
            gate.set()
        return Claimer(
            instance=self.instance,
            options=options.options(self.settings, self.events),
            packer=Packer(options.packing(self.settings)),
            append_watch=self.append_watch,
            in_flight=self.in_flight,
            out=self.channels.shipments_in.clone(),
            news=self.channels.news_in.clone(),
            writable=self.health.writable,
            gate=gate,
            is_held=self._is_held,
            stop=self.stop,
            disk=self.disk,
        )

    def _inserter(self) -> Inserter:
        return Inserter(
            self.store,
            health=self.health,
            retry_policy=options.retry_policy(self.settings, once=self.once),
            bisector=RowBisector(
                instances=self.instances, reject_limits=options.reject_limits(self.settings), disk=self.disk
            ),
            progress=self.progress,
            stop=self.stop,
        )

    def _recorder(self) -> LedgerRecorder:
        table = self._insert_prefix + LEDGER.name
        self.health.lagging.add(table)
        return LedgerRecorder(
            instances=self.instances,
            table=table,
            insert=partial(write_entries, self.driver, prefix=self._insert_prefix),
            health=self.health,
            disk=self.disk,
            retry_policy=options.retry_policy(self.settings, once=self.once),
            grace=self.settings.shutdown.grace,
            stop=self.stop,
        )

    def take_over(self, settings: Settings, events: Mapping[str, EventType]) -> list[str]:
        """Go by other settings and event types from now on; return the names of the types that changed."""
        self.settings = settings
        changed = sorted(name for name in events.keys() | self.events if events.get(name) != self.events.get(name))
        registry.replace(self.events, events)
        self.settler.settle_options = options.settle_options(settings)
        self.adopter.interval = settings.adopt.interval
        self.adopter.append_watch_ms = self.settler.settle_options.append_watch_ms
        retry_policy = options.retry_policy(settings, once=self.once)
        self.disk.retry_policy = self.recorder.retry_policy = retry_policy
        self.recorder.grace = settings.shutdown.grace
        self.disk.least, self.disk.read_wait = options.min_free(settings), settings.spool.read_error_wait
        self.inserter.pace(retry_policy)
        self.store.pace(first=retry_policy.first, cap=retry_policy.cap)
        self.claimer.options = options.options(settings, events)
        self.claimer.packer.packing = options.packing(settings)
        self.inserter.bisector.reject_limits = options.reject_limits(settings)
        self.store.fingerprint = self.claimer.options.fingerprint
        if changed:
            self.reader.versions.follow(events, self.claimer.options.fingerprint)
        self.wake.set()
        return changed

    @property
    def unacknowledged(self) -> int:
        """The number of files that are ours, with rows that ClickHouse has not acknowledged yet."""
        return sum(len(instance.unacknowledged) for instance in list(self.instances.values()))

    def is_idle(self) -> bool:
        """Tell whether all that was ever claimed, or found in dead homes, is in its final place."""
        return self.adopter.scanned and not self.in_flight.under_way and not self.is_unsettled()

    def is_unsettled(self) -> bool:
        """Tell whether a claimed file is on its way; one that cannot be moved as things are is on no way."""
        return bool(self.append_watch.grown) or any(
            file.state is not FileState.FINAL and (instance.id, file.number) not in self.settler.stuck
            for instance in list(self.instances.values())
            for file in list(instance.files.values())
        )

    def count_unsettled(self) -> int:
        """Return how many claimed files are in no final place: after the end, what the next start goes on with."""
        instances = list(self.instances.values())
        return sum(
            file.state is not FileState.FINAL for instance in instances for file in list(instance.files.values())
        )

    def is_left_over(self) -> bool:
        """Tell whether anything that was pending is in no final place."""
        return self.is_unsettled() or bool(
            self.settler.stuck
            or self.recorder.left
            or self.in_flight.refused
            or self.in_flight.unread
            or self.adopter.held
        )

    @property
    def _insert_prefix(self) -> str:
        return self.settings.clickhouse.insert_prefix

    def _tables(self, name: str) -> list[str]:
        """Return the full names of the tables that lines of an event type land in; none if it is declared no more."""
        event = self.events.get(name)
        return [] if event is None else [self._insert_prefix + table for table in event.tables]

    def _is_held(self, name: str) -> bool:
        """Tell whether what lands an event type waits for a person, or all does in a run that cannot wait."""
        if self.once and not self.gate.open.is_set():
            return True
        return any(self.health.is_held(table) for table in self._tables(name))
