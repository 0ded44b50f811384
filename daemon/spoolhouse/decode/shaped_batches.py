"""Rows of many events of one type that a foreign shape made of a line, column by column."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import repeat

import msgspec
from msgspec import Raw

from spoolhouse.decode import usage, values
from spoolhouse.decode.rows import Row
from spoolhouse.events.declaration import ARRAYS, Column, EventType, Fill
from spoolhouse.events.shapes.shape import Fields, ShapedBatch

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_extra_lines = msgspec.json.Encoder(order="sorted").encode_lines


class ShapedBatches:
    """Makes rows of batches."""

    def __init__(self, events: Mapping[str, EventType]) -> None:
        """Make rows of `events`, by their names."""
        self._columns = {name: event.parts[0].columns for name, event in events.items()}
        self._projects = {name: event.project for name, event in events.items()}

    def rows(  # a batch, and what its rows take from its line
        self, batch: ShapedBatch, clock: datetime, project: str, line_id: str, first: int, *, keep: bool
    ) -> list[Row]:
        """Return the rows of a batch. `first`: how many events of the line come before; `keep`: unknown fields, too."""
        if not batch.extra:
            return []
        columns = self._columns[batch.type]
        extra = _with_unknown(batch.extra, batch.unknown) if keep and batch.unknown else batch.extra
        calls = iter(_calls(columns, batch.columns))
        row: list[Iterable[object]] = []
        for column in columns:
            given = batch.columns.get(column.name)
            if column.fill is Fill.USAGE:
                row.append(next(calls))
            elif column.fill is Fill.EXTRA:
                row.append(extra)
            elif given is not None:
                absent = clock if column.fill is Fill.CLOCK else column.default
                if absent is not None and not column.required and None in given:
                    given = [absent if value is None else value for value in given]
                row.append(given)
            elif column.fill is Fill.LINE:
                ids = [f"{line_id}.{number}" for number in range(first, first + len(extra))]
                row.append(ids if first else [line_id, *ids[1:]])
            elif column.name == self._projects[batch.type]:
                row.append(repeat(project))
            else:
                row.append(repeat(clock if column.fill is Fill.CLOCK else _absent(column)))
        return list(zip(*row, strict=False))


def _absent(column: Column) -> object:
    return () if column.kind in ARRAYS else column.default


def _calls(columns: Sequence[Column], given: Mapping[str, Sequence[object]]) -> Iterable[Iterable[object]]:
    """Return the columns of a model call, in their order."""
    sources = {source for column in columns if column.fill is Fill.USAGE for source in column.sources}
    if not sources:
        return ()
    [texts] = (given[source] for source in sources)
    is_call = [usage.MARK in text for text in texts]  # type: ignore[operator]  # JSON
    if True not in is_call:
        return map(repeat, usage.NONE)
    some = (
        usage.of_attributes(str(text)) if is_one else usage.NONE for text, is_one in zip(texts, is_call, strict=True)
    )
    return zip(*some, strict=True)


def _with_unknown(kept: Sequence[str], unknown: Mapping[int, Fields]) -> Sequence[str]:
    """Return the texts of `extra` with unknown fields, in the order of their names."""
    found = list(kept)
    names = {f'"{name}":' for fields in unknown.values() for name in fields}
    hidden: dict[str, bool] = {}
    """By a text of `extra`, whether it may have a key that an unknown field has, too."""
    written = _extra_lines(list(unknown.values())).decode().split("\n")
    for (place, fields), text in zip(unknown.items(), written, strict=False):
        before = kept[place]
        if before not in hidden:
            hidden[before] = any(name in before for name in names)
        if before == "{}" or not fields:
            found[place] = text if fields else before
        elif hidden[before]:
            found[place] = values.extra_of({**_fields_of(before), **fields}, {})
        else:
            found[place] = f"{before[:-1]},{text[1:]}"
    return found
