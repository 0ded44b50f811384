"""An example line of each event type: of the built-in ones as a producer would write it, of declared ones by kind."""

from collections.abc import Mapping
from typing import Any

from spoolhouse.events import json_paths
from spoolhouse.events.declaration import Column, EventType, Fill, Kind

_START, _END = "2026-11-21T12:00:00.000Z", "2026-11-21T12:00:00.250Z"
_RUN = {"project_id": "shop", "run_id": "r1", "timestamp": _START}
_OF = {"projectId": "shop", "traceId": "t1"}

BUILT_IN: Mapping[str, Mapping[str, object]] = {
    "trace": {
        "id": "t1", "projectId": "shop", "name": "checkout", "startTime": _START, "endTime": _END, "status": "ok",
    },
    "span": {
        "id": "s1", **_OF, "name": "load cart", "startTime": _START, "endTime": _END,
        "attributes": {"http.route": "/cart"},
    },
    "log": {"id": "l1", **_OF, "level": "info", "message": "cart loaded", "timestamp": _START},
    "metric": {
        "id": "m1", "projectId": "shop", "name": "queue.depth", "value": 12, "timestamp": _START,
        "labels": {"host": "a"},
    },
    "score": {"id": "c1", **_OF, "name": "relevance", "value": 0.9, "timestamp": _START},
    "feedback": {"id": "f1", **_OF, "source": "user", "feedbackType": "rating", "value": 5, "timestamp": _START},
    "prompt_call": {
        "event_id": "e1", **_RUN, "model": "gpt-5", "prompt": "Where is my order?", "response": "On its way.",
        "tokens_input": 12, "tokens_output": 4, "latency_ms": 250.5,
    },
    "tool_call": {
        "event_id": "e2", **_RUN, "tool_name": "find_order", "input": {"order": 7}, "output": {"state": "sent"},
        "status": "success",
    },
    "agent_step": {"event_id": "e3", **_RUN, "step": {"number": 1, "name": "plan", "type": "reasoning"}},
    "error": {"event_id": "e4", **_RUN, "error": {"type": "Timeout", "message": "no answer in 30 s"}},
    "assertion_failed": {
        "event_id": "e5", **_RUN, "assertion_name": "is JSON", "assertion_type": "response_format",
        "assertion_severity": "high",
    },
    "hallucination_detected": {
        "event_id": "e6", **_RUN, "hallucination_detection_method": "heuristic",
        "hallucination_confidence_score": 0.8, "hallucination_flagged_content": "It arrived yesterday.",
    },
    "cost_threshold_exceeded": {
        "event_id": "e7", **_RUN, "alert_type": "cost_spike", "alert_threshold": 10, "alert_actual_value": 12.5,
    },
    "performance_alert": {
        "event_id": "e8", **_RUN, "alert_type": "latency_spike", "alert_threshold": 500, "alert_actual_value": 900,
    },
}  # fmt: skip

_BY_KIND: Mapping[Kind, object] = {
    Kind.SCALAR: 1,
    Kind.ANY: "text",
    Kind.BOOLEAN: True,
    Kind.INTEGER: 1,
    Kind.INTEGER32: 1,
    Kind.NUMBER: 1.5,
    Kind.TIME: _START,
    Kind.JSON: {"key": "value"},
    Kind.NUMBERS: [0.5],
    Kind.COUNTS: [1],
    Kind.TEXTS: ["text"],
}


def example(event: EventType) -> dict[str, object]:
    """Return an event of the type, flat, as a line would have it."""
    tag = "event_type" if "event_type" in {column.name for column in event.table.columns} else "type"
    if event.name in BUILT_IN:
        return {tag: event.name, **BUILT_IN[event.name]}
    found: dict[str, object] = {tag: event.name}
    for column in event.table.columns:
        if column.keys and column.fill is not Fill.CLOCK:
            inner: Any = found
            *way, last = json_paths.steps(column.keys[0])
            for step in way:
                inner = inner.setdefault(step, {})
            inner.setdefault(last, _value(event, column))
    return found


def _value(event: EventType, column: Column) -> object:
    if column.kind is Kind.CHOICE:
        return next(iter(column.choices))
    if column.name == event.project:
        return "shop"
    return _BY_KIND.get(column.kind, f"{column.name}-1")
