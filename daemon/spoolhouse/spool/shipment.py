"""The unit of work, and how files are packed into it."""

from collections.abc import Iterator

from msgspec import Struct, field

from spoolhouse.decode.line_decoder import ProjectPolicy, TimePolicy

CHUNK_BYTES = 1 << 20
"""How much is read and decoded at once. Small pieces stay in the processor's cache (1 MiB decodes a third faster than
4 MiB) and hold the interpreter for about a millisecond."""


class Limits(Struct, frozen=True, kw_only=True):
    """What decides, besides the bytes and the declarations, how a shipment falls into rows and batches.

    It is journalled with the shipment: a replay must cut the same batches, whatever the settings say by then.
    """

    max_rows: int
    """Rows of one insert."""
    max_insert_bytes: int
    """Canonical bytes of one insert: above that ClickHouse makes two blocks of it, and it is no longer atomic."""
    side_bytes: int
    """Canonical bytes of rows that are not for the shipment's own table, held until its own rows are sent."""
    max_line: int
    """A longer line is rejected without ever being held as a whole."""
    project: ProjectPolicy
    expired: TimePolicy = "warn"
    future: TimePolicy = "warn"


class Segment(Struct, frozen=True, kw_only=True):
    """A byte range of one file, starting at a line's start. `file` is the file's number in its journal."""

    file: int
    start: int
    end: int


class Extent(Struct, frozen=True, kw_only=True):
    """Where the content of a segment ends before its time, and why: its file was damaged, or cut, after it was claimed.

    It is journalled before anything of the round that it falls into can be acknowledged. From then on all who read the
    shipment end there, whatever could be read by then: which rows are in a batch depends on the journal and its files.
    """

    end: int
    """Up to which byte of the content whole lines were taken; the content of a packed file counts unpacked."""
    failure: str


class Shipment(Struct, frozen=True, kw_only=True):
    """An ordered list of segments that is sent, acknowledged and replayed as one."""

    id: str
    instance: str
    """Whose journal it is in."""
    type: str
    """The event type of the folder that its files were in: the type that most of its rows are expected to have."""
    segments: tuple[Segment, ...]
    clock_ms: int
    fingerprint: str
    limits: Limits
    replay: bool = False
    """It was journalled by a process that is gone: parts of it may have landed."""

    def batch_id(self, table: str, round_number: int) -> str:
        """Return the id of the batch for `table` in one round of the shipment; nearly all shipments have but one."""
        return f"{self.id}:{table}" if round_number == 0 else f"{self.id}:{table}.{round_number}"


class Span(Struct, frozen=True, kw_only=True):
    """A byte range that waits to be packed. `weight` is what it is expected to hold: compressed bytes count more."""

    file: int
    start: int
    end: int
    weight: int


class Pack(Struct, kw_only=True):
    """Spans of one type that will be a shipment."""

    type: str
    opened: float
    spans: list[Span] = field(default_factory=list)
    weight: int = 0
    files: set[int] = field(default_factory=set)


class Packing(Struct, frozen=True, kw_only=True):
    """The limits of a pack. `linger`: seconds that it waits for company at most."""

    max_bytes: int
    max_files: int
    linger: float


class Packer:
    """Joins the spans of one type until a pack is full or has waited long enough for company.

    A span longer than `max_bytes` is not cut here (that needs a look at the lines); it gets a pack of its own.
    """

    def __init__(self, packing: Packing) -> None:
        """Take the limits."""
        self.packing = packing
        """May be changed at any time."""
        self._open: dict[str, Pack] = {}

    def __bool__(self) -> bool:
        """Tell whether anything waits."""
        return bool(self._open)

    def add(self, type_name: str, span: Span, now: float) -> Iterator[Pack]:
        """Take in a span; yield the packs that this makes full."""
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
        """Yield all that is open."""
        while self._open:
            yield self._open.popitem()[1]

    def due(self) -> float | None:
        """Return when the next pack is ripe; None if nothing waits."""
        return min(map(self._ripe_at, self._open.values()), default=None)

    def _ripe_at(self, pack: Pack) -> float:
        return pack.opened + self.packing.linger


def equal_cuts(start: int, end: int, max_bytes: int) -> list[int]:
    """Return offsets near which to cut a range so that the parts are equal and none is longer than `max_bytes`."""
    parts = max(1, -(-(end - start) // max_bytes))
    return [start + (end - start) * part // parts for part in range(1, parts)]


class FileStats(Struct, kw_only=True):
    """What became of the lines of a segment or a file; figures add up."""

    lines: int = 0
    rejected: int = 0
    left_out: int = 0
    """Rejected lines whose bytes are in the file alone: it is not deleted."""
    mismatched: int = 0
    expired: int = 0
    future: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    """By table, its prefix left out."""
    failure: str = ""
    """Why the file cannot be read as one, empty if it can; its whole lines before the fault have landed."""

    def refuse(self, table: str, count: int) -> None:
        """Count rows that were taken for good as rejected: ClickHouse refused them. A line may have brought several."""
        self.rows[table] -= count
        self.rejected = min(self.lines, self.rejected + count)

    def add(self, other: "FileStats") -> None:
        """Count `other` in."""
        self.lines += other.lines
        self.rejected += other.rejected
        self.left_out += other.left_out
        self.mismatched += other.mismatched
        self.expired += other.expired
        self.future += other.future
        for table, count in other.rows.items():
            self.rows[table] = self.rows.get(table, 0) + count
        self.failure = self.failure or other.failure
