"""The lenient reader of an event type: it takes a line if it can be interpreted at all, or says what is wrong with it.

Its input is an object's fields: `Raw` values of a line of ours, or the Python values that a shape made of a foreign
line. Fields without a column go to `extra`.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct, field

from spoolhouse.decode import times, usage, values
from spoolhouse.decode.reject import Reason, RejectedLineError
from spoolhouse.decode.rows import Row
from spoolhouse.decode.values import NULL, Notes
from spoolhouse.events import json_paths
from spoolhouse.events.declaration import ARRAYS, Column, EventType, Fill, Key, RowSource, other_case

Fields = Mapping[str, object]

_object_of = msgspec.json.Decoder(dict[str, Raw]).decode
_list_of = msgspec.json.Decoder(list[Raw]).decode

_EMPTY = Raw(b'""')
_MISSING: Any = object()
"""Stands in a row for a value that the event has not given, and that is required or derived."""


class At(NamedTuple):
    """Where a line stands, as far as its rows depend on that."""

    clock: datetime
    project: str
    id: str
    """The id of an event that has none."""


class _Value(NamedTuple):
    """A key whose value one or more columns take."""

    column: Column
    slots: tuple[tuple[int, int], ...]
    """By part and place in its row, the columns that the value fills; `column` is one of them."""
    better: tuple[Key, ...]
    """Keys of the same column that come before this one."""
    spelt: str

    def is_absent(self, value: object) -> bool:
        """Tell whether a value says nothing: it is null, or an empty id."""
        return _is_null(value) or (self.column.identifies and (value == "" or value == _EMPTY))  # noqa: PLR1714  # a Raw has no hash


class _Node(Struct):
    """The values and inner objects to read from one JSON object, by key."""

    values: dict[str, _Value] = field(default_factory=dict)
    objects: dict[str, "_Node"] = field(default_factory=dict)
    arrays: dict[str, int] = field(default_factory=dict)
    """The number of the part whose rows are the elements."""

    def add(self, column: Column, keys: tuple[Key, ...], part: int, slot: int) -> None:
        """Let the column be filled from its keys."""
        for rank, key in enumerate(keys):
            *way, last = json_paths.steps(key)
            node = self
            for step in way:
                node = node.objects.setdefault(step, _Node())
            old = node.values.get(last)
            slots = (*(old.slots if old else ()), (part, slot))
            node.values[last] = _Value(column, slots, old.better if old else keys[:rank], json_paths.spelt(key))


class LenientReader:
    """Reads the fields of one event of one type."""

    def __init__(self, event: EventType, *, enveloped: bool) -> None:
        """Prepare for `event`. `enveloped`: keys count that only an envelope has room for."""
        self.event = event
        self.root = _Node()
        self.elements: dict[int, _Node] = {}
        self.templates: list[list[Any]] = []
        self.fixed: list[list[tuple[int, Column]]] = []
        """By part, the columns that need more than their default where the event says nothing."""
        for number, part in enumerate(event.parts):
            node = self.root
            if part.each:
                node = self.elements[number] = _Node()
                self.root.arrays |= dict.fromkeys((part.each, other_case(part.each)), number)
            template, fixed = [], []
            for slot, column in enumerate(part.columns):
                keys = json_paths.of_column(column, enveloped=enveloped, wide=True)
                if column.takes_type and not enveloped:
                    keys = (*keys, "type")
                if not column.inherited:
                    node.add(column, keys, number, slot)
                is_fixed = column.required or column.fill is not None or bool(column.implied) or column.inherited
                template.append(_MISSING if is_fixed else () if column.kind in ARRAYS else column.default)
                if is_fixed:
                    fixed.append((slot, column))
            self.templates.append(template)
            self.fixed.append(fixed)

    def check(self, key: str, fields: Fields) -> None:
        """Raise `RejectedLineError` if the value of one key, or that it is absent, is enough to reject the event."""
        found = self.root.values.get(key)
        if found is None:
            return
        value = fields.get(key)
        if not found.is_absent(value):
            if not any(not isinstance(one, str) or not found.is_absent(fields.get(one)) for one in found.better):
                _read(value, found, Notes())
        elif found.column.required and not found.column.fill and found.column.name != self.event.project:
            keys = (*found.column.keys, *found.column.envelope_keys, *found.column.aliases)
            if all(isinstance(one, str) and found.is_absent(fields.get(one)) for one in keys):
                raise RejectedLineError(Reason.MISSING_FIELD, json_paths.spelt(found.column.keys[0]), "required")

    def rows(self, fields: Fields, at: At, notes: Notes, unknown: dict[str, object], *, keep: bool) -> list[list[Row]]:
        """Return the rows of an event by table; raises `RejectedLineError`.

        `unknown` has further fields to keep, and gets the fields that no column takes; `keep`: they go to `extra`.
        `notes` gets the conversions.
        """
        return _Reading(self, fields, at, notes, unknown, keep=keep).rows()


class _Reading:
    """One event being read."""

    def __init__(
        self, reader: LenientReader, fields: Fields, at: At, notes: Notes, unknown: dict[str, object], *, keep: bool
    ) -> None:
        self._reader = reader
        self._keep = keep
        self._event = reader.event
        self._fields = fields
        self._at = at
        self._notes = notes
        self._unknown = unknown
        self._parts = [list(template) for template in reader.templates]
        self._arrays: dict[int, tuple[str, object]] = {}
        self._filler: dict[Fill, object] = {
            Fill.CLOCK: at.clock,
            Fill.LINE: at.id,
            Fill.TYPE: reader.event.name,
            Fill.POSITION: 0,
        }

    def rows(self) -> list[list[Row]]:
        event = self._event
        self._fill(self._reader.root, self._fields, self._unknown)
        if event.needs and not any(self._is_present(key) for key in event.needs):
            raise RejectedLineError(
                Reason.MISSING_FIELD, event.needs[0], f"one of {', '.join(event.needs)} is required"
            )
        found: dict[str, list[Row]] = {table: [] for table in event.tables}
        for number, part in enumerate(event.parts):
            rows = found[part.table.name]
            if part.each:
                rows.extend(self._element_rows(number, part))
            elif self._is_wanted(number, part):
                self._complete(number, part, self._parts[number], self._fields)
                rows.append(tuple(self._parts[number]))
        return list(found.values())

    def _is_wanted(self, number: int, part: RowSource) -> bool:
        """Tell whether a part of the whole event has its row."""
        if part.unless:
            return not self._own(part.unless)
        return not part.when or self._parts[number][_slot(part, part.when)] is not _MISSING

    def _own(self, name: str) -> Any:
        """Return a value of the event's own row."""
        return self._parts[0][_slot(self._event.parts[0], name)]

    def _is_present(self, key: str) -> bool:
        return any(not _is_null(self._fields.get(one)) for one in (key, other_case(key)))

    def _fill(self, node: _Node, fields: Fields, unknown: dict[str, object], where: str = "") -> None:
        """Put the values of one object where they belong."""
        for key, value in fields.items():
            found = node.values.get(key)
            if found is not None:
                if not found.is_absent(value):
                    self._take(found, key, value, unknown)
            elif key in node.objects:
                if not _is_null(value):
                    inner: dict[str, object] = {}
                    self._fill(node.objects[key], _as_object(value, where + key), inner, f"{where}{key}.")
                    if inner:
                        unknown[key] = inner
            elif key in node.arrays:
                if not _is_null(value):
                    self._arrays[node.arrays[key]] = key, value
            else:
                unknown[key] = value
                self._notes.unknown.append(where + key)

    def _take(self, found: _Value, key: str, value: object, unknown: dict[str, object]) -> None:
        if found.better and self._is_beaten(found):
            unknown[key] = value
            self._notes.unknown.append(found.spelt)
            return
        read = _read(value, found, self._notes)
        for part, slot in found.slots:
            self._parts[part][slot] = read

    def _is_beaten(self, found: _Value) -> bool:
        """Tell whether a key that comes before this one has a value."""
        for key in found.better:
            inner: object = self._fields
            for step in json_paths.steps(key):
                if not isinstance(inner, Mapping):
                    inner = _as_object(inner, step)
                inner = inner.get(step)
                if found.is_absent(inner):
                    break
            if not found.is_absent(inner):
                return True
        return False

    def _element_rows(self, number: int, part: RowSource) -> Iterator[Row]:
        """Yield the rows of an array's elements."""
        if number not in self._arrays:
            return
        name, value = self._arrays[number]
        elements = _as_array(value, name)
        if len(elements) > json_paths.MOST_ELEMENTS:
            raise RejectedLineError(Reason.OUT_OF_RANGE, name, f"more than {json_paths.MOST_ELEMENTS} elements")
        own = dict(zip((column.name for column in self._event.parts[0].columns), self._parts[0], strict=True))
        inherited = {column.name: own[column.name] for column in part.columns if column.inherited}
        repeated = sum(len(value) for value in inherited.values() if isinstance(value, str))
        if elements and repeated > json_paths.LONGEST_INHERITED:
            raise RejectedLineError(Reason.OUT_OF_RANGE, detail="ids too long to be repeated in each row")
        for position, element in enumerate(elements, 1):
            try:
                yield self._element_row(number, part, _as_object(element, ""), inherited, position)
            except RejectedLineError as error:
                if not error.field and error.detail == _NO_OBJECT:
                    raise RejectedLineError(Reason.WRONG_TYPE, name, "not an array of objects") from None
                field = f"{name}[{position - 1}].{error.field}"
                raise RejectedLineError(error.reason, field, error.detail) from None

    def _element_row(
        self, number: int, part: RowSource, fields: Fields, inherited: Mapping[str, object], position: int
    ) -> Row:
        row = self._parts[number] = list(self._reader.templates[number])
        outer, self._notes = self._notes, Notes()
        outer_fields, self._fields = self._fields, fields
        unknown: dict[str, object] = {}
        self._fill(self._reader.elements[number], fields, unknown, f"{part.each}.")
        for slot, column in enumerate(part.columns):
            if column.inherited:
                row[slot] = inherited[column.name]
            elif column.fill is Fill.POSITION:
                row[slot] = position
        outer_unknown, self._unknown = self._unknown, unknown
        self._complete(number, part, row, fields)
        self._unknown = outer_unknown
        outer.converted += [f"{part.each}.{key}" for key in self._notes.converted]
        outer.unknown += self._notes.unknown
        self._notes, self._fields = outer, outer_fields
        return tuple(row)

    def _complete(  # noqa: C901  # a branch for each kind of filling
        self, number: int, part: RowSource, row: list[Any], fields: Fields
    ) -> None:
        """Derive absent values; raise `RejectedLineError` for a required one that cannot be derived.

        Unknown fields go to the event's own row and to the rows of elements: other rows repeat the event's fields.
        """
        for slot, column in self._reader.fixed[number]:
            if row[slot] is not _MISSING:
                continue
            if column.fill is Fill.ELAPSED:
                start, end = (row[_slot(part, name)] for name in column.sources)
                row[slot] = None if start is None or end is None else times.elapsed(start, end)
            elif column.fill is Fill.USAGE:
                self._use(part, row, column)
            elif column.fill is Fill.NUMBER:
                row[slot] = _number(part, column, fields)
            elif column.fill is Fill.YIELDING:
                row[slot] = times.yielding(*map(self._own, column.sources))
            elif column.fill is Fill.EXTRA:
                row[slot] = self._extra(column) if number == 0 or part.each else column.default
            elif column.fill is not None:
                row[slot] = self._filler[column.fill]
            elif column.name == self._event.project:
                row[slot] = self._at.project
            elif column.required:
                raise RejectedLineError(Reason.MISSING_FIELD, json_paths.spelt(column.keys[0]), "required")
            else:
                row[slot] = self._implied(column) or column.default
            if self._notes.derived is not None:
                self._notes.derived.append((self._event, column, row[slot]))

    def _extra(self, column: Column) -> object:
        """Return the unknown fields and the originals as JSON text."""
        kept = merged(self._unknown if self._keep else {}, self._notes.originals)
        return values.extra_of(kept, {}) if kept else column.default

    def _implied(self, column: Column) -> str | None:
        """Return the choice that an unknown object stands for."""
        for key, choice in column.implied.items():
            value = self._unknown.get(key)
            if isinstance(value, Mapping) or (isinstance(value, Raw) and values.json_text(value).startswith("{")):
                self._notes.converted.append(key)
                return choice
        return None

    def _use(self, part: RowSource, row: list[Any], column: Column) -> None:
        """Derive the columns of a model call."""
        own = row[_slot(part, "span_type")] if any(one.name == "span_type" for one in part.columns) else ""
        attributes = row[_slot(part, column.sources[0])]
        found = usage.of_attributes(attributes, "" if own is _MISSING else own)
        for name, value in zip(usage.COLUMNS, found, strict=True):
            slot = next((slot for slot, one in enumerate(part.columns) if one.name == name), None)
            if slot is not None and row[slot] is _MISSING:
                row[slot] = value
                if self._notes.derived is not None:
                    self._notes.derived.append((self._event, part.columns[slot], value))


_NO_OBJECT = "not an object"


def _read(value: object, found: _Value, notes: Notes) -> object:
    """Return the row's form of a value; raises `RejectedLineError` with its field."""
    try:
        return values.read(value, found.column, found.spelt, notes)
    except RejectedLineError as error:
        error.field = error.field or found.spelt
        raise


def _slot(part: RowSource, name: str) -> int:
    return next(slot for slot, column in enumerate(part.columns) if column.name == name)


def _is_null(value: object) -> bool:
    return value is None or value == NULL


def _as_object(value: object, key: str) -> Fields:
    if isinstance(value, Mapping):
        return value
    try:
        return _object_of(value)  # type: ignore[arg-type]  # what is no buffer raises a TypeError
    except (msgspec.ValidationError, TypeError):
        raise RejectedLineError(Reason.WRONG_TYPE, key, _NO_OBJECT) from None


def _as_array(value: object, key: str) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    try:
        return _list_of(value)  # type: ignore[arg-type]  # what is no buffer raises a TypeError
    except (msgspec.ValidationError, TypeError):
        raise RejectedLineError(Reason.WRONG_TYPE, key, "not an array of objects") from None


def _number(part: RowSource, column: Column, fields: Fields) -> float | None:
    source = part.columns[_slot(part, column.sources[0])]
    keys = (str(key) for key in json_paths.of_column(source, enveloped=True, wide=True))
    return next((values.number_or_none(fields[key]) for key in keys if not _is_null(fields.get(key))), None)


def merged(one: Mapping[str, object], other: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of both; objects that both have are merged."""
    both = dict(one)
    for key, value in other.items():
        old = both.get(key)
        both[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both
