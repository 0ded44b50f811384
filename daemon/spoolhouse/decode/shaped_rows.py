"""Rows of events that a foreign shape made, if no value needs a conversion.

A function is compiled for each set of fields that a shape gives, because a loop over the columns would cost more than
all the rest. Events with other values are for the lenient reader.
"""

from codecs import utf_8_decode
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw

from spoolhouse.decode import times, usage, values
from spoolhouse.decode.reject import RefusedError
from spoolhouse.decode.rows import Row
from spoolhouse.events import json_paths
from spoolhouse.events.declaration import ARRAYS, Column, EventType, Fill, Kind
from spoolhouse.events.shapes.shape import Fields, Form, ShapedEvent

_MOST_FUNCTIONS = 64
_TESTS = {
    Kind.TEXT: "{0}.__class__ is not str",
    Kind.BOOLEAN: "{0}.__class__ is not bool",
    Kind.INTEGER: "{0}.__class__ is not int or not -0x8000000000000000 <= {0} <= 0x7FFFFFFFFFFFFFFF",
    Kind.NUMBER: "{0}.__class__ is not float and ({0}.__class__ is not int or not -2**53 <= {0} <= 2**53)",
    Kind.CHOICE: "{0}.__class__ is not str or {0} not in {1}",
    Kind.TIME: "{0}.__class__ is not datetime or not ({0}.tzinfo is utc and 1970 <= {0}.year < 2100 or is_in({0}))",
}
"""By kind, the test for a value that is not as a row has it."""
_REFUSE = "raise RefusedError('')"

_Function = Callable[[Iterable[object], datetime, str, str, str], Row]
"""The values of an event's fields, the shipment's clock, the folder's project, the event's derived id, and `extra` →
the row."""
FormFunction = Callable[[Any, Iterable[object], Fields, datetime, str, str, int, str], Row]
"""A struct, derived values, unknown fields, the shipment's clock, the folder's project, and the parts of a
derived id (its start, the line's offset, its end) → the row."""


class ShapedRows:
    """Makes the rows. Any ValueError means that the lenient reader has to read the event."""

    def __init__(self, events: Mapping[str, EventType]) -> None:
        self._events = events
        self._functions: dict[tuple[str, ...], _Function] = {}
        """By event type and keys."""
        self._forms: dict[Form, FormFunction] = {}

    def row(self, event: ShapedEvent, clock: datetime, project: str, line_id: str, *, keep: bool) -> Row:
        """Return the row of an event; `keep`: its unknown fields go to `extra`."""
        keys = (event.type, *event.fields)
        make = self._functions.get(keys)
        if make is None:
            if len(self._functions) >= _MOST_FUNCTIONS:
                raise RefusedError("")
            writer = _Writer(self._events[event.type], {key: f"f{place}" for place, key in enumerate(keys[1:])})
            head = (
                "def row(values, clock, project, line_id, extra):",
                f"[{', '.join(writer.given.values())}] = values",
            )
            make = self._functions[keys] = writer.function(head)
        kept = {**event.kept, **event.unknown} if keep else event.kept
        extra = values.encode_extra(kept).decode() if kept else "{}"
        return make(event.fields.values(), clock, project, line_id, extra)

    def formed(self, form: Form) -> FormFunction:
        """Return the function for the events of a form."""
        function = self._forms.get(form)
        if function is None:
            names = [*form.fields, *form.derived]
            writer = _Writer(self._events[form.type], {key: f"f{place}" for place, key in enumerate(names)})
            writer.line_id = "f'{file_id}{offset:012x}{nth}'"
            # A struct, because it is made and written faster than a dict.
            kept = sorted(form.kept)
            fields: list[Any] = [(name, Any, None) for name in kept]
            writer.scope["Kept"] = msgspec.defstruct("Kept", fields, omit_defaults=True, gc=False)
            written = f"encode(Kept({', '.join(f'e.{name}' for name in kept)})).decode()"
            joined = f"joined(({' '.join(f'({name!r}, e.{name}),' for name in kept)}), unknown)"
            head = (
                "def row(e, derived, unknown, clock, project, file_id, offset, nth):",
                *(f"{writer.given[key]} = e.{name}" for key, name in form.fields.items()),
                f"[{', '.join(writer.given[key] for key in form.derived)}] = derived",
                f"extra = {joined} if unknown else {written}",
            )
            function = self._forms[form] = writer.function(head)
        return function


def _joined(kept: Iterable[tuple[str, object]], unknown: Fields) -> str:
    """Return `extra` in the order of the names, as the lenient reader writes it."""
    return values.encode_extra({**{name: value for name, value in kept if value is not None}, **unknown}).decode()


def _is_within_reach(time: datetime) -> bool:
    return time.tzinfo is not None and times.EARLIEST <= time < times.LATEST


class _Writer:
    """Writes the source of the function for some fields.

    Only places, the reprs of defaults and the names in a form go into it.
    """

    def __init__(self, event: EventType, given: Mapping[str, str]) -> None:
        """Write for `event`; `given`: by its own key, the variable of each value."""
        if event.needs or not event.gives_one_row:
            raise RefusedError(event.name)
        self.given = given
        self.line_id = "line_id"
        """The expression for an id that the event does not have."""
        self._event = event
        self._columns = event.parts[0].columns
        self._raw: dict[str, str] = {}
        """By column, the variable of a value as the event gives it, where the row has another."""
        self._row: dict[str, str] = {}
        """By column, its expression in the row."""
        self.scope: dict[str, Any] = {
            "datetime": datetime, "utc": UTC, "is_in": _is_within_reach, "elapsed": times.elapsed, "Raw": Raw,
            "utf_8_decode": utf_8_decode, "encode": msgspec.json.encode, "scalar_of": values.scalar,
            "number_of": values.number_or_none, "usage_of": usage.of_attributes, "joined": _joined,
            "RefusedError": RefusedError,
        }  # fmt: skip

    def function(self, head: Iterable[str]) -> Any:
        """Compile the function that begins with `head`.

        Raises `RefusedError` if it would need more than a plain row.
        """
        lines = [*head]
        row = []
        taken = 0
        for column in self._columns:
            own = set(json_paths.of_column(column, enveloped=True, wide=True)).intersection(self.given)
            taken += len(own)
            if len(own) > 1:
                raise RefusedError(column.name)
            given = self.given[str(*own)] if own else ""
            if given:
                lines += self._checked(column, given)
            elif column.implied or self._is_needed(column):
                raise RefusedError(column.name)
            row.append(self._derived(column, given) or given or self._default(column))
        if taken != len(self.given):
            raise RefusedError("")
        self._row = dict(zip((column.name for column in self._columns), row, strict=True))
        lines += [*self._usage(), f"return ({', '.join(self._row.values())})"]
        exec("\n    ".join(lines), self.scope)  # noqa: S102  # source of our own making
        return self.scope["row"]

    def _is_needed(self, column: Column) -> bool:
        return column.required and not column.fill and column.name != self._event.project

    def _checked(self, column: Column, given: str) -> list[str]:
        """Return the lines that check a value and write it as a row has it."""
        if column.kind is Kind.SCALAR:
            test, written = "", f"scalar_of({given} if {given}.__class__ is Raw else Raw(encode({given})))"
            self._raw[column.name] = f"raw_{given}"
        elif column.kind is Kind.JSON and not column.required:
            default = self._default(column)
            text = f"utf_8_decode({given})[0] if {given}.__class__ is Raw else encode({given}).decode()"
            return [f"if {given} is None or ({given} := {text}) == 'null': {given} = {default}"]
        elif column.kind in _TESTS:
            choices = f"choices_{given}"
            self.scope[choices] = frozenset(column.choices)
            test, written = _TESTS[column.kind].format(given, choices), ""
        else:
            raise RefusedError(column.name)
        lines = [f"if {test}: {_REFUSE}"] if test else [f"raw_{given}, {given} = {given}, {written}"]
        if column.implied or self._is_needed(column):
            return [f"if {given} is None: {_REFUSE}", *lines] if written else lines
        default = self._default(column)
        if default == "None":
            return [f"if {given} is not None:", *(f"    {line}" for line in lines)]
        return [f"if {given} is None: {given} = {default}", "else:", *(f"    {line}" for line in lines)]

    def _default(self, column: Column) -> str:
        """Return the expression for an absent value."""
        if column.name == self._event.project:
            return "project"
        if column.fill in {Fill.TYPE, Fill.POSITION}:
            raise RefusedError(column.name)
        if column.fill in {Fill.USAGE, Fill.ELAPSED, Fill.NUMBER}:
            return "None"
        fills: dict[Fill | None, str] = {Fill.CLOCK: "clock", Fill.LINE: self.line_id, Fill.EXTRA: "extra"}
        return fills.get(column.fill) or ("()" if column.kind in ARRAYS else repr(column.default))

    def _derived(self, column: Column, given: str) -> str:
        """Return the expression of a column that may be derived from others; empty if it is not."""
        if column.fill is Fill.ELAPSED:
            start, end = (self._value_of(name) for name in column.sources)
            elapsed = f"(None if {end} is None else elapsed({start}, {end}))"
            return f"({elapsed} if {given} is None else {given})" if given else elapsed
        return f"number_of({self._raw[column.sources[0]]})" if column.fill is Fill.NUMBER else ""

    def _value_of(self, name: str) -> str:
        """Return the variable of a column's value as the event gives it."""
        column = self._event.column(name)
        [key] = set(json_paths.of_column(column, enveloped=True, wide=True)).intersection(self.given) or {""}
        return self.given[str(key)] if key else "None"

    def _usage(self) -> list[str]:
        """Return the lines that settle the columns of a model call."""
        columns = [column for column in self._columns if column.fill is Fill.USAGE]
        if not columns:
            return []
        [attributes] = {self._row[name] for column in columns for name in column.sources}
        own = self._row[usage.COLUMNS[0]]
        self.scope["no_usage"] = usage.NONE
        lines = [f"call = usage_of({attributes}, {own} or '') if {usage.MARK!r} in {attributes} else no_usage"]
        for number, name in enumerate(usage.COLUMNS):
            given = self._row[name]
            self._row[name] = f"c{number}" if given == "None" else f"(c{number} if {given} is None else {given})"
        return [*lines, f"[{', '.join(f'c{number}' for number in range(len(usage.COLUMNS)))}] = call"]
