"""Watching: the system reports changes in the spool, so that files need not wait for the next timed scan.

Promises: only a hint. A system that cannot watch (too few inotify watches, a network file system, a name that the
library cannot decode) is reported, and watching is tried again; the timed scans do not depend on it.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from spoolhouse.monitoring.logs import is_reported
from spoolhouse.pipeline.arrivals import InFlightFiles
from spoolhouse.retry import delay
from spoolhouse.spool import inotify, layout

if TYPE_CHECKING:
    from watchfiles import Change

log = structlog.get_logger(__name__)

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0
"""Seconds without a watch after one that has failed, at the most; one that has lasted longer than this was a good one.
To begin anew is to go through all folders, so it is not done for each of many bad names."""
_ALIVE_MS = 1000
_CHECK_PAUSE, _CHANGE_PAUSE = 30.0, 1.0
"""Seconds between two questions about the limits: at the most, and after a change at the least."""
_RAISE = "nothing is lost, scans find the files: raise fs.inotify.max_user_watches and max_user_instances"


async def watch(spool: Path, in_flight: InFlightFiles, wake: asyncio.Event, stop: asyncio.Event) -> None:
    """Set `wake` whenever something changes in the spool, until `stop`; note in `in_flight` why that may fail."""
    loop = asyncio.get_running_loop()
    ended = threading.Event()
    failures = 0
    try:
        while not stop.is_set():
            began = time.monotonic()
            try:
                await asyncio.to_thread(
                    _watch,
                    spool,
                    partial(loop.call_soon_threadsafe, wake.set),
                    lambda: stop.is_set() or ended.is_set(),
                    _Limit(spool, in_flight),
                )
            except Exception as error:  # noqa: BLE001  # no failure of a hint may end the daemon
                in_flight.unwatched = f"{error}: {_hint(error)}"
                failures = 1 if time.monotonic() - began > _LONGEST_PAUSE else failures + 1
                if is_reported(failures):
                    log.warning("watch_unavailable", error=str(error), hint=_hint(error), attempts=failures)
                # The failure may hide a change. Changes before the next watch are found when it begins.
                wake.set()
                pause = delay(failures, first=_FIRST_PAUSE, cap=_LONGEST_PAUSE, fraction=1.0)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await stop.wait()
    finally:
        # If this task is cancelled, the thread has to end by itself.
        ended.set()


def _hint(error: Exception) -> str:
    if "decode" in str(error):
        return "nothing is lost, scans find the files: have the producer name them, and folders, in UTF-8"
    return _RAISE


class _Limit:
    """Tells whether the system watches all folders of a spool, now and then: the library does not."""

    def __init__(self, spool: Path, in_flight: InFlightFiles) -> None:
        self._spool = spool
        self._in_flight = in_flight
        self._next = 0.0

    def check(self, *, has_changes: bool) -> None:
        """Ask the system, soon after a change: a folder may have come. Log a limit when it is met."""
        now = time.monotonic()
        if now < self._next - (_CHECK_PAUSE - _CHANGE_PAUSE if has_changes else 0.0):
            return
        self._next = now + _CHECK_PAUSE
        try:
            inotify.check(self._spool)
        except OSError as error:
            if not self._in_flight.unwatched:
                log.warning("watch_unavailable", error=error.strerror, hint=_RAISE, attempts=1)
            self._in_flight.unwatched = f"{error.strerror}: {_RAISE}"
        else:
            self._in_flight.unwatched = ""


class _Ending:
    """The stop event that the library polls."""

    def __init__(self, is_set: Callable[[], bool]) -> None:
        self.is_set = is_set


def _watch(spool: Path, notice: Callable[[], object], is_over: Callable[[], bool], limit: _Limit) -> None:
    """Call `notice` once the spool is watched, and at each change, until `is_over`. Blocks."""
    import watchfiles  # noqa: PLC0415  # a run with an end does not watch

    state, deleted = os.fspath(spool / layout.STATE), watchfiles.Change.deleted

    def ours(change: "Change", path: str) -> bool:
        # What was deleted, or renamed to another folder, needs no scan.
        return change != deleted and not path.startswith(state) and f"/{layout.PROCESSED}/" not in path

    is_new = True
    for changes in watchfiles.watch(
        spool,
        watch_filter=ours,
        debounce=100,
        step=20,
        stop_event=_Ending(is_over),
        rust_timeout=_ALIVE_MS,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    ):
        if changes or is_new:
            notice()
        limit.check(has_changes=bool(changes) or is_new)
        is_new = False
