"""Judges the spool: rights, file systems, free space and inodes, inotify watches."""

import os
import resource
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from spoolhouse.doctor.finding import Finding, fault, good, warning
from spoolhouse.errors import SpoolError
from spoolhouse.settings.spool import SpoolSettings
from spoolhouse.spool.fs import check_locks_lock, sync_folder

SUBJECT = "spool"
_MOST_FOLDERS = 100_000
_MOST_NAMED = 3
_LEAST_FILES = 1024
_OF_OTHERS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "fuse.sshfs", "fuse.s3fs", "9p")
_LIMIT = Path("/proc/sys/fs/inotify/max_user_watches")
_MOUNTS = Path("/proc/self/mounts")


def examine(root: Path, settings: SpoolSettings) -> Iterator[Finding]:
    """Yield all findings; the trial folder is removed again. Blocks on the disk."""
    poll_seconds = settings.poll_interval_ms / 1000
    if not root.exists():
        yield from _missing(root)
        return
    if not root.is_dir():
        hint = "set spool.storage_path and spool.base_path to a folder"
        yield fault(SUBJECT, f"{root} is no folder", why="files are taken from a folder", hint=hint)
        return
    yield _usable(root)
    folders = list(islice(_folders(root), _MOST_FOLDERS))
    yield one_file_system(root, folders)
    yield from _permissions(folders)
    try:
        room = os.statvfs(root)
    except OSError as error:
        yield fault(SUBJECT, f"{root}: {error.strerror}", why="the disk does not answer", hint="repair the disk")
        return
    yield space(room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize, settings.min_free)
    yield inodes(room.f_favail, room.f_files, settings.min_free_inodes)
    yield from _watched(root, len(folders), poll_seconds)
    yield open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def one_file_system(root: Path, folders: Sequence[Path]) -> Finding:
    """Judge whether the folders are on the file system of `root`."""
    device = root.lstat().st_dev
    if others := _those(folders, lambda folder: folder.lstat().st_dev != device):
        why = "a claim is a rename, and no rename leaves its file system: files there are refused"
        what = f"{_named(others)}: on another file system than {root}"
        hint = "mount one file system over the whole spool, or run a daemon for each"
        return fault(SUBJECT, what, why=why, hint=hint)
    return good(SUBJECT, "one file system")


def space(free: int, total: int, least: int) -> Finding:
    """Judge the bytes that are free; below `least` nothing is claimed."""
    what = f"{_size(free)} of {_size(total)} are free"
    hint = "free or add disk space; processed/ may be emptied at any time"
    if free < least:
        return fault(SUBJECT, what, why=f"below spool.min_free ({_size(least)}) nothing is claimed", hint=hint)
    if free < 10 * least or free < total / 20:
        why = "producers write here, and so do the journal and rejected lines"
        return warning(SUBJECT, what, why=why, hint=hint)
    return good(SUBJECT, what)


def inodes(free: int, total: int, least: int) -> Finding:
    """Judge the inodes that are free; a file system without a fixed number says 0 of 0."""
    if total == 0:
        return good(SUBJECT, "inodes are not limited")
    what, hint = f"{free:,} of {total:,} inodes are free", "remove old files, those of processed/ for one"
    if free < least:
        return fault(SUBJECT, what, why=f"below spool.min_free_inodes ({least:,}) nothing is claimed", hint=hint)
    if free < max(10 * least, total / 20):
        why = "each file needs one: without any, no file can be created"
        return warning(SUBJECT, what, why=why, hint=hint)
    return good(SUBJECT, what)


def watches(folders: int, limit: int, poll_seconds: float) -> Finding:
    """Judge whether inotify can watch all folders of the spool: each needs one watch."""
    what = f"{folders:,} folders, {limit:,} inotify watches"
    if folders * 2 <= limit:
        return good(SUBJECT, what)
    why = f"files in folders that are not watched are found by the scan only, every {poll_seconds:g} s"
    return warning(SUBJECT, what, why=why, hint=f"sysctl fs.inotify.max_user_watches={max(524_288, folders * 4)}")


def open_files(limit: int) -> Finding:
    """Judge how many files may be open at once."""
    if limit in {-1, resource.RLIM_INFINITY} or limit >= _LEAST_FILES:
        return good(SUBJECT, "enough files may be open at once")
    why = "each shipment, connection and adopted folder keeps some open"
    return warning(SUBJECT, f"only {limit} files may be open at once", why=why, hint="LimitNOFILE=, or ulimit -n")


def file_system(mounts: str, path: str) -> str:
    """Return the type of the file system that `path`, absolute, is on, given the text of /proc/self/mounts."""
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        point = fields[1].replace("\\040", " ") if len(fields) > len("of") else ""
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if point and inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def _missing(root: Path) -> Iterator[Finding]:
    parent = next(folder for folder in root.parents if folder.exists())
    if os.access(parent, os.W_OK | os.X_OK):
        why = "the first start creates it, and producers may need it before"
        yield warning(SUBJECT, f"{root} does not exist yet", why=why, hint=f"mkdir -p {root}")
    else:
        hint = f"create {root} for this user, or set spool.storage_path and spool.base_path"
        yield fault(SUBJECT, f"{root} does not exist, and cannot be created", why="files are taken from it", hint=hint)


def _usable(root: Path) -> Finding:
    """Do in the spool what the daemon does: make folders, write, sync, rename, lock and remove."""
    trial = root / f".spoolhouse-check-{uuid.uuid4().hex}"
    try:
        trial.mkdir()
        try:
            (trial / "a").mkdir()
            (trial / "a" / "file").write_bytes(b"x")
            (trial / "a" / "file").rename(trial / "file")
            sync_folder(trial)
            check_locks_lock(trial)
        finally:
            shutil.rmtree(trial, ignore_errors=True)
    except SpoolError as error:
        return fault(SUBJECT, str(error), why="a lock tells a living daemon from a dead one", hint="use a local disk")
    except OSError as error:
        hint = f"make {root} writable for the user that runs the daemon, on a file system that is not read-only"
        why = "files are claimed and settled by renaming them here"
        return fault(SUBJECT, f"{root} cannot be worked in: {error.strerror}", why=why, hint=hint)
    return good(SUBJECT, f"{root}: made, written, synced, renamed, locked and removed")


def _folders(root: Path) -> Iterator[Path]:
    """Yield the folders `{type}` and `{type}/{project}`, and those of the daemons."""
    for folder in _subfolders(root):
        yield folder
        yield from _subfolders(folder)


def _subfolders(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            yield from [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return


def _permissions(folders: list[Path]) -> Iterator[Finding]:
    if shut := _those(folders, lambda folder: not os.access(folder, os.R_OK | os.W_OK | os.X_OK)):
        hint = "give the daemon's user read, write and search rights there (a common group and mode 2770 do)"
        yield fault(SUBJECT, f"{_named(shut)}: not open to this user", why="files there cannot be claimed", hint=hint)


def _those(folders: Sequence[Path], test: Callable[[Path], bool]) -> list[Path]:
    found = []
    for folder in folders:
        try:
            if test(folder):
                found.append(folder)
        except OSError:  # it was removed meanwhile
            continue
    return found


def _named(folders: list[Path]) -> str:
    rest = len(folders) - _MOST_NAMED
    return ", ".join(map(str, folders[:_MOST_NAMED])) + (f" and {rest} more" if rest > 0 else "")


def _watched(root: Path, folders: int, poll_seconds: float) -> Iterator[Finding]:
    try:
        kind = file_system(_MOUNTS.read_text(errors="replace"), str(root.resolve()))
        limit = int(_LIMIT.read_text())
    except (OSError, ValueError):
        return  # not Linux: the scan finds all files
    if kind in _OF_OTHERS:
        why = f"files that other machines write there are found by the scan only, every {poll_seconds:g} s"
        hint = "lower spool.poll_interval_ms if they must be found sooner"
        yield warning(SUBJECT, f"a network file system ({kind})", why=why, hint=hint)
    yield watches(folders, limit, poll_seconds)


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:  # noqa: PLR2004  # what each unit is of the one before
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
