"""What a process found out as it read a shipment for the first time, and the next one has to go by. Blocks on the disk.

Which rows are in a batch depends on the journal and its files alone, also where a file ends early: where that is, and
where each round ended before, is in the journal before a batch of the round can be acknowledged.
"""

from collections.abc import Sequence

from spoolhouse.spool.journal import Contents, Journal
from spoolhouse.spool.shipment import Extent, Segment

Position = tuple[int, int]
"""A segment's number in its shipment, and a byte of its content."""


class Readings:
    """The extents and the ends of rounds of one instance's shipments, as its journal has them."""

    def __init__(self, journal: Journal) -> None:
        """Know of nothing yet."""
        self._journal = journal
        self._extents: dict[str, dict[tuple[int, int], Extent]] = {}
        self._ends: dict[str, list[Position]] = {}

    def load(self, contents: Contents) -> None:
        """Take over what the journal has."""
        self._extents, self._ends = {}, {}
        for (shipment, file, start), extent in contents.extents.items():
            self._extents.setdefault(shipment, {})[file, start] = extent
        for shipment, segment, end in contents.round_ends:
            self._ends.setdefault(shipment, []).append((segment, end))

    def extent(self, shipment: str, segment: Segment) -> Extent | None:
        """Return where a segment ends before its time; None if, for all that is known, it does not."""
        return self._extents.get(shipment, {}).get((segment.file, segment.start))

    def shorten(self, shipment: str, segment: Segment, extent: Extent) -> None:
        """Let a segment end before its time, for all who read it from now on, after a crash as well."""
        self._journal.shorten(shipment, segment, extent)
        self._extents.setdefault(shipment, {})[segment.file, segment.start] = extent

    def round_ends(self, shipment: str) -> Sequence[Position]:
        """Return what the first rounds of a shipment end with, in their order."""
        return self._ends.get(shipment, ())

    def end_round(self, shipment: str, end: Position) -> None:
        """Let the next round end here, whatever can be read of it by whoever reads it from now on."""
        ends = self._ends.get(shipment, [])
        self._journal.end_round(shipment, len(ends), end)
        self._ends[shipment] = [*ends, end]

    def forget(self, shipment: str) -> None:
        """Drop what nobody will read again."""
        self._extents.pop(shipment, None)
        self._ends.pop(shipment, None)
