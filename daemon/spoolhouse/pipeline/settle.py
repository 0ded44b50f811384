"""Settle: moves a file to its final folder once its last batch is acknowledged.

Promises: the journal knows of each step before it is taken; a file is never overwritten, never moved while bytes of it
are not in ClickHouse, and deleted only where that was asked for.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import structlog

from spoolhouse import metrics, pulse, recent
from spoolhouse.channel import Receiver
from spoolhouse.core.ledger import Entry, Lineage
from spoolhouse.core.parts import Part
from spoolhouse.core.shipment import FileStats, Shipment
from spoolhouse.core.status import RecentFile
from spoolhouse.failpoints import reach
from spoolhouse.log import printable
from spoolhouse.progress import Progress
from spoolhouse.spool import files, layout
from spoolhouse.spool.home import Home
from spoolhouse.spool.journal import FileState, JournalledFile
from spoolhouse.spool.tails import Tails

log = structlog.get_logger(__name__)
_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A shipment is decoded to its end: so many batches, and this of each file (by number)."""

    shipment: Shipment
    batches: int
    stats: dict[int, FileStats]
    lineage: tuple[Lineage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """ClickHouse has a batch, but for the rows that it refuses.

    `parts` are what it was sent in if it had to be cut up; `refused` counts the rejected lines by file number.
    """

    shipment: Shipment
    batch: str
    table: str
    parts: tuple[Part, ...] = ()
    refused: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """A claimed file holds nothing (more) to send."""

    home: Home
    file: int


News = Counted | Acknowledged | Complete


@dataclass(slots=True)
class _Open:
    """A shipment on its way: acknowledgements may come before it is known how many there will be."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    counted: Counted | None = None

    @property
    def is_complete(self) -> bool:
        """Tell whether all of it is in ClickHouse."""
        return self.counted is not None and len(self.acknowledged) >= self.counted.batches


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What the whole run came to, for the exit code."""

    files: int = 0
    rejected: int = 0
    failed: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    """By event type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What happens to a file in the end."""

    delete: bool
    append_watch_ms: int
    now_ms: Callable[[], int]


@dataclass(slots=True, kw_only=True)
class Settler:
    """The settle stage. It is one task: what it does to a journal happens in one order."""

    homes: dict[str, Home]
    tails: Tails
    ending: Ending
    record: Callable[[Sequence[Entry]], Awaitable[None]]
    """Returns once the ledger has the entries."""
    progress: Progress
    wake: asyncio.Event
    """Set after moves: a file of the same name may be waiting to be claimed."""
    outcome: Outcome = field(default_factory=Outcome)
    stuck: set[tuple[str, int]] = field(default_factory=set)
    """Files, by instance and number, that cannot be moved as things are; tried again now and then."""
    _open: dict[str, _Open] = field(default_factory=dict)

    async def run(self, news: Receiver[News]) -> None:
        """Settle until there is no more news."""
        while True:
            try:
                items = await news.receive_many(_AT_ONCE, None)
            except StopAsyncIteration:
                return
            complete = []
            for item in items:
                pulse.beat()
                if isinstance(item, Complete):
                    await self._settle(item.home, [item.file])
                elif self._note(item).is_complete:
                    complete.append(self._open.pop(item.shipment.id))
            await self.record([entry for state in complete for entry in self._entries(state)])
            reach("settle.recorded_lineage")
            for state in complete:
                await self._account(state)

    def _note(self, item: Counted | Acknowledged) -> _Open:
        state = self._open.setdefault(item.shipment.id, _Open())
        if isinstance(item, Counted):
            state.counted = item
        else:
            state.acknowledged.append(item)
        return state

    def _entries(self, state: _Open) -> Iterator[Entry]:
        """Yield what the ledger is to know of a complete shipment."""
        assert state.counted is not None  # noqa: S101  # it is complete
        shipment = state.counted.shipment
        home = self.homes[shipment.instance]
        parts = {item.batch: item.parts for item in state.acknowledged}
        for lineage in state.counted.lineage:
            file = home.files[lineage.file]
            yield Entry(
                lineage=lineage,
                place=printable(str(file.place)),
                inode=file.inode,
                claimed_ms=file.claimed_ms,
                parts=parts[lineage.batch],
                clock_ms=shipment.clock_ms,
            )

    async def _account(self, state: _Open) -> None:
        """Record that a shipment is complete, and settle the files that it completes."""
        assert state.counted is not None  # noqa: S101  # it is complete
        shipment, stats = state.counted.shipment, state.counted.stats
        home = self.homes[shipment.instance]
        for item in state.acknowledged:
            for number, refused in item.refused.items():
                stats[number].refuse(item.table, refused)
        reach("settle.complete")
        await asyncio.to_thread(home.journal.acknowledge, shipment.id, stats)
        reach("settle.acknowledged")
        _count(shipment, stats)
        done = []
        for number, more in stats.items():
            home.files[number].stats.add(more)
            home.unacknowledged[number] -= 1
            if not home.unacknowledged[number]:
                del home.unacknowledged[number]
                done.append(number)
        await self._settle(home, done)

    async def _settle(self, home: Home, numbers: list[int]) -> None:
        """Move those files that are covered to their end; hand the others back to be looked at again."""
        ready, again = await asyncio.to_thread(_sort, home, numbers)
        reach("settle.sorted")
        for number in again:
            self.tails.watch(home, number)
        moved = await self._uninterrupted(home, ready) if ready else []
        reach("settle.settled")
        self.stuck.difference_update((home.instance, number) for number in moved)
        for number in set(ready).difference(moved):
            self.stuck.add((home.instance, number))
            self.tails.watch(home, number, later=True)
        if moved:
            self.wake.set()
        for number in moved:
            file = home.files[number]
            self._tell(file)
            if file.target is None or self.ending.append_watch_ms == 0:
                del home.files[number]
            else:
                self.tails.watch(home, number)

    async def _uninterrupted(self, home: Home, numbers: list[int]) -> list[int]:
        """Move files, and return those that were; when cancelled meanwhile, finish first.

        Nothing is left between journal and rename.
        """
        moving = asyncio.get_running_loop().run_in_executor(None, self._move, home, numbers)
        try:
            return await asyncio.shield(moving)
        except asyncio.CancelledError:
            await moving
            raise

    def _move(self, home: Home, numbers: list[int]) -> list[int]:
        """Bring files to their end, durably, and return which; the others have to wait. Blocks on the disk."""
        targets: dict[int, PurePath | None] = {}
        for number in numbers:
            try:
                targets[number] = self._target(home, home.files[number])
            except OSError as error:
                _not_moved(home.files[number], error)
        reach("settle.targets")
        home.journal.moving({number: target for number, target in targets.items() if target is not None})
        folders = set()
        for number, target in list(targets.items()):
            try:
                reach("settle.before_move")
                folders |= self._end(home, home.files[number], target)
            except OSError as error:
                _not_moved(home.files[number], error)
                del targets[number]
        numbers = list(targets)
        reach("settle.moved")
        files.sync_folders(folders)
        reach("settle.synced")
        now = self.ending.now_ms()
        home.journal.moved(dict.fromkeys(numbers, now + self.ending.append_watch_ms))
        for number in numbers:
            home.files[number].state = FileState.FINAL
            home.files[number].watch_until_ms = now + self.ending.append_watch_ms
        reach("settle.recorded")
        gone = [n for n in numbers if home.files[n].target is None or self.ending.append_watch_ms == 0]
        home.journal.forget(gone)
        return numbers

    def _target(self, home: Home, file: JournalledFile) -> PurePath | None:
        """Return where the file goes, a name that is free now; None if it is to be deleted."""
        failed = bool(file.stats.failure)
        if self.ending.delete and not failed:
            return None
        folder = layout.final_folder(file.place, failed=failed)
        files.make_folders(home.spool / folder, below=home.spool)
        return _free(home.spool, folder, file.place.name, 0)

    def _end(self, home: Home, file: JournalledFile, target: PurePath | None) -> set[Path]:
        """Move or delete one file; return the folders whose names changed."""
        source = home.claimed / file.place.relative
        if target is None:
            source.unlink(missing_ok=True)
            reach("settle.deleted")
            file.target = None
            return {source.parent}
        number = 0
        while True:
            file.target = target
            try:
                files.move_without_clobber(source, home.spool / target)
            except FileExistsError:
                # Somebody took the name since we looked: write the next one down, then try again.
                number += 1
                target = _free(home.spool, target.parent, file.place.name, number)
                home.journal.moving({file.number: target})
                continue
            except FileNotFoundError:
                if os.path.lexists(source):
                    # Not the file is gone but the folder that it should go to.
                    files.make_folders((home.spool / target).parent, below=home.spool)
                    continue
                log.error("file_vanished", path=str(file.place), mend="it was taken out of the claimed folder by hand")
                file.target = None
                return {source.parent}
            break
        reach("settle.renamed")
        file.inode = (home.spool / target).lstat().st_ino  # another one, where it was copied to another disk
        if file.stats.failure:
            _write_reason(home.spool / target, file)
        return {source.parent, (home.spool / target).parent}

    def _tell(self, file: JournalledFile) -> None:
        """Say in one line what became of a file."""
        stats = file.stats
        self.outcome.files += 1
        self.outcome.rejected += stats.rejected
        self.outcome.failed += bool(stats.failure)
        for name, count in stats.rows.items():
            self.outcome.rows[name] = self.outcome.rows.get(name, 0) + count
        destination = "" if file.target is None else os.fsencode(file.target).decode("utf-8", "backslashreplace")
        outcome = "failed" if stats.failure else "processed" if destination else "deleted"
        metrics.FILES.labels(file.place.type, outcome).inc()
        now = self.ending.now_ms()
        seconds = round((now - file.claimed_ms) / 1000, 3)
        say = log.error if stats.failure else log.warning if stats.rejected or stats.mismatched else log.info
        say(
            "file_settled",
            path=str(file.place),
            destination=destination or None,
            bytes=file.planned_to,
            lines=stats.lines,
            rows=stats.rows,
            rejected=stats.rejected,
            project_mismatch=stats.mismatched,
            failure=stats.failure or None,
            seconds=seconds,
        )
        rows = sum(stats.rows.values())
        recent.settled(
            RecentFile(
                path=str(file.place),
                destination=destination or None,
                at_ms=now,
                bytes=file.planned_to,
                rows=rows,
                rejected=stats.rejected,
                seconds=seconds,
                failure=stats.failure or None,
            )
        )
        self.progress.settled(str(file.place), destination, file.planned_to, rows, stats.rejected)


def _count(shipment: Shipment, stats: Mapping[int, FileStats]) -> None:
    """Count a shipment that is acknowledged."""
    metrics.IN_FLIGHT.dec()
    metrics.BYTES.labels(shipment.type).inc(sum(segment.end - segment.start for segment in shipment.segments))
    for more in stats.values():
        metrics.LINES.labels(shipment.type, "landed").inc(more.lines - more.rejected)
        metrics.LINES.labels(shipment.type, "rejected").inc(more.rejected)
        metrics.PROJECT_MISMATCHES.inc(more.mismatched)


def _not_moved(file: JournalledFile, error: OSError) -> None:
    mend = f"let the daemon's user write to {layout.PROCESSED}/ and {layout.FAILED}/ beside it"
    log.error("file_not_moved", path=str(file.place), error=error.strerror, mend=mend)


def _sort(home: Home, numbers: list[int]) -> tuple[list[int], list[int]]:
    """Return the files that can be moved now, and those that grew or are only watched. Blocks on the disk."""
    ready, again = [], []
    for number in numbers:
        file = home.files[number]
        try:
            size = home.size(number)
        except FileNotFoundError:
            size = 0
        if file.state is FileState.FINAL or (size > file.planned_to and not file.stats.failure):
            again.append(number)
        else:
            ready.append(number)
    return ready, again


def _free(spool: Path, folder: PurePath, name: str, number: int) -> PurePath:
    while os.path.lexists(spool / folder / layout.numbered(name, number)):
        number += 1
    return folder / layout.numbered(name, number)


def _write_reason(path: Path, file: JournalledFile) -> None:
    """Leave a note beside a file in `failed/`: why it is there, and how much of it landed."""
    reason = path.with_name(layout.extended(path.name, ".reason.txt"))
    landed = f"{sum(file.stats.rows.values())} rows of it landed, {file.stats.rejected} lines were rejected"
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        reason.unlink(missing_ok=True)  # an old one, or a link that would lead out of the spool
        with reason.open("x") as note:
            note.write(f"{when} {file.stats.failure}; {landed}\n")
        reach("settle.reasoned")
    except OSError as error:
        log.warning("reason_not_written", path=str(file.place), error=error.strerror)
