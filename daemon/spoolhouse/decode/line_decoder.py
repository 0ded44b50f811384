"""JSONL bytes to canonical rows and rejects."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import groupby, product
from typing import Any, Literal, NoReturn

import msgspec
from msgspec import Raw

from spoolhouse.decode import times
from spoolhouse.decode.bulk import Bulk, deep, one_object_a_line
from spoolhouse.decode.fast_path import Shape
from spoolhouse.decode.lenient import LenientReader, Row
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.reject import Reason, Reject, RejectedLineError
from spoolhouse.decode.rows import Rows
from spoolhouse.events import json_paths
from spoolhouse.events.declaration import EventType

ProjectPolicy = Literal["trust", "warn", "reject"]
"""What happens to an event whose project is not its folder's; `trust` does not look."""

TimePolicy = Literal["trust", "warn", "reject"]
"""What happens to an event older than its table keeps it, or later than `FUTURE_AFTER`; `trust` does not look."""

FUTURE_AFTER = timedelta(days=1)
"""How far a producer's clock may go ahead."""
DECODER_VERSION = 2
"""Counts up with every change to what a line decodes into; a part of a shipment's fingerprint."""

_TAGS: tuple[Literal["type", "event_type"], ...] = ("type", "event_type")
"""The keys that may hold the discriminator, in order of precedence."""
_BLANK = b" \t\r\n"
_NULL = Raw(b"null")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_DETAIL_LENGTH = 200
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
    expired: TimePolicy = "trust"
    future: TimePolicy = "trust"

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
    """Lines whose project is not their folder's."""
    expired: int = 0
    """Lines of events that are older than their table keeps them, by the shipment's clock."""
    future: int = 0
    """Lines of events that lie more than a day ahead of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that gave a row: its number in its piece (from 1), where it starts, its bytes without the line end."""

    line: int
    offset: int
    raw: bytes
    row: int
    """The row's number among those of its table in the piece."""
    nth: int
    """The row's number among those of its table that the line gave."""


@dataclass(slots=True, kw_only=True)
class _Found:
    """What was read so far of a piece, before it is encoded."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    lines: int = 0
    """Good ones."""
    mismatched: int = 0
    expired: int = 0
    future: int = 0

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
        self.expired += other.expired
        self.future += other.future


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
        self._time_place = {
            name: [column.name for column in event.table.columns].index(event.table.time)
            for name, event in events.items()
        }
        self._tables = {name: event.tables for name, event in events.items()}
        self._bulks = [
            Bulk(events, Shape(tag=tag, enveloped=enveloped, loose=loose))
            for loose, tag, enveloped in product((False, True), _TAGS, (False, True))
        ]

    def decode(self, piece: Piece, origin: Origin) -> Decoded:
        """Decode `piece`; never raises for what is in it."""
        return self._encoded(self._bulk(piece.data, origin) or self._by_blocks(piece, origin), origin)

    def lines_of(self, piece: Piece, origin: Origin, table: str, numbers: Collection[int]) -> Iterator[Line]:
        """Yield the line of `piece` that gave each of the rows of `table` with these numbers (from 0, in order).

        Each line is decoded alone: it gives the same rows in any company.
        """
        offset, rows = piece.offset, 0
        for line, data in enumerate(BytesIO(piece.data), start=1):
            found = self.decode(Piece(offset=offset, data=data), origin).rows.get(table)
            count = 0 if found is None else found.count
            for nth in (number - rows for number in numbers if rows <= number < rows + count):
                raw = data.removesuffix(b"\n").removesuffix(b"\r")
                yield Line(line=line, offset=offset, raw=raw, row=rows + nth, nth=nth)
            rows += count
            offset += len(data)

    def _encoded(self, found: _Found, origin: Origin) -> Decoded:
        decoded = Decoded(
            rejects=found.rejects,
            lines=found.lines + len(found.rejects),
            mismatched=0 if origin.policy == "trust" else found.mismatched,
            expired=found.expired,
            future=found.future,
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
                events = deep(_LINE_BY_LINE_FRAMES, bulk.decode_lines, data)
                if not one_object_a_line(data, len(events)):
                    return None
                for name, group in self._groups(bulk, events):
                    bounds = self._bounds(name, origin)
                    rows, mismatched, odd = bulk.rows(name)(group, clock, origin.project, *bounds)
                    if odd:
                        self._count_odd(name, rows[0], bounds, found)
                    found.take(self._tables[name], rows)
                    found.lines += len(group)
                    found.mismatched += mismatched
            except (ValueError, RecursionError):
                continue
            return None if _is_any_rejected(found, origin) else found
        return None

    def _groups(self, bulk: Bulk, events: Sequence[Any]) -> Iterable[tuple[str, Sequence[Any]]]:
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
                            key = json_paths.spelt(event.column(event.project).keys[0])
                            raise RejectedLineError(Reason.PROJECT_MISMATCH, key, "not the project of its folder")
                        found.mismatched += 1
                    self._look_at_time(name, rows[0], origin, found)
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

    def _bounds(self, name: str, origin: Origin) -> tuple[datetime, datetime]:
        """Return the first time that an event may be of, and the first that it may not, without being looked at."""
        kept = timedelta(days=self._events[name].table.ttl_days)
        return (
            times.EARLIEST if origin.expired == "trust" else max(times.EARLIEST, origin.clock - kept),
            times.LATEST if origin.future == "trust" else min(times.LATEST, origin.clock + FUTURE_AFTER),
        )

    def _count_odd(self, name: str, rows: Sequence[Row], bounds: tuple[datetime, datetime], found: _Found) -> None:
        """Count the events whose time is out of bounds."""
        place = self._time_place[name]
        for row in rows:
            if isinstance(time := row[place], datetime):
                found.expired += time < bounds[0]
                found.future += time >= bounds[1]

    def _look_at_time(self, name: str, rows: Sequence[Row], origin: Origin, found: _Found) -> None:
        """Count one event's time where it is out of bounds, or raise `RejectedLineError` if it is to be rejected."""
        odd = _Found()
        self._count_odd(name, rows, self._bounds(name, origin), odd)
        event = self._events[name]
        key = json_paths.spelt(event.column(event.table.time).keys[0])
        if odd.expired and origin.expired == "reject":
            raise RejectedLineError(Reason.EXPIRED, key, f"older than the {event.table.ttl_days} days that it is kept")
        if odd.future and origin.future == "reject":
            raise RejectedLineError(Reason.FUTURE, key, "more than a day ahead of the time of ingest")
        found.expired += odd.expired
        found.future += odd.future

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


def _is_any_rejected(found: _Found, origin: Origin) -> bool:
    """Tell whether a policy rejects some of the lines, so that they have to be told apart."""
    return (
        (found.mismatched > 0 and origin.policy == "reject")
        or (found.expired > 0 and origin.expired == "reject")
        or (found.future > 0 and origin.future == "reject")
    )


def is_whole_object(line: bytes) -> bool:
    """Tell whether `line` is one complete JSON object, whatever is in it: a last line that only lacks its end."""
    try:
        msgspec.json.decode(line, type=_Head)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def _raise_malformed(line: bytes, error: Exception) -> NoReturn:
    """Tell a lone surrogate, which is JSON by its grammar but no Unicode, from what is no JSON at all."""
    if is_whole_object(_SURROGATE_ESCAPE.sub(rb"\\ufffd", line)):
        raise RejectedLineError(Reason.INVALID_UNICODE, detail="a lone surrogate") from None
    raise RejectedLineError(Reason.INVALID_JSON, detail=str(error)) from None
