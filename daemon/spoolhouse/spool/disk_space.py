"""Whether a disk has room for more: a decision from figures."""

from dataclasses import dataclass

_MARGIN = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeSpace:
    """What is free on a disk. `inodes` is None where the file system does not count them."""

    bytes: int
    inodes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MinFree:
    """What must stay free; 0 asks for nothing."""

    bytes: int
    inodes: int


def shortage(room: FreeSpace, least: MinFree, *, was_short: bool) -> str:
    """Say what there is too little of, empty if there is enough.

    What was short is short until a quarter more than the least is free: a disk that is being filled as fast as it is
    cleared would else have claiming start and stop with every look.
    """
    margin = _MARGIN if was_short else 1.0
    if room.bytes < least.bytes * margin:
        return f"{room.bytes >> 20} MiB are free, spool.min_free is {least.bytes >> 20} MiB"
    if room.inodes is not None and room.inodes < least.inodes * margin:
        return f"{room.inodes} inodes are free, spool.min_free_inodes is {least.inodes}"
    return ""
