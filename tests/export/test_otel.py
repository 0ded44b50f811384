"""OpenTelemetry's SDK and two of its instrumentations: the rows are those of the same telemetry through OTLP/JSON."""

import json
import logging
import os
import sqlite3
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import EntryPoint
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.json.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.json.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.json.common.trace_encoder import encode_spans
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from opentelemetry.instrumentation.urllib import URLLibInstrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from spoolhouse.export import SpoolWriter
from spoolhouse.export.otel import ROOT, SpoolLogRecordExporter, SpoolMetricExporter, SpoolSpanExporter
from tests.engine import Database
from tests.export.landed import Landed, without
from tests.process.daemon import command

ROOT_FOLDER = Path(__file__).parents[2]
RESOURCE = Resource(
    {"service.name": "shop", "service.version": "1.4.2", "process.command_args": ["serve", "--port"]},
    "https://opentelemetry.io/schemas/1.37.0",
)
OTHER = Resource({"service.name": "mail", "large": "x" * 5000})
DERIVED = ("project_id", "recorded_at", "id", "ingested_at", "batch_id")
"""What depends on the folder, on the file and on the time of landing."""


class Page(BaseHTTPRequestHandler):
    """Answers any request with two letters."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/a"
        server.shutdown()
        thread.join()


def make_spans(url: str) -> tuple[ReadableSpan, ...]:
    """Return spans with all that a span can have, of two services and of two instrumentations."""
    ended = InMemorySpanExporter()

    def tracer(of: Resource) -> tuple[TracerProvider, trace.Tracer]:
        provider = TracerProvider(resource=of, span_limits=SpanLimits(max_events=2))
        provider.add_span_processor(SimpleSpanProcessor(ended))
        return provider, provider.get_tracer("shop.orders", "1.0", attributes={"team": "orders"})

    provider, shop = tracer(RESOURCE)
    SQLite3Instrumentor().instrument(tracer_provider=provider)
    URLLibInstrumentor().instrument(tracer_provider=provider)
    try:
        remote = SpanContext(
            1 << 100, 1 << 50, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("a", "b")])
        )
        attributes: dict[str, Any] = {
            "text": "ä", "flags": [True, False], "rate": 0.25, "inf": float("inf"), "large": 2**53 + 1,
            "blob": b"\x00\xff", "input.value": "question", "resource": "its own",
        }  # fmt: skip
        with shop.start_as_current_span("GET /orders", kind=SpanKind.SERVER, attributes=attributes) as root:
            with sqlite3.connect(":memory:") as database:
                database.cursor().execute("SELECT 1")
            database.close()
            urllib.request.urlopen(url).close()  # noqa: S310  # a server of the test's own
            root.add_event("cache.miss", {"key": "a:1", "sizes": [1, 2]})
            root.set_status(Status(StatusCode.OK))
        context = trace.set_span_in_context(trace.NonRecordingSpan(remote))
        with shop.start_as_current_span("failing", context=context, links=[Link(remote, {"n": 1})]) as failing:
            for n in range(3):
                failing.add_event("attempt", {"n": n})
            failing.record_exception(LookupError("none"))
            failing.set_status(Status(StatusCode.ERROR, "none"))
        with tracer(OTHER)[1].start_as_current_span("tick"):
            pass
    finally:
        SQLite3Instrumentor().uninstrument()
        URLLibInstrumentor().uninstrument()
    return ended.get_finished_spans()


def reference(spool: Path, event_type: str, document: Any) -> None:
    """Write a batch as OpenTelemetry's own encoder for OTLP/JSON does."""
    with SpoolWriter(spool, max_age=None) as writer:
        writer.write(event_type, "reference", json.dumps(document.to_dict()))


def assert_same(landed: Landed, table: str, key: str) -> list[dict[str, Any]]:
    """Compare the rows of both projects; return them."""

    def rows(project: str) -> list[dict[str, Any]]:
        return sorted(
            (without(row, *DERIVED) for row in landed.rows(table, project)), key=lambda row: repr((row[key], row))
        )

    found = rows("ours")
    assert found == rows("reference")
    return found


def test_spans_become_the_rows_that_otlp_gives(url: str, tmp_path: Path) -> None:
    spool, spans = tmp_path / "spool", make_spans(url)
    exporter = SpoolSpanExporter(spool, project="ours")
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    reference(spool, "span", encode_spans(spans))
    assert SpoolSpanExporter(spool).export(spans[-1:]) is SpanExportResult.SUCCESS
    landed = Landed(spool)

    rows = {row["name"]: row for row in assert_same(landed, "spans", "span_id")}
    assert rows.keys() == {"GET /orders", "SELECT", "GET", "failing", "tick"}
    ours, failing = rows["GET /orders"], rows["failing"]
    assert (ours["kind"], ours["status"], ours["attributes"]["large"]) == ("server", "ok", 2**53 + 1)
    assert (failing["status"], failing["parent_span_id"]) == ("error", f"{1 << 50:016x}")
    assert failing["extra"]["links"][0]["traceId"] == f"{1 << 100:032x}"
    assert failing["events"][-1]["name"] == "exception"
    assert_same(landed, "traces", "trace_id")
    assert {row["name"] for row in landed.rows("traces", "ours")} == {"GET /orders", "tick"}
    assert len(landed.rows("spans", "mail")) == 1


@pytest.mark.parametrize("kind", ["duckdb", "clickhouse"])
def test_each_root_span_of_a_program_is_a_trace_in_the_store(kind: str, tmp_path: Path, database: Database) -> None:
    """By the default settings of the exporter and of the daemon."""
    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(BatchSpanProcessor(SpoolSpanExporter(tmp_path / "spool")))
    tracer = provider.get_tracer("orders")
    with tracer.start_as_current_span("root") as root, tracer.start_as_current_span("inner"):
        provider.force_flush()
    provider.shutdown()
    url = f"duckdb://{tmp_path}/a.db" if kind == "duckdb" else database.native_url
    once = ("ingest", "--once", "--file-storage-path", str(tmp_path / "spool"), "--base-path", "")
    assert command(*once, "--store-url", url).returncode == 0
    asked = command("traces", "--project", "shop", "--json", "--store-url", url)
    [found] = [json.loads(line) for line in asked.stdout.splitlines()]
    assert (found["name"], found["id"]) == ("root", f"{root.get_span_context().trace_id:032x}")


def test_a_model_call_is_an_event_on_request(tmp_path: Path) -> None:
    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(SimpleSpanProcessor(SpoolSpanExporter(tmp_path / "spool", prompt_calls=True)))
    call: dict[str, Any] = {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini", "gen_ai.usage.input_tokens": 412,
    }  # fmt: skip
    tracer = provider.get_tracer("a")
    with tracer.start_as_current_span("agent") as root, tracer.start_as_current_span("chat", attributes=call):
        pass
    provider.shutdown()
    [event] = Landed(tmp_path / "spool").rows("events", "shop")
    assert (event["event_type"], event["model"], event["tokens_input"]) == ("prompt_call", "gpt-4o-mini", 412)
    assert event["run_id"] == f"{root.get_span_context().trace_id:032x}"


def test_logs_become_the_rows_that_otlp_gives(tmp_path: Path) -> None:
    spool, emitted = tmp_path / "spool", InMemoryLogRecordExporter()
    provider = LoggerProvider(resource=RESOURCE)
    provider.add_log_record_processor(SimpleLogRecordProcessor(emitted))
    log = provider.get_logger("shop.orders", "1.4.2", attributes={"team": "orders"})
    span = trace.NonRecordingSpan(SpanContext(7, 9, is_remote=False, trace_flags=TraceFlags(1)))
    inside = trace.set_span_in_context(span)
    for number in SeverityNumber:
        log.emit(LogRecord(timestamp=10**18 + number.value * 10**6, severity_number=number, body=f"at {number.value}"))
    log.emit(LogRecord(timestamp=10**18, context=inside, body={"n": [1, None]}, severity_text="notice"))
    log.emit(LogRecord(observed_timestamp=10**18, event_name="session.start", attributes={"a": {"b": b"\x00"}}))
    log.emit(LogRecord(timestamp=10**18, body="failed", exception=LookupError("none")))
    batch = emitted.get_finished_logs()
    assert SpoolLogRecordExporter(spool, project="ours").export(batch) is LogRecordExportResult.SUCCESS
    reference(spool, "log", encode_logs(batch))
    rows = assert_same(Landed(spool), "logs", "message")
    assert len(rows) == len(SeverityNumber) + 3
    levels = {row["message"]: row["level"] for row in rows}
    assert [levels[f"at {number}"] for number in (1, 5, 10, 13, 20, 24)] == [
        "debug", "debug", "info", "warn", "error", "fatal",
    ]  # fmt: skip


def make_metrics(meter: metrics.Meter) -> None:
    orders = meter.create_counter("orders", unit="{order}", description="Orders that were placed")
    meter.create_up_down_counter("orders.open").add(-1)
    meter.create_observable_gauge("cpu", [lambda _: [metrics.Observation(0.125, {"cpu": 0})]], unit="1")
    duration, size = meter.create_histogram("duration", unit="s"), meter.create_histogram("size", unit="By")
    span = trace.NonRecordingSpan(SpanContext(7, 9, is_remote=False, trace_flags=TraceFlags(1)))
    inside = trace.set_span_in_context(span)
    for n in range(3):
        orders.add(2**53 + 1, {"kind": f"book {n}"}, context=inside)
        duration.record(0.3 * n, {"http.route": "/orders"}, context=inside)
        size.record(123_456 * n)


def test_metrics_become_the_rows_that_otlp_gives(tmp_path: Path) -> None:
    spool, exporter = tmp_path / "spool", SpoolMetricExporter(tmp_path / "spool", project="ours")
    reader = InMemoryMetricReader(exporter._preferred_temporality)
    views = [View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation(max_size=16))]
    provider = MeterProvider([reader], resource=RESOURCE, views=views, shutdown_on_exit=False)
    make_metrics(provider.get_meter("shop.orders", "1.4.2"))
    data = reader.get_metrics_data()
    assert isinstance(data, MetricsData)
    assert exporter.export(data) is MetricExportResult.SUCCESS
    reference(spool, "metric", encode_metrics(data))
    rows = assert_same(Landed(spool), "metrics", "name")
    assert sorted(row["name"] for row in rows) == [
        "cpu",
        "duration",
        "orders",
        "orders",
        "orders",
        "orders.open",
        "size",
    ]
    assert {row["extra"].get("aggregationTemporality") for row in rows if row["type"] == "counter"} == {"delta"}


def test_many_spans_of_a_large_resource_land(tmp_path: Path) -> None:
    """A line may not repeat its resource too often: they are in several. Nor is a text refused that UTF-8 lacks."""
    ended = InMemorySpanExporter()
    provider = TracerProvider(resource=OTHER)
    provider.add_span_processor(SimpleSpanProcessor(ended))
    for _ in range(100):
        provider.get_tracer("a").start_span("tick", attributes={"path": "\udc80"}).end()
    assert SpoolSpanExporter(tmp_path / "spool").export(ended.get_finished_spans()) is SpanExportResult.SUCCESS
    rows = Landed(tmp_path / "spool").rows("spans", "mail")
    assert [row["attributes"]["path"] for row in rows] == ["\\udc80"] * 100


def test_a_failed_export_shows_nothing_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "spool").write_text("no folder")
    exporter = SpoolSpanExporter(tmp_path / "spool")
    provider = TracerProvider(resource=RESOURCE)
    span = provider.get_tracer("a").start_span("tick")
    span.end()
    assert isinstance(span, ReadableSpan)
    with caplog.at_level(logging.ERROR):
        assert exporter.export([span]) is SpanExportResult.FAILURE
    assert "spans are lost" in caplog.text
    exporter.shutdown()
    assert exporter.export([span]) is SpanExportResult.FAILURE


def test_a_spool_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ROOT, raising=False)
    with pytest.raises(ValueError, match=ROOT):
        SpoolSpanExporter()


def test_the_environment_alone_chooses_the_exporters(tmp_path: Path) -> None:
    """With the entry points of pyproject.toml, as an installation has them."""
    groups = tomllib.loads((ROOT_FOLDER / "pyproject.toml").read_text())["project"]["entry-points"]
    about = tmp_path / "site" / "mine-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    text = "".join(f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in of.items()) for group, of in groups.items())
    (about / "entry_points.txt").write_text(text)
    for group, of in groups.items():
        for name, value in of.items():
            assert EntryPoint(name, value, group).load()
    program = """
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
_OTelSDKConfigurator().configure(auto_instrumentation_version="1")
import logging
from opentelemetry import metrics, trace
with trace.get_tracer("a").start_as_current_span("tick"):
    metrics.get_meter("a").create_counter("ticks").add(1)
    from opentelemetry._logs import LogRecord, get_logger
    get_logger("a").emit(LogRecord(timestamp=10**18, body="tick"))
"""
    environment = {
        **os.environ, "PYTHONPATH": str(about.parent), "OTEL_SERVICE_NAME": "shop", ROOT: str(tmp_path / "spool"),
        **dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "spoolhouse"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert {path.parent.parent.name for path in (tmp_path / "spool").rglob("*.jsonl")} == {"span", "metric", "log"}
    assert {path.parent.name for path in (tmp_path / "spool").rglob("*.jsonl")} == {"shop"}
