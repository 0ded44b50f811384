"""Spans of Mastra's bus, and the traces that root spans are."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw

from spoolhouse.events.shapes.mastra.payload import NO_FIELDS, NULL, Payload, Time, is_given, same, text_or_none
from spoolhouse.events.shapes.shape import Fields, Form, FormedEvent, ShapeError

_BOOLEANS = {b"true": True, b"false": False, b"null": None}
_MILLISECOND, _TWO_MILLISECONDS = timedelta(milliseconds=1), timedelta(milliseconds=2)

_time_of = msgspec.json.Decoder(Time).decode


class _Finish(msgspec.Struct, rename="camel", gc=False):
    finish_reason: str | None = None


_finish_of = msgspec.json.Decoder(_Finish).decode


def _spans(type_: str, span: Any, unknown: Fields) -> list[FormedEvent]:
    start, end, error = span.startTime, span.endTime, span.errorInfo
    ended = end.__class__ is datetime or is_given(end)
    failed = error is not None and error != NULL
    recorded = start if type_ == "span_started" else _recorded(type_, start, end if ended else start)
    status = "ok" if ended else "unset"
    if failed or (ended and _has_failed(span.type, span.attributes)):
        status = "error"
    derived = (status, recorded)
    if span.isRootSpan is False or not _is_root(span):
        return [(_SPAN, span, derived, unknown)]
    return [(_SPAN, span, derived, unknown), (_TRACE, span, derived, NO_FIELDS)]


def _has_failed(type_: Any, attributes: Raw | None) -> bool:
    """Tell whether the attributes are those of a model call that failed: it has no `errorInfo`."""
    text = type_ if type_.__class__ is str else text_or_none(type_)
    if attributes is None or text is None or not text.startswith("model_"):
        return False
    content = bytes(attributes)
    if b"error" not in content and b"\\" not in content:
        return False  # most calls: cheaper than to decode the attributes
    try:
        return _finish_of(content).finish_reason == "error"
    except msgspec.ValidationError:
        return False


def _recorded(type_: str, start: Any, last: Any) -> object:
    """Return the time by which the rows of one span replace each other: the end after updates, these after the start.

    It comes from the span itself, so the order in which its lines arrive does not matter.
    """
    if start.__class__ is not datetime or last.__class__ is not datetime:
        start, last = _exact_time(start), _exact_time(last)
        if start.__class__ is not datetime or last.__class__ is not datetime:
            return last
    try:
        if type_ == "span_updated":
            return start + _MILLISECOND
        return max(last, start + _TWO_MILLISECONDS)
    except OverflowError:
        return last


def _exact_time(value: object) -> object:
    """Return a time that is written as Mastra does; anything else as it is."""
    try:
        return _time_of(value) if isinstance(value, Raw) else value
    except msgspec.ValidationError:
        return value


def _is_root(span: Any) -> bool:
    is_root = span.isRootSpan
    if isinstance(is_root, Raw):
        if bytes(is_root) not in _BOOLEANS:
            raise ShapeError("isRootSpan", "neither true nor false")
        is_root = _BOOLEANS[bytes(is_root)]
    return bool(is_root) if is_root is not None else not is_given(span.parentSpanId)


SPAN = Payload(
    key="exportedSpan",
    read=_spans,
    fields={
        "id": str, "traceId": str, "name": str, "type": str | None, "entityType": Raw, "entityId": Raw,
        "entityName": Raw, "attributes": Raw, "metadata": Raw, "startTime": Time, "endTime": Time | None,
        "input": Raw, "output": Raw, "errorInfo": Raw, "requestContext": Raw, "isEvent": bool | None,
        "isInternal": Raw, "isRootSpan": bool | None, "tags": Raw, "parentSpanId": str | None,
    },
)  # fmt: skip
_SPAN = Form(
    type="span",
    fields=same("id", "traceId", "parentSpanId", "name", "startTime", "endTime", "attributes", "type"),
    derived=("status", "recordedAt"),
    kept=same(
        "entityId", "entityName", "entityType", "errorInfo", "input", "isEvent", "isInternal", "isRootSpan", "metadata",
        "output", "requestContext", "tags",
    ),
)  # fmt: skip
_TRACE = Form(
    type="trace",
    fields={"id": "traceId", **same("name", "startTime", "endTime", "input", "output", "metadata")},
    derived=("status", "recordedAt"),
    kept=same("entityId", "entityName", "entityType", "tags"),
)
