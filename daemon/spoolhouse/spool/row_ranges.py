"""The parts of a split batch: ranges of its rows that are sent, checked and refused on their own."""

from collections.abc import Iterable, Mapping
from io import BytesIO

from msgspec import Struct
from msgspec.structs import replace

from spoolhouse.decode.rows import Rows


class RowRange(Struct, frozen=True, kw_only=True, order=True):
    """The rows of a batch from number `first` (from 0) up to, not including, number `end`."""

    first: int
    end: int

    @property
    def rows(self) -> int:
        """The number of its rows."""
        return self.end - self.first

    def id(self, batch: str) -> str:
        """Return the part's own batch id, which holds the numbers of its first and last row."""
        return f"{batch}:{self.first}-{self.end - 1}"

    def halves(self) -> tuple["RowRange", "RowRange"]:
        """Return its two halves; it must have two rows or more."""
        middle = (self.first + self.end) // 2
        return RowRange(first=self.first, end=middle), RowRange(first=middle, end=self.end)


class SplitRange(Struct, frozen=True, kw_only=True):
    """One part of a split batch, as the journal has it."""

    part: RowRange
    refusal: str = ""
    """ClickHouse's message about its one row, which it refuses; empty for rows that land, or may yet."""
    follows: bool = False
    """ClickHouse refuses another row of the same line: this one does not land either, and that one has the record."""


def cover(parts: Iterable[RowRange], total: int) -> bool:
    """Return whether parts are exactly all rows of a batch of `total` rows, each once."""
    end = 0
    for part in sorted(parts):
        if part.first != end:
            return False
        end = part.end
    return end == total


def leave_out(cuts: Iterable[SplitRange], rows: Mapping[int, SplitRange]) -> tuple[SplitRange, ...]:
    """Return the parts of a batch without some of its rows, which are given by number, each as a part of its own."""
    parts: list[SplitRange] = []
    left = sorted(rows, reverse=True)
    for cut in sorted(cuts, key=lambda one: one.part):
        at, end = cut.part.first, cut.part.end
        while left and left[-1] < at:
            left.pop()  # left out before
        while not cut.refusal and left and left[-1] < end:
            row = left.pop()
            parts += [SplitRange(part=RowRange(first=at, end=row))] * (at < row)
            parts.append(rows[row])
            at = row + 1
        parts += [replace(cut, part=RowRange(first=at, end=end))] * (at < end)
    return tuple(parts)


def whole_of(batch_id: str) -> str:
    """Return the batch of the rows with this id: its own, a part's, or a replay's."""
    name = batch_id.partition("/")[0].partition("~")[0]
    whole, _, numbers = name.rpartition(":")
    return whole if ":" in whole and numbers.replace("-", "").isdecimal() else name


def overlap(rows: Rows, before: int, part: RowRange) -> Rows | None:
    """Return the part of `rows`, which stand behind `before` others in their batch, in the range; None if empty."""
    first, end = max(part.first - before, 0), min(part.end - before, rows.count)
    if first >= end:
        return None
    if end - first == rows.count:
        return rows
    return Rows(data=b"".join(BytesIO(rows.data).readlines()[first:end]), count=end - first)
