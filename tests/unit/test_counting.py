"""What is counted, and how Prometheus sees it."""

from threading import Thread

import pytest

from spoolhouse.monitoring.counters import Counter, Gauge, Histogram


def test_a_series_is_there_from_when_it_is_named_on() -> None:
    counter = Counter("lines_total", "Lines.", ["type", "outcome"])
    assert list(counter.samples()) == []
    counter.labels("span", "landed")
    counter.labels("span", "rejected").inc(3)
    counter.labels("span", "rejected").inc()
    assert list(counter.samples()) == [
        ("lines_total", (("type", "span"), ("outcome", "landed")), 0.0),
        ("lines_total", (("type", "span"), ("outcome", "rejected")), 4.0),
    ]
    assert counter.total == 4
    with pytest.raises(ValueError, match="lines_total"):
        counter.labels("span")


def test_a_gauge_goes_both_ways() -> None:
    gauge = Gauge("files", "Files.")
    assert list(gauge.samples()) == [("files", (), 0.0)]
    gauge.inc(5)
    gauge.dec()
    assert gauge.total == 4
    gauge.set(2)
    assert gauge.total == 2


def test_a_bucket_holds_what_is_at_most_its_bound() -> None:
    histogram = Histogram("seconds", "Seconds.", buckets=(0.5, 1))
    for value in (0.1, 0.5, 0.7, 1, 8):
        histogram.observe(value)
    assert list(histogram.samples()) == [
        ("seconds_bucket", (("le", "0.5"),), 2.0),
        ("seconds_bucket", (("le", "1.0"),), 4.0),
        ("seconds_bucket", (("le", "+Inf"),), 5.0),
        ("seconds_count", (), 5.0),
        ("seconds_sum", (), pytest.approx(10.3)),
    ]


def test_threads_lose_nothing() -> None:
    counter = Counter("n_total", "N.")

    def count() -> None:
        for _ in range(5000):
            counter.inc()

    threads = [Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.total == 20_000
