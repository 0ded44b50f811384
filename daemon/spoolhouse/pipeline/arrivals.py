"""Arrivals: which files are complete and may be claimed.

Promises: a path is passed on only if it is a regular file with a name that we take, at `{type}/{project}/`, and quiet:
its size and mtime have not changed for `quiet` seconds. A file that is not taken is reported once.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePath

import structlog
from msgspec import Struct, field

from spoolhouse.monitoring import heartbeat
from spoolhouse.monitoring.logs import is_reported
from spoolhouse.monitoring.progress import Progress
from spoolhouse.pipeline.channel import Sender
from spoolhouse.pipeline.options import Current, Options, ScanOptions
from spoolhouse.pipeline.round_robin import RoundRobin
from spoolhouse.pipeline.scan import MOST_READY, Ignored, Seen, StabilityFilter, Stock, scan
from spoolhouse.spool import layout
from spoolhouse.spool.layout import Place

log = structlog.get_logger(__name__)

FRESH = 1.0
SCAN_SHARE = 20
"""The files of one scan are passed on for at least so many seconds, and so many times as long as the scan took. Then
the next scan gives new files a turn, also beside a large backlog."""
_MOST_NAMED = 10
_TURN_FILES, _TURN_BYTES = 20, 256 << 10
"""Files and bytes that a project and type may pass on in one turn; one file is always passed on."""
_SCAN_PAUSE = 0.05
"""Seconds between two scans at the least: under a stream of events, one scan serves many of them."""


class InFlightFiles(Struct):
    """The files between the arrivals and the claim stage, which both change it."""

    under_way: set[Place] = field(default_factory=set)
    """Passed on, and neither claimed nor refused yet."""
    refused: dict[Place, float] = field(default_factory=dict)
    """Could not be claimed (its permissions), and when that was: tried again after a while."""
    has_clash: bool = False
    """A pending file could not be claimed yet, because a claimed one has its name."""
    moves: int = 0
    """How many claimed files have come to their end."""
    oldest_ns: int | None = None
    """When the oldest pending file was last written; None if none is pending."""
    waiting: int = 0
    """Pending files, as the last scan saw them."""
    not_taken: int = 0
    """Files and folders that the last scan found, and that will not be claimed."""
    not_taken_named: list[str] = field(default_factory=list)
    """The first of them, with their reasons, as text that can be printed."""
    unwatched: str = ""
    """Why the system does not report all new files, with the fix; empty if it does. Scans find them."""
    unread: int = 0
    """Folders and files that the last scan could not read: pending files may be there."""

    def note(self, stock: Stock) -> None:
        """Record the pending files that a scan has counted."""
        self.waiting, self.oldest_ns = stock.files, stock.oldest_ns
        self.not_taken = stock.not_taken
        self.not_taken_named = [
            f"{layout.text(PurePath(item.path))}: {item.reason}" for item in stock.ignored[:_MOST_NAMED]
        ]
        self.unread = sum(item.unread for item in stock.ignored)


async def arrivals(  # the stage's whole surroundings, each used once
    out: Sender[Place],
    *,
    spool: Path,
    types: Collection[str],
    options: Current[Options],
    in_flight: InFlightFiles,
    wake: asyncio.Event,
    stop: asyncio.Event,
    progress: Progress,
) -> None:
    """Pass on complete files until `stop`. The caller that sets `stop` sets `wake`, too."""
    quietness = StabilityFilter(options.value.scan.quiet)
    turns = RoundRobin[list[Seen]](lambda turn: turn[0].group)
    reported: Counter[str] = Counter()
    async with out:
        while not stop.is_set():
            wake.clear()
            by = options.value.scan
            began = time.monotonic()
            quietness.quiet = by.quiet
            in_flight.refused = {place: at for place, at in in_flight.refused.items() if began - at < by.poll_interval}
            stock = await asyncio.to_thread(_take_stock, spool, types, by, in_flight, quietness)
            in_flight.note(stock)
            reported = _report(stock.ignored, reported)
            progress.pending(stock.files, stock.bytes)
            now = time.monotonic()
            old_at = now + max(FRESH, SCAN_SHARE * (now - began))
            is_old = False
            for turn in turns.take(_turns(stock.ready)):
                for file in turn:
                    if stop.is_set():
                        return
                    in_flight.under_way.add(file.place)
                    await out.send(file.place)
                if is_old := time.monotonic() >= old_at:
                    break
            if is_old or (stock.more and len(in_flight.refused) < MOST_READY):
                continue
            # Soon after the last claim, the counts leave out what was claimed.
            dues = [quietness.due(), old_at if stock.ready else None, now + by.poll_interval]
            await _pause(wake, max(0.0, min(due for due in dues if due is not None) - time.monotonic()))


def _turns(files: Iterable[Seen]) -> list[list[Seen]]:
    """Return the files in turns: several small ones of a folder, because a folder costs as much as some files."""
    turns: list[list[Seen]] = []
    room: dict[tuple[str, str], tuple[list[Seen], int]] = {}
    for file in files:
        turn, size = room.get(file.group, ([], 0))
        if not turn or size + file.size > _TURN_BYTES or len(turn) == _TURN_FILES:
            turn, size = [], 0
            turns.append(turn)
        turn.append(file)
        room[file.group] = turn, size + file.size
    return turns


def _take_stock(
    spool: Path, types: Collection[str], by: ScanOptions, in_flight: InFlightFiles, quietness: StabilityFilter
) -> Stock:
    """Scan, and keep the complete files that are neither under way nor refused. Blocks on the disk."""
    stock, refused = Stock(), in_flight.refused

    def fresh() -> Iterator[Seen]:
        for file in stock.counted(scan(spool, types, by.project_id, by.names)):
            if file.place not in refused and file.place not in in_flight.under_way:
                yield file

    stock.keep(quietness.settled(fresh(), clock=time.monotonic, wall=time.time()))
    return stock


def _report(ignored: list[Ignored], reported: Counter[str]) -> Counter[str]:
    """Log each ignored file once as long as it is there; again, ever less often, if a person has to fix it.

    `reported` counts how often each was seen before; return the new counts.
    """
    seen = Counter({item.path: reported[item.path] + 1 for item in ignored})
    for item in ignored:
        times = seen[item.path]
        if times == 1 or (item.hint and is_reported(times)):
            log.warning("not_taken", path=item.path, reason=item.reason, **({"hint": item.hint} if item.hint else {}))
    return seen


async def _pause(wake: asyncio.Event, seconds: float) -> None:
    await asyncio.sleep(_SCAN_PAUSE)
    with contextlib.suppress(TimeoutError), heartbeat.idle():
        async with asyncio.timeout(seconds):
            await wake.wait()
