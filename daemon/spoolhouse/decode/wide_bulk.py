"""Reading many lines in one call of the JSON decoder, where all are of one type and odd in the same way."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import repeat
from typing import Any

from spoolhouse.decode.bulk import one_object_a_line
from spoolhouse.decode.counts import add_counts
from spoolhouse.decode.decoded import Found, JudgedType
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.origin import Origin
from spoolhouse.decode.rows import Row
from spoolhouse.decode.wide import ManyLines, WideReader, suspect_of
from spoolhouse.events.declaration import EventType

_BLANK = b" \t\r\n"
_OPEN = b"{"[0]
_NOTHING: Mapping[str, object] = {}


class WideBulk:
    """Reads a piece by the wide reader of its first line.

    Any ValueError means that its lines have to be read one by one.
    """

    def __init__(self, wide: WideReader, events: Mapping[str, EventType], origin: Origin) -> None:
        self._wide = wide
        self._events = events
        self._origin = origin
        self._kind = JudgedType(events[wide.name], origin)
        self._found = Found()
        self._notes: list[str] = []

    def read(self, piece: Piece) -> Found:
        """Return the rows and counts of the piece."""
        first = Piece(offset=piece.offset, data=piece.data[: piece.data.find(b"\n") + 1])
        origin, found = self._origin, self._found
        many = self._fitting(first)
        if many is None:
            tables: Sequence[list[Row]] = [self._open_rows(piece, first)]
        else:
            tables, found.decoded.mismatched, odd, found.decoded.converted_lines = self._rows(many, piece, self._notes)
            if odd:
                found.count_odd(self._kind, tables[0])
        found.rows.update(zip(self._kind.tables, tables, strict=True))
        found.decoded.lines = len(tables[0])
        add_counts(found.decoded.converted, Counter(self._notes))
        if found.is_any_rejected(origin):
            raise ValueError(origin)
        return found

    def _fitting(self, first: Piece) -> ManyLines | None:
        """Return the reader for the first line, if that has no unknown fields."""
        try:
            self._wide.decode(first.data)  # alone: the error of many lines does not name the key in this way
            self._rows(self._wide.many, first, [])
        except ValueError as error:
            if suspect_of(error) in self._wide.time_keys:
                return self._wide.many_text_times
            if self._wide.gives_one_row:
                return None
            raise
        return self._wide.many

    def _rows(self, many: ManyLines, piece: Piece, notes: list[str]) -> tuple[tuple[list[Row], ...], int, int, int]:
        events = many.decode(piece.data)
        origin, kind = self._origin, self._kind
        return many.rows(
            events,
            self._offsets(piece, len(events)),
            self._is_right,
            origin.clock,
            origin.project,
            origin.id_prefix,
            kind.oldest,
            kind.newest,
            origin.policy == "reject",
            notes,
        )

    def _open_rows(self, piece: Piece, first: Piece) -> list[Row]:
        """Return the rows of lines whose unknown fields are all learned from the first line or before."""
        event, unknown, _ = self._wide.read_open(first.data)
        if unknown and self._wide.may_be_foreign(event):
            raise ValueError(unknown)  # before all are decoded
        origin, kind, notes, decoded = self._origin, self._kind, self._notes, self._found.decoded
        clock, project, prefix, policy = origin.clock, origin.project, origin.id_prefix, origin.unknown
        events, names, make_row = self._wide.read_open_lines(piece.data)
        own = self._wide.name
        rows: list[Row] = []
        counts: Counter[str] = Counter()
        noted = 0
        for event, offset in zip(events, self._offsets(piece, len(events)), strict=False):
            if (event.t0 != own or event.t1 is not None) and not self._is_right(event):
                raise ValueError(event)
            content = event.data if self._wide.is_enveloped else event
            unknown = {name: value for place, name in names if (value := getattr(content, place)) is not None}
            if unknown:
                if policy == "reject" or (event.t0 != own and self._wide.may_be_foreign(event)):
                    raise ValueError(unknown)
                decoded.unknown_lines += 1
                for name in unknown:  # faster than the method of a Counter
                    counts[name] += 1
            kept = unknown if policy == "keep" else _NOTHING
            rows.append(make_row(event, clock, project, prefix, offset, notes, kept, {}))
            if len(notes) > noted:
                decoded.converted_lines += 1
                noted = len(notes)
        add_counts(decoded.unknown, counts)
        place, when = kind.project_place, kind.time_place
        decoded.mismatched = sum(row[place] != project for row in rows)
        oldest, newest = kind.oldest, kind.newest
        times: list[Any] = [row[when] for row in rows]
        if not all(time is not None and oldest <= time < newest for time in times):
            self._found.count_odd(kind, rows)
        return rows

    def _is_right(self, event: Any) -> bool:
        return self._wide.is_right(event, self._origin.type, self._events)

    def _offsets(self, piece: Piece, count: int) -> Iterable[int]:
        """Return where the lines begin. Raises ValueError if they do not have an object each."""
        if not one_object_a_line(piece.data, count):
            raise ValueError(count)
        return _offsets(piece) if self._wide.derives_ids else repeat(0)


def _offsets(piece: Piece) -> Iterator[int]:
    """Yield where the lines begin that are not blank."""
    offset = piece.offset
    for line in BytesIO(piece.data):
        if line[0] == _OPEN or line.strip(_BLANK):
            yield offset
        offset += len(line)
