"""The records of rejected lines in `rejected/{day}/{shipment}.jsonl`, one JSON object a line.

`file`, `line` (from 1), `offset` (bytes into the file's content), `time` (of the shipment), `reason`, `field`, `detail`
and the original bytes, as `raw` if they are UTF-8, else as `raw_base64`. A line with a row that ClickHouse refused
has that row's `batch`, and its number there as `row`. Many short neighbours with the same reason share a record:
`lines` is their number, and `raw` holds them with line ends between them. Lines of a replayed file, `replayed`, have
the file and the line of their first place.

The kept bytes of a file's lines are in proportion to the file's size on the disk. Lines beyond that, and lines over
`spool.max_line`, are not kept: in their records, one for many lines of one reason, `spans` is their position in the
file, which is not deleted then, and `sha256` their digest (`reject_sources` reads them). For a line over the limit,
`length` is its length, and its first bytes are kept beside as `{shipment}.{number}.line`, named in `raw_file`.
"""

import base64
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec

from spoolhouse.errors import SpoolError
from spoolhouse.spool.line_spans import spans_of


class RejectRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record; the docstring of this module explains the fields. A field that a record does not have is None."""

    file: str
    line: int
    offset: int
    reason: str
    lines: int = 1
    """How many rejected lines it stands for."""
    raw: str | None = None
    raw_base64: str | None = None
    raw_file: str | None = None
    replayed: str | None = None
    replayed_spans: str | None = None
    sha256: str | None = None
    spans: str | None = None
    batch: str | None = None
    row: int | None = None

    def kept(self) -> bytes | None:
        """Return the bytes that the record itself keeps, without the last line end; None if it keeps none."""
        if self.sha256 is not None:
            return None
        return self.raw.encode() if self.raw is not None else base64.b64decode(self.raw_base64 or "")


_decode = msgspec.json.Decoder(RejectRecord).decode


def read(path: Path) -> Iterator[RejectRecord]:
    """Yield the records of a file, in order. Raises `SpoolError` for a file that is not ours, OSError."""
    return (record for record, _ in read_lines(path))


def read_lines(path: Path) -> Iterator[tuple[RejectRecord, bytes]]:
    """Yield the records of a file, each with its line of the file. Raises as `read`."""
    with path.open("rb") as content:
        for number, line in enumerate(content, start=1):
            try:
                record = _decode(line)
                _check(record)
            except (ValueError, msgspec.DecodeError):
                raise SpoolError(f"{path}: line {number} is no record of a rejected line") from None
            yield record, line


def _check(record: RejectRecord) -> None:
    """Raise ValueError for a record that lacks a field, or has a damaged one."""
    _, _, _ = record.file.split("/")
    if record.sha256 is None:
        if record.raw is None and record.raw_base64 is None:
            raise ValueError("neither the bytes of the lines nor their hash")
        record.kept()
        return
    for spans in (record.spans, record.replayed_spans if record.replayed is not None else ""):
        if spans is None:
            raise ValueError("a hash without the place of the lines")
        if spans:
            deque(spans_of(spans), maxlen=0)
