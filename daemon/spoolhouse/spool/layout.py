"""What the folders and files of a spool are called. Pure: nothing here touches a disk.

    {spool}/{type}/{project}/{timestamp}_{id}.jsonl        pending
    {spool}/{type}/{project}/processed/…, failed/…         final
    {spool}/rejected/{day}/{shipment}.jsonl                rejected lines
    {spool}/.spoolhouse/paused                             nothing is claimed while it is there
    {spool}/.spoolhouse/{instance}/                        lock, journal, address
    {spool}/.spoolhouse/{instance}/claimed/{type}/{project}/…, leaving/{number}

Types and projects are folders that the producers make; all others are ours.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path, PurePath

STATE = ".spoolhouse"
CLAIMED = "claimed"
REMOVING = "leaving"
PROCESSED = "processed"
FAILED = "failed"
REJECTED = "rejected"
PAUSED = "paused"
LOCK = "lock"
JOURNAL = "journal.sqlite"
ANNOUNCEMENT = "address.json"
TEMPORARY_SUFFIXES = (".tmp", ".part", ".partial", ".swp", "~")

PENDING_DEPTH = 3
"""`{type}/{project}/{name}`: how many parts a pending file's path has below the spool."""
_LONGEST_NAME = 255
"""Bytes that a file system takes for one name."""


class Encoding(StrEnum):
    """How the bytes of a file are packed, told by its suffix."""

    PLAIN = "plain"
    GZIP = "gzip"
    ZSTD = "zstd"


SUFFIXES = {".jsonl": Encoding.PLAIN, ".jsonl.gz": Encoding.GZIP, ".jsonl.zst": Encoding.ZSTD}


def is_passing(name: str) -> bool:
    """Tell whether a name is one that a producer uses for a while only: hidden, or temporary."""
    return name.startswith(".") or name.endswith(TEMPORARY_SUFFIXES)


def encoding(name: str) -> Encoding | None:
    """Return how a file of this name is packed, or None if it is no name that we take."""
    if is_passing(name):
        return None
    for suffix, result in SUFFIXES.items():
        if name.endswith(suffix) and len(name) > len(suffix):
            return result
    return None


def text(path: PurePath) -> str:
    """Return a path as text that can always be printed."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """Where a file was dropped: its identity for people, in logs and in `rejected/`. Names may hold any bytes."""

    type: str
    project: str
    name: str

    @property
    def relative(self) -> PurePath:
        """Return the pending path, relative to the spool."""
        return PurePath(self.type, self.project, self.name)

    @property
    def encoding(self) -> Encoding:
        """Return how the file is packed; a name that we would not take counts as plain."""
        return encoding(self.name) or Encoding.PLAIN

    def __str__(self) -> str:
        """Return the path as text that can always be printed."""
        return text(self.relative)


def final_folder(place: Place, *, failed: bool) -> PurePath:
    """Return the folder, relative to the spool, that the file ends in: a sibling of where it was dropped."""
    return PurePath(place.type, place.project, FAILED if failed else PROCESSED)


def numbered(name: str, number: int) -> str:
    """Return `name` with a number before its suffix, for when the name is taken; 0 leaves it as it is.

    A name that would be too long is cut before the number.
    """
    if number == 0:
        return name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix):
            return extended(name.removesuffix(suffix), f".{number}{suffix}")
    return extended(name, f".{number}")


def unnumbered(name: str) -> tuple[str, ...]:
    """Return the names that a file of this name may have been dropped under: its own, and that without a number."""
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix):
            stem, dot, number = name.removesuffix(suffix).rpartition(".")
            return (name, stem + suffix) if dot and stem and number.isdecimal() else (name,)
    return (name,)


def dropped_at(path: PurePath) -> tuple[Place, ...]:
    """Return the places where a file may have been dropped that is now at `path`, relative to the spool.

    None for a path that no file of ours has.
    """
    match path.parts:
        case (kind, project, folder, name) if folder in {PROCESSED, FAILED} and kind != STATE:
            return tuple(Place(type=kind, project=project, name=one) for one in unnumbered(name))
        case (kind, project, name) if kind not in {STATE, REJECTED}:
            return (Place(type=kind, project=project, name=name),)
    return ()


def extended(name: str, settle_options: str) -> str:
    """Return `name` with `ending` after it; what a file system would find too long is cut off before `ending`.

    The limit counts bytes, and a cut does not leave half a character.
    """
    room = _LONGEST_NAME - len(os.fsencode(settle_options))
    raw = os.fsencode(name)
    if len(raw) > room:
        while room > 0 and raw[room] & 0xC0 == 0x80:  # noqa: PLR2004  # a byte that continues a character
            room -= 1
        name = os.fsdecode(raw[:room])
    return name + settle_options


def reason_name(name: str) -> str:
    """Return the name of the note beside a file in `failed/`."""
    return extended(name, ".reason.txt")


def rejected_path(shipment: str, clock_ms: int) -> PurePath:
    """Return where the rejected lines of a shipment go, relative to the spool; a replay gives the same path."""
    day = datetime.fromtimestamp(clock_ms / 1000, UTC).strftime("%Y-%m-%d")
    return PurePath(REJECTED, day, f"{shipment}.jsonl")


def state_folder(spool: Path) -> Path:
    """Return the folder that holds the folders of all instances."""
    return spool / STATE
