"""From a declaration to the msgspec structs that its lines decode into.

A strict struct takes clean lines alone: the declared keys, each value of the declared type, times as RFC 3339 text with
an offset. A wide struct also takes aliases, epoch numbers, numbers as text and text as numbers. Neither takes a key
that it does not know, so that no field is lost.
"""

from collections.abc import Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Raw

from spoolhouse.events import json_paths
from spoolhouse.events.declaration import Column, EventType, Key, Kind
from spoolhouse.events.json_paths import Node

Tag = Literal["type", "event_type"]

TAGS: tuple[Tag, ...] = ("type", "event_type")
"""The keys that may hold the event type, in order of precedence."""

_INT64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_INT32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
_IDENTITY = Annotated[str, Meta(min_length=1)]
_EXACT = Annotated[int, Meta(ge=-(2**53), le=2**53)] | float
"""A number: a whole one stays an int, which is written faster, as long as a double holds it exactly."""
_COUNT = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_STRICT: dict[Kind, Any] = {
    Kind.TEXT: str,
    Kind.ANY: str,
    Kind.SCALAR: Raw,
    Kind.BOOLEAN: bool,
    Kind.INTEGER: _INT64,
    Kind.INTEGER32: _INT32,
    Kind.NUMBER: _EXACT,
    Kind.TIME: Annotated[datetime, Meta(tz=True)],
    Kind.JSON: Raw,
    Kind.NUMBERS: list[float],
    Kind.COUNTS: list[_COUNT],
    Kind.TEXTS: list[str],
}
_WIDE: dict[Kind, Any] = {
    Kind.TEXT: str | int,
    Kind.ANY: Raw,
    Kind.INTEGER: _INT64 | float | str,
    Kind.INTEGER32: _INT32 | float | str,
    Kind.NUMBER: _EXACT | str,
    Kind.TIME: datetime | int | float,
    Kind.CHOICE: str,
}


class Shape(NamedTuple):
    """One way to write lines, and how much of it a reader takes."""

    enveloped: bool = False
    tag: Tag = "type"
    """The key that holds the event type. A wide struct takes either, and none."""
    wide: bool = False
    open: bool = False
    """Wide, and takes any other key of the event, and choices that are numbers, too."""
    many: bool = False
    """Wide, and lines are read in bulk."""
    text_times: bool = False
    """Wide, and leaves times as text, which may be digits."""


def struct(event: EventType, shape: Shape, others: Sequence[str] | None = None) -> type[msgspec.Struct]:
    """Return the struct for a line of `event`.

    An open one takes any other fields; with `others` only these, as `u0`, `u1` and so on.

    A strict one is tagged with the event type, so that several of them make a union. A wide one has the values of
    `type` and `event_type` in `t0` and `t1`. Enveloped, the event's fields are below `data`, and nothing else may
    stand beside it: so the line cannot be a flat one with a field that is called data.
    """
    title = event.name.title().replace("_", "")
    sure = frozenset[Key]() if shape.wide else json_paths.certain(event, enveloped=shape.enveloped)
    tree = json_paths.tree(event, enveloped=shape.enveloped, wide=shape.wide)
    fields, rename = _fields(tree, title, sure, shape)
    tagged: dict[str, Any] = {} if shape.wide else {"tag_field": shape.tag, "tag": event.name}
    outer: list[tuple[str, object, object]] = []
    named: dict[str, str] = {}
    if shape.wide:
        outer = [("t0", str | None, None), ("t1", str | None, None)]
        named = {"t0": "type", "t1": "event_type"}
    # gc=False: the structs hold no cycles, and the collector would otherwise walk each of them again and again.
    more: dict[str, Any] = {"gc": False, "kw_only": True}
    closed = not shape.open or others is not None
    fields += [(f"u{place}", Raw, None) for place in range(len(others or ()))]
    rename |= {f"u{place}": key for place, key in enumerate(others or ())}
    if not shape.enveloped:
        every = [*fields, *outer]
        return msgspec.defstruct(title, every, rename=rename | named, forbid_unknown_fields=closed, **more, **tagged)
    content = msgspec.defstruct(title, fields, rename=rename, forbid_unknown_fields=closed, **more)
    more["forbid_unknown_fields"] = True
    return msgspec.defstruct(title + "Envelope", [("data", content), *outer], rename=named, **more, **tagged)


_Field = tuple[str, object] | tuple[str, object, object]


def _fields(node: Node, title: str, sure: frozenset[Key], shape: Shape) -> tuple[list[_Field], dict[str, str]]:
    """Return the fields of the struct that a node's objects decode into, and their keys."""
    names = node.names()
    fields: list[_Field] = []
    for key, column in node.values.items():
        kind = _type(column, shape)
        if kind is Raw:
            # Absent is None, which costs nothing to tell; a JSON null is a Raw like any other.
            fields.append((names[key], Raw, None))
        elif key in sure:
            fields.append((names[key], kind))
        else:
            fields.append((names[key], kind | None, None))
    for inner in (node.objects, node.arrays):
        for key, below in inner.items():
            parts, rename = _fields(below, title, frozenset(), shape)
            kind = msgspec.defstruct(
                title + names[key], parts, rename=rename, gc=False, kw_only=True, forbid_unknown_fields=True
            )
            if inner is node.arrays:
                kind = Annotated[list[kind], Meta(max_length=json_paths.MOST_ELEMENTS)]  # type: ignore[valid-type]  # made above
            fields.append((names[key], kind | None, None))
    return fields, {name: key for key, name in names.items()}


def _type(column: Column, shape: Shape) -> Any:
    if shape.text_times and column.kind is Kind.TIME:
        return str | int | float
    if shape.open and column.kind is Kind.CHOICE:
        return str | int
    if shape.wide and column.kind in _WIDE:
        return _WIDE[column.kind]
    if column.identifies:
        return _IDENTITY
    return Literal[tuple(column.choices)] if column.kind is Kind.CHOICE else _STRICT[column.kind]


def absent(node: Node) -> SimpleNamespace:
    """Return an object with the fields of a node's struct, all None."""
    return SimpleNamespace(**dict.fromkeys(node.names().values()))
