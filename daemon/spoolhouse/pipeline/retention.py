"""Retention: deletes what `processed/` holds beyond its limits, the oldest first. Not a stage; it runs beside them.

Promises: a file is deleted only if all of it has landed and no instance waits for more of it. Of the files that this
daemon knows, that is told by their journals. Of those that other instances may know, by the files themselves: what was
not written to since it was moved holds nothing that was not acknowledged before.
"""

import asyncio
import contextlib
import heapq
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from spoolhouse import pulse
from spoolhouse.core.retention import Archived, Keep, superfluous
from spoolhouse.pipeline.disk import to_its_end
from spoolhouse.spool import archive, instances
from spoolhouse.spool.home import Home

log = structlog.get_logger(__name__)

_AT_ONCE = 10_000
"""Files that are looked at as the oldest: memory does not grow with the archive."""
_MARGIN = 2.0
"""How many times as long a file is kept at the least as its writer is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Custom:
    """What retention goes by."""

    keep: Keep
    append_watch: float
    interval: float


class Retention:
    """Deletes what is superfluous, now and then."""

    def __init__(self, own: Home, homes: Mapping[str, Home], custom: Callable[[], Custom]) -> None:
        """Look after the spool of `own`; `homes` are all whose journals are open here. `custom` is asked each time."""
        self._own = own
        self._homes = homes
        self._custom = custom
        self._told = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Look every `interval` seconds until `stop`."""
        while not stop.is_set():
            custom = self._custom()
            while not custom.keep.is_all and await self.look(time.time()) and not stop.is_set():
                pass
            with contextlib.suppress(TimeoutError), pulse.resting():
                async with asyncio.timeout(custom.interval):
                    await stop.wait()

    async def look(self, now: float) -> bool:
        """Delete what is superfluous of the oldest files, and say so; return true if there may be more."""
        custom = self._custom()
        known = {str(file.target) for home in list(self._homes.values()) for file in list(home.files.values())}
        chosen = await to_its_end(lambda: self._choose(custom, known, now))
        deleted, refusal = await to_its_end(lambda: self._delete(chosen))
        if deleted:
            self._told = 0
            log.info(
                "archive_shortened",
                files=len(deleted),
                bytes=sum(file.size for file in deleted),
                first=deleted[0].path,
                last=deleted[-1].path,
            )
        if refusal is not None:
            self._told += 1
            if self._told & (self._told - 1) == 0:
                log.error("archive_not_shortened", error=refusal.strerror, mend="let the daemon's user delete there")
        return bool(deleted) and len(chosen) >= _AT_ONCE

    def _choose(self, custom: Custom, known: set[str], now: float) -> list[Archived]:
        """Return what is to be deleted, from one walk through the archive. Blocks on the disk."""
        # Another instance, running or held, may have a tail of a file under way that was written to in the archive.
        alone = set(instances.names(self._own.spool)) <= set(self._homes)
        total = 0
        candidates: list[Archived] = []
        for file in archive.archived(self._own.spool):
            pulse.beat()
            total += file.size
            if now - file.since < custom.append_watch * _MARGIN or file.path in known:
                continue
            if file.was_appended_to and not alone:
                continue
            candidates.append(file)
            if len(candidates) >= 2 * _AT_ONCE:
                candidates = heapq.nsmallest(_AT_ONCE, candidates)
        return list(superfluous(heapq.nsmallest(_AT_ONCE, candidates), total, custom.keep, now))

    def _delete(self, chosen: list[Archived]) -> tuple[list[Archived], OSError | None]:
        """Delete files; return those that are gone by it, and the last refusal. Blocks on the disk."""
        deleted, refusal = [], None
        for file in chosen:
            pulse.beat()
            try:
                if archive.delete(self._own.spool, file):
                    deleted.append(file)
            except OSError as error:
                refusal = error
        return deleted, refusal
