"""Metrics of OTLP: each data point is a metric of ours.

The value of a histogram and of a summary is the sum of the measured values, as our own producers write it, or the count
where there is no sum. A data point without a value, or with NaN or an infinity, gives no row: it is counted.
"""

import math
from collections.abc import Iterator, Sequence
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
    unknown_of,
)
from spoolhouse.events.shapes.otlp.producer import Batch, Line, Producer, located, present
from spoolhouse.events.shapes.otlp.values import (
    EARLIEST,
    LATEST,
    enumeration,
    exact,
    identity_or_none,
    moments,
    nanoseconds,
    plain,
    written,
)
from spoolhouse.events.shapes.shape import ShapedBatch, ShapeError

_Read = tuple[str, str, float, str | None, int, Sequence[float], Sequence[int], Point, Metric, dict[str, Any]]
"""A data point's values by column but for its time in nanoseconds, itself, its metric, and what is kept of it."""
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
        self._metrics = Batch("metric", _METRIC)

    def read(self, groups: Sequence[ResourceMetrics]) -> Iterator[ShapedBatch]:
        """Yield the metrics of several resources."""
        for outer, group in enumerate(groups):
            for inner, scoped in enumerate(group.scope_metrics or ()):
                where: tuple[int, ...] = (outer, inner)
                some = [
                    (number, metric, kind, data)
                    for number, metric in enumerate(scoped.metrics or ())
                    for kind, data in _data(metric)
                ]
                try:
                    points = sum(len(data.data_points or ()) for _, _, _, data in some)
                    producer = self._line.producer(group, scoped, points)
                    found: list[_Read] = []
                    for number, metric, kind, data in some:
                        where = outer, inner, number
                        self._points(metric, kind, data, found)
                except ShapeError as error:
                    raise located(error, ("resourceMetrics", "scopeMetrics", "metrics"), where) from None
                if found:
                    self._scope(found, producer)
        return self._metrics.shaped()

    def _points(self, metric: Metric, kind: str, data: Any, found: list[_Read]) -> None:
        """Read the data points of one metric into `found`."""
        type_, shared = _shared(metric, kind, data)
        points, number = data.data_points or (), 0
        if len(points) > 1:
            self._line.repeat((metric.name, metric.unit, shared, metric.unknown), len(points), "")
        read, name, unit = _READERS[kind], metric.name or "", metric.unit or None
        try:
            for number, point in enumerate(points):  # noqa: B007  # the error names it
                kept = shared.copy()
                value, bounds, counts = read(point, kept)
                if self._is_any(value, point.flags):
                    time = _about(point, kept)
                    found.append((name, type_, exact(value), unit, time, bounds, counts, point, metric, kept))
        except ShapeError as error:
            raise located(error, (f"{_FIELDS[kind]}.dataPoints",), (number,)) from None

    def _scope(self, found: Sequence[_Read], producer: Producer) -> None:
        """Add the data points of one scope."""
        names, types, amounts, units, times, bounds, counts, points, metrics, kept = zip(*found, strict=True)
        own = [plain(point.attributes) for point in points]
        unknown = unknown_of(points)
        for place, metric in enumerate(metrics):
            if more := metric.unknown:
                unknown[place] = {**more, **unknown.get(place, {})}
        columns = names, types, amounts, units, moments(times), bounds, counts, producer.texts(own)
        self._metrics.add(columns, producer.extras(kept, own), self._line.unknown_of(producer, unknown, len(own)))

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


def _shared(metric: Metric, kind: str, data: Any) -> tuple[str, dict[str, Any]]:
    """Return the type of a metric's data points, and the fields that are kept with each of them."""
    is_rising = kind != "sum" or data.is_monotonic
    type_, original = _TYPES[kind] if is_rising else ("gauge", "up_down_counter")
    shared: dict[str, Any] = {}
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


def _about(point: Point, kept: dict[str, Any]) -> int:
    """Return a data point's time; `kept` gets the other common fields."""
    time = point.time_unix_nano
    if not time:
        raise ShapeError("timeUnixNano", "required", is_missing=True)
    if not EARLIEST <= time < LATEST:
        time = nanoseconds(time, "timeUnixNano")
    if point.flags:
        kept["flags"] = point.flags
    if point.start_time_unix_nano:
        kept["startTimeUnixNano"] = point.start_time_unix_nano
    if point.exemplars:
        kept["exemplars"] = [_plain_exemplar(one) for one in point.exemplars]
    return time


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
