"""The decoder of documents whose keys are all in camelCase, also with unknown fields that documents have had before.

A producer writes the same fields again and again: once an unknown field of a record has been learned, it costs what a
known one costs.
"""

import re
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

import msgspec
from msgspec import Raw

from spoolhouse.events.shapes.otlp.documents import (
    ArrayValue,
    KeyValueList,
    Message,
    ResourceLogs,
    ResourceMetrics,
    ResourceSpans,
    Top,
    message_of,
)

_UNKNOWN = re.compile(r"Object contains unknown field `(.*)` - at `\$\.(.*)`", re.DOTALL)
_PLACE = re.compile(r"\[\d+\]")
_MOST_LEARNED = 24
_LONGEST_LEARNED = 64
_NULL = Raw(b"null")


class Document(Message):
    """A line."""

    resource_spans: Sequence[ResourceSpans] | None = ()
    resource_logs: Sequence[ResourceLogs] | None = ()
    resource_metrics: Sequence[ResourceMetrics] | None = ()


_Learned = tuple[tuple[type[Message], str], ...]
"""Unknown fields, each with the message that had it."""


class _Known(NamedTuple):
    """What is decoded. Replaced as a whole, because several threads may use it."""

    learned: _Learned
    decode: Callable[[bytes], Document]


class DocumentDecoder:
    """Decodes documents. What it has learned changes no result."""

    def __init__(self) -> None:
        """Begin with the protocol's own fields."""
        self._known = _Known((), msgspec.json.Decoder(Document, strict=False).decode)

    def decode(self, line: bytes) -> Document:
        """Return a line's document. Any ValueError means that another reader has to read it."""
        while True:
            known = self._known
            try:
                return known.decode(line)
            except msgspec.ValidationError as error:
                unknown = _UNKNOWN.fullmatch(str(error))
                message = unknown and _at(unknown[2])
                if (
                    not (unknown and message)
                    or len(known.learned) >= _MOST_LEARNED
                    or len(unknown[1]) > _LONGEST_LEARNED
                ):
                    raise
                learned = (*known.learned, (message, unknown[1]))
                self._known = _Known(learned, msgspec.json.Decoder(_Variant(learned).of(Document), strict=False).decode)


def _at(path: str) -> type[Message] | None:
    """Return the message at a path, if it has room for unknown fields."""
    message: type[Message] = Document
    for step in _PLACE.sub("", path).split("."):
        inner = next((message_of(one.type) for one in msgspec.structs.fields(message) if one.encode_name == step), None)
        if inner is None:
            return None
        message = inner
    return message if issubclass(message, Top) else None


class _Variant:
    """Messages that have more fields."""

    def __init__(self, learned: _Learned) -> None:
        self._learned = learned
        self._made: dict[type[Message], type[Any]] = {ArrayValue: ArrayValue, KeyValueList: KeyValueList}

    def of(self, kind: type[Message]) -> type[Any]:
        """Return a message with the fields that were learned for it, and with such messages in it."""
        if kind not in self._made:
            own = [name for message, name in self._learned if message is kind]
            fields = [
                (one.name, self._type(one.type), msgspec.field(name=one.encode_name, **_default(one)))
                for one in msgspec.structs.fields(kind)
            ]
            fields += [(f"u{place}", Raw, msgspec.field(name=name, default=None)) for place, name in enumerate(own)]
            self._made[kind] = msgspec.defstruct(
                kind.__name__, fields, bases=(kind,), namespace=_namespace(own), gc=False, kw_only=True
            )
        return self._made[kind]

    def _type(self, kind: Any) -> Any:
        """Return a type with such messages in it."""
        if message_of(kind) is None:
            return kind
        if isinstance(kind, type):
            return self.of(kind)
        args = [self._type(one) for one in get_args(kind)]
        return reduce(or_, args) if get_origin(kind) in {Union, UnionType} else Sequence[args[0]]  # type: ignore[valid-type]  # a type


def _default(field: Any) -> dict[str, Any]:
    if field.default_factory is not msgspec.NODEFAULT:
        return {"default_factory": field.default_factory}
    return {"default": field.default}


def _namespace(own: Sequence[str]) -> dict[str, Any]:
    """Return what lets a message find its unknown fields."""
    places = [(f"u{place}", name) for place, name in enumerate(own)]

    def unknown(self: Any) -> dict[str, Any]:
        found = ((name, getattr(self, place)) for place, name in places)
        return {name: value for name, value in found if value is not None and value != _NULL}

    return {"unknown": property(unknown)} if own else {}
