"""Read rejected lines that `rejected/` does not keep from the file that they came in.

The lines' own bytes identify the file: their SHA-256 is in the record, so that another file of the same name is never
taken for it. Lines that were replayed are in two files. Blocks on the disk.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from msgspec import Struct

from spoolhouse.errors import SpoolError
from spoolhouse.monitoring import heartbeat
from spoolhouse.spool import fs, layout
from spoolhouse.spool.archive import listed, settled
from spoolhouse.spool.layout import Encoding
from spoolhouse.spool.line_spans import Span, spans_of
from spoolhouse.spool.segment_reader import CORRUPT, content
from spoolhouse.spool.shipment import CHUNK_BYTES

if TYPE_CHECKING:
    from spoolhouse.spool.reject_records import RejectRecord


class Held(Struct, frozen=True, kw_only=True):
    """The lines of a record in the file that holds them."""

    path: Path
    spans: str

    def lines(self) -> Iterator[bytes]:
        """Yield the lines, in pieces, with line ends except for the last one. Raises OSError, and `CORRUPT` errors."""
        first = True
        for piece, begins in _pieces(self.path, spans_of(self.spans)):
            if begins and not first:
                yield b"\n"
            yield piece
            first = False

    def digest(self) -> str:
        """Return the SHA-256 of the lines; empty if they cannot be read."""
        digest = hashlib.sha256()
        try:
            for piece in self.lines():
                digest.update(piece)
        except (OSError, *CORRUPT):
            return ""
        return digest.hexdigest()


def find(spool: Path, record: "RejectRecord") -> Held:
    """Return the lines of a record that does not keep them. Raises `SpoolError` if no settled file holds them."""
    for name, spans in ((record.file, record.spans), (record.replayed, record.replayed_spans)):
        if name is not None and spans is not None:
            for path in _settled_as(spool, name):
                held = Held(path=path, spans=spans)
                if held.digest() == record.sha256:
                    return held
    raise SpoolError(
        f"{record.file}: the bytes of line {record.line} are not kept in {layout.REJECTED}/, and the file that"
        f" holds them is in {layout.PROCESSED}/ and {layout.FAILED}/ no more: put it back"
    )


def holders(spool: Path) -> set[str]:
    """Return the names, as dropped, of the files that alone hold rejected lines. Raises OSError."""
    found: set[str] = set()
    for day in listed(spool / layout.REJECTED):
        for entry in listed(Path(day.path)) if day.is_dir(follow_symlinks=False) else ():
            heartbeat.beat()
            if entry.name.endswith(".jsonl"):
                found.update(_named_in(Path(entry.path)))
    return found


def _named_in(path: Path) -> Iterator[str]:
    with path.open("rb") as records:
        for line in records:
            if b'"sha256"' not in line:
                continue
            with contextlib.suppress(ValueError, TypeError):
                record = json.loads(line)
                if "sha256" in record:
                    yield from (str(record[name]) for name in ("file", "replayed") if name in record)


def _settled_as(spool: Path, name: str) -> Iterator[Path]:
    """Yield the settled files that may have been dropped as `name` ({type}/{project}/{name}).

    First those that kept their name: the folders, which may hold very many files, are not listed for them.
    """
    place = PurePath(name)
    if not any(part.startswith(".") for part in place.parts):
        for folder in (layout.PROCESSED, layout.FAILED):
            path = spool / place.parent / folder / place.name
            if path.is_file():
                yield path
    for entry in settled(spool, (layout.PROCESSED, layout.FAILED), {name.rpartition("/")[0]}):
        if name in map(str, layout.dropped_at(Path(entry.path).relative_to(spool))):
            yield Path(entry.path)


def _pieces(path: Path, wanted: Iterator[Span]) -> Iterator[tuple[bytes, bool]]:
    """Yield the bytes of spans, each piece with a flag: it begins a span."""
    encoding = layout.encoding(path.name)
    yield from _from_plain(path, wanted) if encoding is Encoding.PLAIN else _from_packed(path, encoding, wanted)


def _from_plain(path: Path, wanted: Iterator[Span]) -> Iterator[tuple[bytes, bool]]:
    descriptor, _ = fs.open_regular(path)
    try:
        for span in wanted:
            at, end = span.offset, span.offset + span.length
            while chunk := os.pread(descriptor, min(CHUNK_BYTES, end - at), at):
                yield chunk, at == span.offset
                at += len(chunk)
    finally:
        os.close(descriptor)


def _from_packed(path: Path, encoding: Encoding, wanted: Iterator[Span]) -> Iterator[tuple[bytes, bool]]:
    span, begins, start = next(wanted, None), True, 0
    for data in content(path, encoding):
        end = start + len(data)
        while span is not None and span.offset < end:
            last = span.offset + span.length
            yield data[max(0, span.offset - start) : last - start], begins
            begins = last <= end
            if not begins:
                break
            span = next(wanted, None)
        if span is None:
            return
        start = end
