"""JSON logs of other libraries, read nearly as fast as logs of ours.

Producers write the same keys again and again. A plan says under which keys lines with certain keys have their message,
time, level and ids; it is made once. Lines whose values decide that are for the line reader. Both make the same row.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from io import BytesIO
from typing import Any

import msgspec
from msgspec import Raw

from spoolhouse.decode import times
from spoolhouse.decode.bulk import deep
from spoolhouse.decode.counts import add_counts
from spoolhouse.decode.decoded import Found, JudgedType
from spoolhouse.decode.line_by_line import LineByLine
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.origin import Origin
from spoolhouse.decode.reject import Reason, Reject
from spoolhouse.decode.rows import Row
from spoolhouse.decode.values import json_text
from spoolhouse.events.builtin import LOGS
from spoolhouse.events.declaration import EventType
from spoolhouse.events.shapes import log_levels
from spoolhouse.events.shapes.json_log import JSON_LOG, TYPES, Plan, may_be_ours, plan, read
from spoolhouse.events.shapes.shape import Shape, ShapeError

_FRAMES = 8
"""How much deeper in the stack a line is decoded here than by the line reader, at the least."""
_MOST_PLANS = 1024
_MOST_KEYS = 64
_MOST_LEVELS = 256
_QUOTE = '"'
_LONGEST_LEVEL = 64
_SECONDS, _MILLISECONDS, _MICROSECONDS = 10, 13, 17
"""Characters of the number of today's seconds, of milliseconds, and of seconds with six digits more."""
_OURS = (b'{"type":', b'{"type" :', b'{"event_type":')
"""First bytes of lines that probably name a type of ours."""
COLUMNS = (
    "id", "project_id", "deployment_id", "trace_id", "span_id", "level", "message", "timestamp", "attributes",
    "recorded_at", "extra",
)  # fmt: skip
"""The columns of a row that is made here."""

Level = tuple[str, bool]
_Known = tuple[Plan, dict[str, Level | None]]
"""The plan for some keys, and the levels that were met, by their JSON text."""
_UNSEEN: Any = object()

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_text_of = msgspec.json.Decoder(str).decode
_text_or_none_of = msgspec.json.Decoder(str | None).decode
_time_of = msgspec.json.Decoder(datetime).decode
_seconds_of = msgspec.json.Decoder(datetime, strict=False).decode
_number_of = msgspec.json.Decoder(int | float).decode
_encode = msgspec.json.Encoder().encode


class LogReader:
    """Reads pieces in the folder of logs. Threads share the plans, which change no result."""

    def __init__(
        self,
        events: Mapping[str, EventType],
        marks: Collection[str],
        shape_of: Callable[[Mapping[str, Raw], str], Shape | None],
    ) -> None:
        """Read logs, if `events` has them as they are built in.

        `marks`: keys of foreign shapes that come before. `shape_of` tells the shape of a line in the folder of a type.
        """
        self.shape_of = shape_of
        self.marks = frozenset(marks) - JSON_LOG.keys
        """Keys that no JSON log has. Lines of foreign shapes with another one name a type."""
        log = events.get("log")
        self.event = log if log is not None and log.table is LOGS else None
        self.heads = (*_OURS, *(f'{{"{key}"'.encode() for key in self.marks))
        """First bytes of lines that are probably for other readers."""
        self.plans: dict[tuple[str, ...], _Known | None] = {}

    def read(self, piece: Piece, origin: Origin, lines: LineByLine, found: Found) -> None:
        """Read all lines into `found`; `lines` reads those that are no plain JSON logs."""
        if self.event is None or origin.type not in JSON_LOG.folders:
            lines.read(piece)
        else:
            deep(_FRAMES, _Reading(self, origin, JudgedType(self.event, origin), lines, found).read, piece)

    def learn(self, keys: tuple[str, ...], fields: Mapping[str, Raw]) -> _Known | None:
        """Return the plan for lines with these keys, and remember it; None if their values decide."""
        if len(keys) > _MOST_KEYS or len(self.plans) >= _MOST_PLANS or not self.marks.isdisjoint(keys):
            return None
        found = plan(fields)
        known = self.plans[keys] = None if found is None else (found, {})
        return known


def _level(found: Plan, levels: dict[str, Level | None], text: str) -> Level | None:
    """Return the level that a JSON text means, and remember it; None if the line reader has to decide."""
    level = log_levels.of_json(text, found.scale)
    if len(levels) < _MOST_LEVELS and len(text) < _LONGEST_LEVEL:
        levels[text] = level
    return level


class _Reading:
    """One piece being read."""

    def __init__(self, reader: LogReader, origin: Origin, kind: JudgedType, lines: LineByLine, found: Found) -> None:
        self._reader = reader
        self._plans = reader.plans
        self._folder = origin.type
        self._clock, self._project, self._prefix = origin.clock, origin.project, origin.id_prefix
        self._oldest, self._newest = kind.oldest, kind.newest
        self._lines = lines
        self._found = found

    def read(self, piece: Piece) -> None:
        rows, row_of, heads = self._found.rows[LOGS.name], self._row, self._reader.heads
        offset, taken = piece.offset, 0
        first: tuple[int, int] | None = None
        """Of lines that are left to other readers: where the first one begins, and its number."""
        for number, line in enumerate(BytesIO(piece.data), 1):
            row = None if line.startswith(heads) else row_of(line, offset)
            if row is None:
                first = first or (offset, number)
            else:
                if first:
                    self._leave(piece, offset, *first)
                    first = None
                if isinstance(row, ShapeError):
                    self._reject(line, number, offset, row)
                elif row:
                    rows.append(row)
                    taken += 1
                else:
                    self._lines.read_leniently(line, number, offset)
            offset += len(line)
        if first:
            self._leave(piece, offset, *first)
        self._found.decoded.lines += taken
        if taken:
            add_counts(self._found.decoded.shapes, {JSON_LOG.name: taken})

    def _leave(self, piece: Piece, end: int, start: int, number: int) -> None:
        """Have lines read that may be ours. `number`: of the first one."""
        rejects = self._found.decoded.rejects
        known = len(rejects)
        self._lines.read(Piece(offset=start, data=piece.data[start - piece.offset : end - piece.offset]))
        for reject in rejects[known:]:
            reject.line += number - 1

    def _reject(self, line: bytes, number: int, offset: int, error: ShapeError) -> None:
        raw = line.removesuffix(b"\n").removesuffix(b"\r")
        self._found.decoded.rejects.append(
            Reject(
                line=number, offset=offset, reason=Reason.MISSING_FIELD, field=error.field, detail=error.detail, raw=raw
            )
        )

    def _row(self, line: bytes, offset: int) -> Row | ShapeError | None:  # noqa: PLR0911  # a call more costs each line
        """Return the row of a JSON log; the error if it lacks something that is required; None if it is for others.

        An empty one means that the line needs more than this.
        """
        try:
            fields = _fields_of(line)
            keys = tuple(fields)
            known = self._plans.get(keys, _UNSEEN)
            if known is _UNSEEN:
                known = self._reader.learn(keys, fields)
            if (known is None or known[0].may_be_ours) and self._is_for_others(fields):
                return None
            if known is None:
                return self._planless(fields, offset)
            found, levels = known
            message_key, time_key, level_key, trace_key, span_key, *_ = found
            message = _text_of(fields.pop(message_key))
            time = _time(fields.pop(time_key))
            if not self._oldest <= time < self._newest:
                return ()
            choice = log_levels.DEFAULT
            if level_key:
                text = json_text(fields[level_key])
                level = levels.get(text) or _level(found, levels, text)
                if level is None:
                    return ()
                choice, is_exact = level
                if is_exact:
                    del fields[level_key]
            trace_id = _id(fields, trace_key) if trace_key else None
            span_id = _id(fields, span_key) if span_key else None
            attributes = _encode(fields).decode() if fields else "{}"
        except ShapeError as error:
            return error if error.is_missing else ()
        except (ValueError, RecursionError):
            return ()
        return (
            f"{self._prefix}{offset:012x}", self._project, "", trace_id, span_id, choice, message, time, attributes,
            self._clock, "{}",
        )  # fmt: skip

    def _is_for_others(self, fields: Mapping[str, Raw]) -> bool:
        """Tell whether a line that has no plan, or may be ours, may be no JSON log.

        One with a `type` or with `data` probably is one. Of other lines that may be ours, few are.
        """
        if not self._reader.marks.isdisjoint(fields):
            return True
        if not may_be_ours(fields):
            return False
        return TYPES.isdisjoint(fields) or self._reader.shape_of(fields, self._folder) is not JSON_LOG

    def _planless(self, fields: Mapping[str, Raw], offset: int) -> Row:
        """Return the row of a line whose values decide which keys count; an empty one leaves it to the line reader."""
        if JSON_LOG.keys.isdisjoint(fields):
            return ()
        [event] = read(fields)
        given = event.fields
        at = given["timestamp"]
        time = _time(at) if isinstance(at, Raw) else times.within_reach(times.from_text(str(at)))
        if not self._oldest <= time < self._newest:
            return ()
        return (
            f"{self._prefix}{offset:012x}", self._project, "", _text(given["traceId"]), _text(given["spanId"]),
            given["level"], _text(given["message"]), time, _encode(given["attributes"]).decode(), self._clock, "{}",
        )  # fmt: skip


def _text(value: object) -> object:
    return _text_of(value) if isinstance(value, Raw) else value


def _time(raw: Raw) -> datetime:
    """Return the time that a value names. It may be out of reach.

    Raises ValueError if it names none, or one that needs more.
    """
    text = json_text(raw)
    if text[0] != _QUOTE:
        # Nearly all numbers: whole milliseconds, and seconds with up to six digits more. The JSON decoder makes a time
        # of seconds four times as fast.
        if len(text) == _MILLISECONDS and text.isdecimal():
            return _seconds_of(f"{text[:-3]}.{text[-3:]}")
        if text[_SECONDS : _SECONDS + 1] == "." and len(text) <= _MICROSECONDS and text[_SECONDS + 1 :].isdecimal():
            return _seconds_of(text)
        number: float = _number_of(raw)
        if number.__class__ is float and number >= times.INEXACT_FROM:
            raise ValueError(raw)
        return times.from_parsed(number)
    if "," in text:  # as Python's logging writes it, and no JSON decoder reads it
        return times.from_text(_text_of(raw))
    time = _time_of(raw)
    return time if time.tzinfo is not None else times.from_parsed(time)


def _id(fields: dict[str, Raw], key: str) -> str | None:
    """Return an id. It leaves the fields if it is their value, and that is neither empty nor made of zeros."""
    text: str | None = _text_or_none_of(fields[key])
    if not text:
        return None
    if "/traces/" in text and not text.endswith("/traces/"):
        return text.rpartition("/traces/")[2]
    if not text.strip("0-"):
        return None
    del fields[key]
    return text
