"""Jaeger's HTTP JSON, five questions: its page, and Grafana's source for it, show what has landed.

A service is a project. Nothing tells which service calls which: there are no dependencies.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from spoolhouse.api.access import ForbiddenError, Projects
from spoolhouse.api.answers import MissingError
from spoolhouse.errors import BadRequestError
from spoolhouse.query.aliases import Client
from spoolhouse.query.records import Span
from spoolhouse.query.requests import ALL_PROJECTS

Asked = Mapping[str, str]
Json = dict[str, Any]
_Answer = Callable[[Client, Asked, Projects], Awaitable[list[Any]]]

_SINCE = timedelta(days=90)
_MOST_TRACES = 100
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|µs|ms|s|m|h)", re.ASCII)
_MS = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}


class JaegerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What Jaeger's routes answer."""

    data: list[Any]
    total: int
    limit: int = 0
    offset: int = 0
    errors: None = None


async def answer(route: str, client: Client, asked: Asked, projects: Projects) -> bytes:
    """Return the answer to a question on a route of `ROUTES`. Raises `SpoolhouseError`."""
    data = await ROUTES[route](client, asked, projects)
    return msgspec.json.encode(JaegerAnswer(data=data, total=len(data)))


def _project(asked: Asked, projects: Projects) -> str:
    service = asked.get("service", "")
    if not service:
        raise BadRequestError("a service is required: the name of a project")
    if projects is not None and service not in projects:
        raise ForbiddenError(f"this token is for other projects; it accepts {', '.join(sorted(projects))}")
    return service


async def _services(client: Client, _asked: Asked, projects: Projects) -> list[Any]:
    if projects is not None:
        return sorted(projects)
    answer = await client.figures("span", project=ALL_PROJECTS, since=_SINCE, by=("project_id",))
    return sorted(str(row.by["project_id"]) for row in answer.rows)


async def _operations(client: Client, asked: Asked, projects: Projects) -> list[Any]:
    answer = await client.figures("span", project=_project(asked, projects), since=_SINCE, by=("name",))
    return sorted(str(row.by["name"]) for row in answer.rows)


async def _traces(client: Client, asked: Asked, projects: Projects) -> list[Any]:
    project = _project(asked, projects)
    page = await client.page(
        "traces",
        project=project,
        since=_time(asked, "start"),
        until=_time(asked, "end"),
        min=_milliseconds(asked, "minDuration"),
        max=_milliseconds(asked, "maxDuration"),
        where=_where(asked),
        page_size=min(_whole(asked, "limit") or 20, _MOST_TRACES),
        light=True,
    )
    return [_trace(one.trace_id, await client.get_spans_for_trace(project, one.trace_id)) for one in page.records]


async def _one(client: Client, asked: Asked, projects: Projects) -> list[Any]:
    for project in [ALL_PROJECTS] if projects is None else sorted(projects):
        spans = await client.get_spans_for_trace(project, asked["id"])
        if spans:
            return [_trace(asked["id"], spans)]
    raise MissingError(f"no trace {asked['id'][:60]!r}")


async def _dependencies(_client: Client, _asked: Asked, _projects: Projects) -> list[Any]:
    return []


ROUTES: Mapping[str, _Answer] = {
    "/api/services": _services,
    "/api/services/{service}/operations": _operations,
    "/api/traces": _traces,
    "/api/traces/{id}": _one,
    "/api/dependencies": _dependencies,
}
"""By path."""
PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "/api/traces": ("service", "operation", "tags", "start", "end", "minDuration", "maxDuration", "limit"),
}
"""What is asked in the query, by path."""


def _whole(asked: Asked, name: str) -> int | None:
    text = asked.get(name)
    if not text:
        return None
    if not text.isascii() or not text.isdecimal():
        raise BadRequestError(f"{name}: a whole number is accepted, not {text[:60]!r}")
    return int(text)


def _time(asked: Asked, name: str) -> datetime | None:
    microseconds = _whole(asked, name)
    if microseconds is None:
        return None
    try:
        return _EPOCH + microseconds * _MICROSECOND
    except OverflowError:
        raise BadRequestError(f"{name}: microseconds since 1970 are accepted") from None


def _milliseconds(asked: Asked, name: str) -> float | None:
    text = asked.get(name)
    if not text:
        return None
    found = _DURATION.fullmatch(text)
    if found is None:
        raise BadRequestError(f"{name}: a duration such as 1.5s, 100ms or 250us is accepted, not {text[:60]!r}")
    return float(found[1]) * _MS[found[2]]


def _where(asked: Asked) -> Json | None:
    """Return the predicate: a span of the trace has the operation's name, and each of the tags."""
    found: list[Json] = []
    if asked.get("operation"):
        found.append({"field": "name", "op": "eq", "value": asked["operation"]})
    try:
        tags = msgspec.json.decode(asked.get("tags") or "{}", type=dict[str, str])
    except msgspec.MsgspecError:
        raise BadRequestError("tags: a JSON object of texts is accepted") from None
    for key, value in tags.items():
        is_error = key == "error" and value == "true"
        field = {"field": "status", "value": "error"} if is_error else {"field": f"label.{key}", "value": value}
        found.append({"op": "eq", **field})
    return {"some": "spans", "where": {"and": found}} if found else None


def _trace(trace_id: str, spans: list[Span]) -> Json:
    projects = {span.project_id: f"p{number}" for number, span in enumerate(spans, 1)}
    return {
        "traceID": trace_id,
        "spans": [_span(span, projects[span.project_id]) for span in spans],
        "processes": {key: {"serviceName": name, "tags": []} for name, key in projects.items()},
        "warnings": None,
    }


def _span(span: Span, process: str) -> Json:
    attributes = span.attributes if isinstance(span.attributes, dict) else {}
    own = {"span.kind": span.kind, "span.type": span.span_type, "gen_ai.request.model": span.model}
    failed = {"error": True} if span.status == "error" else {}
    parent = {"refType": "CHILD_OF", "traceID": span.trace_id, "spanID": span.parent_span_id}
    return {
        "traceID": span.trace_id,
        "spanID": span.span_id,
        "operationName": span.name,
        "references": [parent] if span.parent_span_id else [],
        "startTime": (span.start_time - _EPOCH) // _MICROSECOND,
        "duration": round((span.duration_ms or 0) * 1000),
        "tags": [_tag(key, value) for key, value in ({**own, **attributes, **failed}).items() if value != ""],
        "logs": _logs(span),
        "processID": process,
        "warnings": None,
    }


def _logs(span: Span) -> list[Json]:
    events = [one for one in span.events if isinstance(one, dict)] if isinstance(span.events, list) else []
    start = (span.start_time - _EPOCH) // _MICROSECOND
    return [{"timestamp": start, "fields": [_tag(key, value) for key, value in one.items()]} for one in events]


def _tag(key: str, value: object) -> Json:
    match value:
        case bool():
            return {"key": key, "type": "bool", "value": value}
        case int():
            return {"key": key, "type": "int64", "value": value}
        case float():
            return {"key": key, "type": "float64", "value": value}
        case str():
            return {"key": key, "type": "string", "value": value}
    return {"key": key, "type": "string", "value": msgspec.json.encode(value).decode()}
