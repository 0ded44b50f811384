"""From a request to what a reader is asked. Pure: the time is an argument."""

import math
import re
from itertools import pairwise
from typing import Any

from msgspec.structs import replace

from spoolhouse.errors import BadRequestError
from spoolhouse.events.declaration import ARRAYS, Grain, Kind, Rollup
from spoolhouse.query.conditions import field_of, of_question, signal_of
from spoolhouse.query.questions import (
    Aggregate,
    All,
    Compare,
    Condition,
    Distinct,
    Field,
    Figure,
    Listing,
    Measured,
    Op,
    Position,
    Window,
)
from spoolhouse.query.records import columns_of
from spoolhouse.query.requests import DEEPEST, MOST_RECORDS, PAGE_SIZE, Figures, ListQuestion, Question, Values
from spoolhouse.query.signals import EVENTS, LISTS, VALUES, Signal
from spoolhouse.query.times import DAY_MS, interval, window

MOST_POINTS = 10_000
MOST_EDGES = 100
ROLLUP_FROM_MS = 2 * 86_400_000
"""A longer window is read from a rollup, where one fits."""
GRAIN_MS = {Grain.HOUR: 3_600_000, Grain.DAY: 86_400_000}
_QUANTILES = frozenset({0.5, 0.95, 0.99})
"""Those that rollups have."""
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,4})?|100)", re.ASCII)
_NUMBERS = frozenset({Kind.NUMBER, Kind.INTEGER, Kind.INTEGER32})
_NO_GROUPS = ARRAYS | {Kind.TIME, Kind.JSON}
_NAMED = frozenset(Measured) - {
    Measured.PERCENTILE, Measured.EARLIEST, Measured.LATEST, Measured.PRESENT, Measured.EACH
}  # fmt: skip
_OF_ROWS = frozenset({Measured.COUNT, Measured.ERRORS, Measured.ERROR_RATE, Measured.ERROR_PERCENT, Measured.RATE})
_OF_ERRORS = frozenset({Measured.ERRORS, Measured.ERROR_RATE, Measured.ERROR_PERCENT})


def filters_of(question: Question) -> dict[str, Any]:
    """Return the filters of a list's request, by name."""
    common = {*ListQuestion.__struct_fields__}
    return {name: getattr(question, name) for name in question.__struct_fields__ if name not in common}


def listing(name: str, question: ListQuestion, now_ms: int, *, offset: int = 0) -> Listing:
    """Return the first page of a list. Raises `BadRequestError`."""
    signal = LISTS[name]
    found = window(question.since, question.until, now_ms, inclusive=True)
    order: object = question.order
    if not isinstance(order, str) or order.removeprefix("-") not in {"time", *signal.orders}:
        both = [one for column in ("time", *signal.orders) for one in (column, f"-{column}")]
        raise BadRequestError(f"order: {order!r} is not one of {', '.join(both)}")
    column = order.removeprefix("-")
    columns, previews = _shown(signal, question)
    return Listing(
        table=signal.table,
        where=of_question(question, signal, filters_of(question), found.since_ms),
        window=found,
        column="" if column == "time" else column,
        descending=order.startswith("-"),
        limit=page_size(question),
        offset=offset,
        ids=signal.ids if isinstance(question.project, str) else (*signal.ids, "project_id"),
        columns=columns,
        previews=previews,
    )


def followed(name: str, question: ListQuestion, now_ms: int, limit: int) -> Listing:
    """Return a list of all that may land now, in the order of time: of events up to a day old."""
    signal = LISTS[name]
    period = Window(since_ms=now_ms - DAY_MS, until_ms=now_ms + DAY_MS)
    columns, previews = _shown(signal, question)
    return Listing(
        table=signal.table,
        where=of_question(question, signal, filters_of(question), period.since_ms),
        window=period,
        descending=False,
        limit=limit,
        ids=signal.ids if isinstance(question.project, str) else (*signal.ids, "project_id"),
        columns=columns,
        previews=previews,
    )


def _shown(signal: Signal, question: ListQuestion) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the columns that a list shows, and those of them that are cut."""
    names = columns_of(signal.table)
    if not question.light:
        return names, frozenset()
    previews = frozenset({"input"}) & {*names}
    return tuple(one for one in names if one not in signal.payload or one in previews), previews


def after(first: Listing, found: Window, position: Position) -> Listing:
    """Return the page of a list that comes after a position, of the list's own window."""
    return replace(first, window=found, after=position)


def page_size(question: ListQuestion) -> int:
    """Return how many records a page has at most. Raises `BadRequestError`."""
    limit: Any = question.limit
    size: Any = question.page_size
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise BadRequestError(f"limit: 1 or more is accepted, not {limit!r}")
    if size is not None:
        check_limit(size, name="page_size")
    elif limit is None:
        size = PAGE_SIZE
    return min(size or MOST_RECORDS, limit or MOST_RECORDS)


def check_limit(limit: Any, most: int = MOST_RECORDS, *, name: str = "limit") -> int:
    """Return a limit; raises `BadRequestError` for one that is not accepted."""
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= most:
        raise BadRequestError(f"{name}: 1 to {most} is accepted, not {limit!r}")
    return limit


def check_offset(offset: Any, size: int) -> int:
    """Return the number of records before a page by number; raises `BadRequestError` beyond what is accepted."""
    if not isinstance(offset, int) or isinstance(offset, bool) or offset < 0:
        raise BadRequestError(f"page and offset: 0 or more is accepted, not {offset!r}")
    if offset + size > DEEPEST:
        raise BadRequestError(f"pages by number end at {DEEPEST} records; use the cursor to go on")
    return offset


def figures(question: Figures, now_ms: int, *, has_rollups: bool) -> Aggregate:
    """Return what is aggregated. Raises `BadRequestError`."""
    signal = signal_of(question.signal)
    found = window(question.since, question.until, now_ms, inclusive=False)
    every = None if question.every is None else interval(question.every)
    if every and (found.until_ms - 1) // every - found.since_ms // every >= MOST_POINTS:
        raise BadRequestError(f"every: at most {MOST_POINTS} points are accepted; a longer interval gives fewer")
    made = tuple(_figure(signal, name, question.measure) for name in _texts(question.of, "of"))
    if not made or len({one.name for one in made}) < len(made):
        raise BadRequestError("of: at least one figure, each once, is accepted")
    order = question.order.removeprefix("-")
    names = [one.name for one in made]
    if order and order not in names:
        raise BadRequestError(f"order: {order!r} is not one of {', '.join(names)}")
    by = tuple(_group(signal, name) for name in _texts(question.by, "by"))
    if question.edges is not None:
        by = (*by, _binned(signal, question.edges, question.measure))
    aggregate = Aggregate(
        table=signal.table,
        where=of_question(question, signal, question.filters, found.since_ms),
        window=found,
        figures=made,
        by=by,
        every_ms=every,
        having=tuple(_having(one, names) for one in question.having),
        order=order,
        descending=question.order.startswith("-"),
        limit=MOST_POINTS if every else check_limit(question.limit),
    )
    if question.using not in {"auto", "rows", "rollup"}:
        raise BadRequestError(f"using: {question.using!r} is not one of auto, rows, rollup")
    if question.using == "rollup" and not has_rollups:
        raise BadRequestError("using: this store has no rollups; rows have all figures")
    if question.using == "rows" or not has_rollups:
        return aggregate
    is_long = found.until_ms - found.since_ms > ROLLUP_FROM_MS
    fitting = next((one for one in signal.table.rollups if fits(one, aggregate)), None)
    if question.using == "rollup" and fitting is None:
        raise BadRequestError("using: no rollup has these figures, groups, filters and interval; rows have them")
    if fitting is None or not (is_long or question.using == "rollup"):
        return aggregate
    where = All(tuple(one for one in _compared(aggregate.where) if _is_in(fitting, one)))
    return replace(aggregate, rollup=fitting, rollup_where=where)


def in_ms(question: Figures) -> frozenset[str]:
    """Return the names of figures that are durations in ms, and do not say so. Raises `BadRequestError`."""
    made = [_figure(signal_of(question.signal), name, question.measure) for name in _texts(question.of, "of")]
    return frozenset(
        one.name
        for one in made
        if one.field is not None
        and one.field.column.endswith("_ms")
        and one.measured is not Measured.COUNT_DISTINCT
        and ":" not in one.name
    )


def fits(rollup: Rollup, aggregate: Aggregate) -> bool:
    """Tell whether a rollup can answer for its whole hours or days."""
    keys = {*rollup.keys, *rollup.trailing_keys}
    grain = GRAIN_MS[rollup.grain]
    if rollup.shown_by is not None or (aggregate.every_ms or grain) % grain:
        return False
    start, end = whole(aggregate.window, grain)
    if start >= end or any(field.key is not None or field.column not in keys for field in aggregate.by):
        return False
    compared = list(_compared(aggregate.where))
    only = dict(rollup.only)
    for one in compared:
        if not isinstance(one, Compare) or one.field.key is not None or one.op not in {Op.EQ, Op.IN}:
            return False
        if one.field.column in only:
            values = one.value if isinstance(one.value, tuple) else (one.value,)
            if {*values} <= {*only[one.field.column]}:
                only.pop(one.field.column)
        elif one.field.column not in keys:
            return False
    return not only and all(_has(rollup, figure) for figure in aggregate.figures)


def whole(found: Window, grain_ms: int) -> tuple[int, int]:
    """Return the first and the last moment of the whole grains in a window."""
    return -(-found.since_ms // grain_ms) * grain_ms, found.until_ms // grain_ms * grain_ms


def _compared(condition: Condition) -> list[Condition]:
    """Return the conjuncts of a condition."""
    if isinstance(condition, All):
        return [one for part in condition.of for one in _compared(part)]
    return [condition]


def _is_in(rollup: Rollup, condition: Condition) -> bool:
    return isinstance(condition, Compare) and condition.field.column in {*rollup.keys, *rollup.trailing_keys}


def _has(rollup: Rollup, figure: Figure) -> bool:
    if figure.measured in {Measured.COUNT, Measured.RATE}:
        return True
    if figure.measured in _OF_ERRORS:
        return bool({"status", "level"} & {*rollup.trailing_keys})
    column = None if figure.field is None or figure.field.key is not None else figure.field.column
    if figure.measured is Measured.SUM and any(one.column == column and not one.only for one in rollup.tallies):
        return True
    if rollup.measure is None or rollup.measure.column != column:
        return False
    if figure.measured is Measured.PERCENTILE:
        return rollup.measure.quantiles and figure.level in _QUANTILES
    return figure.measured in {Measured.SUM, Measured.AVG, Measured.MIN, Measured.MAX}


def _figure(signal: Signal, name: str, measure: str | None) -> Figure:
    spelt, _, column = name.partition(":")
    level = _PERCENTILE.fullmatch(spelt)
    if level is None and spelt not in _NAMED:
        accepted = [one.value for one in Measured if one in _NAMED]
        raise BadRequestError(f"of: {name[:60]!r} is not one of {', '.join(accepted)}, p50, p95, p99.9, …")
    measured = Measured.PERCENTILE if level else Measured(spelt)
    if measured in _OF_ROWS:
        if measured in _OF_ERRORS and not signal.failed:
            raise BadRequestError(f"of: {signal.name} have no status, and so no {spelt}")
        return Figure(name=name, measured=measured, failed=(signal.status, signal.failed))
    if not (column or measure or signal.measure):
        raise BadRequestError(f"of: {spelt} of {signal.name} needs a column, as {spelt}:COLUMN")
    field = field_of(signal, column or measure or signal.measure)
    if measured is not Measured.COUNT_DISTINCT and (
        field.key is not None or signal.table.column(field.column).kind not in _NUMBERS
    ):
        raise BadRequestError(f"of: {name[:60]!r}: {field.column} is no number")
    return Figure(name=name, measured=measured, field=field, level=float(level[1]) / 100 if level else 0.0)


def _group(signal: Signal, name: str) -> Field:
    field = field_of(signal, name)
    if field.key is None and signal.table.column(field.column).kind in _NO_GROUPS:
        raise BadRequestError(f"by: {name[:60]!r} has no groups; columns of texts and numbers, and label.KEY have")
    return field


def _binned(signal: Signal, edges: Any, measure: str | None) -> Field:
    if not isinstance(edges, list | tuple) or not 1 <= len(edges) <= MOST_EDGES:
        raise BadRequestError(f"edges: 1 to {MOST_EDGES} numbers are accepted")
    is_good = all(isinstance(one, int | float) and math.isfinite(one) for one in edges)
    if not is_good or any(one >= after for one, after in pairwise(edges)):
        raise BadRequestError("edges: numbers are accepted, each larger than the one before")
    field = field_of(signal, measure or signal.measure or "")
    if field.key is not None or signal.table.column(field.column).kind not in _NUMBERS:
        raise BadRequestError(f"edges: {field.column} is no number")
    return replace(field, edges=tuple(map(float, edges)))


def _having(one: Any, names: list[str]) -> tuple[str, Op, float]:
    match one:
        case [str() as name, str() as op, int() | float() as value] if name in names and math.isfinite(value):
            if op in {Op.EQ, Op.NE, Op.LT, Op.LE, Op.GT, Op.GE}:
                return name, Op(op), float(value)
    raise BadRequestError(f"having: a figure of {', '.join(names)}, an operator (eq, ne, lt, lte, gt, gte), a number")


def _texts(value: Any, name: str) -> tuple[str, ...]:
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(one, str) for one in values) or len(values) > 10:  # noqa: PLR2004  # more is no table
        raise BadRequestError(f"{name}: up to ten names are accepted")
    return tuple(values)


def earlier(aggregate: Aggregate, period: str) -> Aggregate:
    """Return the same figures of the period before."""
    length = aggregate.window.until_ms - aggregate.window.since_ms
    every = aggregate.every_ms or 1
    shifts = {
        # Buckets stay where they are in their interval.
        "previous_period": -(-length // every) * every,
        "previous_day": DAY_MS,
        "previous_week": 7 * DAY_MS,
    }
    if period not in shifts:
        raise BadRequestError(f"compare: {period!r} is not one of {', '.join(shifts)}")
    shift = shifts[period]
    if shift % every:
        raise BadRequestError(f"compare: {period} is no multiple of the interval")
    moved = Window(
        since_ms=max(aggregate.window.since_ms - shift, 0), until_ms=max(aggregate.window.until_ms - shift, 0)
    )
    return replace(aggregate, window=moved)


def runs(question: ListQuestion, now_ms: int, limit: int) -> Aggregate:
    """Return what is aggregated of the runs of agents, the latest first."""
    found = window(question.since, question.until, now_ms, inclusive=True)
    failed = (EVENTS.status, EVENTS.failed)
    made = (
        Figure(name="events", measured=Measured.COUNT),
        Figure(name="errors", measured=Measured.ERRORS, failed=failed),
        Figure(name="start", measured=Measured.EARLIEST),
        Figure(name="end", measured=Measured.LATEST),
        Figure(name="model_calls", measured=Measured.PRESENT, field=Field("model")),
        Figure(name="tokens_input", measured=Measured.SUM, field=Field("tokens_input")),
        Figure(name="tokens_output", measured=Measured.SUM, field=Field("tokens_output")),
        Figure(name="cost_usd", measured=Measured.SUM, field=Field("cost_estimate_usd")),
        Figure(name="models", measured=Measured.EACH, field=Field("model")),
    )
    return Aggregate(
        table=EVENTS.table,
        where=of_question(question, EVENTS, filters_of(question), found.since_ms),
        window=found,
        figures=made,
        by=(Field("project_id"), Field("run_id")),
        order="end",
        limit=limit,
    )


def values(question: Values, now_ms: int) -> Distinct:
    """Return which values are looked for. Raises `BadRequestError`."""
    what: object = question.what
    found = VALUES.get(what) if isinstance(what, str) else None
    if found is None:
        raise BadRequestError(f"values: {question.what!r} is not one of {', '.join(VALUES)}")
    signal = found.signal if question.signal is None else signal_of(question.signal)
    if found.by_key and not question.key:
        raise BadRequestError("label_values: the key of the label is required")
    if found.keys or found.by_key:
        field = Field(signal.labels, question.key if found.by_key else None)
    else:
        field = field_of(signal, found.column)
    period = window(question.since, question.until, now_ms, inclusive=True)
    return Distinct(
        table=signal.table,
        where=of_question(question, signal, {}, period.since_ms),
        window=period,
        field=field,
        keys=found.keys,
        prefix=question.prefix,
        limit=check_limit(question.limit),
    )
