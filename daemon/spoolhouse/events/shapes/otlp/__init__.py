"""OTLP/JSON, as OpenTelemetry's exporters and the Collector's file exporter write it: a document a line.

A line has `resourceSpans`, `resourceLogs` or `resourceMetrics`, or several of these, and gives many rows. The resource
and the scope of each row stand in its attributes, labels or metadata, as `resource` and `scope`. Other
fields are kept in `extra` under the protocol's names. Unknown fields for which there is no row are counted.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec import Raw

from spoolhouse.events.shapes.otlp import tolerant
from spoolhouse.events.shapes.otlp.decoder import DocumentDecoder
from spoolhouse.events.shapes.otlp.documents import Message, ResourceLogs, ResourceMetrics, ResourceSpans
from spoolhouse.events.shapes.otlp.logs import Logs
from spoolhouse.events.shapes.otlp.metrics import Metrics
from spoolhouse.events.shapes.otlp.producer import Line
from spoolhouse.events.shapes.otlp.traces import Spans
from spoolhouse.events.shapes.shape import Fields, Shape, ShapedBatch, ShapeError

_SPANS, _LOGS, _METRICS = "resourceSpans", "resourceLogs", "resourceMetrics"
_LONG, _MOST_OBJECTS = 1 << 20, 500_000
"""A line of so many bytes may not have more objects than this. An empty object takes 2 bytes in the line and a hundred
in memory."""
_AROUND = 1024
"""The most bytes of a line besides the values of its keys."""
_SNAKE = b'{"resource_'
_KINDS: dict[str, tuple[str, type[Message]]] = {
    _SPANS: (_SPANS, ResourceSpans), "resource_spans": (_SPANS, ResourceSpans),
    _LOGS: (_LOGS, ResourceLogs), "resource_logs": (_LOGS, ResourceLogs),
    _METRICS: (_METRICS, ResourceMetrics), "resource_metrics": (_METRICS, ResourceMetrics),
}  # fmt: skip


_any_of = msgspec.json.Decoder().decode


@cache
def _documents(*, is_snake: bool) -> DocumentDecoder:
    """Return the decoder of documents, made when the first one is read: a start need not wait for it."""
    return DocumentDecoder(is_snake=is_snake)


def _check(data: bytes) -> None:
    if len(data) > _LONG and data.count(b"{") > _MOST_OBJECTS:
        raise ShapeError("", f"more than {_MOST_OBJECTS} objects")


def _quick(line: bytes) -> Sequence[ShapedBatch]:
    """Read a line as most producers write it."""
    _check(line)
    document = _documents(is_snake=line.startswith(_SNAKE)).decode(line)
    return list(_batches(Line(len(line)), document.resource_spans, document.resource_logs, document.resource_metrics))


def _read(fields: Fields) -> Iterator[ShapedBatch]:
    """Read any line."""
    found: dict[str, list[Any]] = {_SPANS: [], _LOGS: [], _METRICS: []}
    # Not shorter than the line: each line that `_quick` takes is taken here, too.
    line = Line(_AROUND + sum(len(bytes(value)) for value in fields.values() if isinstance(value, Raw)))
    for key, value in fields.items():
        if isinstance(value, Raw):
            _check(bytes(value))
        content = _any_of(value) if isinstance(value, Raw) else value
        if key not in _KINDS:
            line.unknown |= {} if content is None else {key: content}
        elif content is not None:
            name, kind = _KINDS[key]
            found[name] += tolerant.read(content, kind, key)
    return _batches(line, *found.values())


def _batches(
    line: Line,
    spans: Sequence[ResourceSpans] | None,
    logs: Sequence[ResourceLogs] | None,
    metrics: Sequence[ResourceMetrics] | None,
) -> Iterator[ShapedBatch]:
    if spans:
        yield from Spans(line).read(spans)
    if logs:
        yield from Logs(line).read(logs)
    if metrics:
        yield from Metrics(line).read(metrics)
    unknown = line.without_row | line.unknown
    if line.converted or unknown:
        # A batch without events, for what is counted.
        yield ShapedBatch("log", {}, (), {0: unknown}, tuple(dict.fromkeys(line.converted)))


OTLP = Shape(
    name="otlp",
    keys=frozenset(_KINDS),
    matches=lambda _fields: True,
    read=_read,
    batches=_quick,
    about="OTLP/JSON of OpenTelemetry's exporters and the Collector: spans, traces of root spans, logs, metrics",
    becomes={
        "`resourceSpans`": "a row of `spans` for each span; for a root span one of `traces`, too",
        "`resourceLogs`": "a row of `logs` for each record",
        "`resourceMetrics`": "a row of `metrics` for each data point: of a sum a counter (a gauge "
        "where it may fall), of a gauge a gauge, "
        "of a histogram, an exponential histogram and a summary a histogram with its sum as value",
        "attributes of resource and scope": "`attributes`, of metrics `labels`, under `resource` and `scope`",
        "ids": "hex, in lower case",
        "times in ns": "times in ms; a duration keeps its ns",
    },
)
"""Told by its keys alone, in any folder."""
