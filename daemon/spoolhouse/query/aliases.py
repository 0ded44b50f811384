"""The names that the seeds gave their methods, and their pages: with a number and a total, or with an offset.

They are thin: each asks what the method beside it asks. Rates are from 0 to 1 here, as in the seed.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from spoolhouse.errors import BadRequestError, QuestionTooLargeError
from spoolhouse.query import conditions, plan, requests
from spoolhouse.query.client import Project, Query
from spoolhouse.query.ports import Strategy
from spoolhouse.query.questions import Measured
from spoolhouse.query.records import Span, Trace, time_of
from spoolhouse.query.requests import ListQuestion
from spoolhouse.query.signals import SPANS, TRACES
from spoolhouse.query.times import moment


class Pagination(msgspec.Struct, frozen=True, kw_only=True):
    """Where a page stands: by number and size, or by offset and limit."""

    total: int
    page: int | None = None
    per_page: int | None = None
    offset: int | None = None
    limit: int | None = None
    has_more: bool


class Numbered(msgspec.Struct, frozen=True, kw_only=True):
    """A page by number: its records also under the name of the list, as `.traces`."""

    data: list[Any]
    pagination: Pagination

    def __getattr__(self, name: str) -> list[Any]:
        """Return the records under the name of their list."""
        if name in requests.LISTS:
            return self.data
        raise AttributeError(name)


class TimeBucket(msgspec.Struct, frozen=True, kw_only=True):
    """One interval of a series."""

    timestamp: datetime
    count: int
    group: dict[str, Any] = {}
    values: dict[str, float] = {}


class Client(Query):
    """`Query` with the seeds' names."""

    capabilities: Mapping[str, Mapping[str, bool]] = {
        name: {"supported": True} for name in ("tracing", "logs", "metrics", "scores", "feedback")
    }

    @property
    def metrics_strategy(self) -> Strategy:
        """How the store is best written to; the same for all signals."""
        return self._reader.strategy

    tracing_strategy = logs_strategy = scores_strategy = feedback_strategy = metrics_strategy

    async def list_traces(self, **asked: Any) -> Numbered:
        """Return traces page by page; filters as in `requests.Traces`."""
        return await self._numbered("traces", asked)

    async def list_traces_light(self, **asked: Any) -> Numbered:
        """Return traces without their long columns; of the input the first 100 characters."""
        return await self._numbered("traces", {**asked, "light": True})

    async def list_spans(self, **asked: Any) -> Numbered:
        """Return spans page by page; filters as in `requests.Spans`."""
        return await self._numbered("spans", asked)

    async def list_branches(self, **asked: Any) -> Numbered:
        """Return every run of an entity, nested ones too: spans by `name` and `type`."""
        return await self._numbered("spans", asked)

    async def list_logs(self, **asked: Any) -> Numbered:
        """Return logs page by page; `message` is `contains`; filters as in `requests.Logs`."""
        if "message" in asked:
            asked["contains"] = asked.pop("message")
        return await self._numbered("logs", asked)

    async def list_metrics(self, **asked: Any) -> Any:
        """Return metrics page by page; filters as in `requests.Metrics`, also as `filters={…}`.

        `aggregation={"type": …, "interval": "5 minutes", "group_by": […]}` gives rows with name, value, timestamp and
        label_KEY, of those groups and intervals that have metrics.
        """
        aggregation = asked.pop("aggregation", None)
        return await (self._numbered("metrics", asked) if aggregation is None else self._aggregated(asked, aggregation))

    async def list_scores(self, **asked: Any) -> Numbered:
        """Return scores page by page; filters as in `requests.Scores`, `min_value` and `max_value` too."""
        return await self._numbered("scores", asked)

    async def list_feedback(self, **asked: Any) -> Numbered:
        """Return feedback page by page; filters as in `requests.Feedback`."""
        return await self._numbered("feedback", asked)

    async def list_events(self, **asked: Any) -> Numbered:
        """Return events of agents page by page; filters as in `requests.Events`."""
        return await self._numbered("events", asked)

    async def get_trace(self, project: Project, trace_id: str) -> Trace | None:
        """Return a trace, or None."""
        return next(iter(await self._found(TRACES, conditions.of_ids(project, trace_id=trace_id))), None)

    async def get_spans_for_trace(self, project: Project, trace_id: str) -> list[Span]:
        """Return the spans of a trace, by start."""
        return await self._found(SPANS, conditions.of_ids(project, trace_id=trace_id))

    async def get_structure(self, project: Project, trace_id: str) -> list[Span]:
        """Return the spans of a trace without payloads, by start."""
        return await self.structure(project, trace_id)

    async def get_branch(self, project: Project, trace_id: str, span_id: str, depth: int | None = None) -> list[Span]:
        """Return a span and what is below it."""
        return await self.branch(project, trace_id, span_id, depth=depth)

    async def get_trace_count_time_series(self, *, interval_seconds: int, **asked: Any) -> list[TimeBucket]:
        """Return how many traces there were in each interval, also where there were none; `group_by` is a list."""
        return await self._series(interval_seconds, asked, rate=False)

    async def get_error_rate_time_series(self, *, interval_seconds: int, **asked: Any) -> list[TimeBucket]:
        """Return the traces in each interval, with error_count and error_rate (0 to 1)."""
        return await self._series(interval_seconds, asked, rate=True)

    async def _series(self, interval_seconds: int, asked: dict[str, Any], *, rate: bool) -> list[TimeBucket]:
        asked = _in_our_words(asked)
        by = asked.pop("group_by", ()) or ()
        groups = (by,) if isinstance(by, str) else tuple(by)
        answer = await self.figures(
            "trace", **asked, of=("count", "errors", "error_rate"), by=groups, every=interval_seconds, using="rows"
        )
        found = []
        for one in answer.rows:
            count, errors, share = (one.values[name] or 0 for name in ("count", "errors", "error_rate"))
            values = {"error_count": float(errors), "error_rate": float(share)} if rate else {}
            if one.time is not None:
                found.append(TimeBucket(timestamp=one.time, count=int(count), group=dict(one.by), values=values))
        return found

    async def _aggregated(self, asked: dict[str, Any], aggregation: Mapping[str, Any]) -> list[dict[str, Any]]:
        wrong = aggregation.keys() - {"type", "interval", "group_by"}
        if wrong:
            raise BadRequestError(f"aggregation: type, interval and group_by are accepted, not {min(wrong)!r}")
        asked = _in_our_words(asked)
        for key in ("order", "limit", "offset", "page", "per_page"):
            asked.pop(key, None)
        if asked.get("until") is not None:
            # The seed's end is included.
            asked["until"] = time_of(moment(asked["until"], "until", self._now_ms()) + 1)
        kind, every = aggregation.get("type", Measured.SUM), aggregation.get("interval")
        spelt = _INTERVAL.fullmatch(every) if isinstance(every, str) else None
        labels: Sequence[str] = aggregation.get("group_by") or ()
        answer = await self.figures(
            "metric", **asked, of=tuple(dict.fromkeys((kind, Measured.COUNT))),
            by=("name", *(f"label.{key}" for key in labels)),
            every=f"{spelt[1]}{spelt[2][0].lower()}" if spelt else every,
        )  # fmt: skip
        return [
            {"name": one.by["name"], "value": one.values[kind]}
            | ({} if one.time is None else {"timestamp": one.time})
            | {f"label_{key}": one.by[f"label.{key}"] for key in labels}
            for one in answer.rows
            if one.values[Measured.COUNT]
        ]

    async def _numbered(self, name: str, asked: dict[str, Any]) -> Numbered:
        # Of the seeds, those with groups of arguments have pages by offset.
        by_offset = not {"filters", "order_by"}.isdisjoint(asked)
        asked = _in_our_words(asked)
        by_offset = "offset" in asked or "limit" in asked or (by_offset and not {"page", "per_page"} & asked.keys())
        size = asked.pop("limit", 100) if by_offset else asked.pop("per_page", 50)
        plan.check_limit(size)
        number = asked.pop("offset" if by_offset else "page", 0)
        first = plan.check_offset(number, 0)
        start = plan.check_offset(first if by_offset else first * size, size)
        question: ListQuestion = requests.request(name, {**asked, "page_size": size})
        found = await self.page_at(name, question, offset=start)
        if found.cursor is not None and len(found.records) < size:
            raise QuestionTooLargeError("the page is too large; ask for fewer records at once")
        total = await self.count(name, question)
        place: dict[str, int] = {"offset": start, "limit": size} if by_offset else {"page": number, "per_page": size}
        return Numbered(data=found.records, pagination=Pagination(total=total, has_more=start + size < total, **place))


_INTERVAL = re.compile(r"(\d{1,6}) ?(second|minute|hour|day|week)s?", re.IGNORECASE | re.ASCII)
_WORDS = {
    "project_id": "project", "deployment_id": "deployment", "trace_id": "trace", "span_id": "span",
    "parent_span_id": "parent", "min_value": "min", "max_value": "max", "scorer_name": "name", "feedback_type": "type",
    "user_id": "user", "organization_id": "organization", "service_name": "service", "labels": "label",
    "start_time": "since", "end_time": "until", "metric_type": "type", "run_id": "run", "event_type": "type",
}  # fmt: skip
"""The seeds' words in snake_case, and ours."""


def _in_our_words(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a seed's method as filters; groups of them (filters, pagination …) are opened."""
    flat: dict[str, Any] = {}
    for key, value in asked.items():
        if key in {"filters", "pagination"}:
            flat |= value or {}
        elif key == "time_range":
            flat |= {"since": (value or {}).get("start"), "until": (value or {}).get("end")}
        elif key == "order_by":
            field, direction = (value or {}).get("field", "time"), (value or {}).get("direction", "desc").lower()
            if direction not in {"asc", "desc"}:
                raise BadRequestError(f"order_by: direction is asc or desc, not {direction[:20]!r}")
            column = {"timestamp": "time", "start_time": "time", "score": "value"}.get(field, field)
            flat["order"] = column if direction == "asc" else f"-{column}"
        else:
            flat[key] = value
    return {_WORDS.get(key, key): value for key, value in flat.items()}
