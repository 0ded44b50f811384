"""Retries: until one succeeds, with capped and jittered pauses, or for as long as a run with an end may take."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from msgspec import Struct
from msgspec.structs import replace

from spoolhouse.errors import StoreError, TransientError, UnreachableError
from spoolhouse.monitoring import heartbeat


def delay(attempt: int, *, first: float, cap: float, fraction: float) -> float:
    """Return seconds to wait after failed attempt number `attempt` (from 1): exponential, full jitter, capped.

    `fraction` is a random number from 0 to 1, an argument so that this stays a function. Never less than a tenth of
    `first` (or of `cap`, if that is shorter), so that bad luck does not make a hot loop.
    """
    ceiling = min(cap, first * 2.0 ** min(attempt - 1, 60))
    return max(min(first, cap) / 10, ceiling * fraction)


class GivenUpError(StoreError):
    """The patience of a run with an end (`--once`) is used up; everything is recoverable."""


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How attempts follow one another. `patience`: seconds of failure after which to give up; None is never."""

    first: float
    cap: float
    patience: float | None = None

    def pause(self, failures: int) -> float:
        """Return how many seconds to wait after so many failures in a row."""
        fraction = random.random()  # noqa: S311  # jitter is no secret
        return delay(failures, first=self.first, cap=self.cap, fraction=fraction)

    def is_used_up(self, failing_since: float) -> bool:
        """Tell whether to give up what has failed since then (monotonic)."""
        return self.patience is not None and time.monotonic() - failing_since >= self.patience


class Retries(Struct, kw_only=True):
    """The attempts at one thing, until one succeeds."""

    retry_policy: RetryPolicy
    failures: int = 0
    failing_since: float | None = None

    def failed(self, error: StoreError) -> float:
        """Count a failure and return how many seconds to wait before the next attempt.

        Raises `GivenUpError` if there is to be none.
        """
        self.failures += 1
        self.failing_since = self.failing_since or time.monotonic()
        if self.retry_policy.is_used_up(self.failing_since):
            raise GivenUpError(error.message, code=error.code, hint=error.hint) from error
        # An operator's fix takes minutes, not milliseconds: such a pause starts where the others end.
        slow = replace(self.retry_policy, first=self.retry_policy.cap / 8)
        return (self.retry_policy if isinstance(error, TransientError) else slow).pause(self.failures)

    def succeeded(self) -> None:
        """Begin anew."""
        self.failures = 0
        self.failing_since = None


class Attempt:
    """One attempt at work that the journal keeps for the next start, should a stop come.

    After a stop the daemon waits neither for a person nor for a server that is away: the grace is for batches that can
    still land. Work that was under way at the stop, or waited for its next attempt, gets one at once, the last one.
    """

    def __init__(self, stop: asyncio.Event) -> None:
        """Begin an attempt."""
        self._stop = stop
        self._is_last = stop.is_set()

    def is_left(self, error: StoreError) -> bool:
        """Tell whether a stop leaves the failed work to the next start."""
        return self._is_last and (isinstance(error, UnreachableError) or not isinstance(error, TransientError))

    async def pause(self, seconds: float, wait: Callable[[float], Awaitable[None]]) -> None:
        """Wait before the next attempt, with `wait`, which a stop ends; not at all where the stop has come already."""
        if self._is_last or not self._stop.is_set():
            with heartbeat.idle():
                await wait(seconds)
