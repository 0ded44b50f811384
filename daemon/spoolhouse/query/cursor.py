"""A cursor: where the next page of one list begins, as text that means nothing to its holder."""

import base64
import binascii
import hashlib
from typing import TypeVar

import msgspec

from spoolhouse.errors import BadRequestError
from spoolhouse.query.questions import Position, Window

T = TypeVar("T", bound=msgspec.Struct)

_VERSION = 1
_SUM = 8
_LONGEST = 200_000


class _Content(msgspec.Struct, array_like=True, frozen=True):
    version: int
    fingerprint: bytes
    since_ms: int
    until_ms: int
    value: str | int | float | None
    time_ms: int
    ids: tuple[str | int, ...]


def fingerprint(name: str, question: msgspec.Struct) -> bytes:
    """Return what tells one list from another: all that was asked, but for the size of its pages."""
    every = msgspec.to_builtins(question, enc_hook=str)
    plain = {key: value for key, value in every.items() if key not in {"limit", "page_size"}}
    return hashlib.sha256(msgspec.json.encode([name, plain], order="sorted")).digest()[:12]


def to_text(mark: bytes, window: Window, position: Position) -> str:
    """Return the cursor of a list whose fingerprint is `mark`."""
    return encoded(
        _Content(
            version=_VERSION,
            fingerprint=mark,
            since_ms=window.since_ms,
            until_ms=window.until_ms,
            value=position.value,
            time_ms=position.time_ms,
            ids=position.ids,
        )
    )


def from_text(text: object, mark: bytes, ids: int) -> tuple[Window, Position]:
    """Return the window and the position; raises `BadRequestError` for a cursor that is none of this list."""
    found = decoded(text, _Content)
    if found.version != _VERSION:
        raise BadRequestError("the cursor is of another version of Spoolhouse; begin with the first page")
    if found.fingerprint != mark or len(found.ids) != ids:
        raise BadRequestError("the cursor is of another list; it goes on with the same project, filters and order only")
    return (
        Window(since_ms=found.since_ms, until_ms=found.until_ms),
        Position(value=found.value, time_ms=found.time_ms, ids=found.ids),
    )


def encoded(content: msgspec.Struct) -> str:
    """Return a struct as text, with a checksum.

    The struct comes first: its first byte makes a letter, never the `-` that a command would take for a flag.
    """
    data = msgspec.msgpack.encode(content)
    return base64.urlsafe_b64encode(data + hashlib.sha256(data).digest()[:_SUM]).decode().rstrip("=")


def decoded(text: object, kind: type[T]) -> T:
    """Return the struct that a text holds; raises `BadRequestError` for a text that is damaged, or of another kind."""
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise BadRequestError("that is no cursor; take it from the page before")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        content = data[:-_SUM]
        if hashlib.sha256(content).digest()[:_SUM] != data[-_SUM:]:
            raise ValueError("checksum")
        return msgspec.msgpack.decode(content, type=kind)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise BadRequestError("the cursor is damaged; take it from the page before, whole") from None
