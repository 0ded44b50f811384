"""JSONL bytes to canonical rows and rejects."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from io import BytesIO
from itertools import islice

import msgspec
from msgspec.structs import replace

from spoolhouse.decode.bulk import Bulk, deep, one_object_a_line
from spoolhouse.decode.decoded import Decoded, Found, JudgedType, Line
from spoolhouse.decode.line_by_line import LineByLine
from spoolhouse.decode.line_reader import LineReader, is_whole_object
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.log_lines import LogReader
from spoolhouse.decode.origin import FUTURE_AFTER, FirstPlaces, Origin, ProjectPolicy, TimePolicy, UnknownPolicy
from spoolhouse.decode.rows import Rows
from spoolhouse.decode.structs import TAGS, Shape, Tag
from spoolhouse.decode.wide import WideReaders
from spoolhouse.decode.wide_bulk import WideBulk
from spoolhouse.events.declaration import EventType
from spoolhouse.events.shapes import SHAPES
from spoolhouse.events.shapes.shape import Shape as ForeignShape

__all__ = (
    "DECODER_VERSION", "FUTURE_AFTER", "Decoded", "Line", "LineDecoder", "Origin", "ProjectPolicy", "TimePolicy",
    "UnknownPolicy", "is_whole_object",
)  # fmt: skip

DECODER_VERSION = 6
"""Raised with every change that makes a line decode into other rows; a part of a shipment's fingerprint."""

_BLANK = b" \t\r\n"
_LONGEST_HEAD = 128
_MOST_KINDS = 64
_BULK_FRAMES = 8
"""How much deeper in the stack a line's decoder runs in bulk than alone, at the least."""


class LineDecoder:
    """Decodes pieces of whole lines. Has no state that changes a result: safe to use from several threads.

    A piece of clean lines of one shape is decoded in bulk. If that fails, its lines are read one by one.
    All readers that take a line make the same rows of it, so the other lines of its piece do not matter. The package's
    docstring lists the readers in their order.
    """

    few_bytes = 8192
    """The lines of a shorter piece are read one by one, if not all of them are clean."""

    def __init__(self, events: Mapping[str, EventType], shapes: Iterable[ForeignShape] = SHAPES) -> None:
        """Prepare the readers of `events`, by their names, and of foreign shapes, in order of precedence."""
        self._events = events
        self._reader = LineReader(events, shapes)
        self._wide = WideReaders(events, self._reader.marks, self._reader.shared)
        self._kinds: dict[tuple[str, int, str, str], JudgedType] = {}
        self._logs = LogReader(events, self._reader.marks, self._reader.shape_of)
        self._encode_lines = msgspec.json.Encoder().encode_lines
        self._bulks = {
            (tag, enveloped): Bulk(events, Shape(enveloped=enveloped, tag=tag))
            for tag in TAGS
            for enveloped in (False, True)
        }

    def decode(self, piece: Piece, origin: Origin) -> Decoded:
        """Decode `piece`; never raises because of its content."""
        if origin.first_places is not None:
            return self._decode_replayed(piece, origin, origin.first_places)
        found = None
        if not self._wide.is_foreign(piece.data):
            found = self._bulk(piece.data, origin) or self._wide_bulk(piece, origin)
        return self._encoded(found or self._line_by_line(piece, origin), origin)

    def _decode_replayed(self, piece: Piece, origin: Origin, places: FirstPlaces) -> Decoded:
        """Decode each run of lines as if it stood where it stood first; rejected lines stay where they are."""
        whole, rows = Decoded(), dict[str, list[Rows]]()
        start, lines = 0, 0
        for end, file, offset in places.runs(piece.offset, piece.offset + len(piece.data)):
            data = piece.data[start : end - piece.offset]
            first = replace(origin, file=file or origin.file, first_places=None)
            decoded = self.decode(Piece(offset=offset, data=data), first)
            for reject in decoded.rejects:
                reject.line += lines
                reject.offset += piece.offset + start - offset
            whole.count(decoded)
            whole.rejects += decoded.rejects
            for table, some in decoded.rows.items():
                rows.setdefault(table, []).append(some)
            start, lines = end - piece.offset, lines + data.count(b"\n")
        for table, pieces in rows.items():
            data = b"".join(some.data for some in pieces)
            whole.rows[table] = Rows(data=data, count=sum(some.count for some in pieces))
        return whole

    def lines_of(self, piece: Piece, origin: Origin, table: str, numbers: Collection[int]) -> Iterator[Line]:
        """Yield the line of `piece` that gave each of the rows of `table` with these numbers (from 0, in order)."""
        rows, wanted = 0, frozenset(numbers)
        for line, (offset, data, counts) in enumerate(self.counts_by_line(piece, origin), start=1):
            count = counts.get(table, 0)
            for row in (number for number in range(rows, rows + count) if number in wanted):
                yield Line(line=line, offset=offset, raw=data.removesuffix(b"\n").removesuffix(b"\r"), row=row)
            rows += count

    def counts_by_line(self, piece: Piece, origin: Origin) -> Iterator[tuple[int, bytes, Mapping[str, int]]]:
        """Yield the offset and the bytes of each line, and how many rows it gives, by table.

        Each line is decoded alone: it gives the same rows in any company.
        """
        offset = piece.offset
        for data in BytesIO(piece.data):
            decoded = self.decode(Piece(offset=offset, data=data), origin)
            yield offset, data, {table: rows.count for table, rows in decoded.rows.items()}
            offset += len(data)

    def _encoded(self, found: Found, origin: Origin) -> Decoded:
        decoded = found.decoded
        decoded.lines += len(decoded.rejects)
        if origin.policy == "trust":
            decoded.mismatched = 0
        for table, rows in found.rows.items():
            if rows:
                decoded.rows[table] = Rows(data=self._encode_lines(rows), count=len(rows))
        return decoded

    def _bulk(self, data: bytes, origin: Origin) -> Found | None:
        """Read lines that are all clean and of one shape; None if they are not, or a policy may reject some."""
        shape = self._bulk_shape(data)
        if shape is None:
            return None
        bulk = self._bulks[shape]
        # A writer of another project writes many such lines: the first one shows it before all are decoded.
        if origin.policy == "reject" and self._strictly(bulk, data[: data.find(b"\n") + 1], origin) is None:
            return None
        return self._strictly(bulk, data, origin)

    def _strictly(self, bulk: Bulk, data: bytes, origin: Origin) -> Found | None:
        found = Found()
        try:
            events = deep(_BULK_FRAMES, bulk.decode_lines, data)
            if not one_object_a_line(data, len(events)):
                return None
            for name, group in bulk.groups(events):
                kind = self._judged(name, origin)
                rows, mismatched, odd = bulk.rows(name)(
                    group, origin.clock, origin.project, kind.oldest, kind.newest, origin.policy == "reject"
                )
                if odd:
                    found.count_odd(kind, rows[0])
                for table, some in zip(kind.tables, rows, strict=True):
                    found.rows[table] += some
                found.decoded.lines += len(group)
                found.decoded.mismatched += mismatched
        except (ValueError, RecursionError):
            return None
        return None if found.is_any_rejected(origin) else found

    def _judged(self, name: str, origin: Origin) -> JudgedType:
        """Return an event type with its bounds: the same for all files of a shipment."""
        key = name, origin.clock_ms, origin.expired, origin.future
        kind = self._kinds.get(key)
        if kind is None:
            # Replaced, not changed: several threads may use it.
            kind = JudgedType(self._events[name], origin)
            self._kinds = {key: kind, **dict(islice(self._kinds.items(), _MOST_KINDS))}
        return kind

    def _wide_bulk(self, piece: Piece, origin: Origin) -> Found | None:
        """Read lines that are all of one type, and of one shape that the strict readers do not take; else None."""
        first = piece.data[: piece.data.find(b"\n") + 1]
        wide = self._wide.guess(first, origin.type) if len(piece.data) >= self.few_bytes else None
        if wide is None or self._is_strict(piece.data):
            return None
        try:
            return deep(_BULK_FRAMES, WideBulk(wide, self._events, origin).read, piece)
        except (ValueError, RecursionError):
            return None

    def _bulk_shape(self, data: bytes) -> tuple[Tag, bool] | None:
        """Return the tag of the first line, and whether it is probably enveloped; None if no strict reader takes it."""
        for tag in TAGS:
            if data.startswith(b'{"%b":' % tag.encode()):
                comma = data.find(b",", 0, _LONGEST_HEAD)
                return tag, comma > 0 and data[comma + 1 : comma + 9].lstrip().startswith(b'"data"')
        line = data[: data.find(b"\n") + 1]
        for (tag, enveloped), bulk in self._bulks.items():
            if b'"%b"' % tag.encode() in line:
                try:
                    bulk.decode_lines(line)
                except (ValueError, RecursionError):
                    continue
                return tag, enveloped
        return None

    def _is_strict(self, data: bytes) -> bool:
        """Tell whether a strict reader takes the first line, so that a later line is the one that it refused."""
        shape = self._bulk_shape(data)
        try:
            return shape is not None and bool(self._bulks[shape].decode_lines(data[: data.find(b"\n") + 1]))
        except (ValueError, RecursionError):
            return False

    def _line_by_line(self, piece: Piece, origin: Origin) -> Found:
        found = Found()
        lines = LineByLine(self._events, self._wide, self._reader, origin, found)
        self._logs.read(piece, origin, lines, found)
        return found
