"""The names of a spool's folders and files. Pure: nothing here touches a disk.

    {spool}/{type}/{project}/{timestamp}_{id}.jsonl        pending; see `file_names`
    {spool}/{type}/{project}/processed/…, failed/…         final
    {spool}/rejected/{day}/{shipment}.jsonl                rejected lines
    {spool}/.spoolhouse/paused                             nothing is claimed while it is there
    {spool}/.spoolhouse/{instance}/                        lock, journal, address, adopter
    {spool}/.spoolhouse/{instance}/claimed/{type}/{project}/…, leaving/{number}

Types and projects are folders that the producers make; all others are ours.
"""

import os
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path, PurePath

from msgspec import Struct

from spoolhouse.file_names import COMPRESSED, unpacked

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
ADOPTER = "adopter.json"
REASON_SUFFIX = ".reason.txt"

PENDING_DEPTH = 3
"""The number of parts of a pending file's path below the spool: `{type}/{project}/{name}`."""
_LONGEST_NAME = 255
"""The longest name in a file system, in bytes."""


class Encoding(StrEnum):
    """The compression of a file, by the end of its name."""

    PLAIN = "plain"
    GZIP = "gzip"
    ZSTD = "zstd"
    BZIP2 = "bzip2"
    XZ = "xz"


_ENCODINGS = dict(zip(COMPRESSED, (Encoding.GZIP, Encoding.ZSTD, Encoding.BZIP2, Encoding.XZ), strict=True))


def encoding(name: str) -> Encoding:
    """Return the compression of a file of this name. It depends on nothing else: a file is read again as at first."""
    if name.endswith(".jsonl"):  # nearly all
        return Encoding.PLAIN
    lower = name.lower()
    return _ENCODINGS[lower[lower.rindex(".") :]] if lower.endswith(COMPRESSED) else Encoding.PLAIN


def is_reason(name: str) -> bool:
    """Return whether a file in `failed/` is the note beside another one."""
    return name.endswith(REASON_SUFFIX)


def text(path: PurePath | str) -> str:
    """Return a path as printable text."""
    name = os.fspath(path)
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


class Place(Struct, frozen=True, kw_only=True, order=True):
    """The place where a file was dropped: its identity in logs and in `rejected/`. Names may hold any bytes."""

    type: str
    project: str
    name: str

    @property
    def path(self) -> str:
        """Return the pending path, relative to the spool."""
        return f"{self.type}/{self.project}/{self.name}"

    @property
    def relative(self) -> PurePath:
        """Return the same as a path that can be taken apart."""
        return PurePath(self.path)

    @property
    def encoding(self) -> Encoding:
        """Return the file's compression."""
        return encoding(self.name)

    def __str__(self) -> str:
        """Return the path as printable text."""
        return text(self.path)


def final_folder(place: Place, *, failed: bool) -> PurePath:
    """Return the file's final folder, relative to the spool: beside its pending place."""
    return PurePath(place.type, place.project, FAILED if failed else PROCESSED)


def numbered(name: str, number: int) -> str:
    """Return `name` with a number before its suffix, for a name that is taken; 0 leaves it unchanged.

    A name that would be too long is cut before the number.
    """
    if number == 0:
        return name
    stem, suffix = split(name)
    return extended(stem, f".{number}{suffix}")


def unnumbered(name: str) -> tuple[str, ...]:
    """Return the names that a file of this name may have been dropped under: its own, and the one without a number."""
    whole, suffix = split(name)
    stem, dot, number = whole.rpartition(".")
    return (name, stem + suffix) if dot and stem and number.isdecimal() else (name,)


def split(name: str) -> tuple[str, str]:
    """Return a name's stem, and its suffix with that of the compression: `a` and `.jsonl.gz`. Digits are no suffix."""
    bare = unpacked(name)
    stem, dot, suffix = bare.rpartition(".")
    if not (dot and stem and suffix) or suffix.isdecimal():
        return bare, name[len(bare) :]
    return stem, name[len(stem) :]


def dropped_at(path: PurePath) -> tuple[Place, ...]:
    """Return the pending places that the file at `path`, relative to the spool, may have come from.

    None for a path that no file of ours has.
    """
    match path.parts:
        case (kind, project, folder, name) if folder in {PROCESSED, FAILED} and kind != STATE:
            return tuple(Place(type=kind, project=project, name=one) for one in unnumbered(name))
        case (kind, project, name) if kind not in {STATE, REJECTED}:
            return (Place(type=kind, project=project, name=name),)
    return ()


def extended(name: str, settle_options: str) -> str:
    """Return `name` with the ending; a name that would be too long is cut before the ending.

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
    return extended(name, REASON_SUFFIX)


def rejected_path(shipment: str, clock_ms: int) -> PurePath:
    """Return the path of a shipment's rejected lines, relative to the spool; a replay gives the same path."""
    day = datetime.fromtimestamp(clock_ms / 1000, UTC).strftime("%Y-%m-%d")
    return PurePath(REJECTED, day, f"{shipment}.jsonl")


def state_folder(spool: Path) -> Path:
    """Return the folder that holds the folders of all instances."""
    return spool / STATE
