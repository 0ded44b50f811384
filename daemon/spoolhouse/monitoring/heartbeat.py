"""Whether the stages are alive: each says when it gets on, and one that says nothing for too long is stuck.

A stage that waits for others (for work, for room, for a time) is at rest, which may last for ever: ClickHouse can be
down for days, a spool can be empty for weeks. One that works gets on, or does not: a disk that answers no more, an
endless loop. The channels report the waits that happen in them, so a stage has little to report itself.

Which stage speaks is known from the context that `follow` sets for its task; `asyncio.to_thread` hands it on. Outside
of a followed task, all of this does nothing.
"""

import math
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

STUCK_AFTER = float(os.environ.get("SPOOLHOUSE_TEST_STUCK_AFTER", "300"))
"""Seconds of work without getting on after which a stage counts as stuck. Generous: whoever asks will restart us, and
a slow disk is no better after a restart. Tests cannot wait as long."""


class _Beat:
    """One stage's last sign of life, and when the next one is due."""

    __slots__ = ("_clock", "_limit", "due", "since")

    def __init__(self, clock: Callable[[], float], limit: float) -> None:
        self._clock = clock
        self._limit = limit
        self.since = self.due = 0.0
        self.work()

    def work(self) -> None:
        self.since = self._clock()
        self.due = self.since + self._limit

    def rest(self) -> None:
        self.since = self._clock()
        self.due = math.inf


_own: ContextVar[_Beat | None] = ContextVar("spoolhouse_pulse", default=None)


def beat() -> None:
    """Say that this stage gets on. Cheap (a tenth of a microsecond), and safe in any thread."""
    if (own := _own.get()) is not None:
        own.work()


@contextmanager
def idle() -> Iterator[None]:
    """Around a wait for others: it may last as long as it likes."""
    own = _own.get()
    if own is None:
        yield
        return
    own.rest()
    try:
        yield
    finally:
        own.work()


class Heartbeat:
    """The stages of one run, from their start to their end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know of no stage yet. `clock` gives seconds from any origin."""
        self._clock = clock
        self._beats: dict[str, _Beat] = {}

    async def follow(self, stage: str, work: Coroutine[object, object, T], *, limit: float = STUCK_AFTER) -> T:
        """Run a stage's `work` as the whole of a task; it must get on every `limit` seconds, or be at rest."""
        own = self._beats[stage] = _Beat(self._clock, limit)
        _own.set(own)
        try:
            return await work
        finally:
            del self._beats[stage]

    def stuck(self) -> dict[str, float]:
        """Return the stages that should have got on by now, and how many seconds ago they last did."""
        now = self._clock()
        return {stage: now - own.since for stage, own in list(self._beats.items()) if now > own.due}
