"""Scan: counts the files that were dropped, and chooses the oldest complete ones of each project and type.

Promises: a scan holds no more than `MOST_READY` files and `MOST_WATCHED` others, however many there are. A file
that is left out has its turn in a later scan, and no project or type is left out for another one's files.
"""

import os
import stat
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from msgspec import Struct, field

from spoolhouse.file_names import FileNames, is_passing
from spoolhouse.monitoring import heartbeat, metrics
from spoolhouse.spool import layout
from spoolhouse.spool.layout import Place

MOST_READY = 64_000
MOST_WATCHED = 20_000
_MOST_IGNORED = 1000
_DEFAULT_NAMES = FileNames()
_OWN_FOLDERS = frozenset({layout.STATE, layout.REJECTED})


class Seen(Struct, frozen=True, kw_only=True):
    """A pending file as a scan found it. `mtime_ns` and `size` tell whether it still grows."""

    place: Place
    size: int
    mtime_ns: int

    @property
    def group(self) -> tuple[str, str]:
        """Return the project and type, which take turns."""
        return self.place.project, self.place.type


class Ignored(Struct, frozen=True, kw_only=True):
    """Something in the spool that will not be claimed, and why."""

    path: str
    reason: str
    hint: str = ""
    """The fix, for a person; empty if none is needed."""
    count: int = 1
    """How many files, or folders, it stands for."""
    unread: bool = False
    """It cannot be read: there may be pending files in it."""


def scan(
    spool: Path, types: Collection[str], project_id: str | None, names: FileNames = _DEFAULT_NAMES
) -> Iterator[Seen | Ignored]:
    """Yield the pending files and the ignored entries. Never descends into archives, never follows a link."""
    for entry in _entries(os.fspath(spool)):
        if isinstance(entry, Ignored):
            yield entry
        elif entry.name in _OWN_FOLDERS or entry.name.startswith("."):
            continue
        elif not entry.is_dir(follow_symlinks=False):
            yield Ignored(path=entry.path, reason="not at {type}/{project}/")
        elif entry.name not in types:
            yield Ignored(path=entry.path, reason="no such event type")
        else:
            yield from _scan_type(entry, project_id, names)


def _scan_type(type_folder: os.DirEntry[str], project_id: str | None, names: FileNames) -> Iterator[Seen | Ignored]:
    for project in _entries(type_folder.path):
        if isinstance(project, Ignored):
            yield project
        elif project.name.startswith("."):
            continue
        elif not project.is_dir(follow_symlinks=False):
            yield Ignored(path=project.path, reason="not at {type}/{project}/")
        elif project_id is None or project.name == project_id:
            yield from _scan_project(type_folder.name, project, names)


def _scan_project(type_name: str, project: os.DirEntry[str], names: FileNames) -> Iterator[Seen | Ignored]:
    others, example = 0, ""
    for entry in _entries(project.path):
        if isinstance(entry, Ignored):
            yield entry
        elif names.take(type_name, entry.name):
            yield from _scan_file(type_name, project.name, entry)
        elif entry.is_dir(follow_symlinks=False):
            if entry.name not in {layout.PROCESSED, layout.FAILED} and not entry.name.startswith("."):
                yield Ignored(path=entry.path, reason="not at {type}/{project}/")
        elif not is_passing(entry.name):
            others, example = others + 1, min(example or entry.name, entry.name)
    if others:
        what = "1 file has" if others == 1 else f"{others} files have"
        wanted = " or ".join(names.of_type(type_name)) or "no name"
        reason = f"{what} another name than {wanted} (spool.names): {example}"
        yield Ignored(path=project.path, reason=reason, count=others)


def _scan_file(type_name: str, project: str, entry: os.DirEntry[str]) -> Iterator[Seen | Ignored]:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    except OSError as error:
        yield Ignored(path=entry.path, reason=error.strerror or "cannot be looked at", unread=True)
        return
    if stat.S_ISREG(status.st_mode):
        place = Place(type=type_name, project=project, name=entry.name)
        yield Seen(place=place, size=status.st_size, mtime_ns=status.st_mtime_ns)
    else:
        yield Ignored(path=entry.path, reason="not a regular file")


def _entries(folder: str) -> Iterator[os.DirEntry[str] | Ignored]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                heartbeat.beat()  # a scan may take as long as the folder is large
                yield entry
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        hint = "let the daemon's user read and write it" if isinstance(error, PermissionError) else "see to its disk"
        reason = f"cannot be listed: {error.strerror}"
        yield Ignored(path=folder, reason=reason, hint=hint, unread=True)


def beside(root: Path, base_path: str, types: Collection[str]) -> Ignored | None:
    """Return a type folder that stands beside the spool `root` (…/`base_path`), if that has none itself.

    A producer has taken the folder above for the spool, and its files would never be claimed.
    """
    if not base_path or any((root / name).is_dir() for name in types):
        return None
    above = root.parents[len(Path(base_path).parts) - 1]
    found = next((name for name in sorted(types) if (above / name).is_dir()), None)
    if found is None:
        return None
    reason = f"it stands beside the spool, {root}, which has no folder of an event type"
    hint = 'set spool.base_path to "" (--base-path "") if that is where files are dropped, or move them into the spool'
    return Ignored(path=os.fspath(above / found), reason=reason, hint=hint)


class StabilityFilter:
    """Decides which files have stopped changing. Pure: both clocks are arguments."""

    def __init__(self, quiet: float, most: int = MOST_WATCHED) -> None:
        """Let a file count as complete after `quiet` seconds without a change; watch `most` files at once."""
        self.quiet = quiet
        self._most = most
        self._watched: dict[Place, tuple[Seen, float]] = {}

    def settled(self, seen: Iterable[Seen], *, clock: Callable[[], float], wall: float) -> Iterator[Seen]:
        """Yield those of `seen` that are complete; remember the others for the next call, up to `most`.

        A file that was last written longer ago than `quiet` by the wall clock is complete at first sight; one with a
        later time (or from the future, a clock that is off) is watched by the monotonic clock.
        """
        watched: dict[Place, tuple[Seen, float]] = {}
        for file in seen:
            if wall - file.mtime_ns / 1e9 >= self.quiet:
                yield file
                continue
            before, now = self._watched.pop(file.place, None), clock()
            since = before[1] if before is not None and before[0] == file else now
            if now - since >= self.quiet:
                yield file
            elif before is not None or len(watched) + len(self._watched) < self._most:
                watched[file.place] = (file, since)
        self._watched = watched

    def due(self) -> float | None:
        """Return when the first watched file may be complete, by the monotonic clock; None if none is watched."""
        return min((since + self.quiet for _, since in self._watched.values()), default=None)


class Stock(Struct):
    """The result of a scan: counts, and the files that may be claimed."""

    files: int = 0
    bytes: int = 0
    oldest_ns: int | None = None
    not_taken: int = 0
    """Files and folders that will not be claimed."""
    ignored: list[Ignored] = field(default_factory=list)
    ready: list[Seen] = field(default_factory=list)
    """Complete files, the oldest first."""
    more: bool = False
    """More files are complete than are kept."""

    def counted(self, found: Iterable[Seen | Ignored]) -> Iterator[Seen]:
        """Count all of `found`, for people and gauges too; yield the pending files."""
        for item in found:
            if isinstance(item, Ignored):
                self.not_taken += item.count
                if len(self.ignored) < _MOST_IGNORED:
                    self.ignored.append(item)
                continue
            self.files += 1
            self.bytes += item.size
            self.oldest_ns = item.mtime_ns if self.oldest_ns is None else min(self.oldest_ns, item.mtime_ns)
            yield item
        metrics.PENDING_FILES.set(self.files)
        metrics.PENDING_BYTES.set(self.bytes)
        metrics.NOT_TAKEN.set(self.not_taken)

    def keep(self, settled: Iterable[Seen], most: int = MOST_READY) -> None:
        """Keep the oldest of `settled`, about as many of each project and type."""
        groups: dict[tuple[str, str], list[Seen]] = {}
        count = 0
        for file in settled:
            groups.setdefault(file.group, []).append(file)
            count += 1
            if count >= most + most // 4 + len(groups):
                count = self._cut(groups, most)
        self._cut(groups, most)
        self.ready = sorted((file for some in groups.values() for file in some), key=_age)

    def _cut(self, groups: dict[tuple[str, str], list[Seen]], most: int) -> int:
        share = _share([len(some) for some in groups.values()], most)
        for some in groups.values():
            if len(some) > share:
                some.sort(key=_age)
                del some[share:]
                self.more = True
        return sum(map(len, groups.values()))


def has_other_than(
    places: Collection[Place],
    spool: Path,
    types: Collection[str],
    project_id: str | None,
    names: FileNames = _DEFAULT_NAMES,
) -> bool:
    """Tell whether any file is pending but for those at `places`. Blocks on the disk."""
    return any(isinstance(item, Seen) and item.place not in places for item in scan(spool, types, project_id, names))


def counted(spool: Path, types: Collection[str], project_id: str | None, names: FileNames) -> Stock:
    """Return the counts of a scan, without its files. Blocks on the disk."""
    stock = Stock()
    deque(stock.counted(scan(spool, types, project_id, names)), maxlen=0)
    return stock


def _age(file: Seen) -> tuple[int, Place]:
    return file.mtime_ns, file.place


def _share(sizes: list[int], most: int) -> int:
    """Return how many each may keep so that all together keep `most`; at least one."""
    left, groups = most, len(sizes)
    for number, size in enumerate(sorted(sizes)):
        share = left // (groups - number)
        if size >= share:
            return max(1, share)
        left -= size
    return most
