"""The event types that Spoolhouse knows from birth: trace, span, log, metric, score, feedback, and the agent family."""

from collections.abc import Mapping
from types import MappingProxyType

from spoolhouse.events.agent import AGENT_EVENTS
from spoolhouse.events.declaration import Column, EventType, Fill, Kind, Measure, Rollup, Table

STATUS = {"unset": 0, "ok": 1, "error": 2}
SPAN_KIND = {"internal": 0, "server": 1, "client": 2, "producer": 3, "consumer": 4}
LOG_LEVEL = {"debug": 0, "info": 1, "warn": 2, "error": 3, "fatal": 4}
METRIC_TYPE = {"counter": 0, "gauge": 1, "histogram": 2}


def _text(
    name: str, *keys: str, default: str | None = "", low_cardinality: bool = False, bloom: float | None = None
) -> Column:
    """Return an optional text column; absent is `default`, or NULL where that is None."""
    return Column(
        name=name,
        kind=Kind.TEXT,
        keys=keys,
        default=default,
        nullable=default is None,
        low_cardinality=low_cardinality,
        bloom=bloom,
    )


def _json(name: str, default: str) -> Column:
    return Column(name=name, kind=Kind.JSON, keys=(name,), default=default)


def _choice(name: str, choices: Mapping[str, int], default: str) -> Column:
    return Column(name=name, kind=Kind.CHOICE, keys=(name,), choices=choices, default=default)


PROJECT = Column(name="project_id", kind=Kind.TEXT, keys=("projectId",), required=True, low_cardinality=True)
DEPLOYMENT = _text("deployment_id", "deploymentId", low_cardinality=True)
NAME = Column(name="name", kind=Kind.TEXT, keys=("name",), required=True, low_cardinality=True)
START_TIME = Column(name="start_time", kind=Kind.TIME, keys=("startTime",), required=True)
END_TIME = Column(name="end_time", kind=Kind.TIME, keys=("endTime",), nullable=True)
TIMESTAMP = Column(name="timestamp", kind=Kind.TIME, keys=("timestamp",), required=True)
DURATION = Column(name="duration_ms", kind=Kind.INTEGER, keys=("durationMs",), nullable=True)
RECORDED_AT = Column(name="recorded_at", kind=Kind.TIME, keys=("recordedAt",), fill=Fill.CLOCK)
ID = Column(name="id", kind=Kind.TEXT, keys=("id",), required=True)

DURATION_MEASURE = Measure(
    column="duration_ms",
    total="total_duration_ms",
    average="avg_duration_ms",
    minimum="min_duration_ms",
    maximum="max_duration_ms",
    quantiles=True,
)
VALUE_MEASURE = Measure(
    column="value", total="sum_value", average="avg_value", minimum="min_value", maximum="max_value", quantiles=True
)

TRACES = Table(
    name="traces",
    columns=(
        Column(name="trace_id", kind=Kind.TEXT, keys=("id", "traceId"), required=True, bloom=0.001),
        PROJECT,
        DEPLOYMENT,
        NAME,
        _choice("status", STATUS, "unset"),
        START_TIME,
        END_TIME,
        DURATION,
        _json("input", ""),
        _json("output", ""),
        _json("metadata", "{}"),
        RECORDED_AT,
    ),
    order_by=("project_id", "deployment_id", "start_time", "trace_id"),
    time="start_time",
    ttl_days=90,
    rollups=(
        Rollup(
            name="traces_hourly_stats",
            time="start_time",
            keys=("project_id", "deployment_id"),
            trailing_keys=("status",),
            measure=DURATION_MEASURE,
            error_status="error",
            count_when="end_time",
        ),
    ),
)

SPANS = Table(
    name="spans",
    columns=(
        Column(name="span_id", kind=Kind.TEXT, keys=("id", "spanId"), required=True, bloom=0.01),
        Column(name="trace_id", kind=Kind.TEXT, keys=("traceId",), required=True),
        _text("parent_span_id", "parentSpanId", default=None),
        PROJECT,
        DEPLOYMENT,
        NAME,
        _choice("kind", SPAN_KIND, "internal"),
        _choice("status", STATUS, "unset"),
        START_TIME,
        END_TIME,
        DURATION,
        _json("attributes", "{}"),
        _json("events", "[]"),
        RECORDED_AT,
    ),
    order_by=("project_id", "deployment_id", "trace_id", "span_id"),
    time="start_time",
    ttl_days=90,
    rollups=(
        Rollup(
            name="spans_hourly_stats",
            time="start_time",
            keys=("project_id", "deployment_id"),
            trailing_keys=("kind", "status"),
            measure=DURATION_MEASURE,
            error_status="error",
            count_when="end_time",
        ),
    ),
)

LOGS = Table(
    name="logs",
    columns=(
        ID,
        PROJECT,
        DEPLOYMENT,
        _text("trace_id", "traceId", default=None, bloom=0.01),
        _text("span_id", "spanId", default=None, bloom=0.01),
        Column(name="level", kind=Kind.CHOICE, keys=("level",), choices=LOG_LEVEL, required=True),
        Column(name="message", kind=Kind.TEXT, keys=("message",), required=True),
        TIMESTAMP,
        _json("attributes", "{}"),
        RECORDED_AT,
    ),
    order_by=("project_id", "deployment_id", "timestamp", "id"),
    time="timestamp",
    ttl_days=30,
    rollups=(
        Rollup(
            name="logs_hourly_stats",
            time="timestamp",
            keys=("project_id", "deployment_id"),
            trailing_keys=("level",),
        ),
    ),
)

METRICS = Table(
    name="metrics",
    columns=(
        ID,
        PROJECT,
        DEPLOYMENT,
        NAME,
        Column(
            name="type",
            kind=Kind.CHOICE,
            keys=("metricType",),
            # At the top level `type` is the discriminator; inside an envelope it is free to say what the metric is.
            envelope_keys=("type",),
            choices=METRIC_TYPE,
            default="gauge",
        ),
        Column(name="value", kind=Kind.NUMBER, keys=("value",), required=True),
        _text("unit", "unit", default=None),
        TIMESTAMP,
        _json("labels", "{}"),
        Column(name="bucket_boundaries", kind=Kind.NUMBERS, keys=("bucketBoundaries",)),
        Column(name="bucket_counts", kind=Kind.COUNTS, keys=("bucketCounts",)),
        RECORDED_AT,
    ),
    order_by=("project_id", "deployment_id", "name", "timestamp", "id"),
    time="timestamp",
    ttl_days=90,
    rollups=(
        Rollup(
            name="metrics_hourly_stats",
            time="timestamp",
            keys=("project_id", "deployment_id", "name"),
            measure=VALUE_MEASURE,
        ),
    ),
)

SCORES = Table(
    name="scores",
    columns=(
        ID,
        PROJECT,
        DEPLOYMENT,
        _text("trace_id", "traceId", default=None, bloom=0.001),
        _text("span_id", "spanId", default=None, bloom=0.01),
        Column(name="name", kind=Kind.TEXT, keys=("name", "scorerName"), required=True, low_cardinality=True),
        Column(name="value", kind=Kind.NUMBER, keys=("value", "score"), required=True),
        Column(name="normalized_value", kind=Kind.NUMBER, keys=("normalizedValue",), nullable=True),
        _text("comment", "comment", "reason", default=None),
        _text("experiment", "experiment", low_cardinality=True, bloom=0.01),
        _text("organization_id", "organizationId", low_cardinality=True),
        _text("user_id", "userId"),
        _text("environment", "environment", low_cardinality=True),
        _text("service_name", "serviceName", low_cardinality=True),
        TIMESTAMP,
        _json("metadata", "{}"),
        RECORDED_AT,
    ),
    order_by=("project_id", "deployment_id", "name", "timestamp", "id"),
    time="timestamp",
    ttl_days=365,
    rollups=(
        Rollup(
            name="scores_hourly_stats",
            time="timestamp",
            keys=("project_id", "deployment_id", "name"),
            measure=VALUE_MEASURE,
        ),
    ),
)

FEEDBACK = Table(
    name="feedback",
    columns=(
        ID,
        PROJECT,
        DEPLOYMENT,
        _text("trace_id", "traceId", default=None, bloom=0.001),
        _text("span_id", "spanId", default=None, bloom=0.01),
        Column(name="source", kind=Kind.TEXT, keys=("source",), required=True, low_cardinality=True),
        Column(name="feedback_type", kind=Kind.TEXT, keys=("feedbackType",), required=True, low_cardinality=True),
        Column(name="value", kind=Kind.SCALAR, keys=("value",), required=True),
        _text("comment", "comment", default=None),
        _text("experiment", "experiment", low_cardinality=True, bloom=0.01),
        _text("organization_id", "organizationId", low_cardinality=True),
        _text("user_id", "userId"),
        _text("environment", "environment", low_cardinality=True),
        _text("service_name", "serviceName", low_cardinality=True),
        TIMESTAMP,
        _json("metadata", "{}"),
        RECORDED_AT,
    ),
    order_by=("project_id", "deployment_id", "feedback_type", "timestamp", "id"),
    time="timestamp",
    ttl_days=365,
    rollups=(
        Rollup(
            name="feedback_hourly_stats",
            time="timestamp",
            keys=("project_id", "deployment_id", "feedback_type"),
            trailing_keys=("source",),
        ),
    ),
)

BUILT_IN: Mapping[str, EventType] = MappingProxyType(
    {
        event.name: event
        for event in (
            EventType(name="trace", table=TRACES),
            EventType(name="span", table=SPANS),
            EventType(name="log", table=LOGS),
            EventType(name="metric", table=METRICS),
            EventType(name="score", table=SCORES),
            EventType(name="feedback", table=FEEDBACK),
            *AGENT_EVENTS,
        )
    }
)
"""Every event type by its discriminator value, which is also the name of its folder in the spool."""
