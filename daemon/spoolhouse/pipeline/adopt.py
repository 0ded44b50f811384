"""Adoption: takes over what dead instances left, this daemon's own last run included. Not a stage, but one's source.

Promises: a folder is touched only under its lock; its unfinished shipments are replayed exactly as journalled; files
that were claimed but never journalled go back to where they were dropped; a folder is removed when it is empty.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import partial

import structlog

from spoolhouse.errors import JournalError, SpoolhouseError
from spoolhouse.failpoints import reach
from spoolhouse.monitoring import heartbeat, metrics
from spoolhouse.pipeline.channel import Sender
from spoolhouse.pipeline.clock import now_ms
from spoolhouse.pipeline.disk_retry import to_its_end
from spoolhouse.pipeline.messages import Complete, News
from spoolhouse.pipeline.options import Current, Options
from spoolhouse.spool import descriptor_limit, instance_dirs, recovery
from spoolhouse.spool.append_watch import AppendWatch
from spoolhouse.spool.file_locations import fact
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal import Contents, FileState
from spoolhouse.spool.layout import Place
from spoolhouse.spool.shipment import Shipment

log = structlog.get_logger(__name__)
_SOON = 0.5
"""Seconds until the next look while instances wait for their turn."""
_MOST_OPEN = 256
_DESCRIPTORS = 4
"""What an open instance costs: its lock, its journal, and the files beside that."""


def most_open() -> int:
    """Return how many left-over instances may be open at once: with a quarter of the descriptors, or fewer."""
    return max(1, min(_MOST_OPEN, descriptor_limit.limit() // 4 // _DESCRIPTORS))


@dataclass(slots=True, kw_only=True)
class Adopter:
    """Looks for instance folders whose lock is free."""

    own: Instance
    instances: dict[str, Instance]
    append_watch: AppendWatch
    types: Collection[str]
    """The event types that are declared."""
    options: Current[Options]
    now_ms: Callable[[], int] = now_ms
    unwritten: asyncio.Event = field(default_factory=asyncio.Event)
    """Set after an adoption: its journal may hold ledger entries to be written."""
    held: set[str] = field(default_factory=set)
    """Instances whose folders cannot be worked with, or not to their end; tried again at each look."""
    is_waiting: Callable[[Instance], bool] = lambda _: False
    """Tells whether an adopted instance only holds files with which nothing can be done as things are."""
    scanned: bool = False
    """A first look is complete: each instance that was there has had its turn, or will have none as things are."""
    is_behind: bool = False
    """Some instances still wait for their turn."""
    _unreleased: dict[str, list[Place]] = field(default_factory=dict)
    """Never-journalled files that could not be put back yet, by instance."""
    _told: set[tuple[str, Place]] = field(default_factory=set)
    """Of which of them it was said."""

    async def run(self, shipments: Sender[Shipment], news: Sender[News], stop: asyncio.Event) -> None:
        """Adopt now and at each interval, until `stop`."""
        async with shipments, news:
            while not stop.is_set():
                is_complete = await self.look(shipments, news, stop)
                self.scanned = self.scanned or is_complete or self._is_blocked()
                self.is_behind = not is_complete
                reach("adopt.looked")
                interval = self.options.value.adopt_interval
                await heartbeat.idle_until(stop, interval if is_complete else min(_SOON, interval))

    def _is_blocked(self) -> bool:
        """Tell whether the instances that are open give the others no turn as things are, and log it."""
        adopted = [instance for instance in self.instances.values() if instance is not self.own]
        if not all(map(self.is_waiting, adopted)):
            return False
        hint = "make the files of those that are open movable and readable: see file_not_moved and shipment_held"
        log.error("instances_left", open=len(adopted), hint=hint)
        return True

    async def look(self, shipments: Sender[Shipment], news: Sender[News], stop: asyncio.Event) -> bool:
        """Adopt what can be adopted, and let go of adopted homes that are empty.

        Return false if some have to wait until others are let go of: so many must not be open at once.
        """
        for instance in [instance for instance in self.instances.values() if instance is not self.own]:
            try:
                await to_its_end(partial(self._release, instance, self._unreleased.pop(instance.id, ())))
                if await to_its_end(instance.is_empty):
                    del self.instances[instance.id]
                    reach("adopt.empty")
                    await to_its_end(instance.remove)
                    log.info("adopted_home_done", instance=instance.id)
            except (SpoolhouseError, OSError) as error:
                self._hold(instance.id, error)
        names = await to_its_end(partial(instance_dirs.names, self.own.spool))
        self.held.intersection_update({*names, *self.instances})  # a person may have taken a folder away
        for instance_id in names:
            if instance_id not in self.instances and not stop.is_set():
                if len(self.instances) > most_open():
                    return False
                await self._adopt(instance_id, shipments, news, stop)
        return True

    async def _adopt(
        self, instance_id: str, shipments: Sender[Shipment], news: Sender[News], stop: asyncio.Event
    ) -> None:
        try:
            instance = await to_its_end(partial(Instance.adopt, self.own.spool, instance_id))
            if instance is None:
                self.held.discard(instance_id)
                return
            reach("adopt.locked")
            contents, actions = await to_its_end(partial(self._recover, instance))
            reach("adopt.recovered")
        except (SpoolhouseError, OSError) as error:
            self._hold(instance_id, error)
            return
        self.instances[instance_id] = instance
        self.unwritten.set()
        if instance_id not in self._unreleased:
            self.held.discard(instance_id)
        log.info(
            "adopted",
            instance=instance_id,
            shipments=len(contents.planned),
            files=len(contents.files),
            released=len(actions.release) - len(self._unreleased.get(instance_id, ())),
        )
        metrics.ADOPTIONS.inc()
        for number in (*actions.settle, *actions.vanished):
            await news.send(Complete(instance=instance, file=number))
        for shipment in contents.planned:
            if stop.is_set():
                return  # What is not replayed now is adopted by the next to come.
            metrics.IN_FLIGHT.inc()
            await shipments.send(shipment)
            reach("adopt.replayed")

    def _hold(self, instance_id: str, error: Exception) -> None:
        """Leave a folder that cannot be worked with as it is; say so once, and look again each time."""
        if instance_id not in self.held:
            self.held.add(instance_id)
            log.error("journal_held", instance=instance_id, error=str(error), hint="its claimed files are kept as is")

    def _recover(self, instance: Instance) -> tuple[Contents, recovery.Recovery[Place]]:
        """Decide, and carry out what needs no other stage; whatever fails, nobody has the home. Blocks on the disk."""
        try:
            contents = instance.load()
            if unknown := {shipment.type for shipment in contents.planned} - set(self.types):
                # Replayed without its declaration, a shipment that has landed would have all of its lines rejected.
                raise JournalError(f"no such event type any more: {', '.join(sorted(unknown))} (events.folder)")
            reach("adopt.loaded")
            instance.rename_back(file.number for file in contents.files)
            facts = [fact(instance, file) for file in contents.files]
            actions = recovery.plan(instance.listing(), facts, instance.unacknowledged)
            now = self.now_ms()
            if actions.moved:
                until = now + self.options.value.append_watch_ms
                instance.journal.moved(dict.fromkeys(actions.moved, until))
                reach("adopt.moved")
                for number in actions.moved:
                    instance.files[number].state = FileState.FINAL
                    instance.files[number].watch_until_ms = until
            self._watch(instance, (*actions.moved, *actions.watch), now)
        except BaseException:
            instance.close()
            raise
        self._release(instance, actions.release)
        return contents, actions

    def _release(self, instance: Instance, places: Iterable[Place]) -> None:
        """Put files back to where they were dropped; those that cannot be are tried again at the next look."""
        left = []
        for place in places:
            try:
                instance.release(place)
            except FileNotFoundError:
                log.info("file_vanished", path=str(place))
            except OSError as error:
                left.append(place)
                if (instance.id, place) not in self._told:
                    self._told.add((instance.id, place))
                    hint = "let the daemon's user write to its folder, and see that there is room"
                    log.error("file_not_released", path=str(place), error=error.strerror, hint=hint)
        if left:
            self._unreleased[instance.id] = left
            self.held.add(instance.id)
        else:
            self.held.discard(instance.id)

    def _watch(self, instance: Instance, numbers: Iterable[int], now: int) -> None:
        """Watch files in their final place for appended bytes; forget at once those whose time was over unchanged."""
        watched: list[int] = []
        expired: list[int] = []
        appended: set[tuple[str, int]] = set()
        for number in numbers:
            file = instance.files[number]
            try:
                grown = instance.size(number) > file.planned_to
            except OSError:
                grown = False
            if grown:
                appended.add((instance.id, number))
            keep = grown or file.watch_until_ms > now or instance.unacknowledged.get(number)
            (watched if keep else expired).append(number)
        reach("adopt.watched")
        instance.journal.forget(expired)
        for number in expired:
            del instance.files[number]
        self.append_watch.grown |= appended
        for number in watched:
            self.append_watch.watch(instance, number)
