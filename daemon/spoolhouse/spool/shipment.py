"""The unit of work, and the packing of files into it."""

from collections.abc import Iterator

from msgspec import Struct, field

from spoolhouse.decode.counts import LineCounts
from spoolhouse.decode.origin import ProjectPolicy, TimePolicy, UnknownPolicy
from spoolhouse.file_names import LandedAs

CHUNK_BYTES = 1 << 20
"""Bytes that are read and decoded at once. Small pieces stay in the processor's cache (1 MiB decodes a third faster
than 4 MiB) and hold the interpreter for about a millisecond."""


class Limits(Struct, frozen=True, kw_only=True):
    """The limits that decide, besides the bytes and the declarations, how a shipment splits into rows and batches.

    They are journalled with the shipment: a replay must cut the same batches, also after the settings have changed.
    """

    max_rows: int
    """Rows of one insert."""
    max_insert_bytes: int
    """Canonical bytes of one insert: above that ClickHouse makes two blocks of it, and it is no longer atomic."""
    side_bytes: int
    """Canonical bytes of rows for other tables than the shipment's own, held until its own rows are sent."""
    max_line: int
    """A longer line is rejected, and never held as a whole."""
    project: ProjectPolicy
    expired: TimePolicy = "warn"
    future: TimePolicy = "warn"
    unknown: UnknownPolicy = "keep"


class Segment(Struct, frozen=True, kw_only=True):
    """A byte range of one file, starting at a line's start. `file` is the file's number in its journal."""

    file: int
    start: int
    end: int


class Extent(Struct, frozen=True, kw_only=True):
    """The early end of a segment's content, and the reason: its file was damaged, or truncated, after its claim.

    It is journalled before any of its round can be acknowledged. All later readings of the shipment end there, even if
    more can be read by then: the rows of a batch depend on the journal and its files.
    """

    end: int
    """The end of the last whole line that was taken; the content of a packed file counts unpacked."""
    failure: str


class Shipment(Struct, frozen=True, kw_only=True):
    """An ordered list of segments that is sent, acknowledged and replayed as one."""

    id: str
    instance: str
    """The instance whose journal it is in."""
    type: str
    """The event type of its files' folder: the expected type of most of its rows."""
    segments: tuple[Segment, ...]
    clock_ms: int
    fingerprint: str
    limits: Limits
    replay: bool = False
    """A dead process has journalled it, or an exporter has tried to land it: parts of it may have landed."""

    def batch_id(self, table: str, round_number: int) -> str:
        """Return the id of the batch for `table` in one round of the shipment; nearly all shipments have one round."""
        return f"{self.id}:{table}" if round_number == 0 else f"{self.id}:{table}.{round_number}"

    def round_of(self, batch_id: str) -> int:
        """Return the round of a batch of this shipment, given its id or that of a part of it."""
        name = batch_id.removeprefix(f"{self.id}:").partition(":")[0]
        return int(name.partition(".")[2] or 0)


class Span(Struct, frozen=True, kw_only=True):
    """A byte range that waits to be packed. `weight` is its expected content: compressed bytes count more."""

    file: int
    start: int
    end: int
    weight: int


class Pack(Struct, kw_only=True):
    """Spans of one type that will be a shipment."""

    type: str
    spilled: LandedAs | None = None
    """How the batch of an exporter that it is may have landed."""
    opened: float
    spans: list[Span] = field(default_factory=list)
    weight: int = 0
    files: set[int] = field(default_factory=set)


class Packing(Struct, frozen=True, kw_only=True):
    """The limits of a pack. `linger` is the longest wait for more files, in seconds."""

    max_bytes: int
    max_files: int
    linger: float


class Packer:
    """Joins the spans of one type until a pack is full or has waited long enough.

    A span longer than `max_bytes` is not cut here (that requires reading its lines); it gets a pack of its own.
    """

    def __init__(self, packing: Packing) -> None:
        """Take the limits."""
        self.packing = packing
        """May be changed at any time."""
        self._open: dict[str, Pack] = {}

    def __bool__(self) -> bool:
        """Return whether anything waits."""
        return bool(self._open)

    def add(self, type_name: str, span: Span, now: float) -> Iterator[Pack]:
        """Add a span; yield the packs that are full now."""
        pack = self._open.get(type_name)
        if pack is not None and pack.weight + span.weight > self.packing.max_bytes:
            yield self._open.pop(type_name)
            pack = None
        if pack is None:
            pack = self._open[type_name] = Pack(type=type_name, opened=now)
        pack.spans.append(span)
        pack.weight += span.weight
        pack.files.add(span.file)
        if pack.weight >= self.packing.max_bytes or len(pack.files) >= self.packing.max_files:
            yield self._open.pop(type_name)

    def take_due(self, now: float) -> Iterator[Pack]:
        """Yield the packs that have waited long enough."""
        for type_name, pack in list(self._open.items()):
            if self._ripe_at(pack) <= now:
                yield self._open.pop(type_name)

    def rest(self) -> Iterator[Pack]:
        """Yield all open packs."""
        while self._open:
            yield self._open.popitem()[1]

    def due(self) -> float | None:
        """Return the time at which the next pack is due; None if nothing waits."""
        return min(map(self._ripe_at, self._open.values()), default=None)

    def _ripe_at(self, pack: Pack) -> float:
        return pack.opened + self.packing.linger


def equal_cuts(start: int, end: int, max_bytes: int) -> list[int]:
    """Return offsets near which to cut a range into equal parts of at most `max_bytes`."""
    parts = max(1, -(-(end - start) // max_bytes))
    return [start + (end - start) * part // parts for part in range(1, parts)]


class FileStats(LineCounts, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The counts of a segment's or a file's lines, which may be added up."""

    rejected: int = 0
    left_out: int = 0
    """Rejected lines whose bytes are in the file alone: it is not deleted."""
    rows: dict[str, int] = field(default_factory=dict)
    """By table, without its prefix."""
    failure: str = ""
    """Why the file cannot be read to its end, empty if it can; the whole lines before the fault have landed."""

    def refuse(self, table: str, rows: int, lines: int) -> None:
        """Count rows that do not land after all, and the rejected lines among whose rows ClickHouse refused one."""
        self.rows[table] -= rows
        self.rejected += lines

    def add(self, other: "FileStats") -> None:
        """Count `other` in."""
        self.count(other)
        self.rejected += other.rejected
        self.left_out += other.left_out
        for table, count in other.rows.items():
            self.rows[table] = self.rows.get(table, 0) + count
        self.failure = self.failure or other.failure
