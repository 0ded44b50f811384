"""The status of daemons in other processes, for the page of `spoolhouse serve`."""

import asyncio
import time
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from spoolhouse.monitoring.client import fetch
from spoolhouse.monitoring.status_model import Liveness, Readiness, Status, Trouble, judge

_FRESH = 1.0
"""Seconds for which an answer is shown to others, too."""
_BY_NEED = ("silent", "stuck", "held", "waiting", "paused", "stopping", "starting", "running")


class Daemons:
    """Daemons that are asked while somebody looks."""

    def __init__(self, urls: Sequence[str]) -> None:
        """Ask those that serve HTTP at these addresses."""
        self._urls = urls
        self._silent_since: dict[str, float] = {}
        self._found: Status | None = None
        self._until = 0.0
        self._turn = asyncio.Lock()

    async def answer(self, projects: frozenset[str] | None) -> bytes:
        """Return the status of the daemon that needs somebody most, for those who may ask about these projects."""
        async with self._turn:
            if self._found is None or time.monotonic() >= self._until:
                found = await asyncio.gather(*(self._ask(url) for url in self._urls))
                self._found = min(found, key=_need)
                self._until = time.monotonic() + _FRESH
        return msgspec.json.encode(self._found if projects is None else _of_no_project(self._found))

    async def _ask(self, url: str) -> Status:
        answer = await asyncio.to_thread(fetch, url)
        now = time.time()
        if isinstance(answer, Status):
            self._silent_since.pop(url, None)
            return replace(answer, url=url)
        since = self._silent_since.setdefault(url, now)
        return _silent(url, answer, now, now - since)


def _need(status: Status) -> int:
    if status.state == "silent" or status.readiness is None or status.liveness is None:
        return 0
    state, _ = judge(status.readiness, status.liveness, status.paused)
    return _BY_NEED.index(state) if state in _BY_NEED else 0


def _silent(url: str, why: str, now: float, seconds: float) -> Status:
    trouble = Trouble(
        scope="daemon",
        types=[],
        held=True,
        error=why,
        code=None,
        hint="`spoolhouse status` on its machine tells more",
        seconds=round(seconds, 1),
        summary=f"The daemon at {url} does not answer. What is dropped waits in its spool until it runs.",
    )
    return Status(
        instance=None,
        state="silent",
        why=why,
        pid=None,
        host=None,
        spool=None,
        at_ms=round(now * 1000),
        url=url,
        readiness=Readiness(ready=False, state="silent", reasons=[trouble]),
        liveness=Liveness(alive=True, stuck={}),
    )


def _of_no_project(status: Status) -> Status:
    """Return what says nothing of files, lines and fields: they are of all projects."""
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
        readiness=status.readiness,
        liveness=status.liveness,
        backlog=backlog,
        rates=status.rates,
        paused=status.paused,
        last_landed_ms=status.last_landed_ms,
        history=status.history,
    )
