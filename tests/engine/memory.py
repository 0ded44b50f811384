"""Folders in memory, for what a server writes.

A file system on a disk gives a new file no inode that another file had until some seconds ago, and looks at each such
inode again for each file: servers that make and drop tables all the time spend a third of their time on it.
"""

import fcntl
import os
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108  # in memory, on every Linux
PREFIX = "spoolhouse-tests-"
ROOM = 2 << 30
"""Bytes: with fewer left, a server writes to the disk."""


def folder_in_memory(owner: object, memory: Path = MEMORY) -> Path | None:
    """Return a new folder that is removed with its owner, or None where there is no room."""
    if not memory.is_dir() or shutil.disk_usage(memory).free < ROOM:
        return None
    _remove_abandoned(memory)
    hidden = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=memory))
    lock = os.open(hidden, os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = hidden.rename(memory / hidden.name[1:])  # from here on, others take it for abandoned if it is not locked
    weakref.finalize(owner, _remove, folder, lock)
    return folder


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _remove_abandoned(memory: Path) -> None:
    """Remove the folders of processes that were killed: nobody holds their locks."""
    for folder in memory.glob(f"{PREFIX}*"):
        with suppress(OSError):
            lock = os.open(folder, os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
