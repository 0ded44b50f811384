"""Counters, gauges and histograms as in Prometheus: a value for each combination of labels.

They only count, from any thread. `exposition.py` renders them with Prometheus's own library, whose import takes as long
as those of all stages together.
"""

import time
from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from threading import Lock
from typing import Final, Generic, Literal, TypeVar

from spoolhouse.decode.counts import add_counts
from spoolhouse.monitoring.logs import shown

Labels = tuple[tuple[str, str], ...]

_lock = Lock()


class Number:
    """One value of a counter or a gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        """Begin with 0."""
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add `amount`, in any thread."""
        with _lock:
            self.value += amount

    def dec(self, amount: float = 1) -> None:
        """Subtract `amount`, in any thread."""
        self.inc(-amount)

    def set(self, value: float) -> None:
        """Replace the value."""
        self.value = float(value)

    def set_to_current_time(self) -> None:
        """Set the value to the seconds since 1970."""
        self.set(time.time())


class Distribution:
    """The values of a histogram: a count for each bucket, and the sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Begin with no values; `bounds` are upper bounds, in ascending order."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count `value` in its bucket, in any thread."""
        with _lock:
            self.counts[bisect_left(self.bounds, value)] += 1
            self.sum += value


S = TypeVar("S", Number, Distribution)


class Metric(Generic[S]):
    """A metric: its name, its meaning, and one series for each combination of label values in use."""

    kind: Literal["counter", "gauge", "histogram"]

    def __init__(self, name: str, documentation: str, labelnames: Sequence[str] = ()) -> None:
        """Declare the metric; without labels its only series exists at once."""
        self.name: Final = name
        self.documentation: Final = documentation
        self.labelnames: Final = tuple(labelnames)
        self._series: dict[tuple[str, ...], S] = {}
        if not labelnames:
            self.labels()

    def labels(self, *values: str) -> S:
        """Return the series of these label values; it is exposed from then on."""
        if (found := self._series.get(values)) is None:
            if len(values) != len(self.labelnames):
                raise ValueError(f"{self.name} has the labels {self.labelnames}, not {len(values)} of them")
            found = self._series.setdefault(values, self._new())
        return found

    @property
    def series(self) -> Sequence[tuple[Labels, S]]:
        """All series in use."""
        return [
            (tuple(zip(self.labelnames, values, strict=True)), series) for values, series in self._series.copy().items()
        ]

    @abstractmethod
    def samples(self) -> Iterator[tuple[str, Labels, float]]:
        """Yield name, labels and value of each exposed sample."""

    @abstractmethod
    def _new(self) -> S: ...


class _Plain(Metric[Number]):
    @property
    def total(self) -> float:
        """The sum over all labels."""
        return sum(series.value for _, series in self.series)

    def inc(self, amount: float = 1) -> None:
        """Add to the only series."""
        self.labels().inc(amount)

    def samples(self) -> Iterator[tuple[str, Labels, float]]:
        """Yield one sample per series."""
        yield from ((self.name, labels, series.value) for labels, series in self.series)

    def _new(self) -> Number:
        return Number()


class Counter(_Plain):
    """A value that only grows."""

    kind = "counter"


class NameCounter(Counter):
    """A counter whose last label is a name that producers choose; the number of label values is bounded."""

    def __init__(self, name: str, documentation: str, labelnames: Sequence[str]) -> None:
        """Declare the metric."""
        super().__init__(name, documentation, labelnames)
        self._names: dict[tuple[str, ...], dict[str, int]] = {}

    def count(self, counts: Mapping[str, int], *labels: str) -> None:
        """Add counts by name. Each combination of the other labels has `MOST_NAMES` names; more count as `other`."""
        if counts:
            names = self._names.setdefault(labels, {})
            for name, more in counts.items():
                add_counts(names, {shown(name): more})
            for name, count in names.items():
                self.labels(*labels, name).set(count)


class Gauge(_Plain):
    """A value that goes up and down."""

    kind = "gauge"

    def dec(self, amount: float = 1) -> None:
        """Subtract from the only series."""
        self.labels().dec(amount)

    def set(self, value: float) -> None:
        """Set the only series."""
        self.labels().set(value)

    def set_to_current_time(self) -> None:
        """Set the only series to the seconds since 1970."""
        self.labels().set_to_current_time()


class Histogram(Metric[Distribution]):
    """Counts values by size, in buckets."""

    kind = "histogram"

    def __init__(
        self, name: str, documentation: str, labelnames: Sequence[str] = (), *, buckets: Sequence[float]
    ) -> None:
        """`buckets` are upper bounds, in order; larger values are counted too."""
        self._bounds = tuple(float(bound) for bound in buckets)
        super().__init__(name, documentation, labelnames)

    def observe(self, value: float) -> None:
        """Count a value in the only series."""
        self.labels().observe(value)

    def samples(self) -> Iterator[tuple[str, Labels, float]]:
        """Yield the cumulative buckets, the count and the sum of each series."""
        bounds = (*map(str, self._bounds), "+Inf")
        for labels, series in self.series:
            with _lock:
                counts, total = list(accumulate(series.counts)), series.sum
            for bound, count in zip(bounds, counts, strict=True):
                yield f"{self.name}_bucket", (*labels, ("le", bound)), float(count)
            yield f"{self.name}_count", labels, float(counts[-1])
            yield f"{self.name}_sum", labels, total

    def _new(self) -> Distribution:
        return Distribution(self._bounds)
