"""Exporters for OpenTelemetry's SDK: spans, logs and metrics go into the spool. They need `spoolhouse[otel]`.

    provider.add_span_processor(BatchSpanProcessor(SpoolSpanExporter("/var/spool/events", project="shop")))

Or without code: `OTEL_TRACES_EXPORTER=spoolhouse`, and likewise for metrics and logs, with
`OTEL_EXPORTER_SPOOLHOUSE_ROOT` and, if wanted, `OTEL_EXPORTER_SPOOLHOUSE_PROJECT`. The lines are OTLP/JSON: rows are
those of the same telemetry through OTLP, and a root span is a trace, too.

An export has succeeded once its file is visible and durable. One that fails leaves nothing visible; the SDK does not
repeat it, and the error is logged.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from spoolhouse.export import otlp
from spoolhouse.producer.encoding import Event, lenient
from spoolhouse.producer.writer import SpoolWriter

ROOT, PROJECT = "OTEL_EXPORTER_SPOOLHOUSE_ROOT", "OTEL_EXPORTER_SPOOLHOUSE_PROJECT"
_NAMELESS = "unknown_service"
_CALLS = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
"""Values of `gen_ai.operation.name` that are calls of a model."""
_SUMMED: tuple[type, ...] = (Counter, ObservableCounter, Histogram)
_TOTALS: tuple[type, ...] = (UpDownCounter, ObservableUpDownCounter, ObservableGauge)

_log = logging.getLogger(__name__)


class _Files:
    """Writes each export as files of its own."""

    def __init__(self, root: Path | str | None, project: str | None) -> None:
        given = root or os.environ.get(ROOT)
        if not given:
            raise ValueError(f"no spool: give `root`, or set {ROOT}")
        self._root = given
        self._is_closed = False
        self._project = project or os.environ.get(PROJECT)

    def project(self, resource: Any) -> str:
        """Return the project of a resource: the one that was given, else its service's name."""
        name = self._project or str(resource.attributes.get("service.name") or _NAMELESS)
        return name.replace("/", "_")

    def write(self, event_type: str, by_project: Mapping[str, Iterable[Event]]) -> bool:
        """Write lines, and return once they are visible; false if they are not."""
        if self._is_closed:
            return False
        try:
            with SpoolWriter(self._root, max_age=None) as spool:
                for project, lines in by_project.items():
                    spool.write(event_type, project, lines)
        except (OSError, ValueError):
            _log.exception("an export into the spool has failed: its %ss are lost", event_type)
            return False
        return True

    def close(self) -> None:
        self._is_closed = True


class SpoolSpanExporter(SpanExporter):
    """Writes spans; a root span becomes a trace, too.

    `project` is by default the name of the service. With `prompt_calls`, a span that is a call of a model by the
    conventions for generative AI (`gen_ai.operation.name`) is written as a `prompt_call` event, too.
    """

    def __init__(
        self, root: Path | str | None = None, *, project: str | None = None, prompt_calls: bool = False
    ) -> None:
        """Write into the spool at `root`. Raises ValueError if neither that nor the environment names one."""
        self._files = _Files(root, project)
        self._has_prompt_calls = prompt_calls

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write spans; return once they are durable."""
        lines = _documents(self._files.project, "Spans", "spans", spans, otlp.span)
        is_written = self._files.write("span", lines)
        if is_written and self._has_prompt_calls:
            calls: dict[str, list[Event]] = {}
            for span in spans:
                if (span.attributes or {}).get("gen_ai.operation.name") in _CALLS:
                    calls.setdefault(self._files.project(span.resource), []).append(lenient(_prompt_call(span)))
            is_written = self._files.write("prompt_call", calls)
        return SpanExportResult.SUCCESS if is_written else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Take no more spans."""
        self._files.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002  # the SDK's signature
        """Return true: whatever was exported is durable."""
        return True


class SpoolLogRecordExporter(LogRecordExporter):
    """Writes log records. `project` is by default the name of the service."""

    def __init__(self, root: Path | str | None = None, *, project: str | None = None) -> None:
        """Write into the spool at `root`. Raises ValueError if neither that nor the environment names one."""
        self._files = _Files(root, project)

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Write log records; return once they are durable."""
        lines = _documents(self._files.project, "Logs", "logRecords", batch, otlp.log)
        return LogRecordExportResult.SUCCESS if self._files.write("log", lines) else LogRecordExportResult.FAILURE

    def shutdown(self) -> None:
        """Take no more log records."""
        self._files.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002  # the SDK's signature
        """Return true: whatever was exported is durable."""
        return True


class SpoolMetricExporter(MetricExporter):
    """Writes data points. `project` is by default the name of the service.

    Counters and histograms are asked for as deltas, so that rows may be summed up; `delta=False` asks for totals since
    the start of the process.
    """

    def __init__(self, root: Path | str | None = None, *, project: str | None = None, delta: bool = True) -> None:
        """Write into the spool at `root`. Raises ValueError if neither that nor the environment names one."""
        preferred = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
        by_kind: dict[type, AggregationTemporality] = {
            **dict.fromkeys(_TOTALS, AggregationTemporality.CUMULATIVE),
            **dict.fromkeys(_SUMMED, preferred),
        }
        super().__init__(preferred_temporality=by_kind)
        self._files = _Files(root, project)

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002  # the SDK's signature
        **_more: Any,
    ) -> MetricExportResult:
        """Write data points; return once they are durable."""
        lines: dict[str, list[Event]] = {}
        for group in metrics_data.resource_metrics:
            resource = otlp.resource_fields(group.resource)
            groups = [
                ("metrics", resource, otlp.scope_fields(scoped.scope), _points(scoped.metrics))
                for scoped in group.scope_metrics
            ]
            lines.setdefault(self._files.project(group.resource), []).extend(otlp.documents("Metrics", groups))
        return MetricExportResult.SUCCESS if self._files.write("metric", lines) else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002  # the SDK's signature
        """Return true: whatever was exported is durable."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_more: Any) -> None:  # noqa: ARG002  # the SDK's signature
        """Take no more data points."""
        self._files.close()


def _points(metrics: Iterable[Any]) -> Iterator[otlp.Json]:
    for metric in metrics:
        yield from otlp.metrics(metric)


def _documents(
    project: Callable[[Any], str], kind: str, key: str, records: Iterable[Any], encode: Callable[[Any], otlp.Json]
) -> dict[str, list[Event]]:
    """Return the lines of spans or logs, by project."""
    groups: dict[tuple[Any, Any], list[otlp.Json]] = {}
    for record in records:
        groups.setdefault((record.resource, record.instrumentation_scope), []).append(encode(record))
    lines: dict[str, list[Event]] = {}
    for (resource, scope), encoded in groups.items():
        group = (key, otlp.resource_fields(resource), otlp.scope_fields(scope), encoded)
        lines.setdefault(project(resource), []).extend(otlp.documents(kind, [group]))
    return lines


def _prompt_call(span: ReadableSpan) -> dict[str, object]:
    """Return a model's call as an event: its id is the span's, its run the trace."""
    given, context, start = span.attributes or {}, span.get_span_context(), span.start_time or 0
    fields: dict[str, object] = {
        "event_type": "prompt_call",
        "event_id": f"{context.span_id:016x}" if context else "",
        "run_id": f"{context.trace_id:032x}" if context else "",
        "timestamp": start // 1_000_000,
        "latency_ms": ((span.end_time or start) - start) / 1e6,
        "status": "success" if span.status.is_ok else "error",
        "model": given.get("gen_ai.response.model") or given.get("gen_ai.request.model"),
        "tokens_input": given.get("gen_ai.usage.input_tokens"),
        "tokens_output": given.get("gen_ai.usage.output_tokens"),
        "cost_estimate_usd": given.get("gen_ai.usage.cost"),
        "prompt": given.get("gen_ai.input.messages"),
        "response": given.get("gen_ai.output.messages"),
    }
    if not span.status.is_ok:
        fields["error"] = {"message": span.status.description or "", "type": given.get("error.type")}
    return {name: value for name, value in fields.items() if value is not None}
