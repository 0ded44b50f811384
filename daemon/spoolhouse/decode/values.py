"""From a JSON value to its form in a row, by the column's kind.

A value is a `Raw`, as a line has it, or a Python value, as a shape gives it. Everything that can be interpreted is
taken; a value that was converted is noted, and kept as it was where the column cannot express it.
"""

from codecs import utf_8_decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from spoolhouse.decode import times
from spoolhouse.decode.reject import Reason, RejectedLineError
from spoolhouse.events.declaration import Column, EventType, Kind

NULL = Raw(b"null")
BITS = {Kind.INTEGER: 64, Kind.INTEGER32: 32}
"""How long a whole number may be, its sign included."""

_QUOTE = '"'
_DIGITS = frozenset("-0123456789")
_LONGEST_NUMBER = 400
"""Characters of a text that is read as a number."""

_text_of = msgspec.json.Decoder(str).decode
_any_of = msgspec.json.Decoder().decode
_number_of = msgspec.json.Decoder(int | float).decode
_float_of = msgspec.json.Decoder(float).decode
_floats_of = msgspec.json.Decoder(list[float]).decode
_texts_of = msgspec.json.Decoder(list[str]).decode
_list_of = msgspec.json.Decoder(list[Raw]).decode
_time_of = msgspec.json.Decoder(datetime).decode
encode_extra = msgspec.json.Encoder(order="sorted").encode
"""Whichever reader reads a line, the fields of `extra` are in the order of their names."""
_encode = msgspec.json.encode


class Notes(Struct):
    """The conversions, originals and unknown fields of a line."""

    converted: list[str] = field(default_factory=list)
    """Keys whose values were converted."""
    originals: dict[str, object] = field(default_factory=dict)
    """By key, values that the columns cannot express."""
    unknown: list[str] = field(default_factory=list)
    """Keys that no column takes."""
    nulls: dict[str, Raw] = field(default_factory=dict)
    """The fields that have NaN or Infinity in them, with null in place of each."""
    derived: list[tuple[EventType, Column, object]] | None = None
    """On request: the columns that were derived, with their values."""


def json_text(raw: Raw) -> str:
    """Return a value's JSON, byte for byte."""
    return utf_8_decode(raw)[0]


def scalar(raw: Raw) -> str | None:
    """Return the text of a JSON string or number; None for null. Raises ValueError for anything else."""
    text = json_text(raw)
    first = text[0]
    if first == _QUOTE:
        return _text_of(raw)
    if first in _DIGITS:
        _float_of(raw)  # beyond a double it is of no use to anybody who reads it as a number
        return text
    if text == "null":
        return None
    raise RejectedLineError(Reason.WRONG_TYPE, detail="neither text nor a number")


def text_or_json(raw: Raw) -> str | None:
    """Return the text of a JSON string, or the JSON of anything else; None for null."""
    text = json_text(raw)
    if text[0] == _QUOTE:
        return _text_of(raw)
    return None if text == "null" else text


def number_or_none(value: object) -> float | None:
    """Return a JSON number; None for anything else."""
    if value.__class__ is Raw:
        try:
            return exact_or_float(_number_of(value))
        except msgspec.ValidationError:
            return None
    return exact_or_float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def exact_or_float(number: float) -> float:
    """Return a whole number as it is where a double holds it exactly, and any other one as a float.

    Raises `RejectedLineError` if it is beyond a double.
    """
    try:
        return number if -times.INEXACT_FROM <= number <= times.INEXACT_FROM else float(number)
    except OverflowError:
        raise RejectedLineError(Reason.OUT_OF_RANGE, detail="beyond a double") from None


def number_of_text(text: str) -> float:
    """Return the number that a text spells as JSON does. Raises ValueError if it is none, or beyond a double."""
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("too long for a number")
    try:
        return exact_or_float(_number_of(text))
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None


def choice_of(name: str, column: Column, key: str = "") -> tuple[str, bool]:
    """Return the choice that a name means, and whether exactly that."""
    lower = name.lower()
    exact = column.same.get(lower) or next((one for one in column.choices if one.lower() == lower), None)
    choice = exact or column.near.get(lower)
    if choice is None:
        raise RejectedLineError(Reason.BAD_CHOICE, key, f"not one of {', '.join(column.choices)}")
    return choice, exact is not None


def extra_of(unknown: Mapping[str, object], originals: Mapping[str, object]) -> str:
    """Return the text of `extra`: fields that no column takes, and originals, in the order of their names."""
    return encode_extra({**unknown, **originals} if originals else unknown).decode()


def read(value: object, column: Column, key: str, notes: Notes) -> object:
    """Return the row's form of a value that is not null; raises `RejectedLineError` without its field."""
    try:
        return _READERS[column.kind](value, column, key, notes)
    except UnicodeDecodeError as error:
        raise RejectedLineError(Reason.INVALID_UNICODE, detail=error.reason) from None
    except msgspec.ValidationError as error:
        reason = Reason.OUT_OF_RANGE if "out of range" in str(error) else Reason.WRONG_TYPE
        raise RejectedLineError(reason, detail=f"not {column.kind.value}: {error}") from None


def plain(value: object) -> object:
    """Return a JSON scalar as a Python value that loses nothing; objects and arrays, and Python values, as they are.

    A number is an int, a float below 2^53, or a Decimal. Raises `msgspec.ValidationError` for one beyond a double.
    """
    if not isinstance(value, Raw):
        return value
    text = json_text(value)
    if text[0] in _DIGITS:
        number: int | float = _number_of(value)
        return Decimal(text) if isinstance(number, float) and abs(number) >= times.INEXACT_FROM else number
    return value if text[0] in "{[" else _any_of(value)


def _wrong(column: Column, value: object) -> RejectedLineError:
    names = {dict: "object", list: "array", tuple: "array", type(None): "null", Decimal: "float"}
    name = names.get(type(value), type(value).__name__)
    if isinstance(value, Raw):
        name = "object" if json_text(value).startswith("{") else "array"
    return RejectedLineError(Reason.WRONG_TYPE, detail=f"not {column.kind.value}: got `{name}`")


def _text(value: object, column: Column, key: str, notes: Notes) -> str:
    if isinstance(value, Raw):
        try:
            return _text_of(value)
        except msgspec.ValidationError:
            found = plain(value)
            if isinstance(found, int | float | Decimal) and not isinstance(found, bool):
                notes.converted.append(key)
                return str(found) if isinstance(found, int) else json_text(value)
            raise _wrong(column, found) from None
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        notes.converted.append(key)
        return str(value)
    raise _wrong(column, value)


def _choice(value: object, column: Column, key: str, notes: Notes) -> str:
    found = plain(value)
    if found.__class__ is str and found in column.choices:
        return found
    named = _named(found)
    if named is None:
        raise _wrong(column, found)
    choice, is_exact = choice_of(named, column)
    notes.converted.append(key)
    if not is_exact or not isinstance(found, str):
        notes.originals[key] = value if isinstance(found, Raw | Decimal) else found
    return choice


def _named(value: object) -> str | None:
    """Return the name of a choice in lower case: of a text, a number, or an object with a `code`."""
    if isinstance(value, Raw):
        value = _any_of(value)
    if isinstance(value, Mapping):
        value = value.get("code", value.get("status_code", value.get("status")))
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object, column: Column, key: str, notes: Notes) -> float:
    if isinstance(value, Raw):
        try:
            return exact_or_float(_number_of(value))
        except msgspec.ValidationError:
            value = plain(value)
    if isinstance(value, str):
        try:
            number = number_of_text(value)
        except ValueError:
            raise RejectedLineError(Reason.WRONG_TYPE, detail=f"not {column.kind.value}: text is no number") from None
        notes.converted.append(key)
        return number
    if isinstance(value, int | float) and not isinstance(value, bool):
        return exact_or_float(value)
    raise _wrong(column, value)


def _integer(value: object, column: Column, key: str, notes: Notes) -> int:
    found: Any = plain(value)
    if isinstance(found, str):
        try:
            number_of_text(found)
            found = Decimal(found)
        except (ValueError, InvalidOperation):
            raise RejectedLineError(Reason.WRONG_TYPE, detail=f"not {column.kind.value}: text is no number") from None
        notes.converted.append(key)
    if not isinstance(found, int | float | Decimal) or isinstance(found, bool):
        raise _wrong(column, found)
    if found != found or found in {float("inf"), float("-inf")} or found != int(found):  # noqa: PLR0124  # NaN
        raise RejectedLineError(Reason.WRONG_TYPE, detail="not a whole number")
    bits = BITS.get(column.kind, 64)
    if not -(2 ** (bits - 1)) <= found < 2 ** (bits - 1):
        raise RejectedLineError(Reason.OUT_OF_RANGE, detail=f"beyond {bits} bits")
    return int(found)


def _time(value: object, _column: Column, key: str, notes: Notes) -> datetime:
    if isinstance(value, Raw):
        try:
            return times.from_parsed(_time_of(value))
        except msgspec.ValidationError:
            pass
        try:
            value = plain(value)
        except msgspec.ValidationError as error:
            raise RejectedLineError(Reason.ABSURD_TIME, detail=str(error)) from None
    if isinstance(value, datetime):
        return times.within_reach(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, str):
        if value.isdigit() and len(value) != times.DATE_DIGITS:
            notes.converted.append(key)
        return times.within_reach(times.from_text(value))
    if isinstance(value, Decimal):
        return times.within_reach(times.from_epoch(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return times.from_parsed(value)
    raise RejectedLineError(Reason.WRONG_TYPE, detail="not a time: neither text nor a number")


def _json(value: object, _column: Column, _key: str, _notes: Notes) -> str:
    return json_text(value) if isinstance(value, Raw) else _encode(value).decode()


def _scalar(value: object, column: Column, _key: str, _notes: Notes) -> str:
    raw = value if isinstance(value, Raw) else Raw(_encode(value))
    text = scalar(raw)
    if text is None:
        raise _wrong(column, None)
    return text


def _any(value: object, _column: Column, _key: str, _notes: Notes) -> str:
    if isinstance(value, str):
        return value
    raw = value if isinstance(value, Raw) else Raw(_encode(value))
    return text_or_json(raw) or ""


def _boolean(value: object, column: Column, _key: str, _notes: Notes) -> bool:
    found = plain(value)
    if not isinstance(found, bool):
        raise _wrong(column, found)
    return found


def _elements(value: object, column: Column) -> list[Any]:
    if isinstance(value, Raw):
        return _list_of(value)
    if not isinstance(value, list | tuple):
        raise _wrong(column, value)
    return list(value)


def _numbers(value: object, column: Column, key: str, notes: Notes) -> list[float]:
    if isinstance(value, Raw):
        try:
            return _floats_of(value)
        except msgspec.ValidationError:
            pass
    return [_number(one, column, key, notes) for one in _elements(value, column)]


def _counts(value: object, column: Column, key: str, notes: Notes) -> list[int]:
    counts = [_integer(count, column, key, notes) for count in _elements(value, column)]
    if min(counts, default=0) < 0:
        raise RejectedLineError(Reason.OUT_OF_RANGE, detail="a negative count")
    return counts


def _texts(value: object, column: Column, key: str, notes: Notes) -> list[str]:
    if isinstance(value, Raw):
        try:
            return _texts_of(value)
        except msgspec.ValidationError:
            pass
    return [_text(one, column, key, notes) for one in _elements(value, column)]


_READERS: Mapping[Kind, Callable[[Any, Column, str, Notes], object]] = {
    Kind.TEXT: _text,
    Kind.CHOICE: _choice,
    Kind.SCALAR: _scalar,
    Kind.ANY: _any,
    Kind.BOOLEAN: _boolean,
    Kind.INTEGER: _integer,
    Kind.INTEGER32: _integer,
    Kind.NUMBER: _number,
    Kind.TIME: _time,
    Kind.JSON: _json,
    Kind.NUMBERS: _numbers,
    Kind.COUNTS: _counts,
    Kind.TEXTS: _texts,
}
