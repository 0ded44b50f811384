"""Adoption: takes over what dead instances left, this daemon's own last run included. Not a stage, but one's source.

Promises: a folder is touched only under its lock; its unfinished shipments are replayed exactly as journalled; files
that were claimed but never journalled go back to where they were dropped; a folder is removed when it is empty.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from spoolhouse import metrics, pulse
from spoolhouse.channel import Sender
from spoolhouse.core import recovery
from spoolhouse.core.recovery import FileFact
from spoolhouse.core.shipment import Shipment
from spoolhouse.errors import JournalError
from spoolhouse.failpoints import reach
from spoolhouse.pipeline.settle import Complete, News
from spoolhouse.spool import home as homes_on_disk
from spoolhouse.spool.home import Home
from spoolhouse.spool.journal import Contents, FileState, JournalledFile
from spoolhouse.spool.layout import Place
from spoolhouse.spool.tails import Tails

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Adopter:
    """Looks for instance folders whose lock is free."""

    own: Home
    homes: dict[str, Home]
    tails: Tails
    interval: float
    append_watch_ms: int
    now_ms: Callable[[], int]
    held: set[str] = field(default_factory=set)
    """Folders that cannot be adopted: files without a readable journal."""
    looked: bool = False
    """A first look is complete."""

    async def run(self, shipments: Sender[Shipment], news: Sender[News], stop: asyncio.Event, *, once: bool) -> None:
        """Adopt now, and unless `once` every `interval` seconds until `stop`."""
        async with shipments, news:
            while not stop.is_set():
                await self.look(shipments, news, stop)
                self.looked = True
                reach("adopt.looked")
                if once:
                    return
                with contextlib.suppress(TimeoutError), pulse.resting():
                    async with asyncio.timeout(self.interval):
                        await stop.wait()

    async def look(self, shipments: Sender[Shipment], news: Sender[News], stop: asyncio.Event) -> None:
        """Adopt what can be adopted, and let go of adopted homes that are empty."""
        for home in [home for home in self.homes.values() if home is not self.own]:
            try:
                if await asyncio.to_thread(home.is_empty):
                    del self.homes[home.instance]
                    reach("adopt.empty")
                    await asyncio.to_thread(home.remove)
                    log.info("adopted_home_done", instance=home.instance)
            except (JournalError, OSError) as error:
                self._hold(home.instance, error)
        for instance in await asyncio.to_thread(homes_on_disk.instances, self.own.spool):
            if instance not in self.homes and not stop.is_set():
                await self._adopt(instance, shipments, news, stop)

    async def _adopt(self, instance: str, shipments: Sender[Shipment], news: Sender[News], stop: asyncio.Event) -> None:
        try:
            home = await asyncio.to_thread(Home.adopt, self.own.spool, instance)
        except (JournalError, OSError) as error:
            self._hold(instance, error)
            return
        if home is None:
            return
        reach("adopt.locked")
        contents = await asyncio.to_thread(home.load)
        self.homes[instance] = home
        reach("adopt.loaded")
        actions = await asyncio.to_thread(self._recover, home, contents)
        reach("adopt.recovered")
        log.info(
            "adopted",
            instance=instance,
            shipments=len(contents.planned),
            files=len(contents.files),
            released=len(actions.release),
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
        """Leave a folder that cannot be worked with as it is; say so once."""
        if instance not in self.held:
            self.held.add(instance)
            log.error("journal_held", instance=instance, error=str(error), mend="its claimed files are kept as is")

    def _recover(self, home: Home, contents: Contents) -> recovery.Recovery[Place]:
        """Decide, and carry out what needs no other stage. Blocks on the disk."""
        facts = [_fact(home, file) for file in contents.files]
        actions = recovery.plan(home.listing(), facts, home.unacknowledged)
        for place in actions.release:
            try:
                home.release(place)
            except OSError as error:
                self.held.add(home.instance)
                log.error("file_not_released", path=str(place), error=error.strerror, mend="make room for its folder")
        now = self.now_ms()
        if actions.moved:
            until = now + self.append_watch_ms
            home.journal.moved(dict.fromkeys(actions.moved, until))
            reach("adopt.moved")
            for number in actions.moved:
                home.files[number].state = FileState.FINAL
                home.files[number].watch_until_ms = until
        self._watch(home, (*actions.moved, *actions.watch), now)
        return actions

    def _watch(self, home: Home, numbers: Iterable[int], now: int) -> None:
        """Watch files in their final place for appended bytes; forget at once those whose time was over unchanged."""
        expired = []
        for number in numbers:
            file = home.files[number]
            try:
                grown = home.size(number) > file.planned_to
            except OSError:
                grown = False
            if grown or file.watch_until_ms > now or home.unacknowledged.get(number):
                self.tails.watch(home, number)
            else:
                expired.append(number)
        reach("adopt.watched")
        home.journal.forget(expired)
        for number in expired:
            del home.files[number]


def _fact(home: Home, file: JournalledFile) -> FileFact[Place]:
    return FileFact(
        number=file.number,
        key=file.place,
        final=file.state is FileState.FINAL,
        here=_is(home, file, target=False),
        at_target=file.target is not None and _is(home, file, target=True),
    )


def _is(home: Home, file: JournalledFile, *, target: bool) -> bool:
    """Tell whether the file that was claimed stands in `claimed/`, or at its target."""
    path = home.spool / file.target if target and file.target is not None else home.claimed / file.place.relative
    try:
        status = path.lstat()
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == (file.device, file.inode)
