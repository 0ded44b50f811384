"""The decoder of documents whose keys are all spelt alike, also with unknown fields that documents have had before.

A producer writes the same fields again and again: a learned unknown field costs as much as a known one.
"""

import re
from collections.abc import Callable, Sequence
from functools import reduce
from operator import attrgetter, or_
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

import msgspec
from msgspec import Raw
from msgspec.structs import FieldInfo

from spoolhouse.events.shapes.otlp import tolerant
from spoolhouse.events.shapes.otlp.documents import (
    OTHERS,
    ArrayValue,
    KeyValueList,
    Message,
    Point,
    Resource,
    ResourceLogs,
    ResourceMetrics,
    ResourceSpans,
    Scope,
    Top,
    message_of,
)

_UNKNOWN = re.compile(r"Object contains unknown field `(.*)` - at `\$\.(.*)`", re.DOTALL)
_PLACE = re.compile(r"\[\d+\]")
_MOST_LEARNED = 24
_LONGEST_LEARNED = 64


class Document(Message):
    """A line."""

    resource_spans: Sequence[ResourceSpans] | None = None
    resource_logs: Sequence[ResourceLogs] | None = None
    resource_metrics: Sequence[ResourceMetrics] | None = None


_Learned = tuple[tuple[type[Message], str], ...]
"""Unknown fields, each with the message that had it."""


class _Known(NamedTuple):
    """The learned fields, and their decoder. Replaced as a whole, because several threads may use it."""

    learned: _Learned
    decode: Callable[[bytes], Document]


class DocumentDecoder:
    """Decodes documents. Learned fields change the speed, not the result."""

    def __init__(self, *, is_snake: bool = False) -> None:
        """Decode keys in camelCase, or in snake_case. Begin with the protocol's own fields."""
        self._is_snake = is_snake
        self._known = self._with(())

    def decode(self, line: bytes) -> Document:
        """Return a line's document. Any ValueError means that another reader has to read it."""
        while True:
            known = self._known
            try:
                return known.decode(line)
            except msgspec.ValidationError as error:
                unknown = _UNKNOWN.fullmatch(str(error))
                message = self._at(unknown[2]) if unknown else None
                if not (unknown and message) or len(known.learned) >= _MOST_LEARNED:
                    raise
                if len(unknown[1]) > _LONGEST_LEARNED or unknown[1] in tolerant.fields_of(message):
                    raise
                self._known = self._with((*known.learned, (message, unknown[1])))

    def _with(self, learned: _Learned) -> _Known:
        kind = _Variant(learned, is_snake=self._is_snake).of(Document)
        return _Known(learned, msgspec.json.Decoder(kind, strict=False).decode)

    def _at(self, path: str) -> type[Message] | None:
        """Return the message at a path, if it has room for unknown fields."""
        message: type[Message] = Document
        for step in _PLACE.sub("", path).split("."):
            fields = msgspec.structs.fields(message)
            kinds = (one.type for one in fields if step == _key(one, is_snake=self._is_snake))
            inner = message_of(next(kinds, None))
            if inner is None:
                return None
            message = inner
        return message if issubclass(message, Top) else None


class _Variant:
    """Messages that have more fields, or other keys. Arrays and objects in attributes stay as they are.

    Resources, scopes and the attributes of data points are not decoded yet, because most lines repeat them.
    """

    def __init__(self, learned: _Learned, *, is_snake: bool) -> None:
        self._learned = learned
        self._is_snake = is_snake
        self._made: dict[type[Message], type[Any]] = {ArrayValue: ArrayValue, KeyValueList: KeyValueList}

    def of(self, kind: type[Message]) -> type[Any]:
        """Return the type of a message with the fields that were learned for it, and for the messages in it.

        Where none were learned it is the protocol's own type, whose messages are written as they are.
        """
        if kind not in self._made:
            own = [name for message, name in self._learned if message is kind]
            given = msgspec.structs.fields(kind)
            is_point = issubclass(kind, Point)
            types = [Raw if is_point and one.name == "attributes" else self._type(one.type) for one in given]
            is_same = not (own or self._is_snake) and types == [one.type for one in given]
            self._made[kind] = kind if is_same else self._made_of(kind, types, own)
        return self._made[kind]

    def _made_of(self, kind: type[Message], types: Sequence[Any], own: Sequence[str]) -> type[Any]:
        """Return a message whose fields have these types, with its own learned fields."""
        fields = [
            (one.name, type_, msgspec.field(name=_key(one, is_snake=self._is_snake), **_default(one)))
            for one, type_ in zip(msgspec.structs.fields(kind), types, strict=True)
            if one.encode_name != OTHERS
        ]
        fields += [(f"u{place}", Any, msgspec.field(name=name, default=None)) for place, name in enumerate(own)]
        return msgspec.defstruct(
            kind.__name__, fields, bases=(kind,), namespace=_namespace(own), gc=False, kw_only=True
        )

    def _type(self, kind: Any) -> Any:
        """Return a type with such messages in it."""
        message = message_of(kind)
        if message is None:
            return kind
        if message in {Resource, Scope}:
            return Raw
        if isinstance(kind, type):
            return self.of(kind)
        args = [self._type(one) for one in get_args(kind)]
        return reduce(or_, args) if get_origin(kind) in {Union, UnionType} else Sequence[args[0]]  # type: ignore[valid-type]  # a type


def _key(field: FieldInfo, *, is_snake: bool) -> str:
    return field.name if is_snake else field.encode_name


def _default(field: FieldInfo) -> dict[str, Any]:
    if field.default_factory is not msgspec.NODEFAULT:
        return {"default_factory": field.default_factory}
    return {"default": field.default}


def _namespace(own: Sequence[str]) -> dict[str, Any]:
    """Return how a message with learned fields has its unknown ones. Most have one: this is faster than for several."""
    if not own:
        return {}
    name, *others = own
    values_of = attrgetter(*(f"u{place}" for place in range(len(own))))

    def one(self: Any) -> dict[str, Any] | None:
        return None if self.u0 is None else {name: self.u0}

    def several(self: Any) -> dict[str, Any] | None:
        return {name: value for name, value in zip(own, values_of(self), strict=True) if value is not None} or None

    def unknown_of(messages: Sequence[Any]) -> Sequence[dict[str, Any] | None]:
        if others:
            return [several(message) for message in messages]
        return [None if message.u0 is None else {name: message.u0} for message in messages]

    return {"unknown": property(several if others else one), "unknown_of": staticmethod(unknown_of)}
