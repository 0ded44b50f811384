"""Rows of many events of one type that a foreign shape made of a line, column by column."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

import msgspec
from msgspec import Raw

from spoolhouse.decode import usage, values
from spoolhouse.decode.lenient import At
from spoolhouse.decode.rows import Row
from spoolhouse.events.declaration import ARRAYS, Column, EventType, Fill
from spoolhouse.events.shapes.shape import Fields, ShapedBatch

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_sorted_lines = msgspec.json.Encoder(order="sorted").encode_lines
_EXTRA = "extra"


def rows_of(event: EventType, batch: ShapedBatch, at: At, first: int, *, keep: bool) -> list[Row]:
    """Return the rows of a batch. `first`: how many events of the line come before; `keep`: unknown fields, too."""
    if not batch.size:
        return []
    given = dict(batch.columns)
    if keep and batch.unknown:
        given[_EXTRA] = _with_unknown(given.get(_EXTRA, ["{}"] * batch.size), batch.unknown)
    columns = event.parts[0].columns
    for column in columns:
        if column.fill is Fill.USAGE and column.name not in given:
            given |= _model_calls(given[column.sources[0]])
    every = [_values(event, column, given, at, range(first, first + batch.size)) for column in columns]
    return list(zip(*every, strict=False))  # those that repeat one value have no end


def _values(
    event: EventType, column: Column, given: Mapping[str, Sequence[Any]], at: At, numbers: range
) -> Iterable[object]:
    """Return the values of a column; `numbers`: of the events in their line."""
    clock, project, line_id = at
    if column.name in given:
        some = given[column.name]
        return [clock if one is None else one for one in some] if column.fill is Fill.CLOCK else some
    if column.fill is Fill.LINE:
        ids = [f"{line_id}.{number}" for number in numbers]
        return ids if numbers[0] else [line_id, *ids[1:]]
    if column.name == event.project:
        return repeat(project)
    if column.fill is Fill.CLOCK:
        return repeat(clock)
    return repeat(() if column.kind in ARRAYS else column.default)


def _model_calls(attributes: Sequence[Any]) -> dict[str, Sequence[Any]]:
    """Return the columns of model calls. Most spans are none."""
    if not any([usage.MARK in text for text in attributes]):  # noqa: C419  # a list is faster
        return dict(zip(usage.COLUMNS, ([value] * len(attributes) for value in usage.NONE), strict=True))
    calls = [usage.of_attributes(text) if usage.MARK in text else usage.NONE for text in attributes]
    return dict(zip(usage.COLUMNS, zip(*calls, strict=True), strict=True))


def _with_unknown(extras: Sequence[Any], unknown: Mapping[int, Fields]) -> Sequence[str]:
    """Return the texts of `extra` with unknown fields, in the order of their names."""
    found = list(extras)
    names = set(chain.from_iterable(unknown.values()))
    clashing = {kept for kept in set(extras) if any(f'"{name}":' in kept for name in names)}
    texts = _sorted_lines(unknown.values()).decode().split("\n")
    for (place, fields), text in zip(unknown.items(), texts, strict=False):
        kept = extras[place]
        if kept == "{}":
            found[place] = text
        elif kept in clashing and any(f'"{name}":' in kept for name in fields):
            found[place] = values.extra_of({**_fields_of(kept), **fields}, {})
        elif fields:
            found[place] = f"{kept[:-1]},{text[1:]}"
    return found
