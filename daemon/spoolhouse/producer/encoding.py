"""Events as lines of JSON. The standard library alone."""

import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from math import isfinite
from uuid import UUID

Event = Mapping[str, object] | bytes | bytearray | str
"""A mapping, or a line of JSON that is already encoded."""

_SHOWN = 60
_DEEPEST = 16


def line(event: Event) -> bytes:
    """Return an event as a line with its end. Raises ValueError for what is no JSON, or no one line.

    In a mapping may stand, besides the types of JSON: a datetime (without a zone it is local time, as elsewhere in
    Python), a date, a UUID, an Enum (its value), a Decimal (a number where a double has all of its digits, else text,
    which is taken where a number is declared), and mappings that are no dicts.
    """
    if not isinstance(event, Mapping):
        return _encoded(event)
    try:
        return _encode(event if isinstance(event, dict) else dict(event)).encode() + b"\n"
    except (TypeError, RecursionError) as error:
        raise ValueError(f"an event must be JSON: {error}") from error


def lenient(event: Mapping[str, object]) -> bytes:
    """Return a mapping as a line, whatever it holds: a value that JSON lacks becomes text."""
    try:
        return line(event)
    except ValueError:
        return line({text(key): _cleaned(value, _DEEPEST) for key, value in event.items()})


def _cleaned(value: object, depth: int) -> object:
    """Return a value of JSON; what is nested too deeply, as a cycle is, becomes text."""
    found: object
    match value:
        case str():
            found = text(value)
        case Mapping() if depth:
            found = {text(key): _cleaned(one, depth - 1) for key, one in value.items()}
        case list() | tuple() | set() | frozenset() if depth:
            found = [_cleaned(one, depth - 1) for one in value]
        case float():
            found = value if isfinite(value) else str(value)
        case None | int():
            found = value
        case _:
            found = _alone(value)
    return found


def _alone(value: object) -> object:
    try:
        found = _plain(value)
    except (TypeError, ValueError):
        found = value
    return found if isinstance(found, float) else text(found if isinstance(found, str) else repr(value))


def text(value: object) -> str:
    """Return a text that UTF-8 has: of a lone surrogate its escape."""
    given = value if isinstance(value, str) else str(value)
    return given if given.isascii() else given.encode("utf-8", "backslashreplace").decode()


def _encoded(event: bytes | bytearray | str) -> bytes:
    given = event.encode() if isinstance(event, str) else bytes(event)
    one = given.rstrip(b"\r\n")
    if not one or b"\n" in one or b"\r" in one:
        raise ValueError(f"an encoded event must be one line of JSON, not {given[:_SHOWN]!r}")
    return one + b"\n"


def _plain(value: object) -> object:
    """Return a value that JSON lacks as one that it has."""
    match value:
        case datetime():
            return (value if value.tzinfo else value.astimezone()).isoformat()
        case date():
            return value.isoformat()
        case UUID():
            return str(value)
        case Decimal():
            return _number(value)
        case Enum():
            return value.value
        case Mapping():
            return dict(value)
        case _:
            raise TypeError(f"{type(value).__name__} is not known")


def _number(value: Decimal) -> float | str:
    if not value.is_finite():
        raise ValueError(f"an event must be JSON: {value} is no number there")
    number = float(value)
    return number if isfinite(number) and Decimal(repr(number)) == value else str(value)


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode
