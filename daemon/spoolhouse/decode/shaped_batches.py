"""Rows of many events of one type that a foreign shape made of a line, column by column."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import repeat
from typing import Any

import msgspec
from msgspec import Raw

from spoolhouse.decode import usage, values
from spoolhouse.decode.rows import Row
from spoolhouse.events.declaration import ARRAYS, EventType, Fill
from spoolhouse.events.shapes.shape import Fields, ShapedBatch

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_encode_lines = msgspec.json.Encoder(order="sorted").encode_lines


class _Table:
    """The columns of an event type, and what their values are where a batch gives none."""

    def __init__(self, event: EventType) -> None:
        columns = event.parts[0].columns
        defaults = [() if column.kind in ARRAYS else column.default for column in columns]
        self.constants: list[Any] = [repeat(default) for default in defaults]
        """By column, the value of all events."""
        self.columns = {column.name: (place, defaults[place]) for place, column in enumerate(columns)}
        """Where a column is, and its value for an event that has none."""
        by_fill = {column.fill: column.name for column in columns}
        self.project, _ = self.columns[event.project]
        self.extra, _ = self.columns[by_fill[Fill.EXTRA]]
        self.clock = by_fill.get(Fill.CLOCK, "")
        self.line = by_fill.get(Fill.LINE)
        calls = [column for column in columns if column.fill is Fill.USAGE]
        self.call = calls[0].sources[0] if calls else None
        """The column that may have a model call in it."""


class ShapedBatches:
    """Makes rows of batches."""

    def __init__(self, events: Mapping[str, EventType]) -> None:
        """Make rows of `events`, by their names."""
        self._events = events
        self._tables: dict[str, _Table] = {}

    def rows(  # a batch, and what its rows take from its line
        self, batch: ShapedBatch, clock: datetime, project: str, line_id: str, first: int, *, keep: bool
    ) -> list[Row]:
        """Return the rows of a batch. `first`: how many events of the line come before; `keep`: unknown fields, too."""
        if not batch.extra:
            return []
        table = self._tables.get(batch.type) or self._tables.setdefault(batch.type, _Table(self._events[batch.type]))
        columns = table.constants.copy()
        columns[table.project] = repeat(project)
        columns[table.extra] = _joined(batch.extra, batch.unknown) if keep and batch.unknown else batch.extra
        if table.line:
            numbers = range(first, first + len(batch.extra))
            columns[table.columns[table.line][0]] = [f"{line_id}.{number}" if number else line_id for number in numbers]
        if table.call:
            for name, found in _calls(batch.columns[table.call]):
                columns[table.columns[name][0]] = found
        for name, some in batch.columns.items():
            place, default = table.columns[name]
            columns[place] = some if default is None else _filled(some, default)
        if table.clock:
            place, _ = table.columns[table.clock]
            columns[place] = (
                _filled(batch.columns[table.clock], clock) if table.clock in batch.columns else repeat(clock)
            )
        return list(zip(*columns, strict=False))


def _filled(some: Sequence[object], default: object) -> Sequence[object]:
    """Return values with the default for absence."""
    return [default if one is None else one for one in some] if None in some else some


def _calls(attributes: Sequence[Any]) -> Iterable[tuple[str, Sequence[object]]]:
    """Return the columns that a model call fills, with their values; none if no event is a model call."""
    calls = [usage.of_attributes(one) if usage.MARK in one else usage.NONE for one in attributes]
    is_none = calls.count(usage.NONE) == len(calls)
    return () if is_none else zip(usage.COLUMNS, zip(*calls, strict=True), strict=True)


def _joined(extra: Sequence[str], unknown: Mapping[int, Fields]) -> Sequence[str]:
    """Return the texts of `extra` with unknown fields, in the order of their names."""
    found = list(extra)
    lines = _encode_lines(list(unknown.values())).decode().split("\n")
    for (place, fields), text in zip(unknown.items(), lines, strict=False):
        if not fields:
            continue
        kept = found[place]
        if kept == "{}":
            found[place] = text
            continue
        for key in fields:
            if key in kept and f'"{key}":' in kept:
                found[place] = values.extra_of({**_fields_of(kept), **fields}, {})
                break
        else:
            found[place] = f"{kept[:-1]},{text[1:]}"
    return found
