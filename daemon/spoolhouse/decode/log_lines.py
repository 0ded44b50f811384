"""JSON logs of other libraries, read nearly as fast as logs of ours.

Producers write the same keys again and again. A plan says under which keys lines with certain keys have their message,
time, level and ids; it is made once. The lines that one plan serves are read together, column by column. Lines whose
values decide which keys count are read alone, and the line reader reads the rest. All make the same row of a line.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from io import BytesIO
from itertools import accumulate
from typing import Any

import msgspec
from msgspec import Raw

from spoolhouse.decode import log_times, times
from spoolhouse.decode.bulk import deep, one_object_a_line
from spoolhouse.decode.counts import add_counts
from spoolhouse.decode.decoded import Found, JudgedType
from spoolhouse.decode.line_by_line import LineByLine
from spoolhouse.decode.line_splitter import Piece, parts
from spoolhouse.decode.log_columns import Fields, Known, Lines, objects, rows
from spoolhouse.decode.origin import Origin
from spoolhouse.decode.reject import Reason, Reject
from spoolhouse.decode.rows import Row
from spoolhouse.decode.structs import TAGS
from spoolhouse.events.builtin import LOGS
from spoolhouse.events.declaration import EventType
from spoolhouse.events.shapes.json_log import JSON_LOG, TYPES, may_be_ours, read
from spoolhouse.events.shapes.log_plan import Plan, inner_of, plan
from spoolhouse.events.shapes.shape import Shape, ShapeError

_FRAMES = 8
"""How much deeper in the stack a line is decoded here than by the line reader, at the least."""
_CHUNK = 1 << 16
"""Bytes of lines that are read together."""
_FEW = 4
"""Fewer lines than this are read one by one: a column costs more than its values."""
_MOST_PLANS = 1024
_MOST_KEYS = 64
_OURS = (b'{"type":', b'{"type" :', b'{"event_type":')
"""First bytes of lines that probably name a type of ours."""
COLUMNS = (
    "id", "project_id", "deployment_id", "trace_id", "span_id", "level", "message", "timestamp", "attributes",
    "recorded_at", "extra",
)  # fmt: skip
"""The columns of a row that is made here."""

_Keys = tuple[tuple[str, ...], tuple[str, ...]]
"""The keys of a line, and of the object that has the message in it."""
_Result = Row | ShapeError | None
"""The row of a JSON log; the error if it lacks something that is required; None if it is for other readers. An empty
row means that the line needs more than this."""
_UNSEEN: Any = object()
_NOTHING: Fields = {}

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_text_of = msgspec.json.Decoder(str).decode
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
        self.events = events
        self.marks = frozenset(marks) - JSON_LOG.keys
        """Keys that no JSON log has. Lines of foreign shapes with another one name a type."""
        log = events.get("log")
        self.event = log if log is not None and log.table is LOGS else None
        self.heads = (*_OURS, *(f'{{"{key}"'.encode() for key in self.marks))
        """First bytes of lines that are probably for other readers."""
        self._inner: dict[tuple[str, ...], str] = {}
        self._plans: dict[_Keys, Known | None] = {}
        self._known: dict[Plan, Known] = {}
        """Lines with other keys may have the same plan."""

    def read(self, piece: Piece, origin: Origin, lines: LineByLine, found: Found) -> None:
        """Read all lines into `found`; `lines` reads those that are no plain JSON logs."""
        if self.event is None or origin.type not in JSON_LOG.folders:
            lines.read(piece)
        else:
            deep(_FRAMES, _Reading(self, origin, JudgedType(self.event, origin), lines, found).read, piece)

    def inner_of(self, keys: tuple[str, ...]) -> str:
        """Return the key of the object that has the message in it, in lines with these keys."""
        inner = self._inner.get(keys)
        if inner is None:
            inner = inner_of(keys)
            if len(keys) <= _MOST_KEYS and len(self._inner) < _MOST_PLANS:
                self._inner[keys] = inner
        return inner

    def known(self, fields: Fields, inner: Fields) -> Known | None:
        """Return the plan for lines with the keys of this one, remembered or made; None if their values decide."""
        keys = tuple(fields), tuple(inner)
        known = self._plans.get(keys, _UNSEEN)
        return self._learn(keys, fields, inner) if known is _UNSEEN else known

    def _learn(self, keys: _Keys, fields: Fields, inner: Fields) -> Known | None:
        if len(fields) + len(inner) > _MOST_KEYS or len(self._plans) >= _MOST_PLANS:
            return None
        found = plan(fields, inner) if self.marks.isdisjoint(fields) else None
        known = None if found is None else self._known.setdefault(found, Known(found))
        self._plans[keys] = known
        return known


class _Reading:
    """One piece being read."""

    def __init__(self, reader: LogReader, origin: Origin, kind: JudgedType, lines: LineByLine, found: Found) -> None:
        self._reader = reader
        self._origin = origin
        self._clock, self._project, self._prefix = origin.clock, origin.project, origin.id_prefix
        self._oldest, self._newest = kind.oldest, kind.newest
        self._lines = lines
        self._found = found

    def read(self, piece: Piece) -> None:
        number = 1
        for part in parts(piece, _CHUNK):
            lines = BytesIO(part.data).readlines()
            results, are_rows = self._results(part, lines)
            if are_rows:
                self._count(len(results))
                self._found.rows[LOGS.name] += results
            else:
                self._take(part, lines, results, number)
            number += len(lines)

    def _count(self, taken: int) -> None:
        self._found.decoded.lines += taken
        if taken:
            add_counts(self._found.decoded.shapes, {JSON_LOG.name: taken})

    def _take(self, piece: Piece, lines: list[bytes], results: list[_Result], number: int) -> None:
        """Take the rows of lines, the first of which has that number, and have the others read."""
        rows, taken, offset = self._found.rows[LOGS.name], 0, piece.offset
        first: tuple[int, int] | None = None
        """Of lines that are left to other readers: where the first one begins, and its number."""
        for number, (line, row) in enumerate(zip(lines, results, strict=True), number):  # noqa: B020, PLR1704  # from there on
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
        self._count(taken)

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

    def _results(self, piece: Piece, lines: list[bytes]) -> tuple[list[Any], bool]:
        """Return what becomes of each line, and whether each is a row."""
        offsets = list(accumulate(map(len, lines), initial=piece.offset))
        if len(lines) < _FEW:
            heads = self._reader.heads
            placed = zip(lines, offsets, strict=False)
            return [None if line.startswith(heads) else self._row(line, offset) for line, offset in placed], False
        results: list[_Result] = [None] * len(lines)
        taken = 0
        is_whole = True
        places, all_fields = self._fields(piece, lines)
        left = set[int]()
        for known, some, inner in self._groups(places, all_fields):
            if known is None or len(some) < _FEW or self._may_name_ours(known, [all_fields[place] for place in some]):
                left.update(some)
                continue
            ids = ["%s%012x" % (self._prefix, offsets[place]) for place in some]  # noqa: UP031  # half the time
            group = Lines([all_fields[place] for place in some], inner, ids)
            made, are_rows = rows(known, group, self._origin, self._oldest, self._newest)
            taken += len(some)
            is_whole = is_whole and are_rows
            if len(some) == len(lines) and some == places:
                return list(made), is_whole
            for place, row in zip(some, made, strict=True):
                results[place] = row
        for place in left:
            results[place] = self._row(lines[place], offsets[place])
        return results, is_whole and taken == len(lines)

    def _fields(self, piece: Piece, lines: list[bytes]) -> tuple[list[int], list[Fields]]:
        """Return the places of the lines that are probably JSON logs, and by place the fields of each line.

        A line that is for others, or is no object, has none.
        """
        heads = self._reader.heads
        places = [place for place, line in enumerate(lines) if not line.startswith(heads)]
        if len(places) == len(lines):
            return places, _all_fields(piece.data, lines)
        some = [lines[place] for place in places]
        fields = [_NOTHING] * len(lines)
        for place, one in zip(places, _all_fields(b"".join(some), some), strict=True):
            fields[place] = one
        return places, fields

    def _groups(
        self, places: list[int], fields: list[Fields]
    ) -> Iterable[tuple[Known | None, list[int], list[Fields]]]:
        """Yield the places of lines that one plan serves, with their inner objects; those without a plan, too."""
        groups: dict[Known | None, tuple[list[int], list[Fields]]] = {}
        for keys, some in _by_keys(places, fields).items():
            inner: list[Fields] = []
            if name := self._reader.inner_of(keys):
                try:
                    inner = objects([fields[place][name] for place in some])
                except (ValueError, RecursionError):
                    yield None, some, inner
                    continue
            for within, numbers in (
                _by_keys(list(range(len(some))), inner).items() if inner else [((), range(len(some)))]
            ):
                known = self._reader.known(fields[some[numbers[0]]], inner[numbers[0]] if within else _NOTHING)
                group = groups.setdefault(known, ([], []))
                group[0].extend(some[number] for number in numbers)
                group[1].extend(inner[number] for number in numbers if inner)
        for known, group in groups.items():
            yield known, *group

    def _may_name_ours(self, known: Known, some: list[Fields]) -> bool:
        """Tell whether some of the lines may name a type of ours, or be envelopes."""
        if not known.plan.types:
            return False
        if not known.plan.types.issubset(TAGS):
            return True
        values = {bytes(fields[tag]) for tag in known.plan.types for fields in some}
        return any(_text_or_none(value) in self._reader.events for value in values)

    def _row(self, line: bytes, offset: int) -> _Result:
        """Return what becomes of one line."""
        try:
            fields = _fields_of(line)
            if self._is_for_others(fields):
                return None
            return self._searched(fields, offset)
        except ShapeError as error:
            return error if error.is_missing else ()
        except (ValueError, RecursionError):
            return ()

    def _is_for_others(self, fields: Fields) -> bool:
        """Tell whether a line may be no JSON log.

        One with a `type` or with `data` probably is one. Of other lines that may be ours, few are.
        """
        if not self._reader.marks.isdisjoint(fields):
            return True
        if not may_be_ours(fields):
            return False
        return TYPES.isdisjoint(fields) or self._reader.shape_of(fields, self._origin.type) is not JSON_LOG

    def _searched(self, fields: Fields, offset: int) -> Row:
        """Return the row of a line that is searched for its message, time and so on; an empty one: it needs more."""
        if JSON_LOG.keys.isdisjoint(fields):
            return ()
        [event] = read(fields)
        given = event.fields
        at = given["timestamp"]
        time = log_times.one(at) if isinstance(at, Raw) else times.within_reach(times.from_text(str(at)))
        if not self._oldest <= time < self._newest:
            return ()
        return (
            f"{self._prefix}{offset:012x}", self._project, "", _text(given["traceId"]), _text(given["spanId"]),
            given["level"], _text(given["message"]), time, _encode(given["attributes"]).decode(), self._clock, "{}",
        )  # fmt: skip


def _by_keys(places: list[int], fields: list[Fields]) -> dict[tuple[str, ...], list[int]]:
    """Return the places of lines by their keys."""
    keys = list(map(tuple, fields))
    if len(places) == len(keys) and len(set(keys)) == 1:
        return {keys[0]: places}
    found: dict[tuple[str, ...], list[int]] = {}
    for place in places:
        found.setdefault(keys[place], []).append(place)
    return found


def _all_fields(data: bytes, lines: list[bytes]) -> list[Fields]:
    """Return the fields of each line; none of a line that is no object."""
    try:
        found: list[Fields] = _lines_of(data)
        if len(found) == len(lines) and one_object_a_line(data, len(found)):
            return found
    except (ValueError, RecursionError):
        pass
    return list(map(_fields_or_none, lines))


_lines_of = msgspec.json.Decoder(dict[str, Raw]).decode_lines


def _fields_or_none(line: bytes) -> Fields:
    try:
        return _fields_of(line)
    except (ValueError, RecursionError):
        return _NOTHING


def _text(value: object) -> object:
    return _text_of(value) if isinstance(value, Raw) else value


def _text_or_none(value: bytes) -> str | None:
    try:
        return _text_of(value)
    except ValueError:
        return None
