"""Times of JSON logs: one of them, or those of many lines at once."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Raw

from spoolhouse.decode import times
from spoolhouse.decode.values import json_text

_QUOTE = '"'
_SECONDS, _MILLISECONDS, _MICROSECONDS = 10, 13, 17
"""Characters of the number of today's seconds, of milliseconds, and of seconds with six digits more."""
_FIRST_SECOND, _SECOND_NANOS = 10**9, 10**9
"""The first number of seconds with ten digits, and the nanoseconds of a second."""
_DIGITS = b"0123456789.\n"
_FIRST = datetime.fromtimestamp(_FIRST_SECOND, UTC)
_PYTHON_LENGTH = len('"2026-03-14 09:26:53,589"')
"""Of a time as Python's logging writes it, with a comma, which no JSON decoder reads."""

_text_of = msgspec.json.Decoder(str).decode
_time_of = msgspec.json.Decoder(datetime).decode
_times_of = msgspec.json.Decoder(datetime).decode_lines
_seconds_of = msgspec.json.Decoder(datetime, strict=False).decode
_many_seconds_of = msgspec.json.Decoder(datetime, strict=False).decode_lines
_number_of = msgspec.json.Decoder(int | float).decode


_ABSENT = Raw()
"""Falsy, as no value is."""


class _Parts(msgspec.Struct, gc=False):
    """A time as Google Cloud's agent takes it, or as loguru writes it."""

    seconds: Raw = _ABSENT
    nanos: Raw = _ABSENT
    timestamp: Raw = _ABSENT


class _Whole(msgspec.Struct, gc=False):
    """Parts that are numbers."""

    seconds: int
    nanos: int = 0


_parts_of = msgspec.json.Decoder(_Parts).decode_lines
_wholes_of = msgspec.json.Decoder(_Whole).decode_lines


def one(raw: Raw) -> datetime:
    """Return the time that a value names. It may be out of reach.

    Raises ValueError if it names none, or one that needs more.
    """
    text = json_text(raw)
    if text[0] != _QUOTE:
        # Nearly all numbers: whole milliseconds, and seconds with up to six digits more. The JSON decoder makes a time
        # of seconds four times as fast.
        if len(text) == _MILLISECONDS and text.isdecimal():
            return _seconds_of(f"{text[:-3]}.{text[-3:]}")
        if text[_SECONDS : _SECONDS + 1] == "." and len(text) <= _MICROSECONDS and text[_SECONDS + 1 :].isdecimal():
            return _seconds_of(text)
        number: float = _number_of(raw)
        if number.__class__ is float and number >= times.INEXACT_FROM:
            raise ValueError(raw)
        return times.from_parsed(number)
    if "," in text:
        return times.from_text(_text_of(raw))
    try:
        time = _time_of(raw)
    except ValueError:
        if "\\" in text:
            raise
        return times.from_text(_text_of(raw))
    return time if time.tzinfo is not None else times.from_parsed(time)


def many(raws: Sequence[Raw]) -> list[datetime]:
    """Return the times that values name, which are all written alike; any ValueError: read each on its own."""
    lines = b"\n".join(raws) + b"\n"
    if lines.startswith(b'"'):
        if b"," in lines:
            if set(map(len, raws)) != {_PYTHON_LENGTH}:
                raise ValueError(raws)
            lines = lines.replace(b",", b".")
        return [time if time.tzinfo is not None else times.from_parsed(time) for time in _times_of(lines)]
    if not lines.startswith(b"{"):
        return _of_numbers(raws, lines)
    try:
        return [_of_whole(whole.seconds, whole.nanos) for whole in _wholes_of(lines)]
    except ValueError:
        pass
    parts = _parts_of(lines)
    stamps = [part.timestamp for part in parts if part.timestamp and not part.seconds]
    if len(stamps) == len(parts):
        return _of_numbers(stamps, b"\n".join(stamps) + b"\n")
    return [of_parts((part.seconds, part.nanos)) for part in parts]


def of_parts(parts: tuple[Raw, Raw]) -> datetime:
    """Return the time of seconds and nanoseconds, which may be text. Raises ValueError for all that is no such time."""
    whole, part = (json_text(raw).strip(_QUOTE) for raw in parts)
    if not (whole.isdecimal() and whole.isascii() and (not part or (part.isdecimal() and part.isascii()))):
        raise ValueError(parts)
    return _of_whole(int(whole), int(part or "0"))


def _of_whole(seconds: int, nanos: int) -> datetime:
    if not (_FIRST_SECOND <= seconds < _FIRST_SECOND * 10 and 0 <= nanos < _SECOND_NANOS):
        raise ValueError(seconds)
    return times.EARLIEST + timedelta(seconds=seconds, microseconds=round(nanos / 1000))


def _of_numbers(raws: Sequence[Raw], lines: bytes) -> list[datetime]:
    """Return the times of numbers: all milliseconds, or all seconds with up to six digits more."""
    count = len(raws)
    if lines.translate(None, _DIGITS):
        raise ValueError(raws)
    if b"." not in lines and lines[_MILLISECONDS :: _MILLISECONDS + 1] == b"\n" * count:
        # A point before the last three digits of each, digit by digit of all lines.
        seconds = bytearray(b"0000000000.000\n" * count)
        for place in range(_MILLISECONDS):
            seconds[place + (place >= _SECONDS) :: _MILLISECONDS + 2] = lines[place :: _MILLISECONDS + 1]
        return _many_seconds_of(bytes(seconds))
    if max(map(len, raws)) > _MICROSECONDS:
        raise ValueError(raws)
    found: list[datetime] = _many_seconds_of(lines)
    if min(found) < _FIRST:
        raise ValueError(raws)
    return found
