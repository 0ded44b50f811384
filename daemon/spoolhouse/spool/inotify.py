"""Ask the system whether it would report the changes in one more folder. Linux; blocks hardly ever."""

import ctypes
import os
from pathlib import Path

_IN_CREATE = 0x100
_LIBC = ctypes.CDLL(None, use_errno=True)


def check(folder: Path) -> None:
    """Raise OSError if no further folder can be watched: EMFILE for want of a watcher, ENOSPC for want of a watch.

    A library that watches a tree passes over the folders that the system refuses.
    """
    start, add = getattr(_LIBC, "inotify_init1", None), getattr(_LIBC, "inotify_add_watch", None)
    if start is None or add is None:
        return  # another system
    watcher = start(os.O_CLOEXEC)
    if watcher < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        if add(watcher, os.fsencode(folder), _IN_CREATE) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(watcher)
