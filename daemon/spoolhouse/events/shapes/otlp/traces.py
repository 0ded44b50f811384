"""Spans of OTLP: each is a span, and a root span a trace, too."""

from collections.abc import Iterator, Sequence
from typing import Any

from spoolhouse.events.shapes.otlp.documents import Event, Link, ResourceSpans, ScopeSpans, Span, Status, as_protocol
from spoolhouse.events.shapes.otlp.producer import RESOURCE, SCOPE, TIMES_ITS_JSON, Extras, Line, Producer, located
from spoolhouse.events.shapes.otlp.values import (
    EARLIEST,
    LATEST,
    NO_SPAN,
    SPAN_DIGITS,
    TRACE_DIGITS,
    encode,
    encode_sorted,
    enumeration,
    identity,
    identity_or_none,
    moments,
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

_SPAN = (
    "span_id", "trace_id", "parent_span_id", "name", "kind", "status", "start_time", "end_time", "duration_ms",
    "attributes", "events",
)  # fmt: skip


_NO_SCOPES = (ScopeSpans(),)
"""For a resource without scopes: it is read nevertheless, and refused if it is none."""


class Spans:
    """The spans of a line, and the traces of those that are roots."""

    def __init__(self, line: Line) -> None:
        """Read spans of `line`."""
        self._line = line
        self._spans: dict[str, list[Any]] = {name: [] for name in _SPAN}
        self._own: list[dict[str, Any]] = []
        """Their attributes."""
        self._extras = Extras()
        self._unknown: dict[int, Fields] = {}
        self._roots: list[tuple[int, str]] = []
        """Of each root span, its place, and the attributes of its producer."""

    def read(self, groups: Sequence[ResourceSpans]) -> Iterator[ShapedBatch]:
        """Yield the spans of several resources."""
        where: tuple[int, ...] = ()
        try:
            for outer, group in enumerate(groups):
                for inner, scoped in enumerate(group.scope_spans or _NO_SCOPES):
                    where = outer, inner
                    spans = scoped.spans or ()
                    producer = self._line.producer(group, scoped, len(spans))
                    self._line.note_unknown(producer, spans, len(self._own), self._unknown)
                    self._scope(spans, producer)
        except ShapeError as error:
            raise located(error, ("resourceSpans", "scopeSpans"), where) from None
        if self._own:
            self._spans["attributes"] = texts(self._own)
            yield ShapedBatch("span", self._spans, self._extras.written(), self._unknown)
        if self._roots:
            yield self._traces()

    def _scope(self, spans: Sequence[Span], producer: Producer) -> None:
        """Read the spans of one scope."""
        span_ids, trace_ids, parents, names, kinds, states, starts, ends, durations, _, events = self._spans.values()
        extras, all_own, known, written = self._extras.texts, self._own, producer.known, producer.written
        began: list[int] = []
        ended: list[int] = []
        number = 0
        try:
            for number, span in enumerate(spans):  # noqa: B007  # the error names it
                trace_id, span_id, parent = span.trace_id, span.span_id, span.parent_span_id
                start, end = span.start_time_unix_nano, span.end_time_unix_nano or 0
                if not (trace_id and span_id and start):
                    missing = "startTimeUnixNano" if trace_id and span_id else "spanId" if trace_id else "traceId"
                    raise ShapeError(missing, "required", is_missing=True)
                trace_ids.append(trace_id.lower() if len(trace_id) == TRACE_DIGITS else identity(trace_id))
                span_ids.append(span_id.lower() if len(span_id) == SPAN_DIGITS else identity(span_id))
                is_usual = parent and len(parent) == SPAN_DIGITS and parent != NO_SPAN
                parent = parent.lower() if is_usual else identity_or_none(parent)  # type: ignore[union-attr]  # has a length
                parents.append(parent)
                if not (EARLIEST <= start < LATEST and EARLIEST <= end < LATEST):
                    start, end = nanoseconds(start, "startTimeUnixNano"), nanoseconds(end, "endTimeUnixNano")
                began.append(start)
                ended.append(end)
                durations.append((end - start) / 1e6 if end else None)
                names.append(span.name or "")
                own, kind, status = plain(span.attributes), _KINDS.get(span.kind), span.status
                state = "unset" if status is None else _STATUS.get(status.code)
                all_own.append(own)
                kinds.append(kind or "internal")
                states.append(state or "unset")
                if parent is None:
                    self._roots.append((len(parents) - 1, producer.alone))
                is_joined = not (RESOURCE in own or SCOPE in own)
                is_plain = is_joined and kind and state and not (
                    span.trace_state or span.links or span.dropped_attributes_count or span.dropped_events_count
                    or span.dropped_links_count or (status is not None and status.message)
                )  # fmt: skip
                if is_plain:
                    extras.append(known.get(span.flags) or _flagged(span, producer))
                else:
                    self._extras.keep(producer.kept | _kept(span), own, producer)
                if is_joined:
                    own |= written
        except ShapeError as error:
            raise located(error, ("spans",), (number,)) from None
        starts += moments(began)
        ends += moments(ended)
        events += texts([_plain_events(span.events) if span.events else () for span in spans])

    def _traces(self) -> ShapedBatch:
        """Return the traces of the root spans."""
        places = [place for place, _ in self._roots]
        columns: dict[str, Sequence[object]] = {
            name: [self._spans[name][place] for place in places]
            for name in ("trace_id", "name", "status", "start_time", "end_time", "duration_ms")
        }
        for name in ("input", "output"):
            columns[name] = [_json(self._own[place], f"{name}.value") for place in places]
        columns["metadata"] = [alone for _, alone in self._roots]
        return ShapedBatch("trace", columns, ["{}"] * len(places))


def _flagged(span: Span, producer: Producer) -> str:
    """Return the text of `extra` of all spans with the same flags that have nothing else for it."""
    [text] = texts([producer.kept | _kept(span)], encode_sorted)
    producer.remember(span.flags, text, TIMES_ITS_JSON * len(text))
    return text


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
