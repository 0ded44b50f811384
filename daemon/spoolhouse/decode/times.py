"""Times as producers write them, to an aware UTC datetime."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from spoolhouse.decode.reject import Reason, RejectedLineError

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
"""A TTL is computed in ClickHouse's 32-bit DateTime, which wraps in February 2106: a row dated within its TTL of that
is deleted at the next merge (seen on 26.7). Six years are room for the longest TTL."""

INEXACT_FROM = 2**53
"""A float of this size or more may not be the number that was written."""

# An epoch number says its unit by its magnitude: 1e11 s is the year 5138, 1e11 ms is 1973. Each bound is 1000 times
# the one before, so any time from 1973 to 5138 is read right in all four units.
_SECONDS_BELOW = 10**11
_MICROSECONDS_PER_UNIT = ((_SECONDS_BELOW, 10**6), (10**14, 10**3), (10**17, 1))
_LONGEST_EPOCH = 10**20


def from_text(text: str) -> datetime:
    """Return the time that an ISO-8601 text names, with any precision and offset; without an offset it is UTC.

    Raises `RejectedLineError` (`bad_time`) if it is no time. Digits beyond microseconds are cut off.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise RejectedLineError(Reason.BAD_TIME, detail="not an ISO-8601 time") from None
    if time.tzinfo is None:
        return time.replace(tzinfo=UTC)
    try:
        # An offset may have seconds here, which RFC 3339 cannot write.
        return time.astimezone(UTC)
    except OverflowError:
        raise RejectedLineError(Reason.ABSURD_TIME, detail="outside 1970 to 2099") from None


def from_epoch(number: float | Decimal) -> datetime:
    """Return the time that an epoch number in s, ms, µs or ns names; the unit is told by the magnitude.

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

    Raises `RejectedLineError` (`absurd_time`) outside 1970 to 2099, and for a float that may not be what was written.
    """
    if isinstance(value, datetime):
        return within_reach(value if value.tzinfo is not None else value.replace(tzinfo=UTC))
    if not isinstance(value, int) and value >= INEXACT_FROM:
        raise RejectedLineError(Reason.ABSURD_TIME, detail="epoch number beyond the precision of a double")
    return within_reach(from_epoch(value))


def within_reach(time: datetime) -> datetime:
    """Return `time` if it lies in what the tables can hold and expire, from 1970 to 2099; else reject it."""
    if not EARLIEST <= time < LATEST:
        raise RejectedLineError(Reason.ABSURD_TIME, detail="outside 1970 to 2099")
    return time
