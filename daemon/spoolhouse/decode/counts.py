"""Counts by a name that producers choose: bounded, whatever they write."""

from collections.abc import Collection, Mapping

MOST_NAMES = 64
OTHER = "other"
"""What all further names are counted as."""
_LONGEST_NAME = 80


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
        _add(counts, name, count)


def _add(counts: dict[str, int], name: str, count: int) -> None:
    known = name if name in counts or len(counts) < MOST_NAMES else OTHER
    counts[known] = counts.get(known, 0) + count
