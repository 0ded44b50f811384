"""What compiled row functions call for values of a wide struct that are not of the column's own class."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from msgspec import Raw

from spoolhouse.decode import times
from spoolhouse.decode.reject import Reason, RefusedError, RejectedLineError
from spoolhouse.decode.values import choice_of, json_text, number_of_text
from spoolhouse.events.declaration import Column

_QUOTE = '"'
_LONGEST_INTEGER = 20

_text_of = msgspec.json.Decoder(str).decode
_integer_of = msgspec.json.Decoder(int).decode
_time_of = msgspec.json.Decoder(datetime | int | float).decode


def spellings(column: Column) -> Mapping[str, str]:
    """Return the choices by all the names that mean exactly them, as they are usually written."""
    names = {name.lower(): choice for name, choice in column.same.items()}
    names |= {choice.lower(): choice for choice in column.choices}
    spelt = {form(name): choice for name, choice in names.items() for form in (str.upper, str.capitalize, str.lower)}
    return spelt | {choice: choice for choice in column.choices}


def text(value: object, notes: list[str], key: str) -> str:
    """Return the text of a whole number."""
    notes.append(key)
    return str(value)


def integer(value: object, notes: list[str], key: str, bits: int) -> int:
    """Return the whole number that a float or a text is.

    Raises `RejectedLineError` if it is none, and another ValueError if only an exact reader can tell.
    """
    if isinstance(value, str) and len(value) <= _LONGEST_INTEGER:
        notes.append(key)
        number = _integer_of(value)
    elif isinstance(value, float) and abs(value) < times.INEXACT_FROM:
        if not value.is_integer():
            raise RejectedLineError(Reason.WRONG_TYPE, key, "not a whole number")
        number = int(value)
    else:
        raise RefusedError(key)
    if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        return number
    raise RejectedLineError(Reason.OUT_OF_RANGE, key, f"beyond {bits} bits")


def time(raw: Raw, notes: list[str], key: str) -> datetime | None:
    """Return the time that a JSON value names; None for null. Raises ValueError if it names none."""
    text = json_text(raw)
    digits = text[1:-1]
    if digits.isdigit() and text[0] == _QUOTE and len(digits) != times.DATE_DIGITS:
        notes.append(key)
        return times.from_parsed(int(digits))
    try:
        return times.from_parsed(_time_of(raw))
    except msgspec.ValidationError:
        if text == "null":
            return None
    return times.within_reach(times.from_text(_text_of(raw)))


def choice(value: str | int, column: Column, key: str, originals: dict[str, object]) -> str:
    """Return the choice that another name means; keep the original if it means less or more.

    Raises `RejectedLineError`.
    """
    name = value.strip() if isinstance(value, str) else str(value)
    if near := column.near.get(name.lower()):
        originals[key] = value
        return near
    choice, _ = choice_of(name, column, key)
    if not isinstance(value, str):
        originals[key] = value
    return choice


def number(value: object, notes: list[str], key: str) -> float:
    """Return the number that a text spells. Raises ValueError if it is none."""
    notes.append(key)
    return number_of_text(str(value))
