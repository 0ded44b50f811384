"""Following a list: what has landed since the last time. Pure.

It goes by batches, not by the times of events: a batch that had to wait lands behind every cursor that is a time. A
batch counts as new until its id was seen; ids are remembered for as long as a batch may wait.
"""

from collections.abc import Iterable

import msgspec

from spoolhouse.errors import BadRequestError
from spoolhouse.query.cursor import decoded, encoded
from spoolhouse.query.questions import Position

LATE_MS = 600_000
"""A batch that lands later than so long after it was read is not followed."""
MOST_BATCHES = 100
"""At a time."""


class Seen(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """What a follower has had."""

    fingerprint: bytes
    since_ms: int
    """Batches that were ingested before are passed over."""
    batches: dict[str, int] = {}
    """Those since then, and when they were ingested."""
    pending: dict[str, int] = {}
    """Those whose rows are not all delivered."""
    time_ms: int = 0
    ids: tuple[str, ...] = ()
    """The last row of these that was delivered; none yet: no ids."""

    @property
    def position(self) -> Position | None:
        """Where to go on in the pending batches."""
        return Position(time_ms=self.time_ms, ids=self.ids) if self.ids else None


def begin(mark: bytes, now_ms: int, found: Iterable[tuple[str, int]]) -> Seen:
    """Return the beginning: all that is there counts as had."""
    return Seen(fingerprint=mark, since_ms=now_ms - LATE_MS, batches=dict(found))


def chosen(seen: Seen, found: Iterable[tuple[str, int]]) -> Seen:
    """Return what is to be delivered next: the rest of before, or else the batches that are new."""
    if seen.pending:
        return seen
    fresh = sorted((ms, batch) for batch, ms in found if batch not in seen.batches)[:MOST_BATCHES]
    return msgspec.structs.replace(seen, pending={batch: ms for ms, batch in fresh}, time_ms=0, ids=())


def delivered(seen: Seen, last: Position | None, now_ms: int) -> Seen:
    """Return what was had after a page: up to `last`, or, without one, all that was pending.

    A batch may have the time of another clock, which is fast: it must not have those passed over that come after it.
    """
    if last is not None:
        return msgspec.structs.replace(seen, time_ms=last.time_ms, ids=tuple(map(str, last.ids)))
    had = {**seen.batches, **seen.pending}
    since = max(seen.since_ms, min(max(had.values(), default=0), now_ms) - LATE_MS)
    kept = {batch: ms for batch, ms in had.items() if ms >= since}
    return Seen(fingerprint=seen.fingerprint, since_ms=since, batches=kept)


def to_text(seen: Seen) -> str:
    """Return the cursor."""
    return encoded(seen)


def from_text(text: object, mark: bytes) -> Seen:
    """Return what a cursor says; raises `BadRequestError` for one that is none of this list."""
    seen = decoded(text, Seen)
    if seen.fingerprint != mark:
        raise BadRequestError("the cursor is of another list; it goes on with the same project and filters only")
    return seen
