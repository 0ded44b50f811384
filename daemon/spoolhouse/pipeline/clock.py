"""The wall clock of the stages."""

import time


def now_ms() -> int:
    """Return the time of the day, in ms since 1970."""
    return time.time_ns() // 1_000_000
