"""Facts from the first reading of a shipment that all later ones must follow. Blocks on the disk.

The rows of a batch depend on the journal and its files alone, even for a file that ends early: that end, and the end of
each earlier round, is in the journal before a batch of the round can be acknowledged.
"""

from collections.abc import Sequence

from spoolhouse.spool.journal import Contents, Journal
from spoolhouse.spool.shipment import Extent, Segment

Position = tuple[int, int]
"""A segment's number in its shipment, and a byte of its content."""


class Readings:
    """The extents and the round ends of one instance's shipments, as its journal has them."""

    def __init__(self, journal: Journal) -> None:
        """Begin without any."""
        self._journal = journal
        self._extents: dict[str, dict[tuple[int, int], Extent]] = {}
        self._ends: dict[str, list[Position]] = {}

    def load(self, contents: Contents) -> None:
        """Take over the contents of the journal."""
        self._extents, self._ends = {}, {}
        for (shipment, file, start), extent in contents.extents.items():
            self._extents.setdefault(shipment, {})[file, start] = extent
        for shipment, segment, end in contents.round_ends:
            self._ends.setdefault(shipment, []).append((segment, end))

    def extent(self, shipment: str, segment: Segment) -> Extent | None:
        """Return the early end of a segment; None if none is known."""
        return self._extents.get(shipment, {}).get((segment.file, segment.start))

    def shorten(self, shipment: str, segment: Segment, extent: Extent) -> None:
        """Record that a segment ends early, for all later readings, after a crash as well."""
        self._journal.shorten(shipment, segment, extent)
        self._extents.setdefault(shipment, {})[segment.file, segment.start] = extent

    def round_ends(self, shipment: str) -> Sequence[Position]:
        """Return the recorded round ends of a shipment, in order."""
        return self._ends.get(shipment, ())

    def end_round(self, shipment: str, end: Position) -> None:
        """End the next round here, for all later readings, even if more or less can be read then."""
        ends = self._ends.get(shipment, [])
        self._journal.end_round(shipment, len(ends), end)
        self._ends[shipment] = [*ends, end]

    def forget(self, shipment: str) -> None:
        """Drop a shipment that is not read any more."""
        self._extents.pop(shipment, None)
        self._ends.pop(shipment, None)
