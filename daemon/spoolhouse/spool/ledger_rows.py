"""Ledger entries as rows of the ledger table, and back."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from spoolhouse.decode.rows import Rows
from spoolhouse.spool.lineage import Entry
from spoolhouse.spool.row_ranges import RowRange

_encode_lines = msgspec.json.Encoder().encode_lines
_encode = msgspec.json.Encoder().encode
_decode_parts = msgspec.json.Decoder(list[tuple[int, int]]).decode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def parts_of(text: str) -> tuple[RowRange, ...]:
    """Return the parts that a ledger's `parts` column names."""
    return tuple(RowRange(first=first, end=end) for first, end in _decode_parts(text))
