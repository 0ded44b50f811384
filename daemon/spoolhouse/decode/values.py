"""From a raw JSON value to what stands for it in a row, by kind; all that is allowed is read, all else is explained."""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal

import msgspec
from msgspec import Raw

from spoolhouse.decode import times
from spoolhouse.decode.reject import Reason, RejectedLineError
from spoolhouse.events.declaration import Column, Kind

NULL = Raw(b"null")
BITS = {Kind.INTEGER: 64, Kind.INTEGER32: 32}
"""How long a whole number may be, its sign included."""

_QUOTE = b'"'
_DIGITS = b"-0123456789"

_TEXT = msgspec.json.Decoder(str)
_WHOLE_OR_NOT = msgspec.json.Decoder(int | float)
_NUMBER = msgspec.json.Decoder(float)
_NUMBERS = msgspec.json.Decoder(list[float])
_TEXTS = msgspec.json.Decoder(list[str])
_BOOLEAN = msgspec.json.Decoder(bool)
_LIST = msgspec.json.Decoder(list[Raw])
_RFC3339 = msgspec.json.Decoder(datetime)


def read(raw: Raw, column: Column) -> object:
    """Return what a row has for a value that is not null; raises `RejectedLineError` without its field."""
    try:
        return _READERS[column.kind](raw, column)
    except UnicodeDecodeError as error:
        raise RejectedLineError(Reason.INVALID_UNICODE, detail=error.reason) from None
    except msgspec.ValidationError as error:
        reason = Reason.OUT_OF_RANGE if "out of range" in str(error) else Reason.WRONG_TYPE
        raise RejectedLineError(reason, detail=f"not {column.kind.value}: {error}") from None


def json_text(raw: Raw) -> str:
    """Return a value's JSON, byte for byte."""
    return str(raw, "utf-8")


def scalar(raw: Raw) -> str | None:
    """Return the text of a JSON string or number; None for null. Raises ValueError for anything else."""
    first = bytes(memoryview(raw)[:1])
    if first == _QUOTE:
        return _TEXT.decode(raw)
    if first in _DIGITS:
        _NUMBER.decode(raw)  # beyond a double it is of no use to anybody who reads it as a number
        return json_text(raw)
    if raw == NULL:
        return None
    raise RejectedLineError(Reason.WRONG_TYPE, detail="neither text nor a number")


def text_or_json(raw: Raw) -> str | None:
    """Return the text of a JSON string, or the JSON of anything else; None for null."""
    if bytes(memoryview(raw)[:1]) == _QUOTE:
        return _TEXT.decode(raw)
    return None if raw == NULL else json_text(raw)


def _text(raw: Raw, _column: Column) -> str:
    return _TEXT.decode(raw)


def _choice(raw: Raw, column: Column) -> str:
    text = _TEXT.decode(raw)
    if text not in column.choices:
        raise RejectedLineError(Reason.BAD_CHOICE, detail=f"not one of {', '.join(column.choices)}")
    return text


def _exact(raw: Raw) -> float | Decimal:
    """Return a number without losing what a float cannot hold of it: whether it is whole, and its last digits.

    Raises `msgspec.ValidationError` if it is no number, or beyond a double.
    """
    number: int | float = _WHOLE_OR_NOT.decode(raw)
    if isinstance(number, float) and abs(number) >= times.INEXACT_FROM:
        return Decimal(json_text(raw))
    return number


def _integer(raw: Raw, column: Column) -> int:
    number = _exact(raw)
    if number != int(number):
        raise RejectedLineError(Reason.WRONG_TYPE, detail="not a whole number")
    bits = BITS.get(column.kind, 64)
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise RejectedLineError(Reason.OUT_OF_RANGE, detail=f"beyond {bits} bits")
    return int(number)


def _time(raw: Raw, _column: Column) -> datetime:
    first = bytes(memoryview(raw)[:1])
    if first in _DIGITS:
        try:
            return times.within_reach(times.from_epoch(_exact(raw)))
        except msgspec.ValidationError as error:
            raise RejectedLineError(Reason.ABSURD_TIME, detail=str(error)) from None
    if first != _QUOTE:
        raise RejectedLineError(Reason.WRONG_TYPE, detail="not a time: neither text nor a number")
    text = _TEXT.decode(raw)
    try:
        return times.from_parsed(_RFC3339.decode(raw))
    except msgspec.ValidationError:
        return times.within_reach(times.from_text(text))


def _counts(raw: Raw, column: Column) -> list[int]:
    counts = [_integer(count, column) for count in _LIST.decode(raw)]
    if min(counts, default=0) < 0:
        raise RejectedLineError(Reason.OUT_OF_RANGE, detail="a negative count")
    return counts


_READERS: Mapping[Kind, Callable[[Raw, Column], object]] = {
    Kind.TEXT: _text,
    Kind.CHOICE: _choice,
    Kind.SCALAR: lambda raw, _: scalar(raw),
    Kind.ANY: lambda raw, _: text_or_json(raw),
    Kind.BOOLEAN: lambda raw, _: _BOOLEAN.decode(raw),
    Kind.INTEGER: _integer,
    Kind.INTEGER32: _integer,
    Kind.NUMBER: lambda raw, _: _NUMBER.decode(raw),
    Kind.TIME: _time,
    Kind.JSON: lambda raw, _: json_text(raw),
    Kind.NUMBERS: lambda raw, _: _NUMBERS.decode(raw),
    Kind.COUNTS: _counts,
    Kind.TEXTS: lambda raw, _: _TEXTS.decode(raw),
}
