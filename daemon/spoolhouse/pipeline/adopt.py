"""Adoption: takes over what dead instances left, this daemon's own last run included. Not a stage, but one's source.

Promises: a folder is touched only under its lock; its unfinished shipments are replayed exactly as journalled; files
that were claimed but never journalled go back to where they were dropped; a folder is removed when it is empty.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import partial

import structlog

from spoolhouse import descriptors, metrics, pulse
from spoolhouse.channel import Sender
from spoolhouse.core import recovery
from spoolhouse.core.shipment import Shipment
from spoolhouse.errors import JournalError, SpoolhouseError
from spoolhouse.failpoints import reach
from spoolhouse.pipeline.disk import to_its_end
from spoolhouse.pipeline.settle import Complete, News
from spoolhouse.spool import instances
from spoolhouse.spool.facts import fact
from spoolhouse.spool.home import Home
from spoolhouse.spool.journal import Contents, FileState
from spoolhouse.spool.layout import Place
from spoolhouse.spool.tails import Tails

log = structlog.get_logger(__name__)
_SOON = 0.5
"""Seconds until the next look while instances wait for their turn."""
_MOST_OPEN = 256
_DESCRIPTORS = 4
"""What an open instance costs: its lock, its journal, and the files beside that."""


def most_open() -> int:
    """Return how many left-over instances may be open at once: with a quarter of the descriptors, or fewer."""
    return max(1, min(_MOST_OPEN, descriptors.limit() // 4 // _DESCRIPTORS))


@dataclass(slots=True, kw_only=True)
class Adopter:
    """Looks for instance folders whose lock is free."""

    own: Home
    homes: dict[str, Home]
    tails: Tails
    types: Collection[str]
    """The event types that are declared."""
    interval: float
    append_watch_ms: int
    now_ms: Callable[[], int]
    held: set[str] = field(default_factory=set)
    """Instances whose folders cannot be worked with, or not to their end; tried again at each look."""
    looked: bool = False
    """A first look is complete: each instance that was there has had its turn."""
    _unreleased: dict[str, list[Place]] = field(default_factory=dict)
    """Never-journalled files that could not be put back yet, by instance."""
    _told: set[tuple[str, Place]] = field(default_factory=set)
    """Of which of them it was said."""

    async def run(self, shipments: Sender[Shipment], news: Sender[News], stop: asyncio.Event, *, once: bool) -> None:
        """Adopt now, and unless `once` every `interval` seconds until `stop`."""
        async with shipments, news:
            while not stop.is_set():
                is_complete = await self.look(shipments, news, stop)
                self.looked = self.looked or is_complete
                reach("adopt.looked")
                if once and is_complete:
                    return
                with contextlib.suppress(TimeoutError), pulse.resting():
                    async with asyncio.timeout(self.interval if is_complete else min(_SOON, self.interval)):
                        await stop.wait()

    async def look(self, shipments: Sender[Shipment], news: Sender[News], stop: asyncio.Event) -> bool:
        """Adopt what can be adopted, and let go of adopted homes that are empty.

        Return false if some have to wait until others are let go of: so many must not be open at once.
        """
        for home in [home for home in self.homes.values() if home is not self.own]:
            try:
                await to_its_end(partial(self._release, home, self._unreleased.pop(home.instance, ())))
                if await to_its_end(home.is_empty):
                    del self.homes[home.instance]
                    reach("adopt.empty")
                    await to_its_end(home.remove)
                    log.info("adopted_home_done", instance=home.instance)
            except (SpoolhouseError, OSError) as error:
                self._hold(home.instance, error)
        names = await to_its_end(partial(instances.names, self.own.spool))
        self.held.intersection_update({*names, *self.homes})  # a person may have taken a folder away
        for instance in names:
            if instance not in self.homes and not stop.is_set():
                if len(self.homes) > most_open():
                    return False
                await self._adopt(instance, shipments, news, stop)
        return True

    async def _adopt(self, instance: str, shipments: Sender[Shipment], news: Sender[News], stop: asyncio.Event) -> None:
        try:
            home = await to_its_end(partial(Home.adopt, self.own.spool, instance))
            if home is None:
                self.held.discard(instance)
                return
            reach("adopt.locked")
            contents, actions = await to_its_end(partial(self._recover, home))
            reach("adopt.recovered")
        except (SpoolhouseError, OSError) as error:
            self._hold(instance, error)
            return
        self.homes[instance] = home
        if instance not in self._unreleased:
            self.held.discard(instance)
        log.info(
            "adopted",
            instance=instance,
            shipments=len(contents.planned),
            files=len(contents.files),
            released=len(actions.release) - len(self._unreleased.get(instance, ())),
        )
        metrics.ADOPTIONS.inc()
        for number in (*actions.settle, *actions.vanished):
            await news.send(Complete(home=home, file=number))
        for shipment in contents.planned:
            if stop.is_set():
                return  # What is not replayed now is adopted by the next to come.
            metrics.IN_FLIGHT.inc()
            await shipments.send(shipment)
            reach("adopt.replayed")

    def _hold(self, instance: str, error: Exception) -> None:
        """Leave a folder that cannot be worked with as it is; say so once, and look again each time."""
        if instance not in self.held:
            self.held.add(instance)
            log.error("journal_held", instance=instance, error=str(error), mend="its claimed files are kept as is")

    def _recover(self, home: Home) -> tuple[Contents, recovery.Recovery[Place]]:
        """Decide, and carry out what needs no other stage; whatever fails, nobody has the home. Blocks on the disk."""
        try:
            contents = home.load()
            if unknown := {shipment.type for shipment in contents.planned} - set(self.types):
                # Replayed without its declaration, a shipment that has landed would have all of its lines rejected.
                raise JournalError(f"no such event type any more: {', '.join(sorted(unknown))} (events.folder)")
            reach("adopt.loaded")
            home.rename_back(file.number for file in contents.files)
            facts = [fact(home, file) for file in contents.files]
            actions = recovery.plan(home.listing(), facts, home.unacknowledged)
            now = self.now_ms()
            if actions.moved:
                until = now + self.append_watch_ms
                home.journal.moved(dict.fromkeys(actions.moved, until))
                reach("adopt.moved")
                for number in actions.moved:
                    home.files[number].state = FileState.FINAL
                    home.files[number].watch_until_ms = until
            self._watch(home, (*actions.moved, *actions.watch), now)
        except BaseException:
            home.close()
            raise
        self._release(home, actions.release)
        return contents, actions

    def _release(self, home: Home, places: Iterable[Place]) -> None:
        """Put files back to where they were dropped; those that cannot be are tried again at the next look."""
        left = []
        for place in places:
            try:
                home.release(place)
            except FileNotFoundError:
                log.info("file_vanished", path=str(place))
            except OSError as error:
                left.append(place)
                if (home.instance, place) not in self._told:
                    self._told.add((home.instance, place))
                    mend = "let the daemon's user write to its folder, and see that there is room"
                    log.error("file_not_released", path=str(place), error=error.strerror, mend=mend)
        if left:
            self._unreleased[home.instance] = left
            self.held.add(home.instance)
        else:
            self.held.discard(home.instance)

    def _watch(self, home: Home, numbers: Iterable[int], now: int) -> None:
        """Watch files in their final place for appended bytes; forget at once those whose time was over unchanged."""
        watched: list[int] = []
        expired: list[int] = []
        appended: set[tuple[str, int]] = set()
        for number in numbers:
            file = home.files[number]
            try:
                grown = home.size(number) > file.planned_to
            except OSError:
                grown = False
            if grown:
                appended.add((home.instance, number))
            keep = grown or file.watch_until_ms > now or home.unacknowledged.get(number)
            (watched if keep else expired).append(number)
        reach("adopt.watched")
        home.journal.forget(expired)
        for number in expired:
            del home.files[number]
        self.tails.grown |= appended
        for number in watched:
            self.tails.watch(home, number)
