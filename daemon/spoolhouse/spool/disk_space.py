"""How much space a disk has free, and whether that is enough."""

import os
from pathlib import Path

from msgspec import Struct

_MARGIN = 1.25


class FreeSpace(Struct, frozen=True, kw_only=True):
    """The free space of a disk. `inodes` is None where the file system does not count them."""

    bytes: int
    inodes: int | None


class MinFree(Struct, frozen=True, kw_only=True):
    """The space that must stay free; 0 switches a limit off."""

    bytes: int
    inodes: int


def free_space(folder: Path) -> FreeSpace:
    """Return the free space on the disk of `folder`."""
    status = os.statvfs(folder)
    return FreeSpace(bytes=status.f_bavail * status.f_frsize, inodes=status.f_favail if status.f_files else None)


def shortage(room: FreeSpace, least: MinFree, *, was_short: bool) -> str:
    """Return a sentence about the shortage, empty if there is enough space.

    A shortage lasts until a quarter more than the minimum is free: otherwise a disk that is filled as fast as it is
    cleared would stop and start claiming at every check.
    """
    margin = _MARGIN if was_short else 1.0
    if room.bytes < least.bytes * margin:
        return f"{room.bytes >> 20} MiB are free, spool.min_free is {least.bytes >> 20} MiB"
    if room.inodes is not None and room.inodes < least.inodes * margin:
        return f"{room.inodes} inodes are free, spool.min_free_inodes is {least.inodes}"
    return ""
