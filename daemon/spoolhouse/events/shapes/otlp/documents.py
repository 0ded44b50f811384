"""The messages of OTLP/JSON as structs, whose attributes are the protocol's fields, in the order that producers write.

They are decoded with `strict=False`, so that numbers may be texts, NaN and infinities, too. Other
documents are for `tolerant`.
"""

from collections.abc import Sequence
from typing import Any, TypeVar, get_args

import msgspec

Enum = int | str | None
"""A value of an enumeration: its number, the digits of it as text, or its name."""

OTHERS = "\ue000"
"""The key under which `tolerant` puts unknown fields; no producer writes it."""


class Message(msgspec.Struct, gc=False, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Any message. A null is an absent value, and so is a zero."""


class Top(Message):
    """A message that repeats, or whose values several rows share: `tolerant` keeps its unknown fields here."""

    unknown: dict[str, Any] | None = msgspec.field(name=OTHERS, default=None)

    @staticmethod
    def unknown_of(messages: Sequence[Any]) -> Sequence[dict[str, Any] | None]:
        """Return the unknown fields of messages of one type: faster than one by one, where fields were learned."""
        return [message.unknown for message in messages]


class AnyValue(Message):
    """A value: at most one of these; none of them is a null."""

    string_value: str | None = None
    int_value: int | None = None
    double_value: float | None = None
    bool_value: bool | None = None
    array_value: "ArrayValue | None" = None
    kvlist_value: "KeyValueList | None" = None
    bytes_value: str | None = None


class KeyValue(Message):
    """An attribute."""

    key: str = ""
    value: AnyValue = msgspec.field(default_factory=AnyValue)


class ArrayValue(Message):
    """A list of values."""

    values: Sequence[AnyValue] | None = None


class KeyValueList(Message):
    """An object."""

    values: Sequence[KeyValue] | None = None


class Resource(Top):
    """The producer of the telemetry."""

    attributes: Sequence[KeyValue] | None = None
    dropped_attributes_count: int | None = None
    entity_refs: Sequence[Any] | None = None


class Scope(Top):
    """The library that produced it."""

    name: str | None = None
    version: str | None = None
    attributes: Sequence[KeyValue] | None = None
    dropped_attributes_count: int | None = None


class Status(Message, omit_defaults=True):
    """How a span ended."""

    message: str | None = None
    code: Enum = None


class Event(Message, omit_defaults=True):
    """An event of a span."""

    time_unix_nano: int | None = None
    name: str | None = None
    attributes: Sequence[KeyValue] | None = None
    dropped_attributes_count: int | None = None


class Link(Message, omit_defaults=True):
    """A link from a span to another one."""

    trace_id: str | None = None
    span_id: str | None = None
    trace_state: str | None = None
    attributes: Sequence[KeyValue] | None = None
    dropped_attributes_count: int | None = None
    flags: int | None = None


class Span(Top):
    """A span."""

    trace_id: str | None = None
    span_id: str | None = None
    trace_state: str | None = None
    parent_span_id: str | None = None
    flags: int | None = None
    name: str | None = None
    kind: Enum = None
    start_time_unix_nano: int | None = None
    end_time_unix_nano: int | None = None
    attributes: Sequence[KeyValue] | None = None
    dropped_attributes_count: int | None = None
    events: Sequence[Event] | None = None
    dropped_events_count: int | None = None
    links: Sequence[Link] | None = None
    dropped_links_count: int | None = None
    status: Status | None = None


class LogRecord(Top):
    """A log."""

    time_unix_nano: int | None = None
    observed_time_unix_nano: int | None = None
    severity_number: Enum = None
    severity_text: str | None = None
    body: AnyValue | None = None
    attributes: Sequence[KeyValue] | None = None
    dropped_attributes_count: int | None = None
    flags: int | None = None
    trace_id: str | None = None
    span_id: str | None = None
    event_name: str | None = None


class Exemplar(Message, omit_defaults=True):
    """A measurement that a data point is an aggregate of."""

    filtered_attributes: Sequence[KeyValue] | None = None
    time_unix_nano: int | None = None
    as_double: float | None = None
    as_int: int | None = None
    span_id: str | None = None
    trace_id: str | None = None


class Point(Top):
    """The common fields of all data points."""

    attributes: Sequence[KeyValue] | None = None
    start_time_unix_nano: int | None = None
    time_unix_nano: int | None = None
    exemplars: Sequence[Exemplar] | None = None
    flags: int | None = None


class NumberPoint(Point):
    """A data point of a gauge or a sum."""

    as_double: float | None = None
    as_int: int | None = None


class HistogramPoint(Point):
    """A data point of a histogram with explicit bounds."""

    count: int | None = None
    sum: float | None = None
    bucket_counts: Sequence[int] | None = None
    explicit_bounds: Sequence[float] | None = None
    min: float | None = None
    max: float | None = None


class Buckets(Message, omit_defaults=True):
    """One side of an exponential histogram."""

    offset: int | None = None
    bucket_counts: Sequence[int] | None = None


class ExponentialPoint(Point):
    """A data point of an exponential histogram."""

    count: int | None = None
    sum: float | None = None
    scale: int | None = None
    zero_count: int | None = None
    positive: Buckets | None = None
    negative: Buckets | None = None
    min: float | None = None
    max: float | None = None
    zero_threshold: float | None = None


class Quantile(Message, omit_defaults=True):
    """A quantile of a summary."""

    quantile: float | None = None
    value: float | None = None


class SummaryPoint(Point):
    """A data point of a summary."""

    count: int | None = None
    sum: float | None = None
    quantile_values: Sequence[Quantile] | None = None


class Gauge(Message):
    """Values as they were."""

    data_points: Sequence[NumberPoint] | None = None


class Sum(Message):
    """Sums of measurements."""

    data_points: Sequence[NumberPoint] | None = None
    aggregation_temporality: Enum = None
    is_monotonic: bool | None = None


class Histogram(Message):
    """Counts of measurements by explicit bounds."""

    data_points: Sequence[HistogramPoint] | None = None
    aggregation_temporality: Enum = None


class ExponentialHistogram(Message):
    """Counts of measurements by exponential bounds."""

    data_points: Sequence[ExponentialPoint] | None = None
    aggregation_temporality: Enum = None


class Summary(Message):
    """Quantiles, as Prometheus computes them."""

    data_points: Sequence[SummaryPoint] | None = None


class Metric(Top):
    """An instrument: at most one kind of data."""

    name: str | None = None
    description: str | None = None
    unit: str | None = None
    gauge: Gauge | None = None
    sum: Sum | None = None
    histogram: Histogram | None = None
    exponential_histogram: ExponentialHistogram | None = None
    summary: Summary | None = None
    metadata: Sequence[KeyValue] | None = None


class ScopeGroup(Top):
    """The records of one scope."""

    scope: Scope | None = None
    schema_url: str | None = None


class ScopeSpans(ScopeGroup):
    """Spans of one scope."""

    spans: Sequence[Span] | None = None


class ScopeLogs(ScopeGroup):
    """Logs of one scope."""

    log_records: Sequence[LogRecord] | None = None


class ScopeMetrics(ScopeGroup):
    """Metrics of one scope."""

    metrics: Sequence[Metric] | None = None


class ResourceGroup(Top):
    """The records of one resource."""

    resource: Resource | None = None
    schema_url: str | None = None


class ResourceSpans(ResourceGroup):
    """Spans of one resource."""

    scope_spans: Sequence[ScopeSpans] | None = None


class ResourceLogs(ResourceGroup):
    """Logs of one resource."""

    scope_logs: Sequence[ScopeLogs] | None = None


class ResourceMetrics(ResourceGroup):
    """Metrics of one resource."""

    scope_metrics: Sequence[ScopeMetrics] | None = None


M = TypeVar("M", bound=Message)


def as_protocol(message: M, kind: type[M]) -> M:
    """Return a message of a kind whose JSON has the protocol's keys, also if it was decoded with others."""
    if message.__class__ is kind:
        return message
    return kind(**{name: getattr(message, name) for name in kind.__struct_fields__})


def message_of(kind: Any) -> type[Message] | None:
    """Return the message in a type: itself, in an array, or one that may be absent."""
    if isinstance(kind, type) and issubclass(kind, Message):
        return kind
    return next((found for one in get_args(kind) if (found := message_of(one))), None)
