"""The built-in event types: trace, span, log, metric, score, feedback, and the agent family."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from spoolhouse.events import choices
from spoolhouse.events.agent import AGENT_EVENTS
from spoolhouse.events.declaration import (
    Column,
    EventType,
    Fill,
    Kind,
    Measure,
    Reckoning,
    Rollup,
    Table,
    Tally,
    both_cases,
    other_case,
)


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


def _usage(name: str, kind: Kind, **more: Any) -> Column:
    """Return a column of a span that says what a model call took."""
    return Column(name=name, kind=kind, aliases=(other_case(name),), fill=Fill.USAGE, sources=("attributes",), **more)


PROJECT = Column(name="project_id", kind=Kind.TEXT, keys=("projectId",), required=True, low_cardinality=True)
DEPLOYMENT = _text("deployment_id", "deploymentId", low_cardinality=True)
NAME = Column(name="name", kind=Kind.TEXT, keys=("name",), required=True, low_cardinality=True)
START_TIME = Column(name="start_time", kind=Kind.TIME, keys=("startTime",), required=True)
END_TIME = Column(name="end_time", kind=Kind.TIME, keys=("endTime",), nullable=True)
TIMESTAMP = Column(name="timestamp", kind=Kind.TIME, keys=("timestamp",), required=True)
DURATION = Column(
    name="duration_ms",
    kind=Kind.NUMBER,
    keys=("durationMs",),
    nullable=True,
    fill=Fill.ELAPSED,
    sources=("start_time", "end_time"),
)
RECORDED_AT = Column(name="recorded_at", kind=Kind.TIME, keys=("recordedAt",), fill=Fill.CLOCK)
ID = Column(name="id", kind=Kind.TEXT, keys=("id",), required=True, identifies=True, fill=Fill.LINE, bloom=0.01)
STATUS = Column(name="status", kind=Kind.CHOICE, keys=("status",), default="unset", **choices.STATUS)
EXTRA = Column(name="extra", kind=Kind.JSON, fill=Fill.EXTRA, default="{}")
UNCOUNTED = Column(name="uncounted", kind=Kind.BOOLEAN, nullable=True)
"""Of a trace that its root span counts instead; see `root_spans`. No producer writes it."""
ORGANIZATION = _text("organization_id", "organizationId", low_cardinality=True)
ENVIRONMENT = _text("environment", "environment", low_cardinality=True)
SERVICE = _text("service_name", "serviceName", low_cardinality=True)
WHO = (
    _text("experiment", "experiment", low_cardinality=True, bloom=0.01),
    ORGANIZATION,
    _text("user_id", "userId"),
    ENVIRONMENT,
    SERVICE,
)
"""Where a score or a feedback comes from; a metric has some of it."""

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
    columns=both_cases(
        (
            Column(
                name="trace_id", kind=Kind.TEXT, keys=("id", "traceId"), required=True, identifies=True, bloom=0.001
            ),
            PROJECT,
            DEPLOYMENT,
            NAME,
            STATUS,
            START_TIME,
            END_TIME,
            DURATION,
            _json("input", ""),
            _json("output", ""),
            _json("metadata", "{}"),
            RECORDED_AT,
            EXTRA,
            UNCOUNTED,
        )
    ),
    order_by=("project_id", "start_time", "trace_id"),
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
            count_unless=UNCOUNTED.name,
        ),
    ),
)

SPANS = Table(
    name="spans",
    columns=both_cases(
        (
            Column(name="span_id", kind=Kind.TEXT, keys=("id", "spanId"), required=True, identifies=True, bloom=0.01),
            Column(name="trace_id", kind=Kind.TEXT, keys=("traceId",), required=True, identifies=True, bloom=0.001),
            _text("parent_span_id", "parentSpanId", default=None),
            PROJECT,
            DEPLOYMENT,
            NAME,
            Column(name="kind", kind=Kind.CHOICE, keys=("kind",), default="internal", **choices.SPAN_KIND),
            STATUS,
            START_TIME,
            END_TIME,
            DURATION,
            _json("attributes", "{}"),
            _json("events", "[]"),
            Column(
                name="span_type",
                kind=Kind.TEXT,
                envelope_keys=("type",),
                aliases=("spanType",),
                takes_type=True,
                fill=Fill.USAGE,
                sources=("attributes",),
                default="",
                low_cardinality=True,
            ),
            _usage("model", Kind.TEXT, default="", low_cardinality=True, bloom=0.01),
            _usage("provider", Kind.TEXT, default="", low_cardinality=True),
            _usage("input_tokens", Kind.INTEGER, nullable=True),
            _usage("output_tokens", Kind.INTEGER, nullable=True),
            _usage("cost_usd", Kind.NUMBER, nullable=True),
            RECORDED_AT,
            EXTRA,
        )
    ),
    order_by=("project_id", "start_time", "trace_id", "span_id"),
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
        Rollup(
            name="spans_hourly_models",
            time="start_time",
            keys=("project_id", "deployment_id"),
            # A span that calls no model has an empty one: figures by model count it, as those of rows do.
            trailing_keys=("model", "provider", "status"),
            tallies=(
                Tally(name="total_input_tokens", reckoning=Reckoning.SUM, column="input_tokens"),
                Tally(name="total_output_tokens", reckoning=Reckoning.SUM, column="output_tokens"),
                Tally(name="total_cost_usd", reckoning=Reckoning.SUM, column="cost_usd"),
            ),
            measure=replace(DURATION_MEASURE, quantiles=False),
            error_status="error",
            count_when="end_time",
        ),
    ),
)

LOGS = Table(
    name="logs",
    columns=both_cases(
        (
            ID,
            PROJECT,
            DEPLOYMENT,
            _text("trace_id", "traceId", default=None, bloom=0.01),
            _text("span_id", "spanId", default=None, bloom=0.01),
            Column(name="level", kind=Kind.CHOICE, keys=("level",), required=True, **choices.LOG_LEVEL),
            Column(name="message", kind=Kind.TEXT, keys=("message",), required=True),
            TIMESTAMP,
            _json("attributes", "{}"),
            RECORDED_AT,
            EXTRA,
        )
    ),
    order_by=("project_id", "timestamp", "id"),
    time="timestamp",
    ttl_days=30,
    words=("message",),
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
    columns=both_cases(
        (
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
                takes_type=True,
                default="gauge",
                **choices.METRIC_TYPE,
            ),
            Column(name="value", kind=Kind.NUMBER, keys=("value",), required=True),
            _text("unit", "unit", default=None),
            TIMESTAMP,
            _json("labels", "{}"),
            ORGANIZATION,
            ENVIRONMENT,
            SERVICE,
            Column(name="bucket_boundaries", kind=Kind.NUMBERS, keys=("bucketBoundaries",)),
            Column(name="bucket_counts", kind=Kind.COUNTS, keys=("bucketCounts",)),
            RECORDED_AT,
            EXTRA,
        )
    ),
    order_by=("project_id", "name", "timestamp", "id"),
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
    columns=both_cases(
        (
            ID,
            PROJECT,
            DEPLOYMENT,
            _text("trace_id", "traceId", default=None, bloom=0.001),
            _text("span_id", "spanId", default=None, bloom=0.01),
            Column(name="name", kind=Kind.TEXT, keys=("name", "scorerName"), required=True, low_cardinality=True),
            Column(name="value", kind=Kind.NUMBER, keys=("value", "score"), required=True),
            Column(name="normalized_value", kind=Kind.NUMBER, keys=("normalizedValue",), nullable=True),
            _text("comment", "comment", "reason", default=None),
            *WHO,
            TIMESTAMP,
            _json("metadata", "{}"),
            RECORDED_AT,
            EXTRA,
        )
    ),
    order_by=("project_id", "timestamp", "id"),
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
    columns=both_cases(
        (
            ID,
            PROJECT,
            DEPLOYMENT,
            _text("trace_id", "traceId", default=None, bloom=0.001),
            _text("span_id", "spanId", default=None, bloom=0.01),
            Column(name="source", kind=Kind.TEXT, keys=("source",), required=True, low_cardinality=True),
            Column(name="feedback_type", kind=Kind.TEXT, keys=("feedbackType",), required=True, low_cardinality=True),
            Column(name="value", kind=Kind.SCALAR, keys=("value",), required=True),
            Column(name="value_number", kind=Kind.NUMBER, fill=Fill.NUMBER, sources=("value",), nullable=True),
            _text("comment", "comment", default=None),
            *WHO,
            TIMESTAMP,
            _json("metadata", "{}"),
            RECORDED_AT,
            EXTRA,
        )
    ),
    order_by=("project_id", "timestamp", "id"),
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
