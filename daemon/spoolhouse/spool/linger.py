"""How hard a table's parts press: when inserts must become fewer and larger, before ClickHouse refuses them. Pure."""

from dataclasses import dataclass

_FULL_OF_THROW = 0.75
"""Where a server throws without delaying first, this much of its limit is already too near to it."""
_BEGIN = 0.5
LONGEST_LINGER = 10.0
"""Seconds that a shipment which is not full waits for company under full pressure."""
LONGEST_WAIT = 10.0
"""Seconds that an insert waits under full pressure; then it is sent all the same, for the server to judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLimits:
    """Active parts of one partition from which ClickHouse delays inserts, and from which it refuses them; 0: never."""

    delay_at: int
    throw_at: int

    @property
    def full(self) -> float:
        """The number of parts at which pressure is full; 0 where there is no limit at all."""
        limits = [float(self.delay_at)] if self.delay_at else []
        limits += [self.throw_at * _FULL_OF_THROW] if self.throw_at else []
        return min(limits, default=0.0)


def pressure(parts: int, limits: PartLimits) -> float:
    """Return 0 up to half of the parts that are too many, and 1 from there on; between, it grows evenly."""
    if not limits.full:
        return 0.0
    begin = limits.full * _BEGIN
    return min(1.0, max(0.0, (parts - begin) / (limits.full - begin)))


def linger(seconds: float, strain: float) -> float:
    """Return how long a shipment waits for company: the setting, and up to `LONGEST_LINGER` under pressure."""
    return seconds + strain * max(0.0, LONGEST_LINGER - seconds)


def wait(strain: float) -> float:
    """Return how long an insert waits before it is sent: little at first, much where the limit is near."""
    return LONGEST_WAIT * strain * strain
