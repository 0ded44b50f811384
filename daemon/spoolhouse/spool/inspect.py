"""Read a spool's folders, with or without a daemon: its instances, and the files in `failed/` and `rejected/`.

For people, not for the daemon. Nothing is changed. Where the kernel does not list an instance's lock, a shared lock is
tried for a moment: an adopter that comes in that moment takes the instance for a living one, and checks again later.
Blocks on the disk.
"""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spoolhouse.errors import SpoolError
from spoolhouse.spool import layout
from spoolhouse.spool.instance_dirs import names
from spoolhouse.spool.reject_records import read

_LINES_READ = 64 << 20
_LOCK_LINE = re.compile(r"^\d+: FLOCK +\S+ +\S+ +(\d+) [0-9a-f]+:[0-9a-f]+:(\d+) ", re.MULTILINE)
_STOPPED = frozenset("Tt")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCount:
    """A number of files, and their bytes."""

    files: int = 0
    bytes: int = 0

    def plus(self, size: int) -> "FileCount":
        """Return the count with one more file."""
        return FileCount(files=self.files + 1, bytes=self.bytes + size)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceView:
    """An instance's folder."""

    name: str
    alive: bool | None
    """A process holds its lock; otherwise the next start takes it over. None: we have no right to check."""
    stopped: bool
    """The process is stopped by a signal: it keeps the lock, and does nothing."""
    pid: int | None
    """The process that holds the lock, if it is visible from here; else the one that made the folder."""
    host: str | None
    url: str | None
    claimed: FileCount
    journal: bool
    """There is a journal: claimed files without one are never touched."""
    quiet_seconds: float
    """Seconds since the journal was last written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftovers:
    """The files in `failed/` and `rejected/`, which wait for a person."""

    failed: FileCount
    rejected: FileCount
    rejected_lines: int | None
    """None where there are too many to count quickly."""
    unlisted: tuple[str, ...] = ()
    """Folders that cannot be listed, and why: their files are not counted."""


def instances(spool: Path, now: float) -> list[InstanceView]:
    """Return the instances of a spool. `now` is seconds since 1970."""
    return [_instance(layout.state_folder(spool) / name, now) for name in names(spool)]


def leftovers(spool: Path) -> Leftovers:
    """Return the counts for the `failed/` folders and for `rejected/`."""
    failed = rejected = FileCount()
    refused: dict[str, str] = {}
    for path, size in _files(spool, depth=3, only=layout.FAILED, refused=refused):
        if not path.name.endswith(".reason.txt"):
            failed = failed.plus(size)
    records = []
    for path, size in _walk(spool / layout.REJECTED, hidden=False, refused=refused):
        rejected = rejected.plus(size)
        if path.name.endswith(".jsonl"):
            records.append((path, size))
    few = sum(size for _, size in records) <= _LINES_READ
    lines = sum(_lines(path) for path, _ in records) if few else None
    unlisted = tuple(f"{folder}: cannot be listed: {why}" for folder, why in refused.items())
    return Leftovers(failed=failed, rejected=rejected, rejected_lines=lines, unlisted=unlisted)


def _instance(folder: Path, now: float) -> InstanceView:
    told = _announcement(folder)
    pids = _holders(folder / layout.LOCK)
    announced = told.get("pid")
    alive = True if pids else _is_locked(folder / layout.LOCK)
    seen = announced if announced in pids else next(iter(pids), None)
    pid = seen if seen is not None else announced
    claimed = FileCount()
    for _, size in _walk(folder / layout.CLAIMED, refused={}):
        claimed = claimed.plus(size)
    url, host = told.get("url"), told.get("host")
    return InstanceView(
        name=folder.name,
        alive=alive,
        stopped=seen is not None and _state(seen) in _STOPPED,
        pid=pid if isinstance(pid, int) else None,
        host=host if isinstance(host, str) else None,
        url=url if isinstance(url, str) else None,
        claimed=claimed,
        journal=(folder / layout.JOURNAL).exists(),
        quiet_seconds=max(0.0, now - _last_write(folder)),
    )


def _announcement(folder: Path) -> dict[str, object]:
    try:
        told = json.loads((folder / layout.ANNOUNCEMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _is_locked(path: Path) -> bool | None:
    """Return whether a process holds a lock; None without the right to check (it is the daemon's user's)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except PermissionError:
        return None
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _holders(path: Path) -> list[int]:
    """Return the processes that hold a lock on a file with this inode, as far as they are visible from here."""
    try:
        inode, locks = path.stat().st_ino, Path("/proc/locks").read_text(encoding="ascii")
    except (OSError, ValueError):
        return []
    return [int(pid) for pid, number in _LOCK_LINE.findall(locks) if int(number) == inode and int(pid) > 0]


def _state(pid: int) -> str:
    """Return the letter of a process's state; empty if it is invisible."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].strip()[:1]


def _last_write(folder: Path) -> float:
    times = [0.0]
    for path in (folder, folder / layout.JOURNAL, folder / f"{layout.JOURNAL}-wal"):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times)


def _files(spool: Path, *, depth: int, only: str, refused: dict[str, str]) -> Iterator[tuple[Path, int]]:
    """Yield the files in the folders named `only`, `depth` levels below the spool."""
    folders = [spool]
    for level in range(depth):
        folders = [
            Path(entry.path)
            for folder in folders
            for entry in _entries(folder, refused)
            if (entry.name == only if level == depth - 1 else not entry.name.startswith("."))
            and entry.is_dir(follow_symlinks=False)
        ]
    for folder in folders:
        yield from _walk(folder, refused=refused)


def _walk(folder: Path, *, hidden: bool = True, refused: dict[str, str]) -> Iterator[tuple[Path, int]]:
    """Yield each regular file below a folder, and its size; follows no link, and skips hidden names unless `hidden`."""
    for entry in _entries(folder, refused):
        if not hidden and entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), hidden=hidden, refused=refused)
        elif entry.is_file(follow_symlinks=False):
            try:
                yield Path(entry.path), entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
            except OSError as error:
                refused[entry.path] = error.strerror or "it cannot be looked at"


def _entries(folder: Path, refused: dict[str, str]) -> list[os.DirEntry[str]]:
    """Return the entries of a folder; note an unlistable one in `refused`, with the reason."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        refused[os.fspath(folder)] = error.strerror or "it cannot be looked at"
        return []


def _lines(path: Path) -> int:
    """Return the number of rejected lines in a file, as far as it can be read."""
    count = 0
    with contextlib.suppress(OSError, SpoolError):
        for record in read(path):
            count += record.lines
    return count
