"""Spans of OTLP: each is a span, and a root span a trace, too."""

from collections.abc import Iterator, Sequence
from typing import Any

from spoolhouse.events.shapes.otlp.documents import Event, Link, ResourceSpans, Span, Status, as_protocol, unknown_of
from spoolhouse.events.shapes.otlp.producer import Batch, Line, Producer, located
from spoolhouse.events.shapes.otlp.values import (
    EARLIEST,
    LATEST,
    encode,
    enumeration,
    identities,
    identity_or_none,
    moments,
    nanoseconds,
    plain,
    texts,
)
from spoolhouse.events.shapes.shape import ShapedBatch, ShapeError

_KINDS = enumeration(
    SPAN_KIND_UNSPECIFIED="internal", SPAN_KIND_INTERNAL="internal", SPAN_KIND_SERVER="server",
    SPAN_KIND_CLIENT="client", SPAN_KIND_PRODUCER="producer", SPAN_KIND_CONSUMER="consumer",
)  # fmt: skip
_STATUS = enumeration(STATUS_CODE_UNSET="unset", STATUS_CODE_OK="ok", STATUS_CODE_ERROR="error")

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
        self._spans = Batch("span", _SPAN)
        self._traces = Batch("trace", _TRACE)

    def read(self, groups: Sequence[ResourceSpans]) -> Iterator[ShapedBatch]:
        """Yield the spans of several resources."""
        for outer, group in enumerate(groups):
            for inner, scoped in enumerate(group.scope_spans or ()):
                spans = scoped.spans or ()
                try:
                    producer = self._line.producer(group, scoped, len(spans))
                    if spans:
                        self._scope(spans, producer)
                except ShapeError as error:
                    raise located(error, ("resourceSpans", "scopeSpans"), (outer, inner)) from None
        yield from self._spans.shaped()
        yield from self._traces.shaped()

    def _scope(self, spans: Sequence[Span], producer: Producer) -> None:
        """Read the spans of one scope, value by value: what all have to have at once costs less."""
        own = [plain(span.attributes) for span in spans]
        starts, ends, kinds, states, kept = _checked(spans)
        names = [span.name or "" for span in spans]
        trace_ids = identities([span.trace_id for span in spans], ())
        span_ids = identities([span.span_id for span in spans], ())
        parents = identities([span.parent_span_id for span in spans])
        began, ended = moments(starts), moments(ends)
        took = [(end - start) / 1e6 if end else None for start, end in zip(starts, ends, strict=True)]
        attributes = producer.texts(own)
        events = texts([_plain_events(span.events) if span.events else () for span in spans])
        unknown = self._line.unknown_of(producer, unknown_of(spans), len(spans))
        columns = span_ids, trace_ids, parents, names, kinds, states, began, ended, took, attributes, events
        self._spans.add(columns, producer.extras(kept, own), unknown)
        if roots := [place for place, parent in enumerate(parents) if parent is None]:
            shared = [[column[place] for place in roots] for column in (trace_ids, names, states, began, ended, took)]
            given, results = ([_json(own[place], key) for place in roots] for key in ("input.value", "output.value"))
            self._traces.add((*shared, given, results, [producer.alone] * len(roots)), ["{}"] * len(roots), {})


def _checked(
    spans: Sequence[Span],
) -> tuple[Sequence[int], Sequence[int], Sequence[str], Sequence[str], Sequence[dict[str, Any]]]:
    """Return the start, the end, the kind and the status of each span, and what is kept of it.

    Raises `ShapeError` for a span that lacks something, or has a time out of reach.
    """
    found: list[tuple[int, int, str, str, dict[str, Any]]] = []
    plain_ones: dict[int, dict[str, Any]] = {}
    """By flags, what is kept of spans of which nothing else is."""
    number = 0
    try:
        for number, span in enumerate(spans):  # noqa: B007  # the error names it
            start, end = span.start_time_unix_nano, span.end_time_unix_nano or 0
            if not (span.trace_id and span.span_id and start):
                missing = "traceId" if not span.trace_id else "startTimeUnixNano" if span.span_id else "spanId"
                raise ShapeError(missing, "required", is_missing=True)
            if not EARLIEST <= start < LATEST:
                start = nanoseconds(start, "startTimeUnixNano")
            if end and not EARLIEST <= end < LATEST:
                end = nanoseconds(end, "endTimeUnixNano")
            kind, said = _KINDS.get(span.kind), span.status
            status = "unset" if said is None else _STATUS.get(said.code)
            if (
                span.trace_state or span.links or span.dropped_attributes_count or span.dropped_events_count
                or span.dropped_links_count or kind is None or status is None or (said is not None and said.message)
            ):  # fmt: skip
                kept = _kept(span)
            else:
                flags = span.flags or 0
                if flags not in plain_ones:
                    plain_ones[flags] = _kept(span)
                kept = plain_ones[flags]
            found.append((start, end, kind or "internal", status or "unset", kept))
    except ShapeError as error:
        raise located(error, ("spans",), (number,)) from None
    return tuple(zip(*found, strict=True))


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
