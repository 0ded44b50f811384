"""Lines of Mastra's bus, by the types that Mastra declares: each field absent, null, present, or in another form."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, composite

from spoolhouse.events.builtin import BUILT_IN
from tests.unit.written import ANYHOW, ANYTHING, BESIDE, UNKNOWN, WORDS, How, Value, shuffled, value_of

CONTEXT = ("traceId", "spanId", "userId", "organizationId", "environment", "serviceName", "experimentId", "entityId")


class Kind(NamedTuple):
    """One kind of payload."""

    key: str
    types: tuple[str, ...]
    event: str
    columns: dict[str, str]
    """By field, its column."""
    required: tuple[str, ...]
    kept: tuple[str, ...]
    """Fields that come back in `extra`."""
    context: Mapping[str, str] = MappingProxyType({})
    """By column, the field of the correlation context that it has where the payload does not say."""


_ABOUT = {"traceId": "trace_id", "spanId": "span_id", "experimentId": "experiment", "timestamp": "timestamp"}
_OF_CONTEXT = {
    "trace_id": "traceId", "span_id": "spanId", "experiment": "experimentId", "organization_id": "organizationId",
    "user_id": "userId", "environment": "environment", "service_name": "serviceName",
}  # fmt: skip
KINDS = (
    Kind(
        key="exportedSpan", types=("span_started", "span_updated", "span_ended"), event="span",
        columns={
            "id": "span_id", "traceId": "trace_id", "parentSpanId": "parent_span_id", "name": "name",
            "type": "span_type", "startTime": "start_time", "endTime": "end_time", "attributes": "attributes",
        },
        required=("id", "traceId", "name", "startTime"),
        kept=(
            "entityType", "entityId", "entityName", "input", "output", "errorInfo", "metadata", "tags", "isEvent",
            "requestContext", "isInternal",
        ),
    ),
    Kind(
        key="log", types=("log",), event="log",
        columns={
            "logId": "id", "timestamp": "timestamp", "level": "level", "message": "message", "data": "attributes",
            "traceId": "trace_id", "spanId": "span_id",
        },
        required=("timestamp", "level", "message"), kept=("metadata", "tags"),
        context={"trace_id": "traceId", "span_id": "spanId"},
    ),
    Kind(
        key="metric", types=("metric",), event="metric",
        columns={"metricId": "id", "timestamp": "timestamp", "name": "name", "value": "value", "labels": "labels"},
        required=("timestamp", "name", "value"), kept=("costContext", "metadata", "traceId", "spanId"),
        context={"organization_id": "organizationId", "environment": "environment", "service_name": "serviceName"},
    ),
    Kind(
        key="score", types=("score",), event="score",
        columns={"scoreId": "id", "scorerName": "name", "score": "value", "reason": "comment", "metadata": "metadata"}
        | _ABOUT,
        required=("timestamp", "scorerName", "score"),
        kept=("scorerId", "scorerVersion", "scoreSource", "scoreTraceId", "source", "targetEntityType"),
        context=_OF_CONTEXT,
    ),
    Kind(
        key="feedback", types=("feedback",), event="feedback",
        columns={
            "feedbackId": "id", "feedbackSource": "source", "feedbackType": "feedback_type", "value": "value",
            "feedbackUserId": "user_id", "comment": "comment", "metadata": "metadata",
        } | _ABOUT,
        required=("timestamp", "feedbackType", "value"), kept=("sourceId",), context=_OF_CONTEXT,
    ),
)  # fmt: skip


class MastraLine(NamedTuple):
    """A line, and what it says."""

    kind: Kind
    data: bytes
    values: dict[str, Value]
    """By column."""
    extra: dict[str, Any]
    is_root: bool


@dataclass(kw_only=True)
class _Drawn:
    """A payload in the making."""

    payload: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def keep(self, key: str, value: object) -> None:
        self.payload[key] = self.extra[key] = value


@composite
def mastra_lines(draw: DrawFn, how: How = ANYHOW) -> MastraLine:
    """A line of the bus."""
    kind = draw(st.sampled_from(KINDS))
    drawn = _Drawn()
    put_columns(draw, kind, drawn, how)
    for key in kind.kept:
        if draw(st.booleans()):
            drawn.keep(key, draw(ANYTHING))
    is_root = None
    if kind.key == "exportedSpan":
        if draw(st.booleans()):
            is_root = draw(st.booleans() | st.none())
            drawn.keep("isRootSpan", is_root)
        if is_root is None:
            is_root = drawn.payload.get("parentSpanId") is None
    elif draw(st.booleans()):
        put_context(draw, kind, drawn)
    for name, value in draw(st.dictionaries(st.sampled_from(UNKNOWN), ANYTHING, max_size=2)).items():
        drawn.keep(name, value)
    line: dict[str, Any] = {"type": draw(st.sampled_from(kind.types)), kind.key: shuffled(draw, drawn.payload)}
    if draw(st.integers(0, 9)) == 0:
        line["host"] = 1
        drawn.extra[BESIDE] = {"host": 1}
    spaces = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    text = json.dumps(line, ensure_ascii=draw(st.booleans()), separators=spaces)
    return MastraLine(kind, text.encode() + b"\n", drawn.values, drawn.extra, bool(is_root))


def put_columns(draw: DrawFn, kind: Kind, drawn: _Drawn, how: How) -> None:
    """Write the fields that columns take."""
    for key, name in kind.columns.items():
        mode = "value" if key in kind.required else draw(st.sampled_from(["absent", "null", "value", "value"]))
        if mode == "null":
            drawn.payload[key] = None
        elif mode == "value":
            value = draw(value_of(BUILT_IN[kind.event].column(name), (key,), how))
            drawn.payload[key] = value.json
            drawn.values[name] = value
            if value.is_lossy:
                drawn.extra[key] = value.json


def put_context(draw: DrawFn, kind: Kind, drawn: _Drawn) -> None:
    """Write a correlation context, some of which columns may take."""
    context = draw(st.dictionaries(st.sampled_from(CONTEXT), WORDS | st.none() | st.integers(), max_size=4))
    drawn.keep("correlationContext", context)
    for name, key in kind.context.items():
        if name not in drawn.values and isinstance(text := context.get(key), str):
            drawn.values[name] = Value(text, text)
