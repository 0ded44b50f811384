"""Values of OTLP as plain ones: attributes, ids, times, numbers."""

import binascii
import math
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec

from spoolhouse.events.shapes.otlp.documents import AnyValue, KeyValue
from spoolhouse.events.shapes.shape import ShapeError

EARLIEST, LATEST = 10**17, 4_102_444_800 * 10**9
"""Nanoseconds between these are of 1973 to 2099."""
_BASE64_IDS = {12: 8, 24: 16}
"""By the length of an id in base64, its bytes: so old encoders wrote ids."""
_HEX_IDS = frozenset({16, 32})
_NO_IDS = frozenset({"", "0" * 16, "0" * 32})
_EXACT = 2**53
_Times = list[datetime]

encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines


def texts(values: Sequence[object], encode_lines: Callable[[Any], bytes] = _encode_lines) -> list[str]:
    """Return each value's JSON."""
    return encode_lines(values).decode().split("\n")[:-1]


def plain(pairs: Sequence[KeyValue] | None) -> dict[str, Any]:
    """Return attributes as an object. Values of a key that comes more than once become an array."""
    if not pairs:
        return {}
    found = {
        pair.key: text if (text := (value := pair.value).string_value) is not None else of_any(value) for pair in pairs
    }
    return found if len(found) == len(pairs) else _collected(pairs)


def _collected(pairs: Sequence[KeyValue]) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    for pair in pairs:
        found.setdefault(pair.key, []).append(of_any(pair.value))
    return {key: some[0] if len(some) == 1 else some for key, some in found.items()}


def of_any(value: AnyValue) -> Any:
    """Return a value as JSON has it. Bytes are base64, as they were written."""
    found: Any = value.string_value
    if found is None and (found := value.int_value) is None and (found := value.bool_value) is None:
        if value.double_value is not None:
            return written(value.double_value)
        if value.array_value is not None:
            return [of_any(one) for one in value.array_value.values or ()]
        if value.kvlist_value is not None:
            return plain(value.kvlist_value.values)
        return value.bytes_value
    return found


def written(number: float | None) -> float | str | None:
    """Return a number as OTLP/JSON writes it: NaN and infinities are text."""
    if number is None or math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def exact(number: float) -> float:
    """Return a whole number as it is where a double holds it exactly, and any other one as a float."""
    return number if -_EXACT <= number <= _EXACT else float(number)


def identity(text: str) -> str:
    """Return an id in hex, in lower case; a text that is no hex or base64 of the right length is unchanged."""
    if len(text) in _HEX_IDS:
        return text.lower()
    if text[-1:] == "=" and (length := _BASE64_IDS.get(len(text))):
        try:
            found = binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            return text
        return found.hex() if len(found) == length else text
    return text


def identity_or_none(text: str | None) -> str | None:
    """Return an id; None for one that is absent, empty or nothing but zeros."""
    return None if text is None or text in _NO_IDS else identity(text)


def identities(ids: Sequence[str | None], absent: Collection[str] = _NO_IDS) -> list[str | None]:
    """Return ids; None for one that is absent."""
    return [None if not one or one in absent else one.lower() if len(one) in _HEX_IDS else identity(one) for one in ids]


def nanoseconds(time: int | None, field: str) -> int:
    """Return a time in nanoseconds since 1970; 0 if it is absent. Raises `ShapeError` for no time within reach.

    The unit follows from the magnitude, as everywhere.
    """
    if not time:
        return 0
    if EARLIEST <= time < LATEST:
        return time
    for factor in (1000, 10**6, 10**9):
        if EARLIEST <= time * factor < LATEST:
            return time * factor
    raise ShapeError(field, "outside 1973 to 2099")


def moments(times: Sequence[int]) -> Sequence[datetime | None]:
    """Return times that are within reach, to the millisecond; None for 0."""
    given = times if all(times) else [time for time in times if time]
    # At once, because each one alone would take four times as long.
    found: list[datetime] = msgspec.convert([time // 1_000_000 / 1000 for time in given], _Times, strict=False)
    if given is times:
        return found
    each = iter(found)
    return [next(each) if time else None for time in times]


def enumeration(**names: str) -> dict[object, str]:
    """Return the meanings of an enumeration's spellings: its names and their numbers; absence means the first name."""
    found: dict[object, str] = {None: next(iter(names.values()))}
    for place, (name, meaning) in enumerate(names.items()):
        found |= {place: meaning, str(place): meaning, name: meaning}
    return found
