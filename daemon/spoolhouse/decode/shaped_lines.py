"""Reads lines of a foreign shape by its quick reader, chosen by their first bytes: nearly as fast as lines of ours."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from io import BytesIO
from typing import Any

from spoolhouse.decode.bulk import deep, one_object_a_line
from spoolhouse.decode.decoded import Found, JudgedType
from spoolhouse.decode.line_reader import LineReader
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.origin import Origin
from spoolhouse.decode.reject import RefusedError
from spoolhouse.decode.rows import Row
from spoolhouse.decode.shaped_rows import FormFunction
from spoolhouse.decode.wide import SECOND_COLON
from spoolhouse.events.declaration import EventType
from spoolhouse.events.shapes.shape import Fields, Form, FormedEvent, Shape

_BLANK = b" \t\r\n"
_OPEN = b"{"[0]
_BULK_FRAMES = 4
"""How much deeper in the stack a line's decoder runs among others than alone, at the least."""

_Known = tuple[FormFunction, int, int, datetime, datetime, list[Row]]
"""The function that makes rows of a form, the places of project and time in them, the bounds of the time, the rows."""


class ShapedLines:
    """Reads the lines of one piece into `found`."""

    def __init__(self, events: Mapping[str, EventType], reader: LineReader, origin: Origin, found: Found) -> None:
        self.heads: Mapping[bytes, Shape] = reader.heads(origin.type)
        """The shape that a line probably has, by its bytes up to the second colon."""
        self._events = events
        self._rows = reader.shaped_rows
        self._origin = origin
        self._clock, self._project, self._prefix = origin.clock, origin.project, origin.id_prefix
        self._found = found
        self._forms: dict[Form, _Known] = {}

    def shape_of(self, data: bytes) -> Shape | None:
        """Return the shape that lines probably have."""
        return self.heads.get(data[: data.find(b":", SECOND_COLON)])

    def decoded(self, shape: Shape, data: bytes) -> list[Any] | None:
        """Return the decoded lines; None if not all are of the shape."""
        quick: Any = shape.quick
        try:
            quick.decode(data[: data.find(b"\n") + 1])  # which may learn something
            lines: list[Any] = deep(_BULK_FRAMES, quick.decode_lines, data)
        except (ValueError, RecursionError):
            return None
        return lines if one_object_a_line(data, len(lines)) else None

    def take(self, shape: Shape, line: bytes, offset: int) -> bool:
        """Take all events of a line, or none: then the line reader has to read it, and return False."""
        quick: Any = shape.quick
        try:
            is_taken = self._take(quick.events(quick.decode(line)), offset)
        except (ValueError, RecursionError):
            return False
        self._count(shape, int(is_taken))
        return is_taken

    def rest(self, shape: Shape, piece: Piece, first: int, decoded: Iterable[Any]) -> Iterator[tuple[int, bytes, int]]:
        """Take decoded lines, of which the first one has this number.

        Yield the number, bytes and offset of those that the line reader has to read.
        """
        quick: Any = shape.quick
        events_of, each, offset, taken = quick.events, iter(decoded), piece.offset, 0
        clock, project, prefix, forms = self._clock, self._project, self._prefix, self._forms
        keeps, count_notes = self._origin.unknown == "keep", self._found.count_notes
        for number, line in enumerate(BytesIO(piece.data), first):
            if line[0] == _OPEN or line.strip(_BLANK):
                try:
                    events = events_of(next(each))
                    form, struct, derived, unknown = events[0]
                    if len(events) > 1 or (unknown and not keeps):
                        is_taken = self._take(events, offset)
                    else:
                        # Here the most lines pass: `_take` in short.
                        make, place, when, oldest, newest, out = forms.get(form) or self._form(form)
                        row: Any = make(struct, derived, clock, project, prefix, offset, "")
                        is_taken = row[place] == project and oldest <= row[when] < newest
                        if is_taken:
                            out.append(row)
                            if unknown:
                                count_notes((), unknown)
                except (ValueError, RecursionError):
                    is_taken = False
                if is_taken:
                    taken += 1
                else:
                    yield number, line, offset
            offset += len(line)
        self._count(shape, taken)

    def _take(self, events: Sequence[FormedEvent], offset: int) -> bool:
        """Take all of a line's events, or none of them."""
        taken: list[tuple[list[Row], Row]] = []
        unknown: Fields = {}
        project = self._project
        for form, struct, derived, more in events:
            if more:
                if self._origin.unknown == "reject":
                    return False
                if self._origin.unknown == "drop":
                    form = form.without_unknown or form  # noqa: PLW2901  # they are counted all the same
                unknown = {**unknown, **more}
            nth = f".{len(taken)}" if taken else ""
            make, place, when, oldest, newest, out = self._forms.get(form) or self._form(form)
            row: Any = make(struct, derived, self._clock, project, self._prefix, offset, nth)
            if row[place] != project or not oldest <= row[when] < newest:
                return False
            taken.append((out, row))
        for out, row in taken:
            out.append(row)
        if unknown:
            self._found.count_notes((), unknown)
        return True

    def _count(self, shape: Shape, lines: int) -> None:
        decoded = self._found.decoded
        if lines:
            decoded.lines += lines
            decoded.shapes[shape.name] = decoded.shapes.get(shape.name, 0) + lines

    def _form(self, form: Form) -> _Known:
        event = self._events[form.type]
        if not event.column(event.table.time).required:
            raise RefusedError(event.name)
        kind = JudgedType(event, self._origin)
        out = self._found.rows[kind.tables[0]]
        known = (self._rows.formed(form), kind.project_place, kind.time_place, kind.oldest, kind.newest, out)
        self._forms[form] = known
        return known
