"""Rows of many events of one type that a foreign shape made of a line.

A function is compiled for each set of columns that a shape gives, because a loop over the columns would cost more than
all the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import msgspec
from msgspec import Raw

from spoolhouse.decode import usage, values
from spoolhouse.decode.rows import Row
from spoolhouse.events.declaration import ARRAYS, Column, EventType, Fill
from spoolhouse.events.shapes.shape import Fields, ShapedBatch

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_Rows = Callable[[Sequence[tuple[object, ...]], datetime, str, str, int], list[Row]]


class ShapedBatches:
    """Makes rows of batches."""

    def __init__(self, events: Mapping[str, EventType]) -> None:
        """Make rows of `events`, by their names."""
        self._events = events
        self._functions: dict[tuple[str, tuple[str, ...]], _Rows] = {}

    def rows(  # a batch, and what its rows take from its line
        self, batch: ShapedBatch, clock: datetime, project: str, line_id: str, first: int, *, keep: bool
    ) -> list[Row]:
        """Return the rows of a batch. `first`: how many events of the line come before; `keep`: unknown fields, too."""
        some = batch.values
        if keep and batch.unknown:
            some = [
                (*value[:-1], _joined(cast("str", value[-1]), batch.unknown[place]))
                if place in batch.unknown
                else value
                for place, value in enumerate(some)
            ]
        key = batch.type, batch.columns
        if key not in self._functions:
            self._functions[key] = _compiled(self._events[batch.type], batch.columns)
        return self._functions[key](some, clock, project, line_id, first)


def _joined(kept: str, unknown: Fields) -> str:
    """Return the text of `extra` with unknown fields, in the order of their names."""
    unknown = dict(sorted(unknown.items())) if len(unknown) > 1 else unknown
    if not kept or kept == "{}":
        return values.extra_of(unknown, {})
    if any(f'"{key}":' in kept for key in unknown):
        return values.extra_of({**_fields_of(kept), **unknown}, {})
    return f"{kept[:-1]},{values.extra_of(unknown, {})[1:]}" if unknown else kept


def _compiled(event: EventType, given: Sequence[str]) -> _Rows:
    """Return the function for these columns. Only places and reprs of defaults go into its source."""
    columns = event.parts[0].columns
    places = {name: f"v{place}" for place, name in enumerate(given)}
    source = [
        "def rows(values, clock, project, line_id, first):",
        "    out = []",
        f"    for number, ({', '.join((*places.values(), 'kept'))},) in enumerate(values, first):",
    ]
    call = [column for column in columns if column.fill is Fill.USAGE]
    if call:
        attributes = places[call[0].sources[0]]
        names = [f"u{place}" for place in range(len(usage.COLUMNS))]
        source.append(
            f"        {', '.join(names)} = usage_of({attributes}) if {usage.MARK!r} in {attributes} else no_usage"
        )
        places |= dict(zip(usage.COLUMNS, names, strict=True))
    row = ", ".join(_value(event, column, places) for column in columns)
    source += [f"        out.append(({row}))", "    return out"]
    scope: dict[str, Any] = {"usage_of": usage.of_attributes, "no_usage": usage.NONE}
    exec("\n".join(source), scope)  # noqa: S102  # source of our own making
    return cast("_Rows", scope["rows"])


def _value(event: EventType, column: Column, places: Mapping[str, str]) -> str:
    """Return the expression of a column in a row."""
    absent = _absent(event, column)
    if column.name not in places:
        return absent
    given = places[column.name]
    return given if column.fill is Fill.USAGE or absent == "None" else f"({absent} if {given} is None else {given})"


def _absent(event: EventType, column: Column) -> str:
    """Return the expression for a value that a batch does not give."""
    if column.name == event.project:
        return "project"
    if column.fill is Fill.CLOCK:
        return "clock"
    if column.fill is Fill.LINE:
        return "(f'{line_id}.{number}' if number else line_id)"
    if column.fill is Fill.EXTRA:
        return f"(kept or {column.default!r})"
    return "()" if column.kind in ARRAYS else repr(column.default)
