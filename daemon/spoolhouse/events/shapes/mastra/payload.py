"""The common parts of the payloads of Mastra's bus."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeGuard, get_args

import msgspec
from msgspec import Meta, Raw, Struct

from spoolhouse.events.shapes.shape import Fields, FormedEvent

NULL = Raw(b"null")
NO_FIELDS: Fields = {}

Time = Annotated[datetime, Meta(tz=True)]
object_of = msgspec.json.Decoder(dict[str, Raw]).decode
text_of = msgspec.json.Decoder(str).decode

Reader = Callable[[str, Any, Fields], list[FormedEvent]]
"""The line's `type`, a payload's struct, and the fields that it has no place for → events."""


class Payload(Struct, frozen=True, kw_only=True, eq=False):
    """One kind of payload. Its structs have the payload's own keys."""

    key: str
    read: Reader
    fields: Mapping[str, Any]
    """By key, the type of its value as Mastra writes it; `Raw` for one that may be anything. A value is optional if its
    type has None or is `Raw`. They are in Mastra's order, which is the fastest to decode.
    """

    def struct(self, *, exact: bool = True, closed: bool = False, more: Sequence[str] = ()) -> type[msgspec.Struct]:
        """Return the struct of the payload; not `exact`: of a value of any type under each key.

        A `closed` one takes no other fields but those in `more`, as `u0`, `u1` and so on.
        """
        kinds = self.fields if exact else dict.fromkeys(self.fields, Raw)
        fields: list[Any] = [(key, kind, None) if _may_be_absent(kind) else (key, kind) for key, kind in kinds.items()]
        fields += [(f"u{place}", Raw, None) for place in range(len(more))]
        names = {f"u{place}": key for place, key in enumerate(more)}
        how: dict[str, Any] = {"kw_only": True, "gc": False, "forbid_unknown_fields": closed}
        return msgspec.defstruct(self.key, fields, rename=names, **how)


def _may_be_absent(kind: Any) -> bool:
    return kind is Raw or type(None) in get_args(kind)


def is_given(value: object) -> bool:
    """Tell whether a value is there and no null."""
    return value is not None and value != NULL


def first(value: object, other: object) -> object:
    """Return a value if it is given, else another."""
    return value if value.__class__ is str or is_given(value) else other


def same(*keys: str) -> dict[str, str]:
    """Return keys that are also the names of the struct's attributes."""
    return dict(zip(keys, keys, strict=True))


def text_or_none(value: object) -> str | None:
    """Return the text that a value is; None if it is none."""
    try:
        return text_of(value) if isinstance(value, Raw) else None
    except msgspec.ValidationError:
        return None


def is_object(value: object) -> TypeGuard[Raw]:
    """Tell whether a value is an object's JSON."""
    return isinstance(value, Raw) and bytes(value).startswith(b"{")
