"""Documents as others spell them: snake_case names, nulls, fields that the protocol does not have.

What has no field is kept with the nearest message that has room for it.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, get_args

import msgspec

from spoolhouse.events.declaration import other_case
from spoolhouse.events.shapes.otlp.documents import Message, Top
from spoolhouse.events.shapes.shape import ShapeError


class _Field(NamedTuple):
    """A field of a message."""

    key: str
    kind: Any
    message: "type[Message] | None"
    """The message that it holds, or many of."""


def read(values: object, kind: type[Message], where: str) -> list[Any]:
    """Return an array of messages of a kind; raises `ShapeError` with the path to what is none."""
    unknown: dict[str, Any] = {}
    found = _normal(values, kind, unknown)
    try:
        return msgspec.convert(found, list[kind], strict=False)  # type: ignore[valid-type]  # a class
    except msgspec.ValidationError as error:
        raise _located(found, kind, where, str(error)) from None


@cache
def _fields(kind: type[Message]) -> Mapping[str, _Field]:
    """Return the fields of a message by both spellings."""
    found = {}
    for one in msgspec.structs.fields(kind):
        field = _Field(one.encode_name, one.type, _message(one.type))
        found[one.encode_name] = found[other_case(one.encode_name)] = field
    return found


def _message(kind: Any) -> type[Message] | None:
    """Return the message in a type: itself, in an array, or one that may be absent."""
    if isinstance(kind, type) and issubclass(kind, Message):
        return kind
    return next((found for one in get_args(kind) if (found := _message(one))), None)


def _normal(value: object, kind: type[Message], unknown: dict[str, Any]) -> object:
    """Return a message, or many, with the protocol's keys; `unknown` takes what has no field, and no room in it."""
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
    fields, message = _fields(kind), {}
    room = {} if issubclass(kind, Top) else unknown
    for key, one in value.items():
        field = fields.get(key)
        if field is None or field.key in message or key == "?":
            room |= {} if one is None else {key: one}
        elif one is not None:
            inner = {}
            message[field.key] = _normal(one, field.message, inner) if field.message else one
            room |= {field.key: inner} if inner else {}
    if room and room is not unknown:
        message["?"] = room
    return message


def _located(value: Any, kind: type[Message], where: str, detail: str) -> ShapeError:
    """Return why a value is no message of a kind, with the path to what is wrong."""
    if isinstance(value, list):
        for number, one in enumerate(value):
            if wrong := _wrong(one, kind):
                return _located(one, kind, f"{where}[{number}]", wrong)
    if isinstance(value, dict):
        fields = _fields(kind)
        for key, one in value.items():
            if wrong := _wrong(one, fields[key].kind):
                message, path = fields[key].message, f"{where}.{key}"
                return _located(one, message, path, wrong) if message else ShapeError(path, wrong)
    return ShapeError(where, detail)


def _wrong(value: object, kind: Any) -> str:
    """Return why a value is not of a type; nothing if it is."""
    try:
        msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        return str(error).partition(" - at `")[0]
    return ""
