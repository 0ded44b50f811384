"""Adoption: takes over the files of dead instances, also of this daemon's last run. A source of the decode stage.

Promises: a folder is touched only under its lock; its unfinished shipments are replayed exactly as journalled; files
that were claimed but never journalled go back to where they were dropped; a folder is removed when it is empty.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from functools import partial

import structlog
from msgspec import Struct, field

from spoolhouse.clock import now_ms
from spoolhouse.errors import JournalError, SpoolhouseError
from spoolhouse.failpoints import reach
from spoolhouse.monitoring import heartbeat, metrics
from spoolhouse.pipeline.channel import Sender
from spoolhouse.pipeline.disk_retry import to_its_end
from spoolhouse.pipeline.messages import Complete, News
from spoolhouse.pipeline.options import Current, Options
from spoolhouse.spool import descriptor_limit, fs, instance_dirs, recovery
from spoolhouse.spool.append_watch import AppendWatch
from spoolhouse.spool.file_locations import fact
from spoolhouse.spool.finalize import finish_moves
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal import Contents
from spoolhouse.spool.layout import Place
from spoolhouse.spool.shipment import Shipment

log = structlog.get_logger(__name__)
_SOON = 0.5
"""Seconds until the next scan while instances wait to be adopted."""
_MOST_OPEN = 256
_DESCRIPTORS = 4
"""Descriptors of an open instance: its lock, its journal, and the files beside the journal."""


def most_open() -> int:
    """Return how many left-over instances may be open at once: with a quarter of the descriptors, or fewer."""
    return max(1, min(_MOST_OPEN, descriptor_limit.limit() // 4 // _DESCRIPTORS))


class Adopter(Struct, kw_only=True):
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
    """Instances that cannot be adopted, or not completely; tried again at each scan."""
    is_waiting: Callable[[Instance], bool] = lambda _: False
    """Tells whether no file of an adopted instance can be processed at the moment."""
    may_give_way: Callable[[Instance], bool] = lambda _: False
    """Tells whether an adopted instance can be closed: no stage works on it, and its files cannot be moved now."""
    let_go: Callable[[Instance], None] = lambda _: None
    """Forgets an instance that is about to be closed."""
    scanned: bool = False
    """The first scan is complete: each dead instance that it found has been adopted, or cannot be adopted now."""
    is_behind: bool = False
    """Some instances still wait to be adopted."""
    _turns: dict[str, float] = field(default_factory=dict)
    """When each instance was last adopted, or last seen alive (monotonic)."""
    _had_turns: bool = False
    """Each instance has been adopted at least once."""
    _gave_way: set[str] = field(default_factory=set)
    """Instances that were closed to make room for others, and will be adopted again."""
    _unreleased: dict[str, list[Place]] = field(default_factory=dict)
    """Files without a journal entry that could not be released yet, by instance."""
    _logged: set[tuple[str, Place]] = field(default_factory=set)
    """The unreleased files that have been logged."""

    async def run(self, shipments: Sender[Shipment], news: Sender[News], stop: asyncio.Event) -> None:
        """Adopt now and at each interval, until `stop`."""
        async with shipments, news:
            while not stop.is_set():
                is_complete = await self.scan(shipments, news, stop)
                self.scanned = self.scanned or is_complete or self._is_blocked()
                if not stop.is_set():  # else the scan was broken off
                    self.is_behind = not is_complete
                reach("adopt.scanned")
                interval = self.options.value.adopt_interval
                await heartbeat.idle_until(stop, interval if is_complete else min(_SOON, interval))

    def _is_blocked(self) -> bool:
        """Tell whether no further instance can be adopted now; log it if the open instances are the reason."""
        if self._had_turns:
            return True
        adopted = [instance for instance in self.instances.values() if instance is not self.own]
        if not all(map(self.is_waiting, adopted)):
            return False
        hint = "make the files of those that are open movable and readable: see file_not_moved and shipment_held"
        log.error("instances_left", open=len(adopted), hint=hint)
        return True

    async def scan(self, shipments: Sender[Shipment], news: Sender[News], stop: asyncio.Event) -> bool:
        """Adopt dead instances, and remove adopted ones that are empty.

        The number of open instances is limited: return false if some have to wait for others.
        """
        for instance in [instance for instance in self.instances.values() if instance is not self.own]:
            try:
                await to_its_end(partial(self._release, instance, self._unreleased.pop(instance.id, ())))
                if await to_its_end(instance.is_empty):
                    del self.instances[instance.id]
                    reach("adopt.empty")
                    await to_its_end(instance.remove)
                    log.info("adopted_instance_done", instance=instance.id)
            except (SpoolhouseError, OSError) as error:
                self._hold(instance.id, error)
        names = await to_its_end(partial(instance_dirs.names, self.own.spool))
        self.held.intersection_update({*names, *self.instances})  # a person may have taken a folder away
        self._turns = {name: self._turns[name] for name in names if name in self._turns}
        self._gave_way.intersection_update(names)
        waiting = [name for name in names if name not in self.instances]
        for instance_id in sorted(waiting, key=lambda name: self._turns.get(name, 0.0)):
            if stop.is_set():
                break
            is_full = len(self.instances) > most_open()
            if is_full and not await self._make_way(at_once=instance_id not in self._turns):
                break
            self._turns[instance_id] = time.monotonic()
            await self._adopt(instance_id, shipments, news, stop)
        self._had_turns = all(name in self._turns or name == self.own.id for name in names)
        closed = [name for name in names if name not in self.instances]
        return self._had_turns and not self._gave_way.intersection(closed)

    async def _make_way(self, *, at_once: bool) -> bool:
        """Close the instance that has been open longest of those without progress; return false if there is none.

        An instance stays open for a while first, unless another one has to be adopted `at_once`.
        """
        is_over = time.monotonic() - (0.0 if at_once else self.options.value.retry.cap)
        for instance_id in sorted(self.instances.keys() & self._turns.keys(), key=lambda name: self._turns[name]):
            instance = self.instances[instance_id]
            if self._turns[instance_id] <= is_over and self.may_give_way(instance):
                del self.instances[instance_id]
                self._gave_way.add(instance_id)
                self.let_go(instance)
                await to_its_end(instance.close)
                return True
        return False

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
        if instance_id not in self._gave_way:
            log.info(
                "adopted",
                instance=instance_id,
                shipments=len(contents.planned),
                files=len(contents.files) + len(contents.settled),
                released=len(actions.release) - len(self._unreleased.get(instance_id, ())),
            )
            metrics.ADOPTIONS.inc()
        for number in (*actions.settle, *actions.vanished):
            await news.send(Complete(instance=instance, file=number))
        for shipment in contents.planned:
            if stop.is_set():
                return  # The next instance adopts the rest.
            metrics.IN_FLIGHT.inc()
            await shipments.send(shipment)
            reach("adopt.replayed")

    def _hold(self, instance_id: str, error: Exception) -> None:
        """Leave an unusable instance as it is; log it once, and check it again at each scan."""
        if instance_id not in self.held:
            self.held.add(instance_id)
            log.error("journal_held", instance=instance_id, error=str(error), hint="its claimed files are kept as is")

    def _recover(self, instance: Instance) -> tuple[Contents, recovery.Recovery[Place]]:
        """Decide, and do the part that needs no other stage. A failure unlocks the instance. Blocks on the disk."""
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
                finish_moves(instance, actions.moved, now + self.options.value.append_watch_ms)
                reach("adopt.moved")
            self._watch(instance, (*actions.moved, *actions.watch), now)
        except BaseException:
            instance.close()
            raise
        self._release(instance, actions.release)
        return contents, actions

    def _release(self, instance: Instance, places: Iterable[Place]) -> None:
        """Move files back to where they were dropped; one that cannot be moved is tried again at the next scan."""
        left = []
        for place in places:
            try:
                instance.release(place)
            except FileNotFoundError:
                log.info("file_vanished", path=str(place))
            except OSError as error:
                left.append(place)
                if (instance.id, place) not in self._logged:
                    self._logged.add((instance.id, place))
                    hint = "let the daemon's user write to its folder, and see that there is room"
                    log.error("file_not_released", path=str(place), error=error.strerror, hint=hint)
        if left:
            self._unreleased[instance.id] = left
            self.held.add(instance.id)
        else:
            self.held.discard(instance.id)

    def _watch(self, instance: Instance, numbers: Iterable[int], now: int) -> None:
        """Watch final files for appended bytes; forget the unchanged ones whose watch has ended."""
        watched: list[int] = []
        expired: list[int] = []
        appended: set[tuple[str, int]] = set()
        for number in numbers:
            file = instance.files[number]
            try:
                grown = instance.size(number) > file.planned_to
            except OSError as error:
                grown = error.errno in fs.MAY_PASS
            if grown:
                appended.add((instance.id, number))
            keep = grown or file.watch_until_ms > now or instance.unacknowledged.get(number)
            (watched if keep else expired).append(number)
        reopened = instance.grown(instance.settled.values())
        instance.reopen(reopened)
        expired += [number for number, file in instance.settled.items() if file.watch_until_ms <= now]
        reach("adopt.watched")
        instance.forget(expired)
        watched += reopened
        self.append_watch.grown |= appended | {(instance.id, number) for number in reopened}
        self.append_watch.watch_settled(instance, list(instance.settled.values()))
        for number in watched:
            self.append_watch.watch(instance, number)
