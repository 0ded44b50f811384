"""Times and intervals as people write them."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from spoolhouse.errors import BadRequestError
from spoolhouse.query.questions import Window
from spoolhouse.query.requests import When

DAY_MS = 86_400_000
LATEST_MS = 4_102_444_800_000
"""2100: no row is later."""
_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": DAY_MS, "w": 7 * DAY_MS}
_AGO = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
_INTERVAL = re.compile(r"(\d{1,9})([smhdw]?)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ACCEPTED = "an age such as 90s, 30m, 2h or 7d, a date or an ISO-8601 time is accepted"


def moment(value: Any, name: str, now_ms: int | None = None) -> int:
    """Return a time as ms since 1970; an age counts back from `now_ms`. Raises `BadRequestError`."""
    value = _duration(value)
    if isinstance(value, timedelta) and now_ms is not None:
        return _within(now_ms - round(value / timedelta(milliseconds=1)), name)
    if isinstance(value, str):
        ago = _AGO.fullmatch(value)
        if ago is not None and now_ms is not None:
            return _within(now_ms - int(ago[1]) * _UNITS[ago[2]], name)
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise BadRequestError(f"{name}: {value[:60]!r} is no time; {_ACCEPTED}") from None
    if not isinstance(value, datetime):
        raise BadRequestError(f"{name}: {value!r} is no time; {_ACCEPTED}")
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        return _within(math.floor((aware - _EPOCH) / timedelta(milliseconds=1)), name)
    except OverflowError:
        raise BadRequestError(f"{name}: {value} is no time that is stored") from None


def _duration(value: Any) -> Any:
    """Return a duration of ISO 8601 (PT2H), which is how JSON has a `timedelta`, as one; anything else as it is."""
    if isinstance(value, str) and value[:1] == "P":
        try:
            return msgspec.convert(value, timedelta)
        except msgspec.ValidationError:
            return value
    return value


def _within(ms: int, name: str) -> int:
    if not -LATEST_MS <= ms <= LATEST_MS:
        raise BadRequestError(f"{name}: from 1840 to 2100 is accepted")
    return max(ms, 0)


def window(since: When, until: When, now_ms: int, *, inclusive: bool) -> Window:
    """Return the window from `since` (24 hours before its end unless given) to `until` (now unless given)."""
    end = now_ms if until is None else moment(until, "until", now_ms)
    start = max(end - DAY_MS, 0) if since is None else moment(since, "since", now_ms)
    if start > end:
        raise BadRequestError("since is later than until")
    return Window(since_ms=start, until_ms=end + 1 if inclusive else end)


def interval(value: Any) -> int:
    """Return an interval in ms. Raises `BadRequestError`."""
    value = _duration(value)
    if isinstance(value, str) and (found := _INTERVAL.fullmatch(value)):
        ms = int(found[1]) * _UNITS[found[2] or "s"]
    elif isinstance(value, timedelta):
        ms = round(value / timedelta(milliseconds=1))
    elif isinstance(value, int) and not isinstance(value, bool):
        ms = value * 1000
    else:
        ms = 0
    if ms <= 0 or ms % 1000 or ms > 366 * DAY_MS:
        raise BadRequestError(f"every: {value!r} is no interval; 1m, 5m, 15m, 1h, 1d or whole seconds are accepted")
    return ms
