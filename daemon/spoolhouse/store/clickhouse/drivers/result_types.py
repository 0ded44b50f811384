"""The results of `Driver.execute`: the same Python values from every driver, decided by the column's type.

`str` for text, enums, UUIDs and IP addresses, and for dates and times exactly as ClickHouse writes them (`2026-01-31
12:00:00.250`, in the column's own time zone); `int`, `bool` and `float`; `None`, also for NaN and infinity, which JSON
lacks; `list` of these for arrays and tuples. Bytes that are not UTF-8 become U+FFFD. Other types (Decimal, Map, JSON,
aggregate states …) are refused: cast them in the statement.
"""

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from functools import lru_cache

from spoolhouse.errors import OperatorError

Read = Callable[[object], object]

_TEXT = ("String", "FixedString", "Enum8", "Enum16", "Enum", "UUID", "IPv4", "IPv6")
_WHOLE = tuple(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64, 128, 256))
_MICROSECOND_DIGITS = 6


@lru_cache(maxsize=1024)
def reader(type_name: str) -> Read:
    """Return the function that converts a driver's value of a ClickHouse type into ours.

    Raises `OperatorError` for an unsupported type.
    """
    name, arguments = _parse(type_name)
    if name in _SIMPLE:
        return _SIMPLE[name]
    match name, arguments:
        case "Nullable" | "LowCardinality", [inner]:
            return _optional(reader(inner))
        case "SimpleAggregateFunction", [_, inner]:
            return reader(inner)
        case "Array", [inner]:
            return _array(reader(inner))
        case "Tuple", [_, *_]:
            return _tuple([reader(_unnamed(argument)) for argument in arguments])
        case "DateTime64", [scale, *_] if scale.isdigit() and int(scale) <= _MICROSECOND_DIGITS:
            return _time(int(scale))
    raise OperatorError(
        f"a column of type {type_name} cannot be returned", hint="cast it in the statement, to String for one"
    )


def rows(types: Iterable[str], data: Iterable[Sequence[object]]) -> list[tuple[object, ...]]:
    """Return the rows of an answer; `types` are its columns' types."""
    readers = [reader(type_name) for type_name in types]
    return [tuple(read(value) for read, value in zip(readers, row, strict=True)) for row in data]


def _parse(type_name: str) -> tuple[str, list[str]]:
    """Split `Name(a, b(c, d), 'e')` into its name and its arguments."""
    name, bracket, rest = type_name.strip().partition("(")
    if not bracket:
        return name, []
    arguments, depth, quoted, start = [], 0, False, 0
    content = rest.removesuffix(")")
    for place, character in enumerate(content):
        if character == "'" and content[place - 1 : place] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += {"(": 1, ")": -1}.get(character, 0)
            if character == "," and depth == 0:
                arguments.append(content[start:place].strip())
                start = place + 1
    return name, [*arguments, content[start:].strip()]


def _unnamed(element: str) -> str:
    """Return the type of a tuple's element, without the name that may precede it."""
    name, space, kind = element.partition(" ")
    return kind if space and "(" not in name else element


def _optional(read: Read) -> Read:
    return lambda value: None if value is None else read(value)


def _array(read: Read) -> Read:
    return lambda value: [read(element) for element in _sequence(value)]


def _tuple(reads: Sequence[Read]) -> Read:
    return lambda value: [read(element) for read, element in zip(reads, _sequence(value), strict=True)]


def _sequence(value: object) -> Sequence[object]:
    if isinstance(value, dict):  # a tuple whose elements have names, as JSON
        return list(value.values())
    if not isinstance(value, list | tuple):
        raise TypeError(value)
    return value


def _time(scale: int) -> Read:
    def read(value: object) -> str:
        if not isinstance(value, datetime):
            return _text(value)
        whole = value.strftime("%Y-%m-%d %H:%M:%S")
        return f"{whole}.{f'{value.microsecond:06}'[:scale]}" if scale else whole

    return read


def _date(value: object) -> str:
    return value.isoformat() if isinstance(value, date) else _text(value)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes | bytearray) else str(value)


def _whole(value: object) -> int:
    return int(_text(value)) if isinstance(value, str | bytes) else int(value)  # type: ignore[call-overload]  # checked by its type


def _double(value: object) -> float | None:
    if value is None:
        return None
    number = float(value)  # type: ignore[arg-type]  # float() refuses any other type
    return number if math.isfinite(number) else None


def _single(value: object) -> float | None:
    # One driver gives the nearest double of the shortest text, another the exact value of the 32 bits: use the latter.
    number = _double(value)
    if number is None:
        return None
    exact: float = struct.unpack("f", struct.pack("f", number))[0]
    return exact


_SIMPLE: dict[str, Read] = {
    **dict.fromkeys(_TEXT, _text),
    **dict.fromkeys(_WHOLE, _whole),
    "Bool": bool,
    "Float64": _double,
    "Float32": _single,
    "Date": _date,
    "Date32": _date,
    "DateTime": _time(0),
    "Nothing": lambda _: None,
}
