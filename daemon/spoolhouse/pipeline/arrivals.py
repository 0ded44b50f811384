"""Arrivals: which files are complete and may be claimed.

Promises: a path is passed on only if it is a regular file with a name that we take, at `{type}/{project}/`, and quiet:
its size and mtime have not changed for `quiet` seconds. What is seen but not taken is reported once.
"""

import asyncio
import contextlib
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from spoolhouse import metrics, pulse
from spoolhouse.channel import Sender
from spoolhouse.core.turns import Turns
from spoolhouse.progress import Progress
from spoolhouse.spool import layout
from spoolhouse.spool.layout import Place

log = structlog.get_logger(__name__)

_NEVER_OUR_BUSINESS = frozenset({layout.STATE, layout.REJECTED})
_FRESH = 1.0
_SCAN_SHARE = 20
"""How long what a scan found is passed on before there is another look: at least so many seconds, and so many times as
long as the scan took. Who comes meanwhile gets a turn then, whatever the backlog of the others."""
_SCAN_PAUSE = 0.05
"""Seconds between two scans at the least: under a stream of events, one look serves many of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A pending file as a scan found it. `mtime_ns` and `size` tell whether it still grows."""

    place: Place
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Strange:
    """Something in the spool that will not be taken, and why."""

    path: str
    reason: str
    mend: str = ""
    """What a person has to do for it; empty where it may well stay as it is."""


def scan(spool: Path, types: Collection[str], project_id: str | None) -> Iterator[Seen | Strange]:
    """Yield all that lies where files are dropped. Never descends into archives, never follows a link."""
    for entry in _entries(spool):
        if isinstance(entry, Strange):
            yield entry
        elif entry.name in _NEVER_OUR_BUSINESS or entry.name.startswith("."):
            continue
        elif not entry.is_dir(follow_symlinks=False):
            yield Strange(path=entry.path, reason="not at {type}/{project}/")
        elif entry.name not in types:
            yield Strange(path=entry.path, reason="no such event type")
        else:
            yield from _scan_type(entry, project_id)


def _scan_type(type_folder: os.DirEntry[str], project_id: str | None) -> Iterator[Seen | Strange]:
    for project in _entries(Path(type_folder.path)):
        if isinstance(project, Strange):
            yield project
        elif project.name.startswith("."):
            continue
        elif not project.is_dir(follow_symlinks=False):
            yield Strange(path=project.path, reason="not at {type}/{project}/")
        elif project_id is None or project.name == project_id:
            yield from _scan_project(type_folder.name, project)


def look_through(spool: Path, types: Collection[str], project_id: str | None) -> list[Seen | Strange]:
    """Return what `scan` yields. Blocks on the disk."""
    return list(scan(spool, types, project_id))


def _scan_project(type_name: str, project: os.DirEntry[str]) -> Iterator[Seen | Strange]:
    for entry in _entries(Path(project.path)):
        if isinstance(entry, Strange):
            yield entry
            continue
        if layout.encoding(entry.name) is None:
            if entry.is_dir(follow_symlinks=False) and entry.name not in {layout.PROCESSED, layout.FAILED}:
                yield Strange(path=entry.path, reason="not at {type}/{project}/")
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Strange(path=entry.path, reason=error.strerror or "cannot be looked at")
            continue
        if stat.S_ISREG(status.st_mode):
            place = Place(type=type_name, project=project.name, name=entry.name)
            yield Seen(place=place, size=status.st_size, mtime_ns=status.st_mtime_ns)
        else:
            yield Strange(path=entry.path, reason="not a regular file")


def _entries(folder: Path) -> Iterator[os.DirEntry[str] | Strange]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                pulse.beat()  # a scan may take as long as the folder is large
                yield entry
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        mend = "let the daemon's user read and write it" if isinstance(error, PermissionError) else "see to its disk"
        yield Strange(path=os.fspath(folder), reason=f"cannot be listed: {error.strerror}", mend=mend)


class Quiet:
    """Decides which files have stopped changing. Pure: both clocks are arguments."""

    def __init__(self, quiet: float) -> None:
        """Take how many seconds a file must stay the same; it may be changed at any time."""
        self.quiet = quiet
        self._watched: dict[Place, tuple[Seen, float]] = {}

    def settled(self, seen: Collection[Seen], *, now: float, wall: float) -> list[Seen]:
        """Return those of `seen` that are complete, oldest first; remember the others for the next call.

        A file that was last written longer ago than `quiet` by the wall clock is complete at first sight; one with a
        later time (or from the future, a clock that is off) is watched by the monotonic clock.
        """
        watched: dict[Place, tuple[Seen, float]] = {}
        settled = []
        for file in seen:
            before = self._watched.get(file.place)
            since = before[1] if before is not None and before[0] == file else now
            age = wall - file.mtime_ns / 1e9
            if now - since >= self.quiet or age >= self.quiet:
                settled.append(file)
            else:
                watched[file.place] = (file, since)
        self._watched = watched
        settled.sort(key=lambda file: (file.mtime_ns, file.place))
        return settled

    def due(self) -> float | None:
        """Return when the first watched file may be complete, by the monotonic clock; None if none is watched."""
        return min((since + self.quiet for _, since in self._watched.values()), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a scan goes by."""

    project_id: str | None
    """Take only this project's files; None is all."""
    quiet: float
    poll_interval: float


@dataclass(slots=True)
class Desk:
    """What the arrivals and the claim stage tell each other of single files."""

    under_way: set[Place] = field(default_factory=set)
    """Passed on, and not dealt with yet."""
    refused: dict[Place, float] = field(default_factory=dict)
    """Could not be claimed (its permissions), and when that was: tried again after a while."""
    oldest_ns: int | None = None
    """When the oldest pending file was last written; None if none is pending."""
    waiting: int = 0
    """Pending files, as the last scan saw them."""


async def arrivals(  # the stage's whole surroundings, each used once
    out: Sender[Place],
    *,
    spool: Path,
    types: Collection[str],
    look: Callable[[], Look],
    desk: Desk,
    wake: asyncio.Event,
    stop: asyncio.Event,
    finished: Callable[[], bool] | None,
    progress: Progress,
) -> None:
    """Pass on complete files until `stop`; with `finished`, until nothing can be taken any more and it agrees.

    `look` is asked before each scan.
    Whoever sets `stop` sets `wake` too.
    """
    quietness = Quiet(look().quiet)
    turns = Turns[Seen](_whose)
    reported: Counter[str] = Counter()
    async with out:
        while not stop.is_set():
            wake.clear()
            by = look()
            began = time.monotonic()
            quietness.quiet = by.quiet
            found = await asyncio.to_thread(look_through, spool, types, by.project_id)
            seen = note_backlog(found, desk)
            reported = _report([item for item in found if isinstance(item, Strange)], reported)
            progress.pending(len(seen), sum(file.size for file in seen))
            now = time.monotonic()
            desk.refused = {place: at for place, at in desk.refused.items() if now - at < by.poll_interval}
            fresh = [file for file in seen if file.place not in desk.under_way and file.place not in desk.refused]
            old_at = now + max(_FRESH, _SCAN_SHARE * (now - began))
            is_old = False
            for file in turns.take(quietness.settled(fresh, now=now, wall=time.time())):
                if stop.is_set():
                    return
                desk.under_way.add(file.place)
                await out.send(file.place)
                if is_old := time.monotonic() >= old_at:
                    break
            if is_old:
                continue
            if finished is not None and all(file.place in desk.refused for file in seen) and finished():
                return
            due = quietness.due()
            seconds = by.poll_interval if due is None else max(0.0, due - time.monotonic())
            await _pause(wake, seconds if finished is None else min(seconds, _SCAN_PAUSE))


def note_backlog(found: Sequence[Seen | Strange], desk: Desk) -> list[Seen]:
    """Write down what waits, as a scan found it, for people and gauges; return the pending files."""
    seen = [item for item in found if isinstance(item, Seen)]
    metrics.PENDING_FILES.set(len(seen))
    metrics.PENDING_BYTES.set(sum(file.size for file in seen))
    desk.waiting = len(seen)
    desk.oldest_ns = min((file.mtime_ns for file in seen), default=None)
    return seen


def _whose(file: Seen) -> tuple[str, str]:
    return file.place.project, file.place.type


def _report(strange: list[Strange], reported: Counter[str]) -> Counter[str]:
    """Say what is not taken, once as long as it is there; ever less often where a person has to mend it.

    `reported` says how often each was seen before; return it brought up to date.
    """
    seen = Counter({item.path: reported[item.path] + 1 for item in strange})
    for item in strange:
        times = seen[item.path]
        if times == 1 or (item.mend and times & (times - 1) == 0):
            log.warning("not_taken", path=item.path, reason=item.reason, **({"mend": item.mend} if item.mend else {}))
    return seen


async def _pause(wake: asyncio.Event, seconds: float) -> None:
    await asyncio.sleep(_SCAN_PAUSE)
    with contextlib.suppress(TimeoutError), pulse.resting():
        async with asyncio.timeout(seconds):
            await wake.wait()
