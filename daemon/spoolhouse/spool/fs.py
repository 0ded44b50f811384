"""File operations that are safe against crashes, name clashes and links. All block: call them in a worker thread.

The standard library alone: producers import it.
"""

import contextlib
import errno
import fcntl
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from spoolhouse.errors import SpoolError
from spoolhouse.failpoints import reach
from spoolhouse.spool import rename

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})
"""Passing shortages of the machine, which are not the file's fault."""
LASTING = frozenset({errno.EIO, errno.ESTALE})
"""Read errors that may pass, or may be the end of the file."""
MAY_PASS = SHORTAGES | LASTING
"""What says nothing of a file: it can be looked at again."""
_NO_FLOCK = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, errno.EBADF})
_SYNCS_AT_ONCE = 4
_BEGUN_TOGETHER = 16
_FIRST_READ = 512
_READ = 64 << 10


def sync_folder(folder: Path | str) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        reach("files.sync_folder")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folders(folders: Iterable[Path | str]) -> None:
    """Make the names in each of `folders` durable, each once; a missing folder has no names to keep.

    A few threads sync a share of them each: they share the flushes of a disk, which take nearly all of the time.
    """
    syncs = FolderSyncs()
    for folder in folders:
        syncs.changed(folder)
    syncs.finish()


class FolderSyncs:
    """The folders whose names have changed. Some are synced already while names in others still change.

    The order is the promise: a sync counts for a folder only if it began after the last change there. After `finish`,
    and not before, a journal may say that the changes are durable.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._waiting: set[str] = set()
        self._begun: dict[str, Future[None]] = {}
        """By folder the sync that has begun since its last change."""
        self._superseded: list[tuple[str, Future[None]]] = []
        """Folders with syncs that do not count, but for their errors: the kernel tells each error once."""

    def changed(self, folder: Path | str) -> None:
        """Note that names in a folder change: a sync that began before does not count."""
        path = os.fspath(folder)
        if (begun := self._begun.pop(path, None)) is not None:
            self._superseded.append((path, begun))
        self._waiting.add(path)

    def begin(self) -> None:
        """Begin to sync the changed folders, unless they are few: a thread is not woken for each."""
        if len(self._waiting) >= _BEGUN_TOGETHER:
            self._submit([*self._waiting])

    def finish(self) -> None:
        """Return once all folders are synced. After OSError, a second call syncs those that are not."""
        if len(self._waiting) == 1 and not (self._begun or self._superseded):
            _sync_present(self._waiting)
            self._waiting.clear()
            return
        waiting = [*self._waiting]
        for first in range(min(_SYNCS_AT_ONCE, len(waiting))):
            self._submit(waiting[first::_SYNCS_AT_ONCE])
        errors = []
        for folder, sync in (*self._superseded, *self._begun.items()):
            if (error := sync.exception()) is not None:
                errors.append(error)
                self._waiting.add(folder)
        self._superseded.clear()
        self._begun.clear()
        if errors:
            raise errors[0]

    def _submit(self, folders: list[str]) -> None:
        self._begun.update(dict.fromkeys(folders, _executor().submit(_sync_present, folders)))
        self._waiting.difference_update(folders)


@cache
def _executor() -> "ThreadPoolExecutor":
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # no import once the main thread has ended

    return ThreadPoolExecutor(_SYNCS_AT_ONCE, thread_name_prefix="sync")


def _sync_present(folders: Iterable[str]) -> None:
    """Sync those of `folders` that are there."""
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            sync_folder(folder)


def make_folders(*folders: Path, below: Path) -> None:
    """Create each of `folders` and its parents below `below`, durably, with one sync of each folder that got others.

    A link on the way is refused: it may lead anywhere. If a sync fails, the new folders are removed: the next attempt
    makes them anew, and syncs again.
    """
    made: dict[str, str] = {}
    """By new folder, the one that got it."""
    checked: set[str] = set()
    try:
        for folder in folders:
            path = os.fspath(below)
            for part in folder.relative_to(below).parts:
                parent, path = path, f"{path}/{part}"
                if path in checked:
                    continue
                if _is_missing(path):
                    reach("files.make_folder")
                    Path(path).mkdir(exist_ok=True)
                    made[path] = parent
                    _is_missing(path)
                checked.add(path)
    finally:
        try:
            sync_folders(made.values())
        except OSError:
            for path in reversed(made):
                with contextlib.suppress(OSError):
                    Path(path).rmdir()
            raise


def _is_missing(folder: str) -> bool:
    """Return whether there is no such folder. Raises NotADirectoryError if something else has its name."""
    try:
        status = os.lstat(folder)
    except FileNotFoundError:
        return True
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "not a folder", folder)
    return False


def rename_without_clobber(
    source: Path | str, target: Path | str, *, folder: int | None = None, target_folder: int | None = None
) -> None:
    """Rename as `rename` does: atomically, and without replacing anything."""
    reach("files.rename")
    rename.rename_without_clobber(source, target, folder=folder, target_folder=target_folder)


def open_folder(path: Path | str, *, folder: int | None = None) -> int:
    """Open a folder, not through a link in its last part, below the open folder `folder` if given."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)


@contextlib.contextmanager
def opened_folders(folder: Path, *, below: Path, unsynced: set[Path] | None = None) -> Iterator[int]:
    """Open `folder` through no link, and create it and its parents below `below` where they are missing.

    `unsynced` takes the folders that got others; the caller syncs them. Without it this is done here.

    An operation relative to the descriptor happens in that folder, even if its name is replaced meanwhile. Raises
    NotADirectoryError for a link, or another entry that is no folder, on the way.
    """
    descriptor, path = open_folder(below), below
    try:
        for part in folder.relative_to(below).parts:
            inner, is_new = _open_or_make(part, descriptor)
            if is_new and unsynced is not None:
                unsynced.add(path)
            elif is_new:
                _sync_made(part, inner, descriptor)
            os.close(descriptor)
            descriptor, path = inner, path / part
        yield descriptor
    finally:
        os.close(descriptor)


def _sync_made(name: str, made: int, folder: int) -> None:
    """Make the name of a new folder durable. If that fails, close and remove it, as `make_folders` does."""
    try:
        os.fsync(folder)
        reach("files.opened_made")
    except OSError:
        os.close(made)
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=folder)
        raise


def _open_or_make(name: str, folder: int) -> tuple[int, bool]:
    """Return the open folder, and whether it was made."""
    try:
        try:
            return open_folder(name, folder=folder), False
        except FileNotFoundError:
            reach("files.make_opened")
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=folder)
            return open_folder(name, folder=folder), True
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", name) from error
        raise


def open_regular(path: Path | str, *, folder: int | None = None) -> tuple[int, os.stat_result]:
    """Open a regular file for reading, never through a link; return the descriptor and what it is of.

    `path` is relative to the open folder `folder`, if that is given.

    Non-blocking, so that a FIFO in its place cannot hang us. Raises OSError (`ELOOP` for a link, `EINVAL` for another
    entry that is no regular file).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        reach("files.opened")
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, status


def lock(path: Path) -> int | None:
    """Take the lock at `path`; return its descriptor, or None if another process has it. Closing it releases the lock.

    The file is opened first and locked second, so its name may by then belong to another file, or to none: then no
    other process would see the lock, and it is not taken. Raises FileNotFoundError if the folder is gone.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _NO_FLOCK:
                raise
            raise SpoolError(f"{path}: this file system has no working flock ({error.strerror})") from error
        try:
            named, held = path.lstat(), os.fstat(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino):
            return descriptor
        os.close(descriptor)


def check_locks_lock(folder: Path) -> None:
    """Raise `SpoolError` if a second lock on one file succeeds here: then two daemons would take the same files."""
    path = folder / f"lock-check-{uuid.uuid4().hex}"
    locks: list[int | None] = []
    try:
        locks.append(lock(path))
        locks.append(lock(path))
        if locks[0] is None or locks[1] is not None:
            raise SpoolError(f"{folder}: this file system's flock does not lock; put the spool on a local one")
    finally:
        for descriptor in locks:
            if descriptor is not None:
                os.close(descriptor)
        path.unlink(missing_ok=True)


def line_start_at_or_after(descriptor: int, offset: int, end: int) -> int:
    """Return the first line start from `offset` on, up to `end`; `end` if there is none."""
    if offset <= 0:
        return 0
    position = offset - 1
    while position < end:
        block = os.pread(descriptor, min(_READ, end - position), position)
        if not block:
            return end
        found = block.find(b"\n")
        if found >= 0:
            return min(position + found + 1, end)
        position += len(block)
    return end


def last_line_start(descriptor: int, start: int, end: int) -> int:
    """Return the start of the unterminated last line; `end` if the range is empty or ends with a line end."""
    position = end
    while position > start:
        # Nearly always the last byte is a line end.
        size = min(_FIRST_READ if position == end else _READ, position - start)
        block = os.pread(descriptor, size, position - size)
        found = block.rfind(b"\n")
        if found >= 0:
            return position - size + found + 1
        position -= size
    return start
