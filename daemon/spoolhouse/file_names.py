"""Names of the files that are taken from the spool. Pure."""

import fnmatch
import hashlib
import re
import uuid
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

DEFAULTS = "*.jsonl *.ndjson *.json log/*.log"
DRAFT = ".draft"
"""The end of the hidden name of a file that `SpoolWriter` writes: `.{32 hex digits}.draft`.

The file's final name stands between them, with a dot before it, if it is known: that of a spilled batch is.
"""
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
TEMPORARY = (".tmp", ".part", ".partial", ".swp", "~")
_OURS = "*.replayed.jsonl *.rest-*.jsonl"
"""Names of files that `replay` and `retry` drop."""


_SPILLED = re.compile(r"([0-9]{1,13})_spilled-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.jsonl")


class LandedAs(NamedTuple):
    """The id and the time under which a batch lands, whoever lands it."""

    shipment: str
    clock_ms: int


class Spilled(NamedTuple):
    """The name of a batch that an exporter has tried to land itself, and then dropped as a file: it may have landed."""

    batch: str
    """A UUID."""
    clock_ms: int

    def landed_as(self, type_name: str, project: str, content: Iterable[bytes]) -> LandedAs:
        """Return under which id a file of this name lands, given its folder and its content, in pieces of any size.

        The exporter and the daemon both compute it. So a file of other content has another id, whatever its name:
        its rows are not taken for those that have landed.
        """
        digest = hashlib.sha256(f"{type_name}/{project}/{self.file_name}\n".encode("utf-8", "surrogateescape"))
        for piece in content:
            digest.update(piece)
        return LandedAs(str(uuid.uuid5(uuid.UUID(self.batch), digest.hexdigest())), self.clock_ms)

    @property
    def file_name(self) -> str:
        """Return the file's name."""
        return f"{self.clock_ms}_spilled-{self.batch}.jsonl"


def spilled(name: str) -> Spilled | None:
    """Return the batch that a file of this name may be; None for other files."""
    found = _SPILLED.fullmatch(name)
    return None if found is None else Spilled(found[2], int(found[1]))


class FileNames:
    """Globs of names that are taken, apart by spaces; one with `{type}/` before it is for that type's folder alone."""

    def __init__(self, globs: str = DEFAULTS) -> None:
        """Prepare for the globs."""
        self._globs = globs
        self._of_type = cache(self._pattern)

    def take(self, type_name: str, name: str) -> bool:
        """Tell whether a file of this name is taken in a type's folder, in any case and with any compression."""
        lower = name.lower()
        if is_passing(lower):
            return False
        matches = self._of_type(type_name).fullmatch
        return matches(lower) is not None or matches(unpacked(lower)) is not None

    def of_type(self, type_name: str) -> list[str]:
        """Return the globs for a type's folder."""
        parts = [glob.rpartition("/") for glob in self._globs.split()]
        return [name for folder, _, name in parts if folder in {"", type_name}]

    def _pattern(self, type_name: str) -> re.Pattern[str]:
        globs = [*self.of_type(type_name), *_OURS.split()]
        return re.compile("|".join(fnmatch.translate(glob.lower()) for glob in globs))


def is_passing(name: str) -> bool:
    """Return whether a producer uses this name only for a while: hidden, or temporary."""
    return name.startswith(".") or name.lower().endswith(TEMPORARY)


def unpacked(name: str) -> str:
    """Return a name without the end that names its compression."""
    return name[: name.rindex(".")] if name.lower().endswith(COMPRESSED) else name


def is_glob(text: str) -> bool:
    """Tell whether a text is a glob of names that can be taken, with or without a type's folder."""
    folder, slash, name = text.rpartition("/")
    return not ("/" in folder or bool(slash) != bool(folder) or "\0" in text or not name or is_passing(name))
