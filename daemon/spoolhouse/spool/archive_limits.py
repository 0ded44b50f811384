"""Select the files of the archive that have been kept long enough. Pure."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

_SAME_MOMENT = 1.0
"""Seconds of tolerance: a file's times come from the disk's clock, which may tick slowly."""


class Archived(Struct, frozen=True, kw_only=True, order=True):
    """A file in `processed/`. Times are seconds since 1970; the order is by age."""

    since: float
    """The time of its move or of its last change, whichever is later."""
    path: str
    """Relative to the spool."""
    size: int
    inode: int
    written: float
    """The time of its last change."""

    @property
    def was_appended_to(self) -> bool:
        """Return whether bytes may have been appended after the move: shipments of them may be under way."""
        return self.written >= self.since - _SAME_MOMENT


class Keep(Struct, frozen=True, kw_only=True):
    """The limits: age in days, and total bytes; None for no limit."""

    max_age: float | None
    """The age limit in seconds."""
    max_bytes: int | None

    @property
    def is_all(self) -> bool:
        """Return whether nothing is ever deleted."""
        return self.max_age is None and self.max_bytes is None


def superfluous(oldest_first: Iterable[Archived], total: int, keep: Keep, now: float) -> Iterator[Archived]:
    """Yield the files to delete of an archive of `total` bytes, the oldest first."""
    for file in oldest_first:
        too_old = keep.max_age is not None and now - file.since > keep.max_age
        too_much = keep.max_bytes is not None and total > keep.max_bytes
        if not (too_old or too_much):
            return
        total -= file.size
        yield file
