"""Create, list and delete instance folders. Blocks on the disk."""

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path, PurePath

from spoolhouse.errors import JournalError
from spoolhouse.failpoints import reach
from spoolhouse.spool import fs, layout

_BIRTHS = 50
_BIRTH_PAUSE = 0.01


def lock_new(folder: Path, spool: Path) -> int:
    """Make the folder of a new instance and take its lock. Raises FileExistsError if it belongs to another one.

    Until it is locked, another instance may take it for half made, and remove it: then it is made again.
    """
    fs.make_folders(folder.parent, below=spool)
    fs.check_locks_lock(folder.parent)
    for _ in range(_BIRTHS):
        reach("instance.before_making")
        folder.mkdir(exist_ok=True)
        try:
            lock = fs.lock(folder / layout.LOCK)
        except FileNotFoundError:
            continue
        if lock is None:
            time.sleep(_BIRTH_PAUSE)
        elif os.path.lexists(folder / layout.JOURNAL):
            os.close(lock)
            break
        else:
            return lock
    raise FileExistsError(errno.EEXIST, "it belongs to another instance", os.fspath(folder))


def holds_nothing(folder: Path) -> bool:
    """Return whether a folder without a usable journal may be removed: it has no claimed files. Raises OSError."""
    if not _exists(folder / layout.CLAIMED):
        return True
    held = any(any(walk(folder / name)) for name in (layout.CLAIMED, layout.REMOVING))
    return not held and not _exists(folder / layout.JOURNAL)


def _exists(path: Path) -> bool:
    """Tell whether there is anything at `path`. Raises OSError if that cannot be seen just now."""
    try:
        reach("instance.exists")
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def delete(folder: Path) -> None:
    """Delete an instance folder whose lock we hold, unless a file is claimed in it. The lock goes last.

    A neighbour that comes in between finds no journal and no claimed file, and finishes the work.
    """
    reach("instance.before_removal")
    try:
        for name in (layout.REMOVING, layout.CLAIMED):
            for root, _, _ in os.walk(folder / name, topdown=False):
                Path(root).rmdir()
    except OSError:
        return
    for path in sorted(folder.iterdir(), key=lambda path: path.name == layout.LOCK):
        reach("instance.removing")
        with contextlib.suppress(OSError):
            path.unlink()
    reach("instance.emptied")
    with contextlib.suppress(OSError):
        folder.rmdir()
    fs.sync_folder(folder.parent)


def walk(folder: Path) -> Iterator[PurePath]:
    """Yield every entry below `folder` that is no folder, as a relative path; nothing if it does not exist.

    Raises `JournalError` if it cannot be listed: an unlistable folder must not pass for empty.
    """

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise JournalError(f"{error.filename}: {error.strerror}") from error

    for root, folders, names in os.walk(folder, onerror=fail):
        links = [name for name in folders if Path(root, name).is_symlink()]
        for name in (*names, *links):
            yield Path(root, name).relative_to(folder)


def names(spool: Path) -> list[str]:
    """Return the names of all instance folders of a spool, dead or alive."""
    state = layout.state_folder(spool)
    try:
        return sorted(entry.name for entry in os.scandir(state) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
