"""A cursor: where the next page of one list begins, as text that means nothing to its holder."""

import base64
import binascii
import hashlib

import msgspec

from spoolhouse.errors import BadRequestError
from spoolhouse.query.questions import Position, Window

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


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Content).decode


def fingerprint(name: str, question: msgspec.Struct) -> bytes:
    """Return what tells one list from another: all that was asked, but for the size of its pages."""
    plain = {key: value for key, value in msgspec.to_builtins(question, enc_hook=str).items() if key != "limit"}
    return hashlib.sha256(msgspec.json.encode([name, plain], order="sorted")).digest()[:12]


def to_text(mark: bytes, window: Window, position: Position) -> str:
    """Return the cursor of a list whose fingerprint is `mark`."""
    content = _encode(
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
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()[:_SUM] + content).decode().rstrip("=")


def from_text(text: object, mark: bytes, ids: int) -> tuple[Window, Position]:
    """Return the window and the position; raises `BadRequestError` for a cursor that is none of this list."""
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise BadRequestError("that is no cursor; take it from the page before")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        checksum, content = data[:_SUM], data[_SUM:]
        if hashlib.sha256(content).digest()[:_SUM] != checksum:
            raise ValueError("checksum")
        found = _decode(content)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise BadRequestError("the cursor is damaged; take it from the page before, whole") from None
    if found.version != _VERSION:
        raise BadRequestError("the cursor is of another version of Spoolhouse; begin with the first page")
    if found.fingerprint != mark or len(found.ids) != ids:
        raise BadRequestError("the cursor is of another list; it goes on with the same project, filters and order only")
    return (
        Window(since_ms=found.since_ms, until_ms=found.until_ms),
        Position(value=found.value, time_ms=found.time_ms, ids=found.ids),
    )
