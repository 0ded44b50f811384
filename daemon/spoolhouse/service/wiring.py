"""The stages of a run and the channels between them, made but not running: the service starts them."""

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

from spoolhouse.events import registry
from spoolhouse.events.declaration import EventType
from spoolhouse.events.ledger import LEDGER
from spoolhouse.pipeline.adopt import Adopter
from spoolhouse.pipeline.arrivals import InFlightFiles
from spoolhouse.pipeline.bisect import RowBisector
from spoolhouse.pipeline.channel import Receiver, Sender, channel
from spoolhouse.pipeline.claim import Claimer
from spoolhouse.pipeline.claim_gate import ClaimGate
from spoolhouse.pipeline.disk_retry import DiskRetry
from spoolhouse.pipeline.insert import Inserter
from spoolhouse.pipeline.messages import Batch, News
from spoolhouse.pipeline.postponed import PostponedShipments
from spoolhouse.pipeline.record import LedgerRecorder
from spoolhouse.pipeline.retention import Retention
from spoolhouse.pipeline.scan import has_other_than
from spoolhouse.pipeline.settle import Settler
from spoolhouse.service.backend import Backend
from spoolhouse.service.shared import Shared
from spoolhouse.settings import Settings
from spoolhouse.spool.append_watch import AppendWatch
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal_files import FileState
from spoolhouse.spool.layout import Place
from spoolhouse.spool.shipment import Shipment
from spoolhouse.spool.shipment_reader import ShipmentReader

_PLACES = 500
_NEWS = 1000


class Channels:
    """The channels between the stages. The service gives each stage its ends, and closes its own."""

    def __init__(self, shipments: int) -> None:
        """Let at most so many shipments wait to be decoded."""
        self.places_in, self.places = channel(_PLACES, Place)
        self.shipments_in, self.shipments = channel(shipments, Shipment)
        self.batches_in, self.batches = channel(1, Batch)
        self.news_in: Sender[News]
        self.news: Receiver[News]
        self.news_in, self.news = channel(_NEWS)


class Stages:
    """The stages of one run."""

    def __init__(self, *, shared: Shared, backend: Backend, instance: Instance, disk: DiskRetry) -> None:
        """Make the stages."""
        self.shared, self.backend, self.instance, self.disk = shared, backend, instance, disk
        self.events, self.progress, self.options = shared.events, shared.progress, shared.options
        self.stop, self.wake, self.health = shared.stop, shared.wake, shared.health
        self.instances = {self.instance.id: self.instance}
        self.in_flight, self.append_watch = InFlightFiles(), AppendWatch()
        self.health.waiting = lambda: self.in_flight.waiting + self.unacknowledged
        self.channels = Channels(self.settings.workers.shipments)
        # One thread: decoding holds the interpreter, and a second one would only fight the event loop for it (measured:
        # a sixth slower). The other decoders read, and wait for room, meanwhile.
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self.gate = ClaimGate(self.instance.spool, self.health, self.options)
        self.adopter = self._adopter()
        self.claimer = self._claimer()
        self.reader = ShipmentReader(
            self.instances, self.events, self.options.value.fingerprint, self.executor, self.disk
        )
        self.postponed = PostponedShipments(
            health=self.health,
            disk=self.disk,
            sent=self.backend.sent,
            instances=self.instances,
        )
        self.inserter = self._inserter()
        self.recorder = self._recorder()
        self.adopter.unwritten = self.recorder.unwritten
        self.adopter.is_waiting = self._is_waiting
        self.settler = Settler(
            instances=self.instances,
            append_watch=self.append_watch,
            options=self.options,
            progress=self.progress,
            disk=self.disk,
            in_flight=self.in_flight,
            wake=self.wake,
            unwritten=self.recorder.unwritten,
            recent=shared.recent,
        )
        self.adopter.may_give_way, self.adopter.let_go = self._may_give_way, self.settler.let_go
        self.retention = Retention(self.instance, self.instances, self.options)

    def _adopter(self) -> Adopter:
        return Adopter(
            own=self.instance,
            instances=self.instances,
            append_watch=self.append_watch,
            types=self.events.keys(),
            options=self.options,
        )

    def _claimer(self) -> Claimer:
        return Claimer(
            instance=self.instance,
            options=self.options,
            append_watch=self.append_watch,
            in_flight=self.in_flight,
            out=self.channels.shipments_in.clone(),
            news=self.channels.news_in.clone(),
            writable=self.health.writable,
            gate=self.gate.open,
            is_held=self._is_held,
            stop=self.stop,
            disk=self.disk,
            wake=self.wake,
        )

    def _inserter(self) -> Inserter:
        return Inserter(
            self.backend.store,
            sent=self.postponed.sent,
            options=self.options,
            health=self.health,
            bisector=RowBisector(
                instances=self.instances, options=self.options, disk=self.disk, recent=self.shared.recent
            ),
            progress=self.progress,
            stop=self.stop,
        )

    def _recorder(self) -> LedgerRecorder:
        table = self.backend.store.name(LEDGER)
        self.health.lagging.add(table)
        return LedgerRecorder(
            instances=self.instances,
            table=table,
            insert=self.backend.record,
            health=self.health,
            disk=self.disk,
            options=self.options,
            stop=self.stop,
        )

    def take_over(self, settings: Settings, events: Mapping[str, EventType]) -> list[str]:
        """Put other settings and event types in force; return the names of the types that changed."""
        changed = sorted(name for name in events.keys() | self.events if events.get(name) != self.events.get(name))
        registry.replace(self.events, events)
        old_retry = self.options.value.retry
        self.shared.reload(settings)
        retry = self.options.value.retry
        self.inserter.pace()
        if retry != old_retry:
            self.health.end_pauses()
        self.backend.take_over(self.settings, fingerprint=self.options.value.fingerprint)
        if changed:
            self.reader.versions.follow(events, self.options.value.fingerprint)
        self.wake.set()
        return changed

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.shared.settings

    @property
    def unacknowledged(self) -> int:
        """The number of files that are ours, with rows that the store has not acknowledged yet."""
        return sum(len(instance.unacknowledged) for instance in list(self.instances.values()))

    def is_idle(self) -> bool:
        """Tell whether all that was ever claimed, or found in folders of dead instances, is in its final place."""
        # Files that arrive while the gate is closed stay in the spool.
        is_claiming = self.in_flight.under_way and self.gate.open.is_set()
        return self.adopter.scanned and not is_claiming and not self.is_unsettled()

    def has_claimable(self, refused: Collection[Place]) -> bool:
        """Tell whether the spool holds a file that is not among those `refused` a moment ago. Blocks on the disk."""
        by = self.options.value.scan
        return has_other_than(refused, self.instance.spool, self.events.keys(), by.project_id, by.names)

    def _may_give_way(self, instance: Instance) -> bool:
        """Tell whether an instance makes no progress: its files cannot be moved, or the ledger refuses its entries."""
        return self.settler.may_give_way(instance) and (bool(instance.files) or self.recorder.is_refused)

    def _is_waiting(self, instance: Instance) -> bool:
        """Tell whether an instance has files under way, and none of them makes progress."""
        held = self.settler.stuck.keys() | self.postponed.held()
        files = [file.number for file in list(instance.files.values()) if file.state is not FileState.FINAL]
        return bool(files) and all((instance.id, number) in held for number in files)

    def is_unsettled(self) -> bool:
        """Tell whether a claimed file is still to be settled; one that cannot be moved at the moment is not counted."""
        held = self.settler.stuck.keys() | self.postponed.held()
        return bool(self.append_watch.grown) or any(
            file.state is not FileState.FINAL and (instance.id, file.number) not in held
            for instance in list(self.instances.values())
            for file in list(instance.files.values())
        )

    def count_unsettled(self) -> int:
        """Return how many claimed files are not settled; after the end, the next start continues with them."""
        instances = list(self.instances.values())
        return sum(
            file.state is not FileState.FINAL for instance in instances for file in list(instance.files.values())
        )

    def is_left_over(self) -> bool:
        """Tell whether a pending file, or one that is claimed, is left at the end of a run that ends when idle."""
        held = (
            self.settler.stuck
            or self.postponed.held()
            or self.adopter.held
            or self.adopter.is_behind
            or self.recorder.left
        )
        return self.is_unsettled() or bool(held or self.in_flight.refused or self.in_flight.unread)

    def _tables(self, name: str) -> list[str]:
        """Return the full names of the tables of an event type; none if it is declared no more."""
        event = self.events.get(name)
        return [] if event is None else [self.backend.store.name(part.table) for part in event.parts]

    def _is_held(self, name: str) -> bool:
        """Tell whether a table of an event type takes no rows."""
        return any(self.health.is_held(table) for table in self._tables(name))
