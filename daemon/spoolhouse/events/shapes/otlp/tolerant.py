"""Documents as others spell them: snake_case and old names, nulls, fields that the protocol does not have.

Unknown fields are kept with the nearest message that has room for them.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import msgspec

from spoolhouse.events.declaration import other_case
from spoolhouse.events.shapes.otlp.documents import (
    OTHERS,
    Message,
    ResourceLogs,
    ResourceMetrics,
    ResourceSpans,
    ScopeLogs,
    ScopeMetrics,
    ScopeSpans,
    Top,
    message_of,
)
from spoolhouse.events.shapes.shape import ShapeError

_LIBRARY = {"instrumentationLibrary": "scope"}
_OLD_NAMES: Mapping[type[Message], Mapping[str, str]] = {
    ResourceSpans: {"instrumentationLibrarySpans": "scopeSpans"},
    ResourceLogs: {"instrumentationLibraryLogs": "scopeLogs"},
    ResourceMetrics: {"instrumentationLibraryMetrics": "scopeMetrics"},
    ScopeSpans: _LIBRARY,
    ScopeLogs: _LIBRARY | {"logs": "logRecords"},
    ScopeMetrics: _LIBRARY,
}
"""By message, the names of fields before 2022, and those of today."""


class _Field(NamedTuple):
    """A field of a message."""

    key: str
    message: "type[Message] | None"
    """The message that it holds, or many of."""


def read(values: object, kind: type[Message], where: str) -> list[Any]:
    """Return an array of messages of a kind; raises `ShapeError` with the path to a value that is none."""
    unknown: dict[str, Any] = {}
    found = _normal(values, kind, unknown)
    try:
        return msgspec.convert(found, list[kind], strict=False)  # type: ignore[valid-type]  # a class
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(" - at `$")
        raise ShapeError(where + path.removesuffix("`"), detail) from None


@cache
def fields_of(kind: type[Message]) -> Mapping[str, _Field]:
    """Return the fields of a message by all their names, in both spellings."""
    found = {}
    for one in msgspec.structs.fields(kind):
        old = (name for name, now in _OLD_NAMES.get(kind, {}).items() if now == one.encode_name)
        for name in (one.encode_name, *old):
            found[name] = found[other_case(name)] = _Field(one.encode_name, message_of(one.type))
    return found


def _normal(value: object, kind: type[Message], unknown: dict[str, Any]) -> object:
    """Return a message, or many, with the protocol's keys; `unknown` gets the fields without room in it."""
    if isinstance(value, list):
        found = []
        for number, one in enumerate(value):
            inner: dict[str, Any] = {}
            found.append({} if one is None else _normal(one, kind, inner))
            if inner:
                unknown[str(number)] = inner
        return found
    if not isinstance(value, dict):
        return value
    fields = fields_of(kind)
    message: dict[str, object] = {}
    room = {} if issubclass(kind, Top) else unknown
    for key, one in value.items():
        field = fields.get(key)
        if field is None or message.get(field.key) or key == OTHERS:
            room |= {} if one is None else {key: one}
        elif one is not None:
            inner = {}
            message[field.key] = _normal(one, field.message, inner) if field.message else one
            room |= {field.key: inner} if inner else {}
    if room and room is not unknown:
        message[OTHERS] = room
    return message
