"""The liveness of the stages: a stage reports its progress, and counts as stuck after too long a silence.

A stage that waits for others (for work, for room, for a time) is idle, without any limit: ClickHouse can be down for
days, a spool can be empty for weeks. A working stage makes progress or is stuck: in a disk that no longer answers, or
an endless loop. The channels report the waits that happen in them, so a stage has little to report itself.

The context that `follow` sets for a task names the stage; `asyncio.to_thread` copies it. Outside of a followed task,
all functions here do nothing.
"""

import asyncio
import math
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

STUCK_AFTER = float(os.environ.get("SPOOLHOUSE_TEST_STUCK_AFTER", "300"))
"""Seconds of work without progress after which a stage is stuck. Generous: the answer causes a restart, and a slow disk
is no better after one. Tests cannot wait as long."""


class _Beat:
    """A stage's last progress, and the deadline of the next."""

    __slots__ = ("_clock", "_limit", "due", "since")

    def __init__(self, clock: Callable[[], float], limit: float) -> None:
        self._clock = clock
        self._limit = limit
        self.since = self.due = 0.0
        self.work()

    def work(self) -> None:
        self.since = self._clock()
        self.due = self.since + self._limit

    def idle(self) -> None:
        self.since = self._clock()
        self.due = math.inf


_own: ContextVar[_Beat | None] = ContextVar("spoolhouse_heartbeat", default=None)


def beat() -> None:
    """Report progress of this stage. Cheap (a tenth of a microsecond), and safe in any thread."""
    if (own := _own.get()) is not None:
        own.work()


@contextmanager
def idle() -> Iterator[None]:
    """Idle: not watched."""
    own = _own.get()
    if own is None:
        yield
        return
    own.idle()
    try:
        yield
    finally:
        own.work()


async def idle_until(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for an event, or for so many seconds (None: without an end), as a stage that is idle."""
    with suppress(TimeoutError), idle():
        async with asyncio.timeout(seconds):
            await event.wait()


class Heartbeat:
    """The stages of one run, from their start to their end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without stages. `clock` gives seconds from any origin."""
        self._clock = clock
        self._beats: dict[str, _Beat] = {}

    async def follow(self, stage: str, work: Coroutine[object, object, T], *, limit: float = STUCK_AFTER) -> T:
        """Run a stage's `work` as the whole of a task; it must make progress every `limit` seconds, or be idle."""
        own = self._beats[stage] = _Beat(self._clock, limit)
        _own.set(own)
        try:
            return await work
        finally:
            del self._beats[stage]

    def stuck(self) -> dict[str, float]:
        """Return the stages that are overdue, with the seconds since their last progress."""
        now = self._clock()
        return {stage: now - own.since for stage, own in list(self._beats.items()) if now > own.due}
