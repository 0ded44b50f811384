"""Metrics of OTLP: each data point is a metric of ours.

The value of a histogram and of a summary is the sum of the measured values, as our own producers write it, or the count
where there is no sum. A data point without a value, or with NaN or an infinity, gives no row: it is counted.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from spoolhouse.events.shapes.otlp.documents import (
    Buckets,
    Exemplar,
    ExponentialPoint,
    HistogramPoint,
    Metric,
    NumberPoint,
    Point,
    ResourceMetrics,
    SummaryPoint,
    as_protocol,
)
from spoolhouse.events.shapes.otlp.producer import Batch, Line, Producer, located, present
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

_METRIC = ("name", "type", "value", "unit", "timestamp", "bucket_boundaries", "bucket_counts", "labels")
_TEMPORALITIES = enumeration(
    AGGREGATION_TEMPORALITY_UNSPECIFIED="",
    AGGREGATION_TEMPORALITY_DELTA="delta",
    AGGREGATION_TEMPORALITY_CUMULATIVE="cumulative",
)
_BITS = 2**63
_NO_VALUE = 1
"""The flag of a data point that says that there is no value."""
NO_VALUE, NOT_FINITE = "dataPoints without a value", "dataPoints that are not finite"
"""The names by which such data points are counted."""


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
                    metrics = scoped.metrics or ()
                    points = sum(len(data.data_points or ()) for metric in metrics for _, data in _data(metric))
                    batch = Batch(self._line.producer(group, scoped, points))
                    for number, metric in enumerate(metrics):
                        where = outer, inner, number
                        self._metric(metric, batch)
                    self._metrics += batch.rows()
        except ShapeError as error:
            raise located(error, ("resourceMetrics", "scopeMetrics", "metrics"), where) from None
        if self._metrics:
            yield ShapedBatch("metric", _METRIC, self._metrics, self._unknown)

    def _metric(self, metric: Metric, batch: Batch) -> None:
        """Read the data points of one metric."""
        for kind, data in _data(metric):
            type_, shared = _shared(metric, kind, data, batch.producer)
            points, number = data.data_points or (), 0
            if len(points) > 1:
                self._line.repeat((metric.name, metric.unit, shared, metric.unknown), len(points), "")
            more = metric.unknown
            read, name, unit = _READERS[kind], metric.name or "", metric.unit or None
            try:
                for number, point in enumerate(points):  # noqa: B007  # the error names it
                    kept = shared.copy()
                    value, bounds, counts = read(point, kept)
                    if self._is_any(value, point.flags):
                        unknown = {**more, **point.unknown} if more else point.unknown
                        if unknown or batch.producer.unknown or self._line.unknown:
                            unknown = self._line.unknown_of(batch.producer, unknown)
                            self._unknown[len(self._metrics) + len(batch.values)] = unknown
                        time = _about(point, kept)
                        batch.values.append((name, type_, exact(value), unit, time, bounds, counts))
                        batch.own.append(plain(point.attributes))
                        batch.kept.append(kept)
            except ShapeError as error:
                raise located(error, (f"{_FIELDS[kind]}.dataPoints",), (number,)) from None

    def _is_any(self, value: float | None, flags: int | None) -> bool:
        """Tell whether a data point has a value that a row can have; count it, if not."""
        if value is None or (flags and flags & _NO_VALUE):
            self._line.converted.append(NO_VALUE)
            return False
        if not math.isfinite(value):
            self._line.converted.append(NOT_FINITE)
            return False
        return True


def _data(metric: Metric) -> Iterator[tuple[str, Any]]:
    """Yield the kinds of data that a metric has: one, or none."""
    if metric.gauge is not None:
        yield "gauge", metric.gauge
    if metric.sum is not None:
        yield "sum", metric.sum
    if metric.histogram is not None:
        yield "histogram", metric.histogram
    if metric.exponential_histogram is not None:
        yield "exponential_histogram", metric.exponential_histogram
    if metric.summary is not None:
        yield "summary", metric.summary


def _shared(metric: Metric, kind: str, data: Any, producer: Producer) -> tuple[str, dict[str, Any]]:
    """Return the type of a metric's data points, and the fields that are kept with each of them."""
    is_rising = kind != "sum" or data.is_monotonic
    type_, original = _TYPES[kind] if is_rising else ("gauge", "up_down_counter")
    shared = producer.kept.copy()
    if original:
        shared["metricType"] = original
    if metric.description:
        shared["description"] = metric.description
    if metric.metadata:
        shared["metadata"] = plain(metric.metadata)
    if kind in _AGGREGATED:
        given = data.aggregation_temporality
        if temporality := _TEMPORALITIES.get(given, given):
            shared["aggregationTemporality"] = temporality
    return type_, shared


def _about(point: Point, kept: dict[str, Any]) -> datetime:
    """Return a data point's time; `kept` gets the other common fields."""
    time = nanoseconds(point.time_unix_nano, "timeUnixNano")
    if not time:
        raise ShapeError("timeUnixNano", "required", is_missing=True)
    if point.flags:
        kept["flags"] = point.flags
    if point.start_time_unix_nano:
        kept["startTimeUnixNano"] = point.start_time_unix_nano
    if point.exemplars:
        kept["exemplars"] = [_plain_exemplar(one) for one in point.exemplars]
    return moment(time)


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
    """Return the sum, or else the count; `kept` gets both."""
    count, total = point.count, point.sum
    if count is not None:
        kept["count"] = count
    if total is None:
        return count
    kept["sum"] = written(total)
    return total


def _histogram(point: HistogramPoint, kept: dict[str, Any]) -> _Value:
    """Return the value of a histogram. Bounds that are not finite are kept, with their counts."""
    value = _total(point, kept)
    if point.min is not None:
        kept["min"] = written(point.min)
    if point.max is not None:
        kept["max"] = written(point.max)
    bounds, counts = point.explicit_bounds or (), point.bucket_counts or ()
    if counts and not 0 <= min(counts) <= max(counts) < _BITS:
        raise ShapeError("bucketCounts", "beyond 63 bits, or negative")
    if all(map(math.isfinite, bounds)):
        return value, bounds, counts
    kept |= {"explicitBounds": [written(one) for one in bounds], "bucketCounts": counts}
    return value, (), ()


def _exponential(point: ExponentialPoint, kept: dict[str, Any]) -> _Value:
    """Return the value of an exponential histogram; its buckets are kept as they are."""
    value = _total(point, kept)
    kept |= present(
        min=written(point.min), max=written(point.max), scale=point.scale or 0, zeroCount=point.zero_count,
        zeroThreshold=written(point.zero_threshold),
        positive=_plain_buckets(point.positive), negative=_plain_buckets(point.negative),
    )  # fmt: skip
    return value, (), ()


def _plain_buckets(buckets: Buckets | None) -> Buckets | None:
    return None if buckets is None else as_protocol(buckets, Buckets)


def _summary(point: SummaryPoint, kept: dict[str, Any]) -> _Value:
    """Return the value of a summary; its quantiles are kept."""
    value = _total(point, kept)
    if point.quantile_values:
        kept["quantileValues"] = [
            {"quantile": written(one.quantile or 0), "value": written(one.value or 0)} for one in point.quantile_values
        ]
    return value, (), ()


def _plain_exemplar(given: Exemplar) -> Exemplar:
    exemplar = as_protocol(given, Exemplar)
    attributes = exemplar.filtered_attributes
    exemplar.filtered_attributes = plain(attributes) if attributes else None  # type: ignore[assignment]  # is written next
    exemplar.as_double = written(exemplar.as_double)  # type: ignore[assignment]  # is written next
    exemplar.trace_id, exemplar.span_id = identity_or_none(exemplar.trace_id), identity_or_none(exemplar.span_id)
    return exemplar


_AGGREGATED = frozenset({"sum", "histogram", "exponential_histogram"})
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
_READERS: dict[str, Any] = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _exponential,
    "summary": _summary,
}
