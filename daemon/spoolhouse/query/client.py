"""What a program asks: lists, traces, figures and values, each a method; nothing of a store shows through."""

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, cast

from msgspec.structs import replace

from spoolhouse.errors import BadRequestError
from spoolhouse.events.agent import TOOL_CALLS
from spoolhouse.query import conditions, plan, requests, results, tail
from spoolhouse.query import cursor as cursors
from spoolhouse.query.ports import Reader
from spoolhouse.query.questions import Compare, Condition, Field, Lookup, Op, Row
from spoolhouse.query.records import (
    Delta,
    Event,
    Feedback,
    FiguresAnswer,
    Log,
    Metric,
    Page,
    Record,
    Run,
    Score,
    Span,
    Step,
    Trace,
    TraceView,
    columns_of,
)
from spoolhouse.query.requests import AllProjects, Figures, ListQuestion, Values, When
from spoolhouse.query.signals import EVENTS, FEEDBACK, LISTS, LOGS, SCORES, SPANS, STEPS, TRACES, Signal

Project = str | AllProjects

MOST_DELTA = 100
"""Records of a delta."""
MOST_SPANS = 10_000
"""Of a trace."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Query:
    """Asks one store. Lists are async iterators over all records, or `limit` of them, page by page."""

    def __init__(self, reader: Reader, now_ms: Callable[[], int] = _now_ms) -> None:
        """Ask `reader`, which is closed with this."""
        self._reader = reader
        self._now_ms = now_ms

    async def __aenter__(self) -> Self:
        """Return it; connections are made when they are needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._reader.close()

    def traces(self, request: requests.Traces | None = None, /, **filters: Any) -> AsyncGenerator[Trace]:
        """Yield traces; the filters are those of `requests.Traces`."""
        return cast("AsyncGenerator[Trace]", self._records("traces", request, filters))

    def spans(self, request: requests.Spans | None = None, /, **filters: Any) -> AsyncGenerator[Span]:
        """Yield spans; the filters are those of `requests.Spans`."""
        return cast("AsyncGenerator[Span]", self._records("spans", request, filters))

    def logs(self, request: requests.Logs | None = None, /, **filters: Any) -> AsyncGenerator[Log]:
        """Yield log records; the filters are those of `requests.Logs`."""
        return cast("AsyncGenerator[Log]", self._records("logs", request, filters))

    def metrics(self, request: requests.Metrics | None = None, /, **filters: Any) -> AsyncGenerator[Metric]:
        """Yield measurements; the filters are those of `requests.Metrics`."""
        return cast("AsyncGenerator[Metric]", self._records("metrics", request, filters))

    def scores(self, request: requests.Scores | None = None, /, **filters: Any) -> AsyncGenerator[Score]:
        """Yield scores; the filters are those of `requests.Scores`."""
        return cast("AsyncGenerator[Score]", self._records("scores", request, filters))

    def feedback(self, request: requests.Feedback | None = None, /, **filters: Any) -> AsyncGenerator[Feedback]:
        """Yield feedback; the filters are those of `requests.Feedback`."""
        return cast("AsyncGenerator[Feedback]", self._records("feedback", request, filters))

    def events(self, request: requests.Events | None = None, /, **filters: Any) -> AsyncGenerator[Event]:
        """Yield the events of agents; the filters are those of `requests.Events`."""
        return cast("AsyncGenerator[Event]", self._records("events", request, filters))

    async def _records(
        self, name: str, request: ListQuestion | None, filters: Mapping[str, Any]
    ) -> AsyncGenerator[Record]:
        question = requests.request(name, filters) if request is None else request
        after, left = None, question.limit
        while True:
            page = await self.page(name, replace(question, limit=left), cursor=after)
            for one in page.records:
                yield one
            after = page.cursor
            if left is not None:
                left -= len(page.records)
            if after is None or left == 0:
                return

    async def page(
        self, name: str, request: ListQuestion | None = None, /, *, cursor: str | None = None, **filters: Any
    ) -> Page[Any]:
        """Return one page of a list: `traces`, `spans`, `logs`, `metrics`, `scores`, `feedback` or `events`.

        `cursor` is that of the page before, of the same request.
        """
        question = requests.request(name, filters) if request is None else request
        return await self.page_at(name, question, cursor=cursor)

    async def page_at(
        self, name: str, question: ListQuestion, *, cursor: str | None = None, offset: int = 0
    ) -> Page[Any]:
        """Return one page of a list, after so many records."""
        if type(question) is not requests.LISTS.get(name):
            raise BadRequestError(f"{type(question).__name__} is no request for {name}")
        asked = plan.listing(name, question, self._now_ms(), offset=offset)
        mark = cursors.fingerprint(name, question)
        if cursor is not None:
            asked = plan.after(asked, *cursors.from_text(cursor, mark, len(asked.ids)))
        listed = await self._reader.page(asked)
        calls = await self._calls(asked.columns, listed.rows, question.project) if name == EVENTS.name else {}
        return Page(
            records=results.records(asked.table, asked.columns, listed.rows, calls, cut=asked.previews),
            cursor=None if listed.next is None else cursors.to_text(mark, asked.window, listed.next),
            lines=[] if question.light else results.lines(LISTS[name], asked.columns, listed.rows, calls),
        )

    async def delta(
        self, name: str, request: ListQuestion | None = None, /, *, after: str | None = None, **filters: Any
    ) -> Delta[Any]:
        """Return what has landed since the delta whose cursor is `after`; without one nothing, and where "now" is.

        Records come in the order of their times, 10 or `limit` of them (100 at most); the order and the window of the
        request count for nothing else. What happened a day ago, or waited over ten minutes to land, is not followed.
        """
        question = requests.request(name, filters) if request is None else request
        limit = 10 if question.limit is None else plan.check_limit(question.limit, MOST_DELTA)
        now = self._now_ms()
        asked = plan.followed(name, question, now, limit)
        mark = cursors.fingerprint(f"{name} delta", question)
        since = tail.begin(mark, now, ()) if after is None else tail.from_text(after, mark)
        found = await self._reader.arrived(asked.table, asked.where, asked.window, since.since_ms)
        if after is None:
            return Delta(records=[], cursor=tail.to_text(tail.begin(mark, now, found)))
        seen = tail.chosen(since, found)
        if not seen.pending:
            return Delta(records=[], cursor=tail.to_text(tail.delivered(seen, None, now)))
        listed = await self._reader.page(replace(asked, batches=tuple(seen.pending), after=seen.position))
        calls = await self._calls(asked.columns, listed.rows, question.project) if name == EVENTS.name else {}
        left = any(batch not in seen.pending and batch not in seen.batches for batch, _ in found)
        return Delta(
            records=results.records(asked.table, asked.columns, listed.rows, calls, cut=asked.previews),
            cursor=tail.to_text(tail.delivered(seen, listed.next, now)),
            has_more=listed.next is not None or left,
            lines=[] if question.light else results.lines(LISTS[name], asked.columns, listed.rows, calls),
        )

    async def _calls(
        self, names: Sequence[str], rows: Sequence[Row], project: Project
    ) -> Mapping[tuple[object, ...], list[Row]]:
        """Return the tool calls of events, by event: those of the event's newest version."""
        places = [names.index(one) for one in ("project_id", "timestamp", "event_id", "recorded_at")]
        keys = {tuple(row[place] for place in places[:3]): row[places[3]] for row in rows}
        found: dict[tuple[object, ...], list[Row]] = {key: [] for key in keys}
        ids = [str(key[2]) for key in keys]
        columns = columns_of(TOOL_CALLS)
        at = [columns.index(one) for one in ("project_id", "timestamp", "event_id", "recorded_at")]
        for start in range(0, len(ids), _CHUNK):
            some = tuple(ids[start : start + _CHUNK])
            where = conditions.of_rows(project, Compare(Field("event_id"), Op.IN, some))
            lookup = Lookup(
                table=TOOL_CALLS, where=where, id=("timestamp", "event_id", "position"), limit=_MOST_CALLS,
                columns=columns,
            )  # fmt: skip
            for call in await self._reader.lookup(lookup):
                key = tuple(call[place] for place in at[:3])
                # A call that the newest version of its event no longer has.
                if key in keys and call[at[3]] == keys[key]:
                    found[key].append(call)
        return found

    async def trace(self, project: Project, trace_id: str) -> TraceView | None:
        """Return a trace with its spans, logs, scores and feedback; None if there is nothing of it in the project."""
        where = conditions.of_ids(project, trace_id=trace_id)
        traces = await self._rows(TRACES, where, limit=1)
        parts = {
            one.name: await self._rows(one, where, limit=MOST_SPANS + 1) for one in (SPANS, LOGS, SCORES, FEEDBACK)
        }
        if not traces and not any(parts.values()):
            return None
        cut = {name: rows[:MOST_SPANS] for name, rows in parts.items()}
        made = {
            one.name: results.records(one.table, columns_of(one.table), cut[one.name])
            for one in (SPANS, LOGS, SCORES, FEEDBACK)
        }
        lines = results.lines(TRACES, columns_of(TRACES.table), traces)
        for one in (SPANS, LOGS, SCORES, FEEDBACK):
            lines += results.lines(one, columns_of(one.table), cut[one.name])
        return TraceView(
            trace=next(iter(results.records(TRACES.table, columns_of(TRACES.table), traces)), None),
            **made,
            truncated=any(len(rows) > MOST_SPANS for rows in parts.values()),
            lines=lines,
        )

    async def _rows(self, signal: Signal, where: Condition, *, limit: int, columns: tuple[str, ...] = ()) -> list[Row]:
        lookup = Lookup(
            table=signal.table, where=where, id=(signal.id,), limit=limit, columns=columns or columns_of(signal.table)
        )
        return await self._reader.lookup(lookup)

    async def _found(self, signal: Signal, where: Condition, *, light: bool = False) -> list[Any]:
        names = tuple(name for name in columns_of(signal.table) if not (light and name in signal.payload))
        rows = await self._rows(signal, where, limit=MOST_SPANS, columns=names)
        return results.records(signal.table, names, rows)

    async def structure(self, project: Project, trace_id: str) -> list[Span]:
        """Return the spans of a trace without their attributes and events, by start."""
        return await self._found(SPANS, conditions.of_ids(project, trace_id=trace_id), light=True)

    async def branch(self, project: Project, trace_id: str, span_id: str, *, depth: int | None = None) -> list[Span]:
        """Return a span and what is below it, `depth` levels (0: itself alone), by start; [] if it is missing."""
        if depth is not None and depth < 0:
            raise BadRequestError(f"depth: 0 or more is accepted, not {depth!r}")
        wanted = results.below(await self.structure(project, trace_id), span_id, depth)
        return await self.get_spans(project, trace_id, wanted)

    async def get_span(self, project: Project, trace_id: str, span_id: str) -> Span | None:
        """Return a span, or None."""
        return next(iter(await self.get_spans(project, trace_id, [span_id])), None)

    async def get_spans(self, project: Project, trace_id: str, span_ids: Sequence[str]) -> list[Span]:
        """Return those spans of a trace, by start."""
        found: list[Span] = []
        for start in range(0, len(span_ids), _CHUNK):
            where = conditions.of_ids(project, trace_id=trace_id, span_id=tuple(span_ids[start : start + _CHUNK]))
            found += await self._found(SPANS, where)
        return sorted(found, key=lambda span: (span.start_time, span.span_id))

    async def get_root_span(self, project: Project, trace_id: str) -> Span | None:
        """Return the first span of a trace that has no parent in it, or None."""
        spans = await self.structure(project, trace_id)
        ids = {span.span_id for span in spans}
        root = next((span for span in spans if span.parent_span_id not in ids), None)
        return None if root is None else await self.get_span(project, trace_id, root.span_id)

    async def event(self, project: Project, event_id: str) -> Event | None:
        """Return one event of an agent, or None."""
        rows = await self._rows(EVENTS, conditions.of_ids(project, event_id=event_id), limit=1)
        columns = columns_of(EVENTS.table)
        calls = await self._calls(columns, rows, project)
        return next(iter(results.records(EVENTS.table, columns, rows, calls)), None)

    async def steps(self, project: Project, run_id: str) -> list[Step]:
        """Return the steps of a run, by number: the workflow of an agent."""
        where = conditions.of_ids(project, run_id=run_id)
        rows = await self._reader.lookup(
            Lookup(table=STEPS.table, where=where, id=("event_id",), limit=MOST_SPANS, columns=columns_of(STEPS.table))
        )
        found: list[Any] = results.records(STEPS.table, columns_of(STEPS.table), rows)
        return sorted(found, key=lambda step: (step.step_number, step.timestamp, step.event_id))

    async def runs(
        self, *, project: Project, since: When = None, until: When = None, limit: int = 50, **filters: Any
    ) -> AsyncGenerator[Run]:
        """Yield the runs of agents, the latest first; the filters are those of `requests.Events`."""
        question = requests.request("events", {"project": project, "since": since, "until": until, **filters})
        plan.check_limit(limit)
        asked = plan.runs(question, self._now_ms(), limit)
        for row in (await self._reader.aggregate(asked))[:limit]:
            yield results.run(row)

    async def figures(self, signal: str, request: Figures | None = None, /, **asked: Any) -> FiguresAnswer:
        """Return figures of a signal; see `requests.Figures`. Other keywords are filters of that signal's list."""
        question = results.figures_request(signal, asked) if request is None else request
        aggregate = plan.figures(question, self._now_ms(), has_rollups=self._reader.has_rollups)
        rows = await self._reader.aggregate(aggregate)
        answer = results.figures(aggregate, rows)
        if question.compare is None:
            return answer
        earlier = plan.earlier(aggregate, question.compare)
        return results.compared(answer, results.figures(earlier, await self._reader.aggregate(earlier)))

    async def values(self, what: str, request: Values | None = None, /, **asked: Any) -> list[str]:
        """Return the different values that occur: names, label_keys, label_values, services, models and so on."""
        question = Values(what=what, **asked) if request is None else request
        return await self._reader.distinct(plan.values(question, self._now_ms()))

    async def count(self, name: str, request: ListQuestion | None = None, /, **filters: Any) -> int:
        """Return how many records a list has."""
        question = requests.request(name, filters) if request is None else request
        asked = plan.listing(name, question, self._now_ms())
        return await self._reader.count(asked.table, asked.where, asked.window)

    async def sql(self, text: str, *, limit: int = 1000) -> tuple[Sequence[str], list[Row]]:
        """Run a SELECT of your own; return the names of its columns, and its rows."""
        return await self._reader.sql(text, plan.check_limit(limit, 100_000))


_CHUNK = 100
_MOST_CALLS = 50_000
