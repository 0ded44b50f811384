"""Read a spool's folders, with or without a daemon: its instances, and the files in `failed/` and `rejected/`.

For people, not for the daemon. Nothing is changed. Where the kernel does not list an instance's lock, a shared lock is
tried for a moment: an adopter that comes in that moment takes the instance for a living one, and checks again later.
Blocks on the disk.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from spoolhouse.errors import SpoolError
from spoolhouse.monitoring.status_model import FileCount, Status
from spoolhouse.spool import layout, process_notes
from spoolhouse.spool.instance_dirs import names
from spoolhouse.spool.journal import is_done
from spoolhouse.spool.reject_records import read

_LINES_READ = 64 << 20
_LOCK_LINE = re.compile(r"^\d+: FLOCK +\S+ +\S+ +(\d+) [0-9a-f]+:[0-9a-f]+:(\d+) ", re.MULTILINE)
_STOPPED = frozenset("Tt")


class Leftovers(Struct, frozen=True, kw_only=True):
    """The files in `failed/` and `rejected/`, which wait for a person."""

    failed: FileCount
    rejected: FileCount
    rejected_lines: int | None
    """None where there are too many to count quickly."""
    unlisted: tuple[str, ...] = ()
    """Folders that cannot be listed, and why: their files are not counted."""


def instances(spool: Path, now: float) -> list[Status]:
    """Return the status of each instance as its folder shows it: running, stopped, adopted, gone, ended, or unknown.

    `now` is the time of the day in seconds.
    """
    return [_instance(layout.state_folder(spool) / name, now) for name in names(spool)]


def leftovers(spool: Path) -> Leftovers:
    """Return the counts for the `failed/` folders and for `rejected/`."""
    failed = rejected = FileCount()
    refused: dict[str, str] = {}
    for path, size in _files(spool, depth=3, only=layout.FAILED, refused=refused):
        if not layout.is_reason(path.name):
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


def _instance(folder: Path, now: float) -> Status:
    announced, adopter = process_notes.address(folder), process_notes.adopter(folder)
    pids = _holders(folder / layout.LOCK)
    alive = True if pids else _is_locked(folder / layout.LOCK)
    named = (announced if adopter is None else adopter).get("pid")
    holder = named if named in pids else next(iter(pids), None)
    pid = named if holder is None else holder
    claimed = FileCount()
    for _, size in _walk(folder / layout.CLAIMED, refused={}):
        claimed = claimed.plus(size)
    url, host = announced.get("url"), announced.get("host")
    if alive:
        state, why = _living(holder, adopter)
    else:
        state, why = _gone(folder, claimed, may_read=alive is not None)
    return Status(
        instance=folder.name,
        state=state,
        why=why,
        pid=pid if isinstance(pid, int) else None,
        host=host if isinstance(host, str) else None,
        spool=None,
        at_ms=round(now * 1000),
        url=url if isinstance(url, str) else None,
        claimed=claimed,
        quiet_seconds=round(max(0.0, now - _last_write(folder)), 1),
    )


def _living(pid: object, adopter: dict[str, object] | None) -> tuple[str, str | None]:
    if isinstance(pid, int) and _state(pid) in _STOPPED:
        return "stopped", f"process {pid} is frozen by a signal and keeps its lock: kill -CONT it, or kill it"
    if adopter is not None:
        return "adopted", _taken_over(pid, adopter)
    return "running", None


def _taken_over(holder: object, adopter: dict[str, object]) -> str:
    """Say who has the folder. Where the kernel does not show the holder, its own word counts, with its host."""
    pid, host = adopter.get("pid"), adopter.get("host")
    if isinstance(holder, int):
        return f"taken over by process {holder}"
    if isinstance(pid, int) and isinstance(host, str):
        return f"taken over by process {pid} on {host}"
    return "taken over by another process"


def _gone(folder: Path, claimed: FileCount, *, may_read: bool) -> tuple[str, str]:
    if not may_read:
        return "unknown", "its lock may not be read: ask as the daemon's user, or with --url"
    if claimed.files and not os.path.lexists(folder / layout.JOURNAL):
        return "gone", "files are claimed and there is no journal: nobody touches them; move them back by hand"
    refused: dict[str, str] = {}
    is_empty = not any(any(_walk(folder / name, refused=refused)) for name in (layout.CLAIMED, layout.REMOVING))
    if is_empty and not refused and is_done(folder / layout.JOURNAL):
        return "ended", "its process has ended, and left nothing to do"
    return "gone", "its process has ended; the next daemon that starts takes its work over"


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
