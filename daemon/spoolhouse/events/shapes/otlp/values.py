"""Values of OTLP as plain ones: attributes, ids, times, numbers."""

import binascii
import math
from collections.abc import Callable, Sequence
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
EXACT = 2**53

encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines


def texts(values: Sequence[object], encode_lines: Callable[[Any], bytes] = _encode_lines) -> list[str]:
    """Return each value's JSON."""
    return encode_lines(values).decode().split("\n")[:-1]


def plain(pairs: Sequence[KeyValue] | None) -> dict[str, Any]:
    """Return attributes as an object. Values of a key that comes more than once become an array."""
    if not pairs:
        return {}
    found = {pair.key: of_any(pair.value) if (text := pair.value.string_value) is None else text for pair in pairs}
    return found if len(found) == len(pairs) else _collected(pairs)


def _collected(pairs: Sequence[KeyValue]) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    for pair in pairs:
        found.setdefault(pair.key, []).append(of_any(pair.value))
    return {key: some[0] if len(some) == 1 else some for key, some in found.items()}


def of_any(value: AnyValue) -> Any:
    """Return a value as JSON has it. Bytes are base64, as they were written."""
    if (number := value.int_value) is not None:  # most values that are no text
        return number
    if value.double_value is not None:
        return written(value.double_value)
    if value.array_value is not None:
        return [of_any(one) for one in value.array_value.values or ()]
    if value.kvlist_value is not None:
        return plain(value.kvlist_value.values)
    scalars = value.string_value, value.bool_value, value.bytes_value
    return next((one for one in scalars if one is not None), None)


def written(number: float | None) -> float | str | None:
    """Return a number as OTLP/JSON writes it: NaN and infinities are text."""
    if number is None or math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def exact(number: float) -> float:
    """Return a whole number as it is where a double holds it exactly, and any other one as a float."""
    return number if -EXACT <= number <= EXACT else float(number)


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
    if text is None or text in _NO_IDS:
        return None
    return text.lower() if len(text) in _HEX_IDS else identity(text)


def all_identities(texts: Sequence[str]) -> list[str]:
    """Return the ids of many records, as `identity` does."""
    return [text.lower() if len(text) in _HEX_IDS else identity(text) for text in texts]


def identities(texts: Sequence[str | None]) -> list[str | None]:
    """Return the ids of many records, as `identity_or_none` does."""
    return [
        text.lower() if text and len(text) in _HEX_IDS and text not in _NO_IDS else identity_or_none(text)
        for text in texts
    ]


class RecordError(ShapeError):
    """The error of one of many records that are read together."""

    def __init__(self, place: int, error: ShapeError) -> None:
        """Keep the record's place among them."""
        super().__init__(error.field, error.detail, is_missing=error.is_missing)
        self.place = place


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


def all_nanoseconds(times: Sequence[int | None], field: str) -> Sequence[int]:
    """Return times of many records in nanoseconds; 0 for one that is absent. Raises `RecordError`."""
    try:
        if min(times) >= EARLIEST and max(times) < LATEST:  # type: ignore[type-var,operator]  # a None is a TypeError
            return times  # type: ignore[return-value]  # no None
    except TypeError:
        pass
    found = []
    for place, time in enumerate(times):
        try:
            found.append(nanoseconds(time, field))
        except ShapeError as error:
            raise RecordError(place, error) from None
    return found


def moments(times: Sequence[int]) -> list[datetime | None]:
    """Return times that are within reach, to the millisecond; None for 0."""
    if not all(times):
        found = iter(moments([time for time in times if time]))
        return [next(found) if time else None for time in times]
    # Three times as fast as `datetime.fromtimestamp` for each.
    seconds = [time // 1_000_000 / 1000 for time in times]
    every: list[datetime | None] = msgspec.convert(seconds, list[datetime], strict=False)
    return every


def enumeration(**names: str) -> dict[object, str]:
    """Return the meanings of an enumeration's spellings: its names and their numbers; absence means the first name."""
    found: dict[object, str] = {None: next(iter(names.values()))}
    for place, (name, meaning) in enumerate(names.items()):
        found |= {place: meaning, str(place): meaning, name: meaning}
    return found
