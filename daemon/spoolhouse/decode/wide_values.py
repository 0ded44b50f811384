"""Called by compiled row functions, for values of a wide struct that are not of the column's own class."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from spoolhouse.decode.reject import Reason, RefusedError, RejectedLineError
from spoolhouse.decode.times import DATE_DIGITS, INEXACT_FROM, from_parsed, from_text, within_reach
from spoolhouse.decode.values import choice_of, number_of_text
from spoolhouse.events.declaration import Column

_LONGEST_INTEGER = 20

_integer_of = msgspec.json.Decoder(int).decode


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

    Raises `RejectedLineError` if it is none, and another ValueError if only an exact reader can decide.
    """
    if isinstance(value, str) and len(value) <= _LONGEST_INTEGER:
        notes.append(key)
        number = _integer_of(value)
    elif isinstance(value, float) and abs(value) < INEXACT_FROM:
        if not value.is_integer():
            raise RejectedLineError(Reason.WRONG_TYPE, key, "not a whole number")
        number = int(value)
    else:
        raise RefusedError(key)
    if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        return number
    raise RejectedLineError(Reason.OUT_OF_RANGE, key, f"beyond {bits} bits")


def time(value: str | float, notes: list[str], key: str) -> datetime:
    """Return the time that a text or a number names. Raises ValueError if it names none."""
    if not isinstance(value, str):
        return from_parsed(value)
    if value.isdigit() and len(value) != DATE_DIGITS:
        notes.append(key)
        return from_parsed(int(value))
    try:
        return from_parsed(msgspec.convert(value, datetime))
    except msgspec.ValidationError:
        return within_reach(from_text(value))


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
