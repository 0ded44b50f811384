"""Answers of a reader as records, lines and figures. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from spoolhouse.errors import BadRequestError
from spoolhouse.events.agent import TOOL_CALLS
from spoolhouse.events.declaration import Table
from spoolhouse.query.lines import line
from spoolhouse.query.plan import GRAIN_MS, MOST_POINTS, whole
from spoolhouse.query.questions import Aggregate, Field, Measured, Row, Value
from spoolhouse.query.records import Bucket, FiguresAnswer, Run, Span, columns_of, record, time_of
from spoolhouse.query.requests import Figures
from spoolhouse.query.signals import EVENTS, Signal

Calls = Mapping[tuple[object, ...], Sequence[Row]]
"""The tool calls of events: by project, time and id."""
_ZERO = frozenset({Measured.COUNT, Measured.ERRORS, Measured.RATE, Measured.SUM, Measured.COUNT_DISTINCT})
"""Figures that are 0, and not missing, where there are no rows."""


def records(
    table: Table,
    names: Sequence[str],
    rows: Sequence[Row],
    calls: Calls | None = None,
    *,
    cut: frozenset[str] = frozenset(),
) -> list[Any]:
    """Return a record for each row."""
    made: list[Any] = [record(table, names, row, cut=cut) for row in rows]
    if not calls:
        return made
    columns = columns_of(TOOL_CALLS)
    return [
        msgspec.structs.replace(
            one, tool_calls=[record(TOOL_CALLS, columns, call) for call in calls.get(_key(names, row), ())]
        )
        for one, row in zip(made, rows, strict=True)
    ]


def lines(signal: Signal, names: Sequence[str], rows: Sequence[Row], calls: Calls | None = None) -> list[bytes]:
    """Return a line of JSON for each row, as a producer would write it."""
    if signal is not EVENTS:
        return [line(signal.one, names, row) for row in rows]
    place = names.index("event_type")
    return [line(str(row[place]), names, row, (calls or {}).get(_key(names, row), ())) for row in rows]


def _key(names: Sequence[str], row: Row) -> tuple[object, ...]:
    return tuple(row[names.index(name)] for name in ("project_id", "timestamp", "event_id"))


def below(spans: Sequence[Span], root: str, depth: int | None) -> list[str]:
    """Return the ids of a span and of those below it, as far as `depth` levels; a cycle is walked once."""
    children: dict[str, list[str]] = {}
    for span in spans:
        if span.parent_span_id:
            children.setdefault(span.parent_span_id, []).append(span.span_id)
    if not any(span.span_id == root for span in spans):
        return []
    found = {root: None}
    level, left = [root], depth
    while level and (left is None or left > 0):
        level = [child for parent in level for child in children.get(parent, ()) if child not in found]
        found |= dict.fromkeys(level)
        left = None if left is None else left - 1
    return list(found)


def run(row: Row) -> Run:
    """Return a run from the figures of its events, in the order of `plan.RUN_FIGURES`."""
    project, run_id, events, errors, start, end, calls, tokens_in, tokens_out, cost, models = row
    return Run(
        project_id=str(project),
        run_id=str(run_id),
        start_time=time_of(int(start)),  # type: ignore[arg-type]  # ms
        end_time=time_of(int(end)),  # type: ignore[arg-type]  # ms
        events=int(events),  # type: ignore[arg-type]  # a count
        errors=int(errors),  # type: ignore[arg-type]  # a count
        model_calls=int(calls),  # type: ignore[arg-type]  # a count
        tokens_input=int(tokens_in),  # type: ignore[arg-type]  # a sum of whole numbers
        tokens_output=int(tokens_out),  # type: ignore[arg-type]  # a sum of whole numbers
        cost_usd=float(cost),  # type: ignore[arg-type]  # a sum
        models=[str(one) for one in models],  # type: ignore[union-attr]  # an array
    )


def figures_request(signal: str, asked: Mapping[str, Any]) -> Figures:
    """Return the request of figures; keywords that are none of its fields are filters."""
    own = {key: value for key, value in asked.items() if key in Figures.__struct_fields__}
    filters = {key: value for key, value in asked.items() if key not in own}
    if "project" not in own:
        raise BadRequestError("a project is required; ALL_PROJECTS stands for all of them")
    if filters and "filters" in own:
        raise BadRequestError("filters are given either as keywords or as filters")
    own.setdefault("filters", filters)
    return Figures(signal=signal, **own)


def figures(asked: Aggregate, rows: Sequence[Row]) -> FiguresAnswer:
    """Return the answer: with a bucket for each interval of the window, also where there are no rows."""
    names = [one.name for one in asked.figures]
    groups = len(asked.by)
    spelt = [_spelt(field) for field in asked.by]
    buckets = []
    for row in rows[: asked.limit]:
        by = dict(zip(spelt, row[:groups], strict=True))
        time = time_of(int(row[groups])) if asked.every_ms else None  # type: ignore[arg-type]  # ms
        # No rows: a rate of them is a division by zero.
        computed = (None if one != one else one for one in row[groups + bool(asked.every_ms) :])  # noqa: PLR0124  # NaN
        values = dict(zip(names, computed, strict=True))
        buckets.append(Bucket(time=time, by=by, values=values))  # type: ignore[arg-type]  # groups are scalars
    if asked.every_ms and not asked.having and not asked.order:
        buckets = _filled(asked, buckets)
    return FiguresAnswer(
        rows=buckets,
        source=_source(asked),
        since=time_of(asked.window.since_ms),
        until=time_of(asked.window.until_ms),
        truncated=len(rows) > asked.limit,
    )


def _spelt(field: Field) -> str:
    if field.edges:
        return "bin"
    return field.column if field.key is None else f"label.{field.key}"


def _source(asked: Aggregate) -> str:
    if asked.rollup is None:
        return "rows"
    ends = (asked.window.since_ms, asked.window.until_ms)
    edges = "" if whole(asked.window, GRAIN_MS[asked.rollup.grain]) == ends else " + rows"
    return f"rollup {asked.rollup.name}{edges}"


def _filled(asked: Aggregate, buckets: list[Bucket]) -> list[Bucket]:
    """Return the buckets of each group with those between that have no rows; not beyond `MOST_POINTS`."""
    every = asked.every_ms or 1
    first = asked.window.since_ms // every * every
    times = [time_of(ms) for ms in range(first, asked.window.until_ms, every)]
    found = {(one.time, *one.by.values()): one for one in buckets}
    groups = {tuple(one.by.values()): one.by for one in buckets} if asked.by else {(): {}}
    if len(groups) * len(times) > MOST_POINTS:
        return buckets
    nothing: dict[str, Any] = {one.name: 0 if one.measured in _ZERO else None for one in asked.figures}
    return [
        found.get((time, *key)) or Bucket(time=time, by=by, values=dict(nothing))
        for time in times
        for key, by in groups.items()
    ]


def compared(answer: FiguresAnswer, earlier: FiguresAnswer) -> FiguresAnswer:
    """Return the figures with those of the period before, bucket by bucket, in order of time."""
    shift = answer.since - earlier.since
    found = {(one.time, *one.by.values()): one.values for one in earlier.rows}
    rows = []
    for one in answer.rows:
        time = None if one.time is None else one.time - shift
        previous = found.get((time, *one.by.values()))
        change = {name: _change(value, (previous or {}).get(name)) for name, value in one.values.items()}
        rows.append(msgspec.structs.replace(one, previous=previous, change=change))
    return msgspec.structs.replace(answer, rows=rows)


def _change(now: Value, before: Value) -> float | None:
    if not isinstance(now, int | float) or not isinstance(before, int | float) or not before:
        return None
    return (now - before) / abs(before) * 100
