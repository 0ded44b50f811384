"""Sample events as OTLP/JSON: what a producer would write of the same spans, logs and metrics, in batches."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

Json = dict[str, Any]

_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUS = ("unset", "ok", "error")
_SEVERITIES = {"debug": 5, "info": 9, "warn": 13, "error": 17, "fatal": 21}
_RESOURCE = {"service.name": "shop", "service.version": "1.4.2"}
_SCOPE = {"name": "shop.orders", "version": "1.4.2"}
BATCH = 100
"""Records of a line, if no other number is given."""


def value(given: object) -> Json:
    """Return a value."""
    match given:
        case bool():
            return {"boolValue": given}
        case int():
            return {"intValue": str(given)}
        case float():
            return {"doubleValue": given}
    return {"stringValue": given}


def pairs(given: Json) -> list[Json]:
    """Return attributes."""
    return [{"key": key, "value": value(one)} for key, one in given.items()]


def ns(time: str) -> str:
    """Return a time."""
    return str(round(datetime.fromisoformat(time).timestamp() * 1000) * 10**6)


def span(event: Json) -> Json:
    """Return a span."""
    events = [
        {"timeUnixNano": ns(one["time"]), "name": one["name"], "attributes": pairs(one["attributes"])}
        for one in event.get("events", ())
    ]
    return {
        "traceId": event["traceId"],
        "spanId": event["id"],
        **({"parentSpanId": event["parentSpanId"]} if event.get("parentSpanId") else {}),
        "flags": 256,
        "name": event["name"],
        "kind": _KINDS.index(event["kind"]),
        "startTimeUnixNano": ns(event["startTime"]),
        "endTimeUnixNano": ns(event["endTime"]),
        "attributes": pairs(event["attributes"]),
        **({"events": events} if events else {}),
        "status": {"code": code} if (code := _STATUS.index(event["status"])) else {},
    }


def log(event: Json) -> Json:
    """Return a log."""
    return {
        "timeUnixNano": ns(event["timestamp"]),
        "observedTimeUnixNano": ns(event["timestamp"]),
        "severityNumber": _SEVERITIES[event["level"]],
        "severityText": event["level"].upper(),
        "body": {"stringValue": event["message"]},
        "attributes": pairs(event["attributes"]),
        "flags": 1,
        "traceId": event["traceId"],
        "spanId": event["spanId"],
    }


def metric(event: Json) -> Json:
    """Return a metric with one data point."""
    point: Json = {
        "attributes": pairs(event["labels"]), "startTimeUnixNano": ns(event["timestamp"]),
        "timeUnixNano": ns(event["timestamp"]),
    }  # fmt: skip
    if event["metricType"] == "histogram":
        counts = event["bucketCounts"]
        point |= {"count": str(sum(counts)), "sum": event["value"], "bucketCounts": list(map(str, counts))}
        data: Json = {"histogram": {"dataPoints": [point | {"explicitBounds": event["bucketBoundaries"]}]}}
    else:
        points = {"dataPoints": [point | {"asDouble": event["value"]}]}
        total = {"aggregationTemporality": 2, "isMonotonic": True}
        data = {"sum": points | total} if event["metricType"] == "counter" else {"gauge": points}
    return {"name": event["name"], "unit": event.get("unit", ""), **data}


FORMS: dict[str, tuple[str, str, str, Callable[[Json], Json]]] = {
    "span": ("resourceSpans", "scopeSpans", "spans", span),
    "log": ("resourceLogs", "scopeLogs", "logRecords", log),
    "metric": ("resourceMetrics", "scopeMetrics", "metrics", metric),
}


def documents(kind: str, events: Sequence[Json], more: Json | None = None, batch: int = BATCH) -> Iterator[bytes]:
    """Yield lines of `batch` events of a type; each record has `more` fields."""
    outer, inner, records, form = FORMS[kind]
    for first in range(0, len(events), batch):
        some = [form(event) | (more or {}) for event in events[first : first + batch]]
        group = {"resource": {"attributes": pairs(_RESOURCE)}, inner: [{"scope": _SCOPE, records: some}]}
        yield json.dumps({outer: [group]}, separators=(",", ":")).encode() + b"\n"
