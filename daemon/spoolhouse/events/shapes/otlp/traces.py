"""Spans of OTLP: each is a span, and a root span a trace, too."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from spoolhouse.events.shapes.otlp.documents import (
    Columns,
    Event,
    Link,
    ResourceSpans,
    Span,
    Status,
    as_protocol,
    columns_of,
    unknown_of,
)
from spoolhouse.events.shapes.otlp.producer import NO_FIELDS, Batch, Line, Producer, clashes, located
from spoolhouse.events.shapes.otlp.values import (
    RecordError,
    all_identities,
    all_nanoseconds,
    encode,
    enumeration,
    identities,
    identity_or_none,
    moments,
    plain,
    texts,
)
from spoolhouse.events.shapes.shape import ShapedBatch, ShapeError

_KINDS = enumeration(
    SPAN_KIND_UNSPECIFIED="internal", SPAN_KIND_INTERNAL="internal", SPAN_KIND_SERVER="server",
    SPAN_KIND_CLIENT="client", SPAN_KIND_PRODUCER="producer", SPAN_KIND_CONSUMER="consumer",
)  # fmt: skip
_STATUS = enumeration(STATUS_CODE_UNSET="unset", STATUS_CODE_OK="ok", STATUS_CODE_ERROR="error")
_REQUIRED = {"trace_id": "traceId", "span_id": "spanId", "start_time_unix_nano": "startTimeUnixNano"}
_RARE = ("trace_state", "links", "dropped_attributes_count", "dropped_events_count", "dropped_links_count")
"""Fields that are kept in `extra`, where a span has them."""


class Spans:
    """The spans of a line, and the traces of those that are roots."""

    def __init__(self, line: Line) -> None:
        """Read spans of `line`."""
        self._line = line
        self._spans, self._traces = Batch("span"), Batch("trace")

    def read(self, groups: Sequence[ResourceSpans]) -> Iterator[ShapedBatch]:
        """Yield the spans of several resources."""
        where: tuple[int, ...] = ()
        try:
            for outer, group in enumerate(groups):
                for inner, scoped in enumerate(group.scope_spans or ()):
                    where = outer, inner
                    if scoped.spans:
                        self._read(scoped.spans, self._line.producer(group, scoped, len(scoped.spans)))
        except ShapeError as error:
            raise located(error, ("resourceSpans", "scopeSpans", "spans"), where) from None
        yield from self._spans.shaped()
        yield from self._traces.shaped()

    def _read(self, spans: Sequence[Span], producer: Producer) -> None:
        """Read the spans of one scope, column by column."""
        given = columns_of(spans)
        trace_ids, span_ids, starts = _required(given)
        ends = all_nanoseconds(given["end_time_unix_nano"], "endTimeUnixNano")
        own = [plain(pairs) for pairs in given["attributes"]]
        columns: dict[str, Sequence[Any]] = {
            "span_id": span_ids,
            "trace_id": trace_ids,
            "parent_span_id": identities(given["parent_span_id"]),
            "name": [name or "" for name in given["name"]],
            "kind": [_KINDS.get(kind, "internal") for kind in given["kind"]],
            "status": [_STATUS.get(said.code, "unset") if said else "unset" for said in given["status"]],
            "start_time": moments(starts),
            "end_time": moments(ends),
            "duration_ms": [(end - start) / 1e6 if end else None for start, end in zip(starts, ends, strict=True)],
        }
        traces = _traces(columns, own, producer)
        columns["attributes"] = producer.texts(own)
        columns["events"] = _events(given["events"])
        columns["extra"] = _extras(spans, given, own, producer)
        self._spans.add(len(spans), columns, self._line.unknown_of(producer, len(spans), unknown_of(spans, given)))
        self._traces.add(len(traces["trace_id"]), traces, NO_FIELDS)


def _required(given: Columns) -> tuple[Sequence[str], Sequence[str], Sequence[int]]:
    """Return the ids of the traces and of the spans, and the times at which these began; raises `RecordError`."""
    for name in _REQUIRED:
        if not all(given[name]):
            place, missing = next(
                (place, field)
                for place, values in enumerate(zip(*(given[one] for one in _REQUIRED), strict=True))
                for field, value in zip(_REQUIRED.values(), values, strict=True)
                if not value
            )
            raise RecordError(place, ShapeError(missing, "required", is_missing=True))
    starts = all_nanoseconds(given["start_time_unix_nano"], "startTimeUnixNano")
    return all_identities(given["trace_id"]), all_identities(given["span_id"]), starts


def _traces(spans: Columns, own: Sequence[dict[str, Any]], producer: Producer) -> Columns:
    """Return the traces that root spans are."""
    roots = [place for place, parent in enumerate(spans["parent_span_id"]) if parent is None]
    shared = ("trace_id", "name", "status", "start_time", "end_time", "duration_ms")
    found: dict[str, Sequence[Any]] = {name: [spans[name][place] for place in roots] for name in shared}
    found["input"] = [_json(own[place], "input.value") for place in roots]
    found["output"] = [_json(own[place], "output.value") for place in roots]
    found["metadata"] = [producer.alone] * len(roots)
    return found


def _json(own: dict[str, Any], key: str) -> str:
    return encode(own[key]).decode() if key in own else ""


def _extras(spans: Sequence[Span], given: Columns, own: Sequence[dict[str, Any]], producer: Producer) -> Sequence[str]:
    """Return the text of each span's `extra`. Most spans have nothing for it but their flags."""
    texts = {flags: producer.extra_text({"flags": flags} if flags else {}, {}) for flags in set(given["flags"])}
    extras = [texts[flags] for flags in given["flags"]]
    odd = clashes(own)
    for name in _RARE:
        if any(given[name]):
            odd.update(place for place, value in enumerate(given[name]) if value)
    odd.update(place for place, kind in enumerate(given["kind"]) if kind not in _KINDS)
    odd.update(
        place for place, said in enumerate(given["status"]) if said and (said.message or said.code not in _STATUS)
    )
    for place in odd:
        extras[place] = producer.extra_text(_kept(spans[place]), own[place])
    return extras


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


def _events(given: Sequence[Sequence[Event] | None]) -> Sequence[str]:
    """Return the events of each span as JSON, with plain attributes."""
    if not any(given):
        return ["[]"] * len(given)
    lists = [_protocol_events(events) if events else () for events in given]
    for event in chain.from_iterable(lists):
        event.attributes = plain(event.attributes) if event.attributes else None  # type: ignore[assignment]  # is written next
    return texts(lists)


def _protocol_events(events: Sequence[Event]) -> Sequence[Event]:
    return events if events[0].__class__ is Event else [as_protocol(event, Event) for event in events]


def _plain_link(given: Link) -> Link:
    link = as_protocol(given, Link)
    link.attributes = plain(link.attributes) if link.attributes else None  # type: ignore[assignment]  # is written next
    link.trace_id, link.span_id = identity_or_none(link.trace_id), identity_or_none(link.span_id)
    return link
