"""The ledger: a table of ours that says which rows came from which bytes of which file.

Rows carry a batch id, and the ledger takes it from there to the files; so it also works the other way round.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from spoolhouse.core.declaration import Column, Kind, Table
from spoolhouse.core.parts import Part
from spoolhouse.core.ports import Rows


def _column(name: str, kind: Kind, *, low_cardinality: bool = False, bloom: float | None = None) -> Column:
    return Column(name=name, kind=kind, keys=(name,), required=True, low_cardinality=low_cardinality, bloom=bloom)


LEDGER = Table(
    name="ledger",
    columns=(
        _column("file", Kind.TEXT),
        _column("inode", Kind.INTEGER),
        _column("claimed_at", Kind.TIME),
        _column("batch", Kind.TEXT, bloom=0.01),
        _column("table_name", Kind.TEXT, low_cardinality=True),
        _column("range_start", Kind.INTEGER),
        _column("range_end", Kind.INTEGER),
        _column("first_row", Kind.INTEGER),
        _column("row_count", Kind.INTEGER),
        _column("parts", Kind.JSON),
        _column("shipped_at", Kind.TIME),
        _column("recorded_at", Kind.TIME),
    ),
    order_by=("file", "claimed_at", "batch", "range_start"),
    time="shipped_at",
    ttl_days=730,
)

_encode_lines = msgspec.json.Encoder().encode_lines
_encode = msgspec.json.Encoder().encode
_decode_parts = msgspec.json.Decoder(list[tuple[int, int]]).decode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Some of the rows of a batch, one after the other, and the bytes of a file that they came from."""

    batch: str
    table: str
    file: int
    """Its number in the journal."""
    start: int
    end: int
    """A byte range of the file, or of what a compressed one holds."""
    first: int
    """The number (from 0) that the first of the rows has in its batch."""
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the ledger: a lineage, with all that the journal will have forgotten by then."""

    lineage: Lineage
    place: str
    """Where the file was dropped, relative to the spool."""
    inode: int
    claimed_ms: int
    parts: tuple[Part, ...]
    """What the batch was sent in, if ClickHouse refused any of its rows; empty: as one."""
    clock_ms: int


def entry_rows(entries: Iterable[Entry]) -> Rows:
    """Return entries as canonical rows of `LEDGER`."""
    rows = [_row(entry) for entry in entries]
    return Rows(data=_encode_lines(rows), count=len(rows))


def _row(entry: Entry) -> Sequence[object]:
    lineage = entry.lineage
    parts = _encode([(part.first, part.end) for part in entry.parts]).decode()
    inode = entry.inode - 2**64 if entry.inode >= 2**63 else entry.inode
    claimed, clock = _time(entry.claimed_ms), _time(entry.clock_ms)
    return (
        entry.place, inode, claimed, lineage.batch, lineage.table, lineage.start, lineage.end, lineage.first,
        lineage.rows, parts, clock, clock,
    )  # fmt: skip


def _time(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def parts_of(text: str) -> tuple[Part, ...]:
    """Return the parts that a ledger's `parts` column names."""
    return tuple(Part(first=first, end=end) for first, end in _decode_parts(text))
