"""The status of daemons in other processes, for the page of `spoolhouse serve`."""

import asyncio
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from spoolhouse.monitoring.client import fetch
from spoolhouse.monitoring.status_model import Liveness, Readiness, Status, Trouble, judge
from spoolhouse.spool.inspect import instances

_FRESH = 1.0
"""Seconds for which an answer serves further requests."""
_BY_NEED = ("silent", "stuck", "held", "waiting", "paused", "stopping", "starting", "running")
"""States, the one that most needs a person first."""


class Daemons:
    """Asks daemons for their status when the page does, at most once a second however many pages there are."""

    def __init__(self, urls: Sequence[str], spool: Path | None) -> None:
        """Ask those that serve HTTP at these addresses; without any, those that work on a spool of this machine."""
        self._urls = urls
        self._spool = spool
        self._silent_since: dict[str, float] = {}
        self._found: Status | None = None
        self._until = 0.0
        self._turn = asyncio.Lock()

    async def answer(self, projects: frozenset[str] | None) -> bytes:
        """Return the status of the daemon that most needs a person, for those who may ask about these projects."""
        async with self._turn:
            if self._found is None or time.monotonic() >= self._until:
                found = await (self._asked(self._urls) if self._urls else self._of_spool())
                self._found = min(found, key=_need)
                self._until = time.monotonic() + _FRESH
        return msgspec.json.encode(self._found if projects is None else _of_no_project(self._found))

    async def _of_spool(self) -> list[Status]:
        seen = [] if self._spool is None else await asyncio.to_thread(instances, self._spool, time.time())
        running = [one for one in seen if one.state == "running"]
        if running:
            here = [one.url for one in running if one.url and one.host == socket.gethostname()]
            return await self._asked(here) or [_unknown(running[0])]
        quiet = min((one.quiet_seconds or 0.0 for one in seen), default=0.0)
        why = next((one.why for one in seen if one.why), "none is seen in its folder")
        return [_silent(f"No daemon works on the spool {self._spool}", why, time.time(), quiet)]

    async def _asked(self, urls: Sequence[str]) -> list[Status]:
        return await asyncio.gather(*map(self._ask, urls))

    async def _ask(self, url: str) -> Status:
        answer = await asyncio.to_thread(fetch, url)
        now = time.time()
        if isinstance(answer, Status):
            self._silent_since.pop(url, None)
            return replace(answer, url=url)
        since = self._silent_since.setdefault(url, now)
        return _silent(f"The daemon at {url} does not answer", answer, now, now - since)


def _unknown(running: Status) -> Status:
    why = "its http.listen is off, or it works on another machine: name it by --daemon"
    return _silent(
        f"The daemon {running.instance} works on the spool, and nothing more is known", why, time.time(), 0.0
    )


def _need(status: Status) -> int:
    if status.state == "silent" or status.readiness is None or status.liveness is None:
        return 0
    state, _ = judge(status.readiness, status.liveness, status.paused)
    return _BY_NEED.index(state) if state in _BY_NEED else 0


def _silent(what: str, why: str, now: float, seconds: float) -> Status:
    trouble = Trouble(
        scope="daemon",
        types=[],
        held=True,
        error=why,
        code=None,
        hint="`spoolhouse status` on its machine tells more",
        seconds=round(seconds, 1),
        summary=f"{what}. What is dropped waits in the spool until a daemon takes it.",
    )
    return Status(
        instance=None,
        state="silent",
        why=why,
        pid=None,
        host=None,
        spool=None,
        at_ms=round(now * 1000),
        readiness=Readiness(ready=False, state="silent", reasons=[trouble]),
        liveness=Liveness(alive=True, stuck={}),
    )


def _of_no_project(status: Status) -> Status:
    """Return the status without files, lines, fields, places, the texts of errors, and the operator's own words."""
    readiness = status.readiness
    if readiness is not None:
        readiness = replace(readiness, reasons=[_unexplained(reason) for reason in readiness.reasons])
    backlog = status.backlog and replace(status.backlog, not_taken=[], unmovable_reason=None)
    return Status(
        instance=None,
        state=status.state,
        why=None,
        pid=None,
        host=None,
        spool=None,
        at_ms=status.at_ms,
        version=status.version,
        started_ms=status.started_ms,
        readiness=readiness,
        liveness=status.liveness,
        backlog=backlog,
        rates=status.rates,
        # The time, without the reason behind it.
        paused=status.paused and status.paused.partition(": ")[0],
        last_landed_ms=status.last_landed_ms,
        history=status.history,
    )


def _unexplained(reason: Trouble) -> Trouble:
    """Return a trouble without what a server, an address or a path says of it."""
    what = "waits for a person" if reason.held else "is tried again until it succeeds"
    return replace(reason, error="", code=None, hint=None, summary=f"{reason.scope}: {what}.")
