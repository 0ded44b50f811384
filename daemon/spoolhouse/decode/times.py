"""Times as producers write them, to an aware UTC datetime."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from spoolhouse.decode.reject import Reason, RejectedLineError

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
NAIVE_EARLIEST = EARLIEST.replace(tzinfo=None)
"""The difference from it is a time in UTC sooner than `replace` makes it one: that takes six times as long."""
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
"""A TTL is computed in ClickHouse's 32-bit DateTime, which wraps in February 2106: a row dated within its TTL of that
is deleted at the next merge (seen on 26.7). Six years are room for the longest TTL."""

INEXACT_FROM = 2**53
"""A float of this size or more may not be the number that was written."""

# An epoch number says its unit by its magnitude: 1e11 s is the year 5138, 1e11 ms is 1973. Each bound is 1000 times
# the one before, so any time from 1973 to 5138 is read right in all four units.
_SECONDS_BELOW = 10**11
_MICROSECONDS_PER_UNIT = ((_SECONDS_BELOW, 10**6), (10**14, 10**3), (10**17, 1))
_MILLISECONDS_FROM, _MILLISECONDS_BELOW = _SECONDS_BELOW, 4_102_444_800_000
"""Whole numbers between these are milliseconds of 1973 to 2099."""
_SECONDS_FROM, _SECONDS_TO = 0.0, 4_102_444_799.0
"""Floats between these are seconds within reach."""
_from_timestamp = datetime.fromtimestamp
_LONGEST_EPOCH = 10**20
_EPOCH_TEXT = re.compile(r"(?!\d{8}$)\d{1,20}(\.\d{1,20})?", re.ASCII)
_NEARLY_ISO = re.compile(
    r"(\d{4})([-/])(\d\d)\2(\d\d)[T ](\d\d:\d\d:\d\d(?:[.,]\d{1,9})?) ?([+-]\d\d:?\d\d)?(?: ?(?:UTC|GMT|Z))?", re.ASCII
)
_NAMED_MONTH = re.compile(
    r"(?:[A-Z][a-z]{2}, )?(\d\d?)([ /])([A-Z][a-z]{2})\2(\d{4})[ :](\d\d:\d\d:\d\d) ([+-]\d{4}|GMT|UTC)", re.ASCII
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DATE_DIGITS = 8
"""So many digits as text are a date."""
_MILLISECOND = timedelta(milliseconds=1)
_NONE = timedelta()


def from_text(text: str) -> datetime:
    """Return the time that a text names: ISO-8601 with any precision and offset, or digits as an epoch number.

    Without an offset it is UTC. Eight digits are a date. Raises `RejectedLineError` (`bad_time`) if it is no time.
    Digits beyond microseconds are cut off.
    """
    if _EPOCH_TEXT.fullmatch(text):
        return from_epoch(Decimal(text)) if "." in text else from_parsed(int(text))
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = _from_other_text(text)
    if time.tzinfo is None:
        return time.replace(tzinfo=UTC)
    try:
        # An offset may have seconds here, which RFC 3339 cannot write.
        return time.astimezone(UTC)
    except OverflowError:
        raise RejectedLineError(Reason.ABSURD_TIME, detail="outside 1970 to 2099") from None


def _from_other_text(text: str) -> datetime:
    """Return the time of a text that `fromisoformat` does not read; raises `RejectedLineError`.

    It may be ISO-8601 but for a space before the offset, the zone UTC or GMT, or slashes in the date; or have the form
    of HTTP headers, of mail, or of a web server's log.
    """
    with suppress(ValueError):
        if found := _NEARLY_ISO.fullmatch(text):
            year, _, month, day, clock, offset = found.groups()
            return datetime.fromisoformat(f"{year}-{month}-{day}T{clock}{offset or 'Z'}")
        if found := _NAMED_MONTH.fullmatch(text):
            day, _, name, year, clock, offset = found.groups()
            number = _MONTHS.index(name) + 1
            zone = "Z" if offset.isalpha() else offset
            return datetime.fromisoformat(f"{year}-{number:02}-{day:>02}T{clock}{zone}")
    raise RejectedLineError(Reason.BAD_TIME, detail="not an ISO-8601 time")


def from_epoch(number: float | Decimal) -> datetime:
    """Return the time that an epoch number in s, ms, µs or ns names; the magnitude decides the unit.

    Raises `RejectedLineError` (`absurd_time`) if no unit makes sense of it.
    """
    if not 0 <= number < _LONGEST_EPOCH:
        raise RejectedLineError(Reason.ABSURD_TIME, detail="epoch number outside 1970 to 2099")
    for bound, factor in _MICROSECONDS_PER_UNIT:
        if number < bound:
            # An int stays exact; a float has a fraction that the product would otherwise lose.
            microseconds = number * factor if isinstance(number, int) else round(number * factor)
            break
    else:
        microseconds = int(number) // 1000
    try:
        return EARLIEST + timedelta(microseconds=microseconds)
    except OverflowError:
        raise RejectedLineError(Reason.ABSURD_TIME, detail="epoch number outside 1970 to 2099") from None


def from_parsed(value: datetime | float) -> datetime:
    """Return the time that a JSON decoder's datetime (UTC where it has no offset) or epoch number names.

    Raises `RejectedLineError` (`absurd_time`) outside 1970 to 2099, and for a float that may be inexact.
    """
    if isinstance(value, int):
        # By far the most common numbers, within reach by their bounds.
        if _MILLISECONDS_FROM <= value < _MILLISECONDS_BELOW:
            return _from_timestamp(value / 1000, UTC)
    elif isinstance(value, datetime):
        return within_reach(value if value.tzinfo is not None else EARLIEST + (value - NAIVE_EARLIEST))
    elif _SECONDS_FROM <= value < _SECONDS_TO:
        return _from_timestamp(value, UTC)
    elif value >= INEXACT_FROM:
        raise RejectedLineError(Reason.ABSURD_TIME, detail="epoch number beyond the precision of a double")
    return within_reach(from_epoch(value))


def within_reach(time: datetime) -> datetime:
    """Return `time` if the tables can hold and expire it (1970 to 2099); else reject it."""
    if not EARLIEST <= time < LATEST:
        raise RejectedLineError(Reason.ABSURD_TIME, detail="outside 1970 to 2099")
    return time


def yielding(start: datetime, recorded: datetime) -> datetime:
    """Return the recorded time of a row that yields to all that a program records; `start` is in the row's key.

    Rows of one start are still in the order of their own recorded times.
    """
    return EARLIEST + max(recorded - start, _NONE)


def elapsed(start: datetime, end: datetime) -> float:
    """Return the milliseconds from `start` to `end`."""
    return (end - start) / _MILLISECOND
