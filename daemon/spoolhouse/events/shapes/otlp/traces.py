"""Spans of OTLP: each is a span, and a root span a trace, too."""

from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Any

from spoolhouse.events.shapes.otlp.documents import Event, Link, ResourceSpans, Span, Status, as_protocol
from spoolhouse.events.shapes.otlp.producer import RESOURCE, SCOPE, Line, Producer, located
from spoolhouse.events.shapes.otlp.values import (
    EARLIEST,
    LATEST,
    encode,
    enumeration,
    from_timestamp,
    identity,
    identity_or_none,
    nanoseconds,
    plain,
    texts,
)
from spoolhouse.events.shapes.shape import Fields, ShapedBatch, ShapeError

_KINDS = enumeration(
    SPAN_KIND_UNSPECIFIED="internal", SPAN_KIND_INTERNAL="internal", SPAN_KIND_SERVER="server",
    SPAN_KIND_CLIENT="client", SPAN_KIND_PRODUCER="producer", SPAN_KIND_CONSUMER="consumer",
)  # fmt: skip
_STATUS = enumeration(STATUS_CODE_UNSET="unset", STATUS_CODE_OK="ok", STATUS_CODE_ERROR="error")
_HEX_TRACE, _HEX_SPAN = 32, 16

_SPAN = (
    "span_id", "trace_id", "parent_span_id", "name", "kind", "status", "start_time", "end_time", "duration_ms",
    "attributes", "events",
)  # fmt: skip
_TRACE = ("trace_id", "name", "status", "start_time", "end_time", "duration_ms", "input", "output", "metadata")


class Spans:
    """The spans of a line, and the traces of those that are roots."""

    def __init__(self, line: Line) -> None:
        """Read spans of `line`."""
        self._line = line
        self._spans: list[tuple[object, ...]] = []
        self._traces: list[tuple[object, ...]] = []
        self._unknown: dict[int, Fields] = {}

    def read(self, groups: Sequence[ResourceSpans]) -> Iterator[ShapedBatch]:
        """Yield the spans of several resources."""
        where: tuple[int, ...] = ()
        try:
            for outer, group in enumerate(groups):
                for inner, scoped in enumerate(group.scope_spans or ()):
                    where = outer, inner
                    spans = scoped.spans or ()
                    producer = self._line.producer(group, scoped, len(spans))
                    own = [plain(span.attributes) for span in spans]
                    events = texts([_plain_events(span.events) if span.events else () for span in spans])
                    attributes = producer.texts(own)
                    for number, span in enumerate(spans):
                        where = outer, inner, number
                        self._span(span, producer, own[number], attributes[number], events[number])
        except ShapeError as error:
            raise located(error, ("resourceSpans", "scopeSpans", "spans"), where) from None
        if self._spans:
            yield ShapedBatch("span", _SPAN, self._spans, self._unknown)
        if self._traces:
            yield ShapedBatch("trace", _TRACE, self._traces)

    def _span(  # a span, and what was read of it
        self, span: Span, producer: Producer, own: dict[str, Any], attributes: str, events: str
    ) -> None:
        """Read one span."""
        trace_id, span_id, parent = span.trace_id, span.span_id, span.parent_span_id
        start, end = span.start_time_unix_nano, span.end_time_unix_nano
        if not (trace_id and span_id and start):
            missing = "startTimeUnixNano" if trace_id and span_id else "spanId" if trace_id else "traceId"
            raise ShapeError(missing, "required", is_missing=True)
        trace_id = trace_id.lower() if len(trace_id) == _HEX_TRACE else identity(trace_id)
        span_id = span_id.lower() if len(span_id) == _HEX_SPAN else identity(span_id)
        parent = identity_or_none(parent) if parent else None
        if not EARLIEST <= start < LATEST:
            start = nanoseconds(start, "startTimeUnixNano")
        began, ended, took = from_timestamp(start // 1_000_000 / 1000, UTC), None, None
        if end:
            if not EARLIEST <= end < LATEST:
                end = nanoseconds(end, "endTimeUnixNano")
            ended, took = from_timestamp(end // 1_000_000 / 1000, UTC), (end - start) / 1e6
        kind, said = _KINDS.get(span.kind), span.status
        status = "unset" if said is None else _STATUS.get(said.code)
        is_plain = not (
            span.trace_state or span.links or span.dropped_attributes_count or span.dropped_events_count
            or span.dropped_links_count or kind is None or status is None or (said is not None and said.message)
            or RESOURCE in own or SCOPE in own
        )  # fmt: skip
        extra = producer.extra_texts.get(span.flags or 0) if is_plain else producer.extra_text(_kept(span), own)
        if extra is None:
            extra = producer.extra_texts[span.flags or 0] = producer.extra_text(_kept(span), own)
        unknown = span.unknown
        if unknown or producer.unknown or self._line.unknown:
            self._unknown[len(self._spans)] = self._line.unknown_of(producer, unknown)
        name = span.name or ""
        self._spans.append((
            span_id, trace_id, parent, name, kind or "internal", status or "unset", began, ended, took,
            attributes, events, extra,
        ))  # fmt: skip
        if parent is None:
            given, result = (_json(own, key) for key in ("input.value", "output.value"))
            self._traces.append((
                trace_id, name, status or "unset", began, ended, took, given, result, producer.alone, "",
            ))  # fmt: skip


def _json(own: dict[str, Any], key: str) -> str | None:
    return encode(own[key]).decode() if key in own else None


def _kept(span: Span) -> dict[str, Any]:
    """Return the fields of a span that no column takes."""
    kept: dict[str, Any] = {}
    if span.flags:
        kept["flags"] = span.flags
    if span.trace_state:
        kept["traceState"] = span.trace_state
    if span.links:
        kept["links"] = [_plain_link(one) for one in span.links]
    if span.dropped_attributes_count:
        kept["droppedAttributesCount"] = span.dropped_attributes_count
    if span.dropped_events_count:
        kept["droppedEventsCount"] = span.dropped_events_count
    if span.dropped_links_count:
        kept["droppedLinksCount"] = span.dropped_links_count
    if span.kind not in _KINDS:
        kept["kind"] = span.kind
    if span.status and (span.status.message or span.status.code not in _STATUS):
        kept["status"] = as_protocol(span.status, Status)
    return kept


def _plain_events(events: Sequence[Event]) -> Sequence[Event]:
    """Return events with plain attributes, as they are written."""
    if events[0].__class__ is not Event:
        events = [as_protocol(event, Event) for event in events]
    for event in events:
        event.attributes = plain(event.attributes) if event.attributes else None  # type: ignore[assignment]  # see above
    return events


def _plain_link(given: Link) -> Link:
    link = as_protocol(given, Link)
    link.attributes = plain(link.attributes) if link.attributes else None  # type: ignore[assignment]  # is written next
    link.trace_id, link.span_id = identity_or_none(link.trace_id), identity_or_none(link.span_id)
    return link
