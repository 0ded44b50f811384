"""Values of OTLP as plain ones: attributes, ids, times, numbers."""

import binascii
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from spoolhouse.events.shapes.otlp.documents import AnyValue, KeyValue
from spoolhouse.events.shapes.shape import ShapeError

EARLIEST, LATEST = 10**17, 4_102_444_800 * 10**9
"""Nanoseconds between these are of 1973 to 2099."""
_BASE64_IDS = {12: 8, 24: 16}
"""By the length of an id in base64, its bytes: so old encoders wrote ids."""
TRACE_DIGITS, SPAN_DIGITS = 32, 16
NO_TRACE, NO_SPAN = "0" * TRACE_DIGITS, "0" * SPAN_DIGITS
_HEX_IDS = frozenset({TRACE_DIGITS, SPAN_DIGITS})
_NO_IDS = frozenset({"", NO_TRACE, NO_SPAN})
EXACT = 2**53
"""A double holds every whole number up to this exactly."""
_FEW = 4
"""Fewer times than this are converted one by one, which then costs less than one call for all of them."""
_ENCODED_AT_ONCE = 4096
"""Values whose JSON is one text for a moment: a single character beyond the BMP makes it four times as long."""
_Moments = list[datetime | None]

from_timestamp = datetime.fromtimestamp
convert = msgspec.convert
encode = msgspec.json.Encoder().encode
encode_sorted = msgspec.json.Encoder(order="sorted").encode_lines
_encode_lines = msgspec.json.Encoder().encode_lines


def texts(values: Sequence[object], encode_lines: Callable[[Any], bytes] = _encode_lines) -> list[str]:
    """Return each value's JSON."""
    found: list[str] = []
    for first in range(0, len(values), _ENCODED_AT_ONCE):
        found += encode_lines(values[first : first + _ENCODED_AT_ONCE]).decode().split("\n")
        found.pop()
    return found


def plain(pairs: Sequence[KeyValue] | None) -> dict[str, Any]:
    """Return attributes as an object. Values of a key that comes more than once become an array."""
    if not pairs:
        return {}
    found: dict[str, Any] = {}
    for pair in pairs:
        value = pair.value
        one: Any = value.string_value
        if one is None and (one := value.int_value) is None and (one := value.bool_value) is None:
            one = of_any(value)
        found[pair.key] = one
    return found if len(found) == len(pairs) else _collected(pairs)


def _collected(pairs: Sequence[KeyValue]) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    for pair in pairs:
        found.setdefault(pair.key, []).append(of_any(pair.value))
    return {key: some[0] if len(some) == 1 else some for key, some in found.items()}


def of_any(value: AnyValue) -> Any:
    """Return a value as JSON has it. Bytes are base64, as they were written."""
    if value.double_value is not None:
        return written(value.double_value)
    if value.array_value is not None:
        return [of_any(one) for one in value.array_value.values or ()]
    if value.kvlist_value is not None:
        return plain(value.kvlist_value.values)
    scalars = value.string_value, value.int_value, value.bool_value, value.bytes_value
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


def moment(time: int) -> datetime:
    """Return a time that is within reach, to the millisecond."""
    return from_timestamp(time // 1_000_000 / 1000, UTC)


def moments(times: Sequence[int]) -> list[datetime | None]:
    """Return times that are within reach, to the millisecond; None for 0."""
    if len(times) < _FEW:
        return [moment(time) if time else None for time in times]
    found = convert([time // 1_000_000 / 1000 for time in times], _Moments, strict=False)
    return [at if time else None for at, time in zip(found, times, strict=True)] if 0 in times else found


def enumeration(**names: str) -> dict[object, str]:
    """Return the meanings of an enumeration's spellings: its names and their numbers; absence means the first name."""
    found: dict[object, str] = {None: next(iter(names.values()))}
    for place, (name, meaning) in enumerate(names.items()):
        found |= {place: meaning, str(place): meaning, name: meaning}
    return found
