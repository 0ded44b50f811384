"""JSONL bytes to canonical rows and rejects."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, reduce
from io import BytesIO
from itertools import groupby, product
from operator import or_
from typing import Any, Literal, NoReturn, TypeVar

import msgspec
from msgspec import Raw

from spoolhouse.core import keys, times
from spoolhouse.core.declaration import EventType
from spoolhouse.core.lenient import LenientReader, Row
from spoolhouse.core.lines import Piece
from spoolhouse.core.ports import Rows
from spoolhouse.core.reject import Reason, Reject, RejectedLineError
from spoolhouse.core.strict import Shape, StrictRows, strict_rows, strict_struct

T = TypeVar("T")
ProjectPolicy = Literal["trust", "warn", "reject"]
"""What happens to an event whose project is not its folder's; `trust` does not look."""

DECODER_VERSION = 2
"""Counts up with every change to what a line decodes into; a part of a shipment's fingerprint."""

_TAGS: tuple[Literal["type", "event_type"], ...] = ("type", "event_type")
"""The keys that may hold the discriminator, in order of precedence."""
_BLANK = b" \t\r\n"
_NULL = Raw(b"null")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_DETAIL_LENGTH = 200
_OPEN, _CLOSE = b"{}"
_BLOCK_LINES = 32
"""What is read line by line at the least where a piece has a bad line: that costs seven times as much a line."""
_LINE_BY_LINE_FRAMES = 6
"""How much deeper in the stack a line's decoder runs when it is read alone."""


class _Head(msgspec.Struct, rename="camel", gc=False):
    """As much of a line as tells what it is."""

    type: Raw = _NULL
    event_type: Raw = msgspec.field(default=_NULL, name="event_type")
    data: Raw = _NULL


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What decides how a line is read besides its bytes; all of it is journalled with the shipment."""

    project: str
    """The project whose folder the file was in."""
    policy: ProjectPolicy
    clock_ms: int

    @property
    def clock(self) -> datetime:
        """Return the shipment's clock as an aware time."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self.clock_ms)


@dataclass(slots=True, kw_only=True)
class Decoded:
    """What a piece of lines came to. `rows` is by table; `lines` does not count blank ones."""

    rows: dict[str, Rows] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    lines: int = 0
    mismatched: int = 0
    """Rows whose project is not their folder's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a piece: its number there (from 1), the offset where it starts, its bytes without the line end."""

    line: int
    offset: int
    raw: bytes


@dataclass(slots=True, kw_only=True)
class _Found:
    """What was read so far of a piece, before it is encoded."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    lines: int = 0
    """Good ones."""
    mismatched: int = 0

    def take(self, tables: Iterable[str], some: Iterable[list[Row]]) -> None:
        """Take rows, a list for each table."""
        for table, rows in zip(tables, some, strict=True):
            if table in self.rows:
                self.rows[table] += rows
            elif rows:
                self.rows[table] = rows

    def add(self, other: "_Found") -> None:
        self.take(other.rows, other.rows.values())
        self.lines += other.lines
        self.mismatched += other.mismatched


class _Bulk:
    """The strict readers of one shape, made when the first piece of lines is tried as such."""

    def __init__(self, events: Mapping[str, EventType], shape: Shape) -> None:
        self._events = events
        self._shape = shape
        self._rows: dict[str, StrictRows] = {}

    @cached_property
    def names(self) -> Mapping[type, str]:
        """The event type of each struct."""
        return {strict_struct(event, self._shape): name for name, event in self._events.items()}

    @cached_property
    def decode_lines(self) -> Callable[[bytes], list[Any]]:
        """The decoder of whole pieces; any ValueError means that not all lines are of this shape."""
        return msgspec.json.Decoder(reduce(or_, self.names)).decode_lines

    def rows(self, name: str) -> StrictRows:
        """Return the function that makes rows of an event type's structs."""
        if name not in self._rows:
            self._rows[name] = strict_rows(self._events[name], self._shape)
        return self._rows[name]


class LineDecoder:
    """Decodes pieces of whole lines. Has no state that outlives a call: safe to use from several threads.

    A piece of clean lines of one shape is decoded in bulk. Where that fails, for any reason, it is tried again block
    by block, and the blocks that fail are read line by line. All ways agree, so it does not matter for a line in which
    company it came.
    """

    def __init__(self, events: Mapping[str, EventType]) -> None:
        """Prepare the readers of `events`, by discriminator value."""
        self._events = events
        self._lenient = {name: LenientReader(event) for name, event in events.items()}
        self._head = msgspec.json.Decoder(_Head).decode
        self._text = msgspec.json.Decoder(str).decode
        self._encode_lines = msgspec.json.Encoder().encode_lines
        self._project_place = {
            name: [column.name for column in event.table.columns].index(event.project) for name, event in events.items()
        }
        self._tables = {name: event.tables for name, event in events.items()}
        self._bulks = [
            _Bulk(events, Shape(tag=tag, enveloped=enveloped, loose=loose))
            for loose, tag, enveloped in product((False, True), _TAGS, (False, True))
        ]

    def decode(self, piece: Piece, origin: Origin) -> Decoded:
        """Decode `piece`; never raises for what is in it."""
        return self._encoded(self._bulk(piece.data, origin) or self._by_blocks(piece, origin), origin)

    def lines_of(self, piece: Piece, origin: Origin, table: str, numbers: Collection[int]) -> Iterator[Line]:
        """Yield the lines of `piece` that gave the rows of `table` with these numbers (from 0, in order).

        Each line is decoded alone: it gives the same rows in any company.
        """
        offset, rows = piece.offset, 0
        for line, data in enumerate(BytesIO(piece.data), start=1):
            found = self.decode(Piece(offset=offset, data=data), origin).rows.get(table)
            count = 0 if found is None else found.count
            if any(rows <= number < rows + count for number in numbers):
                yield Line(line=line, offset=offset, raw=data.removesuffix(b"\n").removesuffix(b"\r"))
            rows += count
            offset += len(data)

    def _encoded(self, found: _Found, origin: Origin) -> Decoded:
        decoded = Decoded(
            rejects=found.rejects,
            lines=found.lines + len(found.rejects),
            mismatched=0 if origin.policy == "trust" else found.mismatched,
        )
        for table, rows in found.rows.items():
            decoded.rows[table] = Rows(data=self._encode_lines(rows), count=len(rows))
        return decoded

    def _bulk(self, data: bytes, origin: Origin) -> _Found | None:
        """Read lines that are all good and of one shape; None if they are not."""
        clock = origin.clock
        for bulk in self._bulks:
            found = _Found()
            try:
                events = _deep(_LINE_BY_LINE_FRAMES, bulk.decode_lines, data)
                if not _one_object_a_line(data, len(events)):
                    return None
                for name, group in self._groups(bulk, events):
                    rows, mismatched, _ = bulk.rows(name)(group, clock, origin.project, times.EARLIEST, times.LATEST)
                    found.take(self._tables[name], rows)
                    found.lines += len(group)
                    found.mismatched += mismatched
            except (ValueError, RecursionError):
                continue
            return None if found.mismatched and origin.policy == "reject" else found
        return None

    def _groups(self, bulk: _Bulk, events: Sequence[Any]) -> Iterable[tuple[str, Sequence[Any]]]:
        """Return the events by their type, so that the rows for each table come in the order of their lines."""
        kinds = dict.fromkeys(map(type, events))
        if len(kinds) == 1:
            return [(bulk.names[kind], events) for kind in kinds]
        tables = [table for kind in kinds for table in self._tables[bulk.names[kind]]]
        if len(set(tables)) < len(tables):
            return [(bulk.names[kind], list(run)) for kind, run in groupby(events, type)]
        groups: dict[str, list[Any]] = {bulk.names[kind]: [] for kind in kinds}
        for event in events:
            groups[bulk.names[type(event)]].append(event)
        return groups.items()

    def _by_blocks(self, piece: Piece, origin: Origin) -> _Found:
        found = _Found()
        offset = piece.offset
        lines = BytesIO(piece.data).readlines()
        for first in range(0, len(lines), _BLOCK_LINES):
            block = Piece(offset=offset, data=b"".join(lines[first : first + _BLOCK_LINES]))
            good = self._bulk(block.data, origin)
            if good:
                found.add(good)
            else:
                self._line_by_line(block, first + 1, origin, found)
            offset += len(block.data)
        return found

    def _line_by_line(self, block: Piece, number: int, origin: Origin, found: _Found) -> None:
        """Read the lines of `block`, the first of which has that number in the piece, into `found`."""
        clock = origin.clock
        offset = block.offset
        for line in BytesIO(block.data):
            if line.strip(_BLANK):
                try:
                    name, rows = self._rows(line, clock)
                    if rows[0][0][self._project_place[name]] != origin.project:
                        if origin.policy == "reject":
                            event = self._events[name]
                            key = keys.spelt(event.column(event.project).keys[0])
                            raise RejectedLineError(Reason.PROJECT_MISMATCH, key, "not the project of its folder")
                        found.mismatched += 1
                    found.take(self._tables[name], rows)
                    found.lines += 1
                except RejectedLineError as error:
                    # Only the last line of a file can be without its end; cut off in the middle, it is no JSON.
                    torn = error.reason is Reason.INVALID_JSON and not line.endswith(b"\n")
                    found.rejects.append(
                        Reject(
                            line=number,
                            offset=offset,
                            reason=Reason.TORN if torn else error.reason,
                            field=error.field,
                            detail=error.detail[:_DETAIL_LENGTH],
                            raw=line.removesuffix(b"\n").removesuffix(b"\r"),
                        )
                    )
            number += 1
            offset += len(line)

    def _rows(self, line: bytes, clock: datetime) -> tuple[str, list[list[Row]]]:
        """Return the event type and the rows of one line by table, or raise `RejectedLineError`."""
        try:
            head = self._head(line)
            name = self._name(head)
            return name, self._lenient[name].rows(line, head.data, clock)
        except RecursionError:
            raise RejectedLineError(Reason.TOO_DEEP, detail="nested too deeply") from None
        except msgspec.ValidationError as error:
            raise RejectedLineError(Reason.NOT_AN_OBJECT, detail=str(error)) from None
        except msgspec.DecodeError as error:
            _raise_malformed(line, error)

    def _name(self, head: _Head) -> str:
        for key, raw in zip(_TAGS, (head.type, head.event_type), strict=True):
            if raw != _NULL:
                try:
                    name = self._text(raw)
                except (msgspec.ValidationError, UnicodeDecodeError):
                    raise RejectedLineError(Reason.UNKNOWN_TYPE, key, "the type is not text") from None
                if name not in self._events:
                    raise RejectedLineError(Reason.UNKNOWN_TYPE, key, f"no event type {name[:40]!r}")
                return name
        raise RejectedLineError(Reason.MISSING_FIELD, "type", "required")


def is_whole_object(line: bytes) -> bool:
    """Tell whether `line` is one complete JSON object, whatever is in it: a last line that only lacks its end."""
    try:
        msgspec.json.decode(line, type=_Head)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def _deep(frames: int, function: Callable[[bytes], T], data: bytes) -> T:
    """Call `function` that many frames down.

    How deeply nested a line may be depends on how deep in the stack its decoder runs. In bulk it must not take what
    line by line is refused.
    """
    return _deep(frames - 1, function, data) if frames else function(data)


def _one_object_a_line(data: bytes, count: int) -> bool:
    """Tell whether `data`, in which `count` objects were decoded, has one of them on each line that is not blank.

    The decoder does not look: to it line ends are white space, so that an object may have some in it, and its
    neighbour may share its line. Inside an object no `{` can follow on a `}`.
    """
    for line in BytesIO(data):
        if line[0] != _OPEN or line[-2] != _CLOSE:
            content = line.strip(_BLANK)
            if not content:
                continue
            if content[0] != _OPEN or content[-1] != _CLOSE:
                return False
        count -= 1
    return count == 0


def _raise_malformed(line: bytes, error: Exception) -> NoReturn:
    """Tell a lone surrogate, which is JSON by its grammar but no Unicode, from what is no JSON at all."""
    if is_whole_object(_SURROGATE_ESCAPE.sub(rb"\\ufffd", line)):
        raise RejectedLineError(Reason.INVALID_UNICODE, detail="a lone surrogate") from None
    raise RejectedLineError(Reason.INVALID_JSON, detail=str(error)) from None
