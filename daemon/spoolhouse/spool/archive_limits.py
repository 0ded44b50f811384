"""Which files of the archive have been kept long enough: a decision from what is there."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_SAME_MOMENT = 1.0
"""Seconds: a file's times are those of the disk's clock, which may tick slowly."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Archived:
    """A file in `processed/`. Times are seconds since 1970; the order is by age."""

    since: float
    """When it was moved there, or last written to, whichever came later."""
    path: str
    """Relative to the spool."""
    size: int
    inode: int
    written: float
    """When it was last written to."""

    @property
    def was_appended_to(self) -> bool:
        """Tell whether bytes may have come after the move: shipments of them may be under way."""
        return self.written >= self.since - _SAME_MOMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How much is kept: days, bytes in all; None is without an end."""

    max_age: float | None
    """Seconds."""
    max_bytes: int | None

    @property
    def is_all(self) -> bool:
        """Tell whether nothing is ever deleted."""
        return self.max_age is None and self.max_bytes is None


def superfluous(oldest_first: Iterable[Archived], total: int, keep: Keep, now: float) -> Iterator[Archived]:
    """Yield what is to be deleted of an archive of `total` bytes, the oldest first."""
    for file in oldest_first:
        too_old = keep.max_age is not None and now - file.since > keep.max_age
        too_much = keep.max_bytes is not None and total > keep.max_bytes
        if not (too_old or too_much):
            return
        total -= file.size
        yield file
