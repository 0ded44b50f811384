"""Metrics of OTLP: each data point is a metric of ours.

The value of a histogram and of a summary is the sum of the measured values, as our own producers write it, or the count
where there is no sum. A data point without a value, or with NaN or an infinity, gives no row: it is counted.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from spoolhouse.events.shapes.otlp.documents import (
    Buckets,
    Columns,
    Exemplar,
    ExponentialPoint,
    HistogramPoint,
    Metric,
    NumberPoint,
    Point,
    ResourceMetrics,
    ScopeMetrics,
    SummaryPoint,
    as_protocol,
    columns_of,
    unknown_of,
)
from spoolhouse.events.shapes.otlp.producer import NO_FIELDS, Batch, Line, Producer, located, present
from spoolhouse.events.shapes.otlp.values import (
    EARLIEST,
    EXACT,
    LATEST,
    RecordError,
    enumeration,
    exact,
    identity_or_none,
    moments,
    nanoseconds,
    plain,
    written,
)
from spoolhouse.events.shapes.shape import Fields, ShapedBatch, ShapeError

_TEMPORALITIES = enumeration(
    AGGREGATION_TEMPORALITY_UNSPECIFIED="",
    AGGREGATION_TEMPORALITY_DELTA="delta",
    AGGREGATION_TEMPORALITY_CUMULATIVE="cumulative",
)
_COLUMNS = ("name", "type", "value", "unit", "bucket_boundaries", "bucket_counts")
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
        self._metrics = Batch("metric")

    def read(self, groups: Sequence[ResourceMetrics]) -> Iterator[ShapedBatch]:
        """Yield the metrics of several resources."""
        where: tuple[int, ...] = ()
        try:
            for outer, group in enumerate(groups):
                for inner, scoped in enumerate(group.scope_metrics or ()):
                    where = outer, inner
                    if scoped.metrics:
                        self._read(scoped.metrics, group, scoped)
        except ShapeError as error:
            raise located(error, ("resourceMetrics", "scopeMetrics", "metrics"), where) from None
        yield from self._metrics.shaped()

    def _read(self, metrics: Sequence[Metric], group: ResourceMetrics, scoped: ScopeMetrics) -> None:
        """Read the metrics of one scope."""
        given = columns_of(metrics)
        found = _data(given)
        count = sum(len(data.data_points or ()) for _, _, data in found)
        producer = self._line.producer(group, scoped, count)
        points = _Points(self._line, producer)
        unknown = unknown_of(metrics, given)
        for number, kind, data in found:
            try:
                points.read(metrics[number], kind, data, unknown.get(number, NO_FIELDS))
            except ShapeError as error:
                raise RecordError(number, error) from None
        count = len(points.values)
        self._metrics.add(count, points.columns(), self._line.unknown_of(producer, count, points.unknown))


class _Points:
    """The data points of one scope that have a value."""

    def __init__(self, line: Line, producer: Producer) -> None:
        self.values: list[tuple[object, ...]] = []
        """Of each point, its `_COLUMNS`."""
        self.unknown: dict[int, Fields] = {}
        self._line = line
        self._producer = producer
        self._times: list[int] = []
        self._own: list[dict[str, Any]] = []
        self._kept: list[dict[str, Any]] = []
        self._shared: dict[object, tuple[str, dict[str, Any]]] = {}
        """What metrics that are described alike share."""

    def read(self, metric: Metric, kind: str, data: Any, unknown: Fields) -> None:
        """Read the data points of a metric; `unknown`: its own unknown fields."""
        points = data.data_points or ()
        type_, shared = self._about(metric, kind, data)
        if len(points) > 1:
            self._line.repeat((metric.name, metric.unit, shared, unknown), len(points), "")
        read, name, unit = _READERS[kind], metric.name or "", metric.unit or None
        for place, point in enumerate(points):
            kept = shared.copy()
            try:
                value, bounds, counts = read(point, kept)
                # Most values; others are looked at more closely.
                is_plain = value is not None and -EXACT <= value <= EXACT and not point.flags
                if is_plain or self._is_any(value, point.flags):
                    self._times.append(_time(point, kept))
                    if unknown or point.others or point.learned:
                        self.unknown[len(self.values)] = {**unknown, **point.unknown}
                    self.values.append((name, type_, value if is_plain else exact(value), unit, bounds, counts))
                    self._own.append(plain(point.attributes))
                    self._kept.append(kept)
            except ShapeError as error:
                raise located(error, (f"{_FIELDS[kind]}.dataPoints",), (place,)) from None

    def columns(self) -> Mapping[str, Iterable[object]]:
        """Return the columns of the points."""
        columns: dict[str, Iterable[object]] = dict(zip(_COLUMNS, zip(*self.values, strict=True), strict=False))
        columns["timestamp"] = moments(self._times)
        columns["labels"] = self._producer.texts(self._own)
        columns["extra"] = self._producer.extras(self._kept, self._own)
        return columns

    def _about(self, metric: Metric, kind: str, data: Any) -> tuple[str, dict[str, Any]]:
        """Return the type of a metric's data points, and the fields that are kept with each of them."""
        if metric.metadata:
            return _shared(metric, kind, data, self._producer)
        temporality = data.aggregation_temporality if kind in _AGGREGATED else None
        key = kind, temporality, kind != "sum" or data.is_monotonic, metric.description
        if key not in self._shared:
            self._shared[key] = _shared(metric, kind, data, self._producer)
        return self._shared[key]

    def _is_any(self, value: float | None, flags: int | None) -> bool:
        """Tell whether a data point has a value that a row can have; count it, if not."""
        if value is None or (flags and flags & _NO_VALUE):
            self._line.converted.append(NO_VALUE)
            return False
        if not math.isfinite(value):
            self._line.converted.append(NOT_FINITE)
            return False
        return True


_Data = tuple[int, str, Any]
"""The place of a metric, a kind of data that it has, and the data."""


def _data(metrics: Columns) -> list[_Data]:
    """Return the data of all metrics. Each has one kind, or none."""
    found: list[_Data] = [
        (number, kind, data) for kind in _READERS for number, data in enumerate(metrics[kind]) if data is not None
    ]
    return sorted(found, key=itemgetter(0))


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


def _time(point: Point, kept: dict[str, Any]) -> int:
    """Return a data point's time; `kept` gets the other common fields."""
    time = point.time_unix_nano
    if not time:
        raise ShapeError("timeUnixNano", "required", is_missing=True)
    if point.flags:
        kept["flags"] = point.flags
    if point.start_time_unix_nano:
        kept["startTimeUnixNano"] = point.start_time_unix_nano
    if point.exemplars:
        kept["exemplars"] = [_plain_exemplar(one) for one in point.exemplars]
    return time if EARLIEST <= time < LATEST else nanoseconds(time, "timeUnixNano")


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
