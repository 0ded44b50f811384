"""Times as producers write them, to an aware UTC datetime."""

from datetime import UTC, datetime, timedelta

from spoolhouse.core.reject import Reason, RejectedLineError

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2106, 1, 1, tzinfo=UTC)
"""A TTL is computed in ClickHouse's 32-bit DateTime, which ends in February 2106: nothing after could expire."""

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
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def from_epoch(number: float) -> datetime:
    """Return the time that an epoch number in s, ms, µs or ns names; the unit is told by the magnitude.

    Raises `RejectedLineError` (`absurd_time`) if no unit makes sense of it.
    """
    if not 0 <= number < _LONGEST_EPOCH:
        raise RejectedLineError(Reason.ABSURD_TIME, detail="epoch number outside 1970 to 2105")
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
        raise RejectedLineError(Reason.ABSURD_TIME, detail="epoch number outside 1970 to 2105") from None


def within_reach(time: datetime) -> datetime:
    """Return `time` if it lies in what the tables can hold and expire, from 1970 to 2105; else reject it."""
    if not EARLIEST <= time < LATEST:
        raise RejectedLineError(Reason.ABSURD_TIME, detail="outside 1970 to 2105")
    return time
