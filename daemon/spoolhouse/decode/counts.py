"""Counts of lines. Producers choose some of the names that lines are counted by; their number is bounded."""

from collections.abc import Collection, Mapping

from msgspec import Struct, field

MOST_NAMES = 64
OTHER = "other"
"""The name for all further names."""
_LONGEST_NAME = 80


class LineCounts(Struct, kw_only=True):
    """The counts of a piece, of a file's part, or of a file. `lines` does not count blank ones."""

    lines: int = 0
    mismatched: int = 0
    """Lines whose project is not their folder's."""
    expired: int = 0
    """Lines of events that are older than their table keeps them, by the shipment's clock."""
    future: int = 0
    """Lines of events that lie more than a day ahead of it."""
    unknown_lines: int = 0
    """Lines with fields that no column takes."""
    unknown: dict[str, int] = field(default_factory=dict)
    """By field, lines that have it and whose type has no column for it."""
    converted_lines: int = 0
    """Lines with values that were converted."""
    converted: dict[str, int] = field(default_factory=dict)
    """By field, lines whose value was converted: a number as text, a choice by another name."""
    shapes: dict[str, int] = field(default_factory=dict)
    """Lines by foreign shape; those of our own shapes are not counted here."""

    def count(self, other: "LineCounts") -> None:
        """Count the lines of `other`, too."""
        self.lines += other.lines
        self.mismatched += other.mismatched
        self.expired += other.expired
        self.future += other.future
        self.unknown_lines += other.unknown_lines
        self.converted_lines += other.converted_lines
        if other.unknown or other.converted or other.shapes:
            add_counts(self.unknown, other.unknown)
            add_counts(self.converted, other.converted)
            add_counts(self.shapes, other.shapes)


def count_names(counts: dict[str, int], names: Collection[str]) -> None:
    """Count each name once."""
    for name in dict.fromkeys(names) if len(names) > 1 else names:
        if name in counts:
            counts[name] += 1
        else:
            _add(counts, name[:_LONGEST_NAME], 1)


def add_counts(counts: dict[str, int], more: Mapping[str, int]) -> None:
    """Add the counts of `more`."""
    for name, count in more.items():
        _add(counts, name[:_LONGEST_NAME], count)


def _add(counts: dict[str, int], name: str, count: int) -> None:
    known = name if name in counts or len(counts) < MOST_NAMES else OTHER
    counts[known] = counts.get(known, 0) + count
