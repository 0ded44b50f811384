"""Metrics of OpenTelemetry's SDK by its exporter for OTLP/JSON files: one line a collection."""

# mypy: disable-error-code="import-not-found"
# The packages of requirements.txt are in an environment of their own, never in the one that checks types.

from collections.abc import Iterator

from lib.fixed import SPAN_ID, TRACE_ID, out
from lib.otel import resource, wait
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.json.file import FileMetricExporter
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)

span = trace.NonRecordingSpan(
    trace.SpanContext(int(TRACE_ID, 16), int(SPAN_ID, 16), is_remote=False, trace_flags=trace.TraceFlags(1))
)
inside = trace.set_span_in_context(span)


def observe(_options: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
    yield metrics.Observation(0.125, {"cpu": 0})
    yield metrics.Observation(1, {"cpu": 1})


def collect(temporality: AggregationTemporality) -> None:
    """Measure with each instrument, twice, and write each collection."""
    exporter = FileMetricExporter(stream=out, preferred_temporality={Counter: temporality, Histogram: temporality})
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=float("inf"))
    views = [
        View(instrument_name="payload.size", aggregation=ExponentialBucketHistogramAggregation(max_size=16)),
        View(
            instrument_name="http.server.request.duration",
            aggregation=ExplicitBucketHistogramAggregation((0.01, 0.1, 1)),
        ),
    ]
    provider = MeterProvider([reader], resource=resource, views=views, shutdown_on_exit=False)
    meter = provider.get_meter("shop.orders", "1.4.2")
    orders = meter.create_counter("orders", unit="{order}", description="Orders that were placed")
    revenue = meter.create_counter("revenue", unit="CHF")
    open_ = meter.create_up_down_counter("orders.open")
    meter.create_observable_gauge("cpu.utilization", [observe], unit="1")
    temperature = meter.create_gauge("temperature", unit="Cel")
    duration = meter.create_histogram("http.server.request.duration", unit="s")
    size = meter.create_histogram("payload.size", unit="By")
    for n in range(2):
        orders.add(2**53 + 1 if n else 3, {"kind": "book", "gift": True}, context=inside)
        revenue.add(12.5)
        open_.add(-1)
        temperature.set(-11.5, {"room": "a"})
        for value in (0.004, 0.05, 0.25, 2):
            duration.record(value, {"http.route": "/orders"}, context=inside)
        for value in (0, 1, 1000, 123_456):
            size.record(value)
        wait(10)
        provider.force_flush()
    reader._shutdown = True


collect(AggregationTemporality.CUMULATIVE)
collect(AggregationTemporality.DELTA)
