"""How what fails is tried again: for ever, with capped and jittered pauses, or for as long as a run with an end may."""

import random
import time
from dataclasses import dataclass, replace

from spoolhouse.core.backoff import delay
from spoolhouse.errors import StoreError, TransientError


class GivenUpError(StoreError):
    """The patience of a run with an end (`--once`) is used up; everything is recoverable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Persistence:
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


@dataclass(slots=True, kw_only=True)
class Trials:
    """The attempts at one thing, until one succeeds."""

    persistence: Persistence
    failures: int = 0
    failing_since: float | None = None

    def failed(self, error: StoreError) -> float:
        """Count a failure and return how many seconds to wait before the next attempt.

        Raises `GivenUpError` if there is to be none.
        """
        self.failures += 1
        self.failing_since = self.failing_since or time.monotonic()
        if self.persistence.is_used_up(self.failing_since):
            raise GivenUpError(error.message, code=error.code, mend=error.mend) from error
        # An operator's mend takes minutes, not milliseconds: such a pause starts where the others end.
        slow = replace(self.persistence, first=self.persistence.cap / 8)
        return (self.persistence if isinstance(error, TransientError) else slow).pause(self.failures)

    def succeeded(self) -> None:
        """Begin anew."""
        self.failures = 0
        self.failing_since = None
