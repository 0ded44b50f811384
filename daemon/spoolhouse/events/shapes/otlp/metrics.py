"""Metrics of OTLP: each data point is a metric of ours.

The value of a histogram and of a summary is the sum of what was measured, as our own producers write it, or the count
where there is no sum. A data point without a value, or with NaN or an infinity, gives no row: it is counted.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from spoolhouse.events.shapes.otlp.documents import (
    Exemplar,
    ExponentialPoint,
    HistogramPoint,
    Metric,
    NumberPoint,
    Point,
    ResourceMetrics,
    ScopeMetrics,
    SummaryPoint,
)
from spoolhouse.events.shapes.otlp.producer import Line, Producer, located, present
from spoolhouse.events.shapes.otlp.values import (
    enumeration,
    exact,
    identity_or_none,
    moment,
    nanoseconds,
    plain,
    written,
)
from spoolhouse.events.shapes.shape import Fields, ShapedBatch, ShapeError

_METRIC = ("name", "type", "value", "unit", "timestamp", "labels", "bucket_boundaries", "bucket_counts")
_TEMPORALITIES = enumeration(
    AGGREGATION_TEMPORALITY_UNSPECIFIED="",
    AGGREGATION_TEMPORALITY_DELTA="delta",
    AGGREGATION_TEMPORALITY_CUMULATIVE="cumulative",
)
_BITS = 2**63
_NO_VALUE = 1
"""The flag of a data point that says that there is no value."""
NO_VALUE, NOT_FINITE = "dataPoints without a value", "dataPoints that are not finite"
"""What such data points are counted as."""


class Metrics:
    """The metrics of a line."""

    def __init__(self, line: Line) -> None:
        """Read metrics of `line`."""
        self._line = line
        self._metrics: list[tuple[object, ...]] = []
        self._unknown: dict[int, Fields] = {}

    def read(self, groups: Sequence[ResourceMetrics]) -> Iterator[ShapedBatch]:
        """Yield the metrics of several resources."""
        where: tuple[int, ...] = ()
        try:
            for outer, group in enumerate(groups):
                for inner, scoped in enumerate(group.scope_metrics or ()):
                    where = outer, inner
                    producer = self._line.producer(group, scoped, _count(scoped))
                    for number, metric in enumerate(scoped.metrics or ()):
                        where = outer, inner, number
                        _Instrument(metric, producer, self._line, self._metrics, self._unknown).read()
        except ShapeError as error:
            raise located(error, ("resourceMetrics", "scopeMetrics", "metrics"), where) from None
        if self._metrics:
            yield ShapedBatch("metric", _METRIC, self._metrics, self._unknown)


def _data(metric: Metric) -> Iterator[tuple[str, Any]]:
    """Yield the kinds of data that a metric has: one, or none."""
    for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary"):
        if (data := getattr(metric, kind)) is not None:
            yield kind, data


def _count(scoped: ScopeMetrics) -> int:
    return sum(len(data.data_points or ()) for metric in scoped.metrics or () for _, data in _data(metric))


class _Instrument:
    """The data points of one metric."""

    def __init__(
        self,
        metric: Metric,
        producer: Producer,
        line: Line,
        out: list[tuple[object, ...]],
        unknown: dict[int, Fields],
    ) -> None:
        self._metric = metric
        self._producer = producer
        self._line = line
        self._out = out
        self._unknown = unknown
        self._kept = present(description=metric.description or None, metadata=plain(metric.metadata) or None)

    def read(self) -> None:
        """Read all data points."""
        for kind, data in _data(self._metric):
            field = _FIELDS[kind]
            type_, original = _TYPES[kind]
            if kind == "sum" and not data.is_monotonic:
                type_, original = "gauge", "up_down_counter"
            shared = {**self._kept, **present(metricType=original)}
            if kind in {"sum", "histogram", "exponential_histogram"}:
                temporality = _TEMPORALITIES.get(data.aggregation_temporality)
                shared |= present(
                    aggregationTemporality=data.aggregation_temporality if temporality is None else temporality or None
                )
            for number, point in enumerate(data.data_points or ()):
                try:
                    self._point(point, type_, shared)
                except ShapeError as error:
                    raise ShapeError(
                        f"{field}.dataPoints[{number}].{error.field}", error.detail, is_missing=error.is_missing
                    ) from None

    def _point(self, point: Any, type_: str, shared: dict[str, Any]) -> None:
        """Read one data point, if it has a value."""
        kept = shared.copy()
        value, bounds, counts = _READERS[point.__class__](point, kept)
        flags = point.flags or 0
        if value is None or flags & _NO_VALUE:
            self._line.converted.append(NO_VALUE)
            return
        if not math.isfinite(value):
            self._line.converted.append(NOT_FINITE)
            return
        time = nanoseconds(point.time_unix_nano, "timeUnixNano")
        if not time:
            raise ShapeError("timeUnixNano", "required", is_missing=True)
        if flags:
            kept["flags"] = flags
        if start := nanoseconds(point.start_time_unix_nano, "startTimeUnixNano"):
            kept["startTimeUnixNano"] = str(start)
        if point.exemplars:
            kept["exemplars"] = [_plain_exemplar(one) for one in point.exemplars]
        own = plain(point.attributes)
        [labels] = self._producer.texts([own])
        extra = self._producer.extra_text(kept, own)
        if self._producer.unknown or self._metric.unknown or point.unknown or self._line.unknown:
            more = {**(self._metric.unknown or {}), **(point.unknown or {})}
            self._unknown[len(self._out)] = self._line.unknown_of(self._producer, more)
        self._out.append(
            (
                self._metric.name or "",
                type_,
                exact(value),
                self._metric.unit or None,
                moment(time),
                labels,
                bounds,
                counts,
                extra,
            )
        )


_Value = tuple[float | None, Sequence[float], Sequence[int]]
"""A data point's value, bounds and counts."""


def _number(point: NumberPoint, kept: dict[str, Any]) -> _Value:
    """Return the value of a number. A whole one that the column cannot hold exactly is kept."""
    if point.as_double is not None or point.as_int is None:
        return point.as_double, (), ()
    if abs(point.as_int) >= _BITS:
        raise ShapeError("asInt", "beyond 64 bits")
    if point.as_int != float(point.as_int):
        kept["value"] = point.as_int
    return point.as_int, (), ()


def _total(point: HistogramPoint | ExponentialPoint | SummaryPoint, kept: dict[str, Any]) -> float | None:
    """Return the sum, or else the count. What is said of all measurements is kept."""
    kept |= present(count=point.count, sum=written(point.sum))
    return point.count if point.sum is None else point.sum


def _histogram(point: HistogramPoint, kept: dict[str, Any]) -> _Value:
    """Return what a histogram has. Bounds that are not finite are kept, with their counts."""
    value = _total(point, kept)
    kept |= present(min=written(point.min), max=written(point.max))
    bounds, counts = point.explicit_bounds or (), point.bucket_counts or ()
    if counts and not 0 <= min(counts) <= max(counts) < _BITS:
        raise ShapeError("bucketCounts", "beyond 63 bits, or negative")
    if all(map(math.isfinite, bounds)):
        return value, bounds, counts
    kept |= {"explicitBounds": [written(one) for one in bounds], "bucketCounts": counts}
    return value, (), ()


def _exponential(point: ExponentialPoint, kept: dict[str, Any]) -> _Value:
    """Return what an exponential histogram has: its buckets are kept as they are."""
    value = _total(point, kept)
    kept |= present(
        min=written(point.min), max=written(point.max), scale=point.scale or 0, zeroCount=point.zero_count,
        zeroThreshold=written(point.zero_threshold), positive=point.positive, negative=point.negative,
    )  # fmt: skip
    return value, (), ()


def _summary(point: SummaryPoint, kept: dict[str, Any]) -> _Value:
    """Return what a summary has: its quantiles are kept."""
    value = _total(point, kept)
    if point.quantile_values:
        kept["quantileValues"] = [
            {"quantile": written(one.quantile or 0), "value": written(one.value or 0)} for one in point.quantile_values
        ]
    return value, (), ()


def _plain_exemplar(exemplar: Exemplar) -> Exemplar:
    attributes = exemplar.filtered_attributes
    exemplar.filtered_attributes = plain(attributes) if attributes else ()  # type: ignore[assignment]  # is written next
    exemplar.as_double = written(exemplar.as_double)  # type: ignore[assignment]  # is written next
    exemplar.trace_id, exemplar.span_id = identity_or_none(exemplar.trace_id), identity_or_none(exemplar.span_id)
    return exemplar


_FIELDS = {
    "gauge": "gauge", "sum": "sum", "histogram": "histogram", "exponential_histogram": "exponentialHistogram",
    "summary": "summary",
}  # fmt: skip
_TYPES: dict[str, tuple[str, str | None]] = {
    "gauge": ("gauge", None),
    "sum": ("counter", None),
    "histogram": ("histogram", None),
    "exponential_histogram": ("histogram", "exponential_histogram"),
    "summary": ("histogram", "summary"),
}
"""By kind of data, our type, and the original where that does not say it."""
_READERS: dict[type[Point], Any] = {
    NumberPoint: _number,
    HistogramPoint: _histogram,
    ExponentialPoint: _exponential,
    SummaryPoint: _summary,
}
