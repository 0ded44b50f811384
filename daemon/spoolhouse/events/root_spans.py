"""Traces from root spans (`events.traces_from_root_spans`): a span without a parent is a trace, too.

The root spans then are what `traces_hourly_stats` counts, of whatever shape. A `trace` line of ours does not count: it
completes the row, and wins over the one that its root span gave, whichever comes first. So a trace is counted once
whether its program writes trace lines or not. Foreign shapes make traces of their root spans themselves.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from spoolhouse.events.builtin import RECORDED_AT, SPANS, TRACES, UNCOUNTED
from spoolhouse.events.declaration import Column, EventType, Fill, RowSource

_OF_THE_SPAN = frozenset(column.name for column in TRACES.columns).intersection(column.name for column in SPANS.columns)


def _column(column: Column) -> Column:
    """Return a column of a trace as a root span fills it."""
    if column.name == RECORDED_AT.name:
        return replace(column, keys=(), aliases=(), fill=Fill.YIELDING, sources=("start_time", column.name))
    if column.name in _OF_THE_SPAN:
        return SPANS.column(column.name)
    return replace(column, keys=(), aliases=())


_TRACE = RowSource(table=TRACES, columns=tuple(map(_column, TRACES.columns)), unless="parent_span_id")
_UNCOUNTED = tuple(replace(one, default=True) if one.name == UNCOUNTED.name else one for one in TRACES.columns)


def with_traces(events: Mapping[str, EventType]) -> dict[str, EventType]:
    """Return the event types, with spans and traces of our own shape as above."""
    span, trace = events["span"], events["trace"]
    return {
        **events,
        "span": replace(span, children=(*span.children, _TRACE), shaped=span),
        "trace": replace(trace, columns=_UNCOUNTED, shaped=trace),
    }
