"""How long to wait before the next try, and how often to report failures that go on."""


def delay(attempt: int, *, first: float, cap: float, fraction: float) -> float:
    """Return seconds to wait after failed attempt number `attempt` (from 1): exponential, full jitter, capped.

    `fraction` is a random number from 0 to 1, an argument so that this stays a function. Never less than a tenth of
    `first` (or of `cap`, if that is shorter), so that bad luck does not make a hot loop.
    """
    ceiling = min(cap, first * 2.0 ** min(attempt - 1, 60))
    return max(min(first, cap) / 10, ceiling * fraction)


def is_reported(times: int) -> bool:
    """Return whether something that has happened so many times in a row is logged: the 1st, 2nd, 4th, 8th … time."""
    return times & (times - 1) == 0
