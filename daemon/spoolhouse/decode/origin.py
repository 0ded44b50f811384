"""Where lines come from, and the policies for them: together with its bytes, these decide how a line is read."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

from msgspec import Struct

ProjectPolicy = Literal["trust", "warn", "reject"]
"""What happens to an event whose project is not its folder's; `trust` does not count it."""

TimePolicy = Literal["trust", "warn", "reject"]
"""What happens to an event older than its table keeps it, or later than `FUTURE_AFTER`; `trust` does not count it."""

UnknownPolicy = Literal["keep", "drop", "reject"]
"""What happens to fields that no column takes: kept in the column `extra`, dropped, or the line is rejected."""

FUTURE_AFTER = timedelta(days=1)
"""How far a producer's clock may go ahead."""

_HASH_CHARACTERS = 20


class FirstPlaces(Protocol):
    """Where the lines of a replayed file stood first."""

    def runs(self, start: int, end: int) -> Iterator[tuple[int, str, int]]:
        """Yield the whole lines from byte `start` to `end` in runs: the end of each, its first file and offset there.

        The file is empty where it is unknown.
        """


class Origin(Struct, frozen=True, kw_only=True):
    """Where lines come from, and the policies for them; all of it is journalled with the shipment."""

    project: str
    """The project whose folder the file was in."""
    policy: ProjectPolicy
    clock_ms: int
    expired: TimePolicy = "trust"
    future: TimePolicy = "trust"
    type: str = ""
    """The event type whose folder the file was in: the type of a line that names none."""
    file: str = ""
    """The file's name when it was dropped: `{type}/{project}/{name}`. Ids that a line lacks are derived from it."""
    unknown: UnknownPolicy = "keep"
    first_places: FirstPlaces | None = None
    """Of a replayed file: where its lines stood when they were rejected. Ids are derived from there."""

    @property
    def clock(self) -> datetime:
        """Return the shipment's clock as an aware time."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self.clock_ms)

    @property
    def id_prefix(self) -> str:
        """Return the start of the ids that are derived for the file's lines; the offset follows, in 12 hex digits."""
        return hashlib.sha256(self.file.encode("utf-8", "surrogateescape")).hexdigest()[:_HASH_CHARACTERS]
