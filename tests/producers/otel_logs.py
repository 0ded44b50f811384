"""Logs of OpenTelemetry's SDK by its exporter for OTLP/JSON files: one line a batch."""

# mypy: disable-error-code="import-not-found, misc"
# The packages of requirements.txt are in an environment of their own, never in the one that checks types.

import time
from collections.abc import Mapping

from lib.fixed import SPAN_ID, TRACE_ID, RangeError, out
from lib.otel import resource, wait
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.json.file._log_exporter import FileLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.util.types import AnyValue

emitted = InMemoryLogRecordExporter()
written = FileLogExporter(stream=out)
provider = LoggerProvider(resource=resource)
provider.add_log_record_processor(SimpleLogRecordProcessor(emitted))
log = provider.get_logger("shop.orders", "1.4.2", attributes={"scope.team": "orders"})
span = trace.NonRecordingSpan(
    trace.SpanContext(int(TRACE_ID, 16), int(SPAN_ID, 16), is_remote=False, trace_flags=trace.TraceFlags(1))
)
context = trace.set_span_in_context(span)


def emit(
    body: AnyValue,
    severity: SeverityNumber | None = None,
    text: str | None = None,
    attributes: Mapping[str, AnyValue] | None = None,
    *,
    timed: bool = True,
    event: str | None = None,
    inside: bool = False,
    error: Exception | None = None,
) -> None:
    wait(0.001)
    log.emit(
        LogRecord(
            timestamp=time.time_ns() - 500 if timed else None,
            context=context if inside else None,
            severity_number=severity,
            severity_text=text,
            body=body,
            attributes=attributes,
            event_name=event,
            exception=error,
        )
    )


def write() -> None:
    """Write all that was emitted since the last time as one line."""
    written.export(emitted.get_finished_logs())
    emitted.clear()


emit("Read the cache", SeverityNumber.DEBUG, "DEBUG", {"key": "a:1", "hit": False})
emit("Ordered a book", SeverityNumber.INFO, "INFO", {"order_id": 981273498123, "price": 12.5}, inside=True)
emit("Slow", SeverityNumber.WARN, "WARN", {"nested": {"a": [1, None, {"b": b"\x00\xff"}]}})
emit("Not paid", SeverityNumber.ERROR, "ERROR", inside=True, error=RangeError())
emit("Gave up", SeverityNumber.FATAL, "CRITICAL")
write()
emit("Ping", SeverityNumber.TRACE)
emit("A finer one", SeverityNumber.INFO3, "notice")
emit("Nobody says how severe")
emit("Only observed, without a time of its own", SeverityNumber.INFO, timed=False)
emit({"message": "A dictionary", "n": 1, "list": [1, "two", 3.5, True, None]}, SeverityNumber.INFO)
emit(["a", "list"], SeverityNumber.INFO)
emit(42, SeverityNumber.INFO)
emit(None, SeverityNumber.INFO, None, {"session.id": "s-3"}, event="session.start")
write()
