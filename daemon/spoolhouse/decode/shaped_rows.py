"""Rows of events that the quick reader of a foreign shape made.

A function is compiled for each form, because a loop over the columns would cost more than all the rest. It refuses an
event with a value that has to be converted: the lenient reader makes that row.
"""

from codecs import utf_8_decode
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from spoolhouse.decode import times, usage, values
from spoolhouse.decode.reject import RefusedError
from spoolhouse.decode.rows import Row
from spoolhouse.events import json_paths
from spoolhouse.events.declaration import ARRAYS, Column, EventType, Fill, Kind
from spoolhouse.events.shapes.shape import Form

_TESTS = {
    Kind.TEXT: "",
    Kind.NUMBER: "{0}.__class__ is int and not -2**53 <= {0} <= 2**53",
    Kind.CHOICE: "{0} not in {1}",
    Kind.TIME: "not earliest <= {0} < latest",
}
"""By kind, the test for a value of the right type that a row cannot have as it is."""
_REFUSE = "raise RefusedError('')"
_LINE_ID = "f'{file_id}{offset:012x}{nth}'"
"""The expression for the id of an event that has none."""

FormFunction = Callable[[Any, Iterable[object], datetime, str, str, int, str], Row]
"""A struct, derived values, the shipment's clock, the folder's project, and the parts of a derived id (its start, the
line's offset, its end) → the row."""


class ShapedRows:
    """Compiles the functions. If one raises any ValueError, the lenient reader has to read the event."""

    def __init__(self, events: Mapping[str, EventType]) -> None:
        self._events = events
        self._forms: dict[Form, FormFunction] = {}

    def formed(self, form: Form) -> FormFunction:
        """Return the function for the events of a form."""
        function = self._forms.get(form)
        if function is None:
            names = [*form.fields, *form.derived]
            writer = _Writer(self._events[form.type], {key: f"f{place}" for place, key in enumerate(names)})
            # A struct, because it is made and written faster than a dict.
            kept = sorted(form.kept.items())
            fields: list[Any] = [(name, Any, msgspec.field(name=key, default=None)) for key, name in kept]
            writer.scope["Kept"] = msgspec.defstruct("Kept", fields, omit_defaults=True, gc=False)
            head = (
                "def row(e, derived, clock, project, file_id, offset, nth):",
                *(f"{writer.given[key]} = e.{name}" for key, name in form.fields.items()),
                f"[{', '.join(writer.given[key] for key in form.derived)}] = derived",
                f"extra = encode(Kept({', '.join(f'e.{name}' for _, name in kept)})).decode()",
            )
            function = self._forms[form] = writer.function(head)
        return function


class _Writer:
    """Writes the source of the function for some fields.

    Only places, the reprs of defaults and the names in a form go into it.
    """

    def __init__(self, event: EventType, given: Mapping[str, str]) -> None:
        """Write for `event`; `given`: by its own key, the variable of each value."""
        if event.needs or not event.gives_one_row:
            raise RefusedError(event.name)
        self.given = given
        self._event = event
        self._columns = event.parts[0].columns
        self._raw: dict[str, str] = {}
        """By column, the variable of a value as the event gives it, where the row has another."""
        self._row: dict[str, str] = {}
        """By column, its expression in the row."""
        self.scope: dict[str, Any] = {
            "earliest": times.EARLIEST, "latest": times.LATEST, "elapsed": times.elapsed, "utf_8_decode": utf_8_decode,
            "encode": msgspec.json.Encoder().encode, "scalar_of": values.scalar, "number_of": values.number_or_none,
            "usage_of": usage.of_attributes, "RefusedError": RefusedError,
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
        default = self._default(column)
        absent = f"not {given}" if column.identifies else f"{given} is None"
        if column.kind is Kind.JSON and not column.required:
            return [f"if {given} is None or ({given} := utf_8_decode({given})[0]) == 'null': {given} = {default}"]
        if column.kind is Kind.SCALAR:
            self._raw[column.name] = f"raw_{given}"
            lines = [f"raw_{given}, {given} = {given}, scalar_of({given})"]
        elif column.kind in _TESTS:
            choices = f"choices_{given}"
            self.scope[choices] = frozenset(column.choices)
            # The caller judges the event's time.
            test = _TESTS[column.kind] if column.name != self._event.table.time else ""
            lines = [f"if {test.format(given, choices)}: {_REFUSE}"] if test else []
        else:
            raise RefusedError(column.name)
        if column.implied or self._is_needed(column):
            return [f"if {absent}: {_REFUSE}", *lines]
        under = [f"    {line}" for line in lines]
        if default == "None":
            return [f"if {given} is not None:", *under] if lines else []
        return [f"if {absent}: {given} = {default}", *(["else:", *under] if lines else [])]

    def _default(self, column: Column) -> str:
        """Return the expression for an absent value."""
        if column.name == self._event.project:
            return "project"
        if column.fill in {Fill.TYPE, Fill.POSITION}:
            raise RefusedError(column.name)
        if column.fill in {Fill.USAGE, Fill.ELAPSED, Fill.NUMBER}:
            return "None"
        fills: dict[Fill | None, str] = {Fill.CLOCK: "clock", Fill.LINE: _LINE_ID, Fill.EXTRA: "extra"}
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
