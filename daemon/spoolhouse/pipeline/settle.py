"""Settle: moves a file to its final folder once its last batch is acknowledged.

Promises: a file is never moved while bytes of it are not in ClickHouse, and deleted only if the settings say so; a
file that cannot be moved is tried again. (`spool/finalize.py` moves it.)
"""

import asyncio
import errno
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import structlog
from msgspec import Struct, field

from spoolhouse.clock import now_ms
from spoolhouse.errors import LeftError
from spoolhouse.failpoints import reach
from spoolhouse.monitoring import heartbeat, metrics
from spoolhouse.monitoring.logs import is_reported, together
from spoolhouse.monitoring.progress import Progress
from spoolhouse.monitoring.recent_activity import RecentActivity
from spoolhouse.monitoring.status_model import RecentFile
from spoolhouse.pipeline.arrivals import InFlightFiles
from spoolhouse.pipeline.channel import Receiver
from spoolhouse.pipeline.disk_retry import DiskRetry, concerns_all, refusal
from spoolhouse.pipeline.messages import Acknowledged, Complete, Counted, News
from spoolhouse.pipeline.options import Current, Options
from spoolhouse.spool import layout
from spoolhouse.spool.append_watch import AppendWatch
from spoolhouse.spool.finalize import Finalizer
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal_files import FileState, JournalledFile
from spoolhouse.spool.lineage import Entry
from spoolhouse.spool.shipment import FileStats, Shipment

log = structlog.get_logger(__name__)
_AT_ONCE = 256
_REPORTED_AT_ONCE = 250


class _Open(Struct):
    """A shipment on its way: acknowledgements may come before it is known how many there will be."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    counted: Counted | None = None

    @property
    def is_complete(self) -> bool:
        """Tell whether all of it is in ClickHouse."""
        return self.counted is not None and len(self.acknowledged) >= self.counted.batches


class Stuck(Struct, kw_only=True):
    """A file that cannot be moved to its final folder at the moment."""

    attempts: int = 0
    due: float = 0.0
    """When to try again (monotonic)."""
    disk_is_full: bool = False
    """No file can be expected to be moved, not only this one."""
    reason: str = ""


class Outcome(Struct, kw_only=True):
    """The totals of the whole run, for the exit code."""

    files: int = 0
    rejected: int = 0
    failed: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    """By table."""
    lines: dict[str, int] = field(default_factory=dict)
    """Those that landed, by the type of their folder."""


class Settler(Struct, kw_only=True):
    """The settle stage. It is one task, so its changes to a journal happen in one order."""

    instances: dict[str, Instance]
    append_watch: AppendWatch
    options: Current[Options]
    progress: Progress
    disk: DiskRetry
    in_flight: InFlightFiles
    wake: asyncio.Event
    """Set after moves if a file waits to be claimed that has the name of a claimed one."""
    unwritten: asyncio.Event = field(default_factory=asyncio.Event)
    """Set after an acknowledgement: its ledger entries are in the journal, to be written."""
    now_ms: Callable[[], int] = now_ms
    recent: RecentActivity = field(default_factory=RecentActivity)
    outcome: Outcome = field(default_factory=Outcome)
    stuck: dict[tuple[str, int], Stuck] = field(default_factory=dict)
    """Files that cannot be moved at the moment, by instance and number; tried again now and then."""
    _open: dict[tuple[str, str], _Open] = field(default_factory=dict)
    """By instance and shipment."""

    async def run(self, news: Receiver[News]) -> None:
        """Settle until there is no more news."""
        while True:
            try:
                items = await news.receive_many(_AT_ONCE, self._due())
            except StopAsyncIteration:
                return
            complete = []
            for item in items:
                heartbeat.beat()
                if isinstance(item, Complete):
                    if item.file in item.instance.files:
                        await self._settle(item.instance, [item.file])
                elif self._note(item).is_complete:
                    complete.append(self._open.pop((item.shipment.instance, item.shipment.id)))
            done: dict[str, list[int]] = {}
            for state in complete:
                heartbeat.beat()
                await self._account(state, done)
            # Files of several shipments together: they share the commits of the journal, and the syncs of folders.
            for instance_id, numbers in done.items():
                await self._settle(self.instances[instance_id], numbers)
            if self.stuck:
                await self._try_again()

    def _due(self) -> float | None:
        """Return how many seconds there are until a stuck file is to be tried again; None if there is none."""
        dues = [stuck.due for stuck in self.stuck.values()]
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    async def _try_again(self) -> None:
        now = time.monotonic()
        due: dict[str, list[int]] = {}
        for (instance_id, number), stuck in self.stuck.items():
            if stuck.due <= now:
                due.setdefault(instance_id, []).append(number)
        for instance_id, numbers in due.items():
            if instance_id in self.instances:  # it may have had to give way meanwhile
                await self._settle(self.instances[instance_id], numbers)

    def may_give_way(self, instance: Instance) -> bool:
        """Tell whether an instance holds only files that cannot be moved (and not because the disk is full)."""
        stuck = [self.stuck.get((instance.id, number)) for number in list(instance.files)]
        is_stuck = all(one is not None and not one.disk_is_full for one in stuck)
        return is_stuck and not instance.settled and not instance.unacknowledged and not instance.users

    def let_go(self, instance: Instance) -> None:
        """Forget the files of an instance that is about to be closed: its next owner moves them."""
        for number in instance.files:
            del self.stuck[instance.id, number]
        instance.files = {}

    def _note(self, item: Counted | Acknowledged) -> _Open:
        state = self._open.setdefault((item.shipment.instance, item.shipment.id), _Open())
        if isinstance(item, Counted):
            state.counted = item
        else:
            state.acknowledged.append(item)
        return state

    def _entries(self, state: _Open) -> Iterator[Entry]:
        """Yield the ledger entries of a complete shipment."""
        assert state.counted is not None  # noqa: S101  # it is complete
        shipment = state.counted.shipment
        instance = self.instances[shipment.instance]
        parts = {item.batch: item.parts for item in state.acknowledged}
        for lineage in state.counted.lineage:
            file = instance.files[lineage.file]
            yield Entry(
                lineage=lineage,
                place=str(file.place),
                inode=file.inode,
                claimed_ms=file.claimed_ms,
                parts=parts.get(lineage.batch, ()),
                clock_ms=shipment.clock_ms,
            )

    async def _account(self, state: _Open, done: dict[str, list[int]]) -> None:
        """Record that a shipment is complete; add the files that it completes to `done`, by instance."""
        assert state.counted is not None  # noqa: S101  # it is complete
        shipment, stats = state.counted.shipment, state.counted.stats
        instance = self.instances[shipment.instance]
        for item in state.acknowledged:
            for number, refused in item.refused.items():
                stats[number].refuse(item.table, refused, item.rejected.get(number, 0))
                stats[number].left_out += item.left_out.get(number, 0)
        reach("settle.complete")
        entries = tuple(self._entries(state))
        try:
            await self.disk.persist(instance.folder, partial(instance.acknowledge, shipment, stats, entries))
        except LeftError:
            return  # It has landed, as the next start will find.
        self.unwritten.set()
        reach("settle.acknowledged")
        _count(shipment, stats)
        for number, more in stats.items():
            instance.files[number].stats.add(more)
            instance.unacknowledged[number] -= 1
            if not instance.unacknowledged[number]:
                del instance.unacknowledged[number]
                done.setdefault(instance.id, []).append(number)

    async def _settle(self, instance: Instance, numbers: list[int]) -> None:
        """Move the files whose bytes are all acknowledged; watch those again that have grown, or are in place."""
        with instance.in_use():
            await self._settle_in(instance, numbers)

    async def _settle_in(self, instance: Instance, numbers: list[int]) -> None:
        ready = [number for number in numbers if instance.files[number].state is not FileState.FINAL]
        again = [number for number in numbers if instance.files[number].state is FileState.FINAL]
        reach("settle.sorted")
        moves = Finalizer(
            instance,
            ready,
            delete=self.options.value.delete,
            append_watch_ms=self.options.value.append_watch_ms,
            now_ms=self.now_ms,
        )
        if ready:
            try:
                await self.disk.persist(instance.folder, moves.go_on)
            except LeftError:
                return  # The journal knows how far the moves were to go.
            self._note_refusals(instance, moves)
        reach("settle.settled")
        for number in (*again, *moves.grown):
            self.stuck.pop((instance.id, number), None)
            self.append_watch.watch(instance, number)
        self.in_flight.moves += len(moves.done)
        if moves.done and self.in_flight.has_clash:
            self.in_flight.has_clash = False
            self.wake.set()
        settled = []
        files = [instance.files[number] for number in moves.done]
        for number, file in zip(moves.done, files, strict=True):
            if file.target is None or self.options.value.append_watch_ms == 0:
                del instance.files[number]
            elif number in instance.unacknowledged:
                self.append_watch.watch(instance, number)
            else:
                settled.append(instance.settle(number))
        self.append_watch.watch_settled(instance, settled)
        for first in range(0, len(files), _REPORTED_AT_ONCE):
            self._report(files[first : first + _REPORTED_AT_ONCE])
            await asyncio.sleep(0)  # a few milliseconds: others have their turn

    def _note_refusals(self, instance: Instance, moves: Finalizer) -> None:
        """Remember the files to try again, and when; log each ever less often."""
        full = None
        for number in moves.done:
            self.stuck.pop((instance.id, number), None)
        for number, error in moves.refused.items():
            stuck = self.stuck.setdefault((instance.id, number), Stuck())
            stuck.attempts += 1
            stuck.due = time.monotonic() + self.options.value.retry.pause(stuck.attempts)
            stuck.disk_is_full = concerns_all(error)
            file = instance.files[number]
            if stuck.disk_is_full:
                full = full or refusal(instance.spool / layout.final_folder(file.place, failed=False), error)
            folder = layout.final_folder(file.place, failed=bool(file.stats.failure))
            on_another_disk = error.errno == errno.EXDEV
            stuck.reason = f"{folder} is on another disk than the spool" if on_another_disk else error.strerror or ""
            if not stuck.disk_is_full and is_reported(stuck.attempts):
                hint = f"let the daemon's user write to {layout.PROCESSED}/ and {layout.FAILED}/ beside it"
                hint = f"move {folder.name}/ to the spool's file system" if on_another_disk else hint
                log.error("file_not_moved", path=str(file.place), error=stuck.reason, hint=hint)
        if full is not None:
            self.disk.refused(instance.spool, full)
        elif not any(stuck.disk_is_full for stuck in self.stuck.values()):
            self.disk.took(instance.spool)

    def _report(self, files: Sequence[JournalledFile]) -> None:
        """Log settled files, and count them. The logger is bound once: to bind it takes as long as to write a line."""
        kinds: Counter[tuple[str, str]] = Counter()
        bound, now = log.bind(), self.now_ms()
        with together():
            for file in files:
                destination = "" if file.target is None else layout.text(file.target)
                path = str(file.place)
                recent = RecentFile(
                    path=path,
                    destination=destination or None,
                    at_ms=now,
                    bytes=file.planned_to,
                    rows=sum(file.stats.rows.values()),
                    rejected=file.stats.rejected,
                    seconds=round((now - file.claimed_ms) / 1000, 3),
                    failure=file.stats.failure or None,
                    retries=self.recent.retries.pop(path, 0),
                )
                _log(bound, recent, file.stats)
                self._add_up(file)
                outcome = "failed" if recent.failure else "processed" if destination else "deleted"
                kinds[file.place.type, outcome] += 1
                self.progress.settled(recent)
                self.recent.settled(recent)
        for (kind, outcome), count in kinds.items():
            metrics.FILES.labels(kind, outcome).inc(count)

    def _add_up(self, file: JournalledFile) -> None:
        """Count a settled file in the totals of the run."""
        total, stats, kind = self.outcome, file.stats, file.place.type
        total.files += 1
        total.rejected += stats.rejected
        total.failed += bool(stats.failure)
        total.lines[kind] = total.lines.get(kind, 0) + stats.lines - stats.rejected
        for name, count in stats.rows.items():
            total.rows[name] = total.rows.get(name, 0) + count


def _log(bound: structlog.typing.FilteringBoundLogger, file: RecentFile, stats: FileStats) -> None:
    """Log a settled file."""
    odd = stats.rejected or stats.mismatched or stats.expired or stats.future
    say = bound.error if stats.failure else bound.warning if odd else bound.info
    say(
        "file_settled",
        path=file.path,
        destination=file.destination,
        bytes=file.bytes,
        lines=stats.lines,
        rows=stats.rows,
        rejected=stats.rejected,
        left_out=stats.left_out,
        project_mismatch=stats.mismatched,
        expired=stats.expired,
        future=stats.future,
        failure=file.failure,
        seconds=file.seconds,
        **_notes(stats),
    )


def _count(shipment: Shipment, stats: Mapping[int, FileStats]) -> None:
    """Count a shipment that is acknowledged."""
    metrics.IN_FLIGHT.dec()
    metrics.BYTES.labels(shipment.type).inc(sum(segment.end - segment.start for segment in shipment.segments))
    total = FileStats()
    for more in stats.values():
        total.add(more)
    metrics.LINES.labels(shipment.type, "landed").inc(total.lines - total.rejected)
    metrics.LINES.labels(shipment.type, "rejected").inc(total.rejected)
    metrics.PROJECT_MISMATCHES.inc(total.mismatched)
    metrics.ODD_TIMES.labels("expired").inc(total.expired)
    metrics.ODD_TIMES.labels("future").inc(total.future)
    if total.unknown_lines:
        metrics.UNKNOWN_LINES.labels(shipment.type).inc(total.unknown_lines)
        metrics.UNKNOWN_FIELDS.count(total.unknown, shipment.type)
    if total.converted_lines:
        metrics.CONVERTED_LINES.labels(shipment.type).inc(total.converted_lines)
        metrics.CONVERSIONS.count(total.converted, shipment.type)
    metrics.SHAPES.count(total.shapes, shipment.type)


def _notes(stats: FileStats) -> Mapping[str, object]:
    """Return the counts of converted and unknown fields for the log; empty if there are none."""
    if not (stats.unknown_lines or stats.converted_lines or stats.shapes):
        return {}
    notes = {
        "unknown_lines": stats.unknown_lines,
        "unknown": stats.unknown,
        "converted_lines": stats.converted_lines,
        "converted": stats.converted,
        "shapes": stats.shapes,
    }
    return {name: value for name, value in notes.items() if value}
