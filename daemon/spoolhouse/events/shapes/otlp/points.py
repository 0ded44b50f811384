"""Values of data points, and the fields that are kept of them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from spoolhouse.events.shapes.otlp.documents import (
    Buckets,
    Exemplar,
    ExponentialPoint,
    HistogramPoint,
    NumberPoint,
    Point,
    SummaryPoint,
    as_protocol,
)
from spoolhouse.events.shapes.otlp.producer import present
from spoolhouse.events.shapes.otlp.values import identity_or_none, plain, written
from spoolhouse.events.shapes.shape import ShapeError

_BITS = 2**63


def keep_others(point: Point, kept: dict[str, Any]) -> None:
    """Put into `kept` the flags and the exemplars, which few data points have."""
    if point.flags:
        kept["flags"] = point.flags
    if point.exemplars:
        kept["exemplars"] = [_plain_exemplar(one) for one in point.exemplars]


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
    value, low, high = _total(point, kept), point.min, point.max
    if low is not None:
        kept["min"] = written(low)
    if high is not None:
        kept["max"] = written(high)
    bounds, counts = point.explicit_bounds or (), point.bucket_counts or ()
    if counts and not 0 <= min(counts) <= max(counts) < _BITS:
        raise ShapeError("bucketCounts", "beyond 63 bits, or negative")
    # The sum is as finite as the bounds are; beyond a double it tells nothing.
    if math.isfinite(sum(bounds)) or all(map(math.isfinite, bounds)):
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


READERS: dict[str, Callable[[Any, dict[str, Any]], _Value]] = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _exponential,
    "summary": _summary,
}
"""By kind of data, the function that reads a data point's value, and puts what else there is into its fields."""
