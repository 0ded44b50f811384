"""The dry run of `spoolhouse explain`: the rows of a line, or the reason why it is rejected."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw, Struct

from spoolhouse.decode.lenient import At
from spoolhouse.decode.line_decoder import LineDecoder
from spoolhouse.decode.line_reader import LineReader, Read, fields_of
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.nearest import hints, near_keys
from spoolhouse.decode.origin import Origin
from spoolhouse.decode.reject import Reason, Reject, RejectedLineError
from spoolhouse.decode.structs import TAGS
from spoolhouse.decode.values import Notes
from spoolhouse.events.declaration import Column, EventType
from spoolhouse.events.reference import filled
from spoolhouse.events.shapes.shape import Shape

_text_of = msgspec.json.Decoder(str).decode


class ExplainedRow(Struct, kw_only=True):
    """A row that a line becomes."""

    type: str
    table: str
    """Without its prefix."""
    values: dict[str, Any]
    """By column."""


class Rejection(Struct, kw_only=True):
    """Why a line is rejected."""

    reason: str
    field: str
    detail: str
    hints: list[str] = msgspec.field(default_factory=list)
    """Sentences that name values which would be taken."""


class Explanation(Struct, kw_only=True):
    """The result of one line."""

    line: int
    offset: int
    type: str = ""
    """The event type that it was read as; of a foreign shape, that of its first event. Empty if that is not known."""
    shape: str = ""
    """The foreign shape that it has; empty for ours."""
    rows: list[ExplainedRow] = msgspec.field(default_factory=list)
    derived: dict[str, str] = msgspec.field(default_factory=dict)
    """By derived column, the source of its value."""
    converted: list[str] = msgspec.field(default_factory=list)
    unknown: list[str] = msgspec.field(default_factory=list)
    """Fields that no column takes."""
    meant: dict[str, str] = msgspec.field(default_factory=dict)
    """By unknown field, the known one that it is like."""
    rejected: Rejection | None = None


class Explainer:
    """Explains lines, one at a time, by the readers that decode them."""

    def __init__(self, events: Mapping[str, EventType], shapes: Sequence[Shape], origin: Origin) -> None:
        """Explain lines from one place."""
        self._events = events
        self._origin = origin
        self._shapes = shapes
        self._reader = LineReader(events, shapes)
        self.decoder = LineDecoder(events, shapes)

    def explain(self, data: bytes, line: int, offset: int) -> Explanation | None:
        """Return the result of a line (given with its line end); None for a blank one."""
        decoded = self.decoder.decode(Piece(offset=offset, data=data), self._origin)
        if not decoded.lines:
            return None
        result = Explanation(line=line, offset=offset)
        fields = _fields(data)
        result.shape = self._shape(fields)
        result.type = "" if result.shape else self._type(fields)
        notes = Notes(derived=[])
        at = At(self._origin.clock, self._origin.project, f"{self._origin.id_prefix}{offset:012x}")
        try:
            read = self._reader.read(data, self._origin, at, notes=notes)
        except RejectedLineError:
            read = Read([], notes)
        if read.shape:
            result.shape, result.type = read.shape, ""
        result.converted = list(dict.fromkeys(notes.converted))
        result.unknown = list(dict.fromkeys(notes.unknown))
        event = self._events.get(result.type)
        if event is not None:
            result.meant = near_keys(result.unknown, event)
        if decoded.rejects:
            result.rejected = self._rejection(decoded.rejects[0], event, fields)
            return result
        result.rows = [*self._rows(read)]
        result.type = result.type or next((name for name, _ in read.events), "")
        result.derived = _derived(notes)
        if not result.shape and not any(tag in fields for tag in TAGS):
            result.derived["type"] = "the folder's"
        return result

    def _shape(self, fields: Mapping[str, Raw]) -> str:
        """Return the name of the foreign shape of a line; empty if it has none, or is unreadable."""
        try:
            shape = self._reader.shape_of(fields, self._origin.type)
        except (ValueError, RecursionError):
            return ""
        return "" if shape is None else shape.name

    def _type(self, fields: Mapping[str, Raw]) -> str:
        """Return the event type that a line of ours names, or its folder's."""
        for tag in TAGS:
            try:
                name = _text_of(fields[tag])
            except (KeyError, ValueError):
                continue
            if name in self._events:
                return name
        return self._origin.type if self._origin.type in self._events else ""

    def _rejection(self, reject: Reject, event: EventType | None, fields: Mapping[str, Raw]) -> Rejection:
        given = [*fields, *_fields(bytes(fields.get("data", b"")))]
        event = event or self._events.get(self._origin.type)
        return Rejection(
            reason=reject.reason.value,
            field=reject.field,
            detail=reject.detail,
            hints=[*self._other_folders(reject, fields), *hints(reject, event, given, self._events)],
        )

    def _other_folders(self, reject: Reject, fields: Mapping[str, Raw]) -> Iterator[str]:
        """Yield the folders where a line that names no type would be of a foreign shape."""
        if reject.reason is not Reason.MISSING_FIELD or reject.field != "type":
            return
        for shape in self._shapes:
            with suppress(ValueError, RecursionError):
                if not shape.keys.isdisjoint(fields) and shape.matches(fields):
                    list(shape.read(fields))
                    for folder in shape.folders:
                        yield f"in the folder {folder} it is of the shape {shape.name}: try --type {folder}"

    def _rows(self, read: Read) -> list[ExplainedRow]:
        tables = {part.table.name: part.table for event in self._events.values() for part in event.parts}
        return [
            ExplainedRow(
                type=name,
                table=table,
                values=dict(zip((c.name for c in tables[table].columns), msgspec.to_builtins(row), strict=True)),
            )
            for name, by_table in read.events
            for table, rows in zip(self._events[name].tables, by_table, strict=False)
            for row in rows
        ]


def _derived(notes: Notes) -> dict[str, str]:
    """Return the sources of derived values, by column."""
    found: dict[str, str] = {}
    derived: list[tuple[EventType, Column, object]] = notes.derived or []
    for event, column, value in derived:
        if value not in (None, "") and (source := filled(event, column)):
            found[column.name] = source
    return found


def _fields(data: bytes) -> dict[str, Raw]:
    """Return the fields of a JSON object; none if it is no object."""
    try:
        return fields_of(data, Notes())
    except (ValueError, RecursionError):
        return {}
