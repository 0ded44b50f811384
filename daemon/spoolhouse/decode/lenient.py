"""The lenient reader of an event type's lines: one at a time, whatever is allowed, and what exactly is wrong."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw

from spoolhouse.decode import values
from spoolhouse.decode.reject import Reason, RejectedLineError
from spoolhouse.events import json_paths
from spoolhouse.events.declaration import ARRAYS, Column, EventType, Fill, Key, RowSource
from spoolhouse.events.json_paths import Node

Row = tuple[object, ...]

_LIST = msgspec.json.Decoder(list[Raw])


class _Object:
    """Decodes one JSON object of a line as far as its keys, and those inside it on demand."""

    def __init__(self, node: Node) -> None:
        self._names = node.names()
        self._inner = {key: _Object(inner) for key, inner in (node.objects | node.arrays).items()}
        fields: list[tuple[str, object, object]] = [(name, Raw, values.NULL) for name in self._names.values()]
        rename = {name: key for key, name in self._names.items()}
        self.decode = msgspec.json.Decoder(msgspec.defstruct("Line", fields, rename=rename)).decode

    def raw(self, content: Any, key: Key) -> Raw:
        """Return the value that a key leads to in what `decode` has returned; null where there is none."""
        first, *rest = json_paths.steps(key)
        raw: Raw = getattr(content, self._names[first])
        if not rest or raw == values.NULL:
            return raw
        try:
            inner = self._inner[first].decode(raw)
        except msgspec.ValidationError:
            raise RejectedLineError(Reason.WRONG_TYPE, first, "not an object") from None
        return self._inner[first].raw(inner, tuple(rest))

    def elements(self, content: Any, key: str) -> Iterator[tuple["_Object", Any]]:
        """Yield the objects in an array, with what they are read by."""
        raw: Raw = getattr(content, self._names[key])
        if raw == values.NULL:
            return
        try:
            elements = _LIST.decode(raw)
            if len(elements) > json_paths.MOST_ELEMENTS:
                raise RejectedLineError(Reason.OUT_OF_RANGE, key, f"more than {json_paths.MOST_ELEMENTS} elements")
            for element in elements:
                yield self._inner[key], self._inner[key].decode(element)
        except msgspec.ValidationError:
            raise RejectedLineError(Reason.WRONG_TYPE, key, "not an array of objects") from None


class LenientReader:
    """Reads one line of one event type, says exactly what is wrong with it, and accepts all that is allowed."""

    def __init__(self, event: EventType) -> None:
        """Prepare decoders for the columns of `event`."""
        self._event = event
        self._project_keys = event.column(event.project).keys
        self._object = _Object(json_paths.tree(event, enveloped=True))

    def rows(self, line: bytes | Raw, data: Raw, clock: datetime) -> list[list[Row]]:
        """Return the rows of `line`, whose `data` field is given too, by table; raises `RejectedLineError`.

        Flat or enveloped: a line that names its project at the top is flat, whatever else it calls `data`.
        """
        content = self._object.decode(line)
        enveloped = bytes(memoryview(data)[:1]) == b"{" and all(
            self._object.raw(content, key) == values.NULL for key in self._project_keys
        )
        if enveloped:
            content = self._object.decode(data)
        needs = self._event.needs
        if needs and all(self._object.raw(content, key) == values.NULL for key in needs):
            raise RejectedLineError(Reason.MISSING_FIELD, needs[0], f"one of {', '.join(needs)} is required")
        reading = _Reading(self._event, self._object, content, clock, enveloped=enveloped)
        rows: dict[str, list[Row]] = {table: [] for table in self._event.tables}
        for part in self._event.parts:
            rows[part.table.name] += reading.part(part)
        return list(rows.values())


class _Reading:
    """One line being read."""

    def __init__(self, event: EventType, decoder: _Object, content: Any, clock: datetime, *, enveloped: bool) -> None:
        self._event = event
        self._object = decoder
        self._content = content
        self._clock = clock
        self._enveloped = enveloped

    def part(self, part: RowSource) -> Iterator[Row]:
        """Yield the rows that the line brings for one table."""
        if part.each:
            for position, (decoder, element) in enumerate(self._object.elements(self._content, part.each), 1):
                try:
                    yield self._row(part, decoder, element, position)
                except RejectedLineError as error:
                    field = f"{part.each}[{position - 1}].{error.field}"
                    raise RejectedLineError(error.reason, field, error.detail) from None
        elif not part.when or self._is_present(part):
            yield self._row(part, self._object, self._content, 0)

    def _is_present(self, part: RowSource) -> bool:
        [column] = [column for column in part.columns if column.name == part.when]
        return any(self._object.raw(self._content, key) != values.NULL for key in self._keys(column))

    def _keys(self, column: Column) -> tuple[Key, ...]:
        return json_paths.of_column(column, enveloped=self._enveloped)

    def _row(self, part: RowSource, decoder: _Object, content: Any, position: int) -> Row:
        row: list[Any] = []
        repeated = 0
        for column in part.columns:
            if column.fill is Fill.TYPE:
                row.append(self._event.name)
            elif column.fill is Fill.POSITION:
                row.append(position)
            elif column.inherited:
                row.append(self._value(self._object, self._content, column))
                repeated += len(row[-1]) if isinstance(row[-1], str) else 0
            else:
                row.append(self._value(decoder, content, column))
        if repeated > json_paths.LONGEST_INHERITED:
            raise RejectedLineError(Reason.OUT_OF_RANGE, detail="ids too long to be repeated in each row")
        return tuple(row)

    def _value(self, decoder: _Object, content: Any, column: Column) -> Any:
        for key in self._keys(column):
            try:
                raw = decoder.raw(content, key)
                if raw != values.NULL:
                    return values.read(raw, column)
            except RejectedLineError as error:
                raise RejectedLineError(error.reason, error.field or json_paths.spelt(key), error.detail) from None
        if column.required:
            raise RejectedLineError(Reason.MISSING_FIELD, json_paths.spelt(column.keys[0]), "required")
        if column.kind in ARRAYS:
            return ()
        return self._clock if column.fill is Fill.CLOCK else column.default
