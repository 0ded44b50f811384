"""Logs, metrics, scores and feedback of Mastra's bus."""

from typing import Any

import msgspec
from msgspec import Raw

from spoolhouse.events.shapes.mastra.payload import (
    Payload,
    Time,
    first,
    is_given,
    is_object,
    object_of,
    same,
    text_or_none,
)
from spoolhouse.events.shapes.shape import Fields, Form, FormedEvent


def _logs(_type: str, log: Any, unknown: Fields) -> list[FormedEvent]:
    trace, span = log.traceId, log.spanId
    if not (is_given(trace) and is_given(span)):
        context = _context(log)
        trace, span = first(trace, context.traceId), first(span, context.spanId)
    return [(_LOG, log, (trace, span), unknown)]


def _metrics(_type: str, metric: Any, unknown: Fields) -> list[FormedEvent]:
    context = _context(metric)
    return [(_METRIC, metric, (context.organizationId, context.environment, context.serviceName), unknown)]


def _scores(_type: str, score: Any, unknown: Fields) -> list[FormedEvent]:
    name = score.scorerName if is_given(score.scorerName) else score.scorerId
    return [(_SCORE, score, (name, *_about(score, None)), unknown)]


def _feedback(_type: str, feedback: Any, unknown: Fields) -> list[FormedEvent]:
    source = first(first(feedback.feedbackSource, feedback.source), "")
    user = first(feedback.feedbackUserId, feedback.userId)
    return [(_FEEDBACK, feedback, (source, *_about(feedback, user)), unknown)]


def _about(payload: Any, user: object) -> tuple[object, ...]:
    """Return the values of `_ABOUT`: the run that a score or feedback is about. Its own fields come first."""
    context = _context(payload)
    return (
        first(payload.traceId, context.traceId),
        first(payload.spanId, context.spanId),
        first(user, context.userId),
        first(payload.experimentId, context.experimentId),
        context.organizationId,
        context.environment,
        context.serviceName,
    )


_ABOUT = ("traceId", "spanId", "userId", "experiment", "organizationId", "environment", "serviceName")
"""Keys of ours."""
_CORRELATED = ("traceId", "spanId", "userId", "experimentId", "organizationId", "environment", "serviceName")
_Context = msgspec.defstruct("_Context", [(key, str | None, None) for key in _CORRELATED], gc=False)
_context_of = msgspec.json.Decoder(_Context).decode
_NO_CONTEXT = _Context()


def _context(payload: Any) -> Any:
    """Return the texts of the correlation context; its other values are in `extra` alone."""
    raw = payload.correlationContext
    if raw is None:
        return _NO_CONTEXT
    try:
        return _context_of(raw)
    except msgspec.ValidationError:
        fields = object_of(raw) if is_object(raw) else {}
        return _Context(**{key: text_or_none(fields.get(key)) for key in _CORRELATED})


LOG = Payload(
    key="log",
    read=_logs,
    fields={
        "logId": str | None, "timestamp": Time, "level": str, "message": str, "data": Raw, "traceId": str | None,
        "spanId": str | None, "tags": Raw, "correlationContext": Raw, "metadata": Raw,
    },
)  # fmt: skip
_LOG = Form(
    type="log",
    fields={"id": "logId", "attributes": "data", **same("level", "message", "timestamp")},
    derived=("traceId", "spanId"),
    kept=same("correlationContext", "metadata", "tags"),
)
METRIC = Payload(
    key="metric",
    read=_metrics,
    fields={
        "metricId": str | None, "timestamp": Time, "traceId": Raw, "spanId": Raw, "name": str,
        "value": int | float, "labels": Raw, "correlationContext": Raw, "costContext": Raw, "metadata": Raw,
    },
)  # fmt: skip
_METRIC = Form(
    type="metric",
    fields={"id": "metricId", **same("name", "value", "timestamp", "labels")},
    derived=("organizationId", "environment", "serviceName"),
    kept=same("correlationContext", "costContext", "metadata", "spanId", "traceId"),
)
SCORE = Payload(
    key="score",
    read=_scores,
    fields={
        "scoreId": str | None, "timestamp": Time, "traceId": str | None, "spanId": str | None,
        "scorerId": str | None, "scorerName": str | None, "scorerVersion": Raw, "scoreSource": Raw, "source": Raw,
        "score": int | float, "reason": str | None, "experimentId": str | None, "scoreTraceId": Raw,
        "targetEntityType": Raw, "correlationContext": Raw, "metadata": Raw,
    },
)  # fmt: skip
_SCORE = Form(
    type="score",
    fields={"id": "scoreId", "score": "score", "reason": "reason", **same("timestamp", "metadata")},
    derived=("scorerName", *_ABOUT),
    kept=same(
        "correlationContext", "scoreSource", "scoreTraceId", "scorerId", "scorerVersion", "source", "targetEntityType",
    ),
    names={"value": "score", "name": "scorerName", "experiment": "experimentId"},
)  # fmt: skip
FEEDBACK = Payload(
    key="feedback",
    read=_feedback,
    fields={
        "feedbackId": str | None, "timestamp": Time, "traceId": str | None, "spanId": str | None,
        "feedbackSource": str | None, "source": str | None, "feedbackType": str, "value": Raw,
        "feedbackUserId": str | None, "userId": str | None, "comment": str | None, "experimentId": str | None,
        "sourceId": Raw, "metadata": Raw, "correlationContext": Raw,
    },
)  # fmt: skip
_FEEDBACK = Form(
    type="feedback",
    fields={"id": "feedbackId", **same("feedbackType", "value", "comment", "timestamp", "metadata")},
    derived=("source", *_ABOUT),
    kept=same("correlationContext", "source", "sourceId", "userId"),
    names={"source": "feedbackSource", "userId": "feedbackUserId", "experiment": "experimentId"},
)
