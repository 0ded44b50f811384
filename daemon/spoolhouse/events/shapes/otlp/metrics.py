"""Metrics of OTLP: each data point is a metric of ours.

The value of a histogram and of a summary is the sum of the measured values, as our own producers write it, or the count
where there is no sum. A data point without a value, or with NaN or an infinity, gives no row: it is counted.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from spoolhouse.events.shapes.otlp import tolerant
from spoolhouse.events.shapes.otlp.documents import KeyValue, Metric, Point, ResourceMetrics, ScopeMetrics
from spoolhouse.events.shapes.otlp.points import READERS, keep_others
from spoolhouse.events.shapes.otlp.producer import (
    RESOURCE,
    SCOPE,
    TIMES_ITS_JSON,
    Extras,
    Line,
    Producer,
    located,
)
from spoolhouse.events.shapes.otlp.values import (
    EARLIEST,
    EXACT,
    LATEST,
    encode,
    encode_sorted,
    enumeration,
    exact,
    moments,
    nanoseconds,
    plain,
    texts,
)
from spoolhouse.events.shapes.shape import Fields, ShapedBatch, ShapeError

_METRIC = ("name", "type", "value", "unit", "timestamp", "bucket_boundaries", "bucket_counts", "labels")
_TEMPORALITIES = enumeration(
    AGGREGATION_TEMPORALITY_UNSPECIFIED="",
    AGGREGATION_TEMPORALITY_DELTA="delta",
    AGGREGATION_TEMPORALITY_CUMULATIVE="cumulative",
)
_NO_VALUE = 1
"""The flag of a data point that says that there is no value."""
NO_VALUE, NOT_FINITE = "dataPoints without a value", "dataPoints that are not finite"
"""The names by which such data points are counted."""
_NO_SCOPES = (ScopeMetrics(),)
"""For a resource without scopes: it is read nevertheless, and refused if it is none."""
_NOTHING: dict[str, Any] = {}
_MOST_ARRAYS = 64
"""Attributes that have more arrays than this are not remembered: they may be nested."""
_decode_pairs = msgspec.json.Decoder(Sequence[KeyValue] | None, strict=False).decode
_Data = tuple[int, Metric, dict[str, Any] | None, str, Any]
"""A metric's place among those of its scope, the metric, its unknown fields, the kind of its data, and the data."""


class _Instrument(Struct):
    """What the data points of a metric share."""

    type: str
    """Our type."""
    kept: dict[str, Any]
    """Their fields for `extra`."""
    alone: str
    """The text of `extra` for a number that has no others."""
    started: str
    """The same up to the time of its start, which comes last in the order of names."""


class Metrics:
    """The metrics of a line."""

    def __init__(self, line: Line) -> None:
        """Read metrics of `line`."""
        self._line = line
        self._columns: dict[str, list[Any]] = {name: [] for name in _METRIC}
        self._times: list[int] = []
        self._extras = Extras()
        self._unknown: dict[int, Fields] = {}

    def read(self, groups: Sequence[ResourceMetrics]) -> Iterator[ShapedBatch]:
        """Yield the metrics of several resources."""
        where: tuple[int, ...] = ()
        try:
            for outer, group in enumerate(groups):
                for inner, scoped in enumerate(group.scope_metrics or _NO_SCOPES):
                    where = outer, inner
                    data = _data(scoped.metrics or (), self._line)
                    count = sum([len(one.data_points or ()) for *_, one in data])
                    self._scope(data, self._line.producer(group, scoped, count))
        except ShapeError as error:
            raise located(error, ("resourceMetrics", "scopeMetrics"), where) from None
        if self._times:
            self._columns["timestamp"] = moments(self._times)
            yield ShapedBatch("metric", self._columns, self._extras.written(), self._unknown)

    def _scope(self, data: Sequence[_Data], producer: Producer) -> None:  # noqa: C901, PLR0912, PLR0915  # a call for each step would cost more than the step
        """Read the data points of one scope."""
        names, types, values, units, _, all_bounds, all_counts, labels = self._columns.values()
        times, extras, known = self._times, self._extras.texts, producer.known
        is_any_unknown = bool(producer.unknown or self._line.unknown)
        value: float | None
        bounds: Sequence[float]
        counts: Sequence[int]
        place, kind, number, last_start, start_text = 0, "", -1, 0, ""
        try:
            for place, metric, more, kind, one in data:  # noqa: B007  # the error names it
                points, number = one.data_points or (), -1
                name, unit = metric.name or "", metric.unit or None
                instrument, is_number, read = _instrument(metric, kind, one, producer), kind in _NUMBERS, READERS[kind]
                if len(points) > 1:
                    shared = metric.name, metric.unit, instrument.kept, more or {}
                    self._line.repeat(len(encode(shared)), len(points), "")
                elif more and not points:
                    self._line.without_row |= more
                for number, point in enumerate(points):  # noqa: B007  # as above
                    value, bounds, counts, kept, own = None, (), (), None, None
                    given = point.attributes
                    written = bytes(given) if given.__class__ is Raw else None
                    text = known.get(written) if written is not None else None
                    if text is None:
                        text, own = _labels(given, written, producer)
                    if is_number and not (point.flags or point.exemplars):
                        value = point.as_int if point.as_double is None else point.as_double
                    if value is None or not -EXACT <= value <= EXACT:
                        kept = instrument.kept.copy()
                        value, bounds, counts = read(point, kept)
                        if value is None or point.flags or not -EXACT <= value <= EXACT:
                            value = self._usable(value, point.flags)
                            if value is None:
                                self._line.without_row |= {**producer.unknown, **(more or {}), **(point.unknown or {})}
                                continue
                    time = point.time_unix_nano
                    times.append(time if time and EARLIEST <= time < LATEST else _time(time))
                    start, unknown = point.start_time_unix_nano, point.unknown
                    if kept is None and own is None:
                        if start != last_start:  # mostly the same for all
                            last_start, start_text = start, f"{start}}}"
                        extras.append(instrument.started + start_text if start else instrument.alone)
                    else:
                        self._keep(point, instrument.kept.copy() if kept is None else kept, own, producer)
                    if unknown or more or is_any_unknown:
                        self._note({**(more or {}), **(unknown or {})}, producer)
                    names.append(name)
                    types.append(instrument.type)
                    values.append(value)
                    labels.append(text)
                    units.append(unit)
                    all_bounds.append(bounds)
                    all_counts.append(counts)
        except ShapeError as error:
            where = (place,) if number < 0 else (place, number)
            raise located(error, ("metrics", f"{_FIELDS[kind]}.dataPoints"), where) from None

    def _keep(self, point: Point, kept: dict[str, Any], own: dict[str, Any] | None, producer: Producer) -> None:
        """Put what no column has of a data point, and `kept`, into its `extra`."""
        if point.start_time_unix_nano:
            kept["startTimeUnixNano"] = point.start_time_unix_nano
        if point.flags or point.exemplars:
            keep_others(point, kept)
        self._extras.keep(kept, own or _NOTHING, producer)

    def _note(self, unknown: Fields, producer: Producer) -> None:
        """Put the unknown fields of the next row where they are found."""
        if found := self._line.unknown_of(producer, unknown):
            self._unknown[len(self._columns["name"])] = found

    def _usable(self, value: float | None, flags: int | None) -> float | None:
        """Return a data point's value, if a row can have it; count it, if not."""
        if value is None or (flags and flags & _NO_VALUE):
            self._line.converted.append(NO_VALUE)
            return None
        if not math.isfinite(value):
            self._line.converted.append(NOT_FINITE)
            return None
        return exact(value)


def _data(metrics: Sequence[Metric], line: Line) -> list[_Data]:
    """Return the kinds of data that metrics have: each one, or none, whose unknown fields are then without a row."""
    found: list[_Data] = []
    unknown = metrics[0].unknown_of(metrics) if metrics else ()
    for place, (metric, more) in enumerate(zip(metrics, unknown, strict=True)):
        if metric.gauge is not None:
            found.append((place, metric, more, "gauge", metric.gauge))
        if metric.sum is not None:
            found.append((place, metric, more, "sum", metric.sum))
        if metric.histogram is not None:
            found.append((place, metric, more, "histogram", metric.histogram))
        if metric.exponential_histogram is not None:
            found.append((place, metric, more, "exponential_histogram", metric.exponential_histogram))
        if metric.summary is not None:
            found.append((place, metric, more, "summary", metric.summary))
        if more and not (found and found[-1][0] == place):
            line.without_row |= more
    return found


def _instrument(metric: Metric, kind: str, data: Any, producer: Producer) -> _Instrument:
    """Return what the data points of a metric share; its producer remembers it, unless it has metadata."""
    given = data.aggregation_temporality if kind in _AGGREGATED else None
    is_rising = kind != "sum" or bool(data.is_monotonic)
    key = kind, given, is_rising, metric.description, None
    known: _Instrument | None = None if metric.metadata else producer.known.get(key)
    if known is not None:
        return known
    type_, original = _TYPES[kind] if is_rising else ("gauge", "up_down_counter")
    kept = producer.kept.copy()
    if original:
        kept["metricType"] = original
    if metric.description:
        kept["description"] = metric.description
    if metric.metadata:
        kept["metadata"] = plain(metric.metadata)
    if temporality := _TEMPORALITIES.get(given, given):
        kept["aggregationTemporality"] = temporality
    [text] = texts([kept], encode_sorted)
    started = f'{text[:-1]}{"," if kept else ""}"startTimeUnixNano":'
    instrument = _Instrument(type_, kept, text, started)
    if not metric.metadata:
        producer.remember(key, instrument, TIMES_ITS_JSON * len(text))
    return instrument


def _labels(given: Any, written: bytes | None, producer: Producer) -> tuple[str, dict[str, Any] | None]:
    """Return the text of a data point's attributes, with the resource and the scope, and None.

    Its producer remembers the text, if `written` is given. If the attributes have keys like these, return their own
    text, and themselves.
    """
    own = plain(given if written is None else _pairs(written))
    if RESOURCE in own or SCOPE in own:
        return encode(own).decode(), own
    own |= producer.written
    text = encode(own).decode()
    if written is not None and written.count(b"[") <= _MOST_ARRAYS:
        producer.remember(written, text, len(written) + 2 * len(text))
    return text, None


def _pairs(written: bytes) -> Sequence[KeyValue] | None:
    """Return attributes as they were written; raises a ValueError if the whole line is for the tolerant reader."""
    pairs: Sequence[KeyValue] | None
    try:
        pairs = _decode_pairs(written)
    except msgspec.ValidationError:
        [point] = tolerant.read([{"attributes": msgspec.json.decode(written)}], Point, "")
        if point.unknown:
            raise ShapeError("attributes", "unknown fields") from None
        pairs = point.attributes
    return pairs


def _time(given: int | None) -> int:
    """Return a data point's time in nanoseconds."""
    time = nanoseconds(given, "timeUnixNano")
    if not time:
        raise ShapeError("timeUnixNano", "required", is_missing=True)
    return time


_NUMBERS = frozenset({"gauge", "sum"})
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
