"""Retention: deletes files of `processed/` beyond its limits, the oldest first. It runs beside the stages.

Promises: a file is deleted only if all of it has landed and no instance watches it for appended bytes. For files of
this daemon, the journals tell. For files of other instances, their times tell: a file that was not written to since its
move holds only acknowledged bytes. A file that is the only copy of rejected lines, by the records in `rejected/`, is
kept as long as these records.
"""

import asyncio
import heapq
import time
from collections.abc import Collection, Mapping
from copy import copy
from pathlib import PurePath

import structlog

from spoolhouse.monitoring import heartbeat
from spoolhouse.pipeline.disk_retry import to_its_end
from spoolhouse.pipeline.options import Current, Options, RetentionPolicy
from spoolhouse.spool import archive, instance_dirs, layout, reject_sources
from spoolhouse.spool.archive_limits import Archived, superfluous
from spoolhouse.spool.instance import Instance

log = structlog.get_logger(__name__)

_AT_ONCE = 10_000
"""The oldest files that are considered at once: memory does not grow with the archive."""
_HINT = "let the daemon's user delete in processed/, and read rejected/"
_MARGIN = 2.0
"""How many times as long a file is kept at the least as its writer is waited for."""


class Retention:
    """Deletes superfluous files, now and then."""

    def __init__(self, own: Instance, instances: Mapping[str, Instance], options: Current[Options]) -> None:
        """Look after the spool of `own`; `instances` are all whose journals are open here."""
        self._own = own
        self._instances = instances
        self._options = options
        self.at_once = _AT_ONCE
        self._logged = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Delete files every `interval` seconds until `stop`."""
        while not stop.is_set():
            retention_policy = self._options.value.retention
            while not retention_policy.keep.is_all and await self.delete(time.time()) and not stop.is_set():
                pass
            await heartbeat.idle_until(stop, retention_policy.interval)

    async def delete(self, now: float) -> bool:
        """Delete the superfluous ones of the oldest files, and log it; return true if there may be more."""
        retention_policy = self._options.value.retention
        known = {
            str(target)
            for instance in list(self._instances.values())
            for target in (
                *[file.target for file in list(instance.files.values())],
                *[file.target for file in list(instance.settled.values())],
            )
        }
        chosen: list[Archived] = []
        try:
            chosen = await to_its_end(lambda: self._choose(retention_policy, known, now))
            deleted, refusal = await to_its_end(lambda: self._delete(chosen))
        except OSError as error:
            # Without the records of rejected lines it is unknown which files hold the only copies.
            deleted, refusal = [], copy(error)
        if deleted:
            self._logged = 0
            log.info(
                "archive_shortened",
                files=len(deleted),
                bytes=sum(file.size for file in deleted),
                first=deleted[0].path,
                last=deleted[-1].path,
            )
        if refusal is not None:
            self._logged += 1
            if self._logged & (self._logged - 1) == 0:
                log.error("archive_not_shortened", error=refusal.strerror, hint=_HINT)
        return bool(deleted) and len(chosen) >= self.at_once

    def _choose(self, retention_policy: RetentionPolicy, known: set[str], now: float) -> list[Archived]:
        """Return the files to delete, from one walk through the archive. Blocks on the disk."""
        # Another instance, running or held, may have a tail of a file under way that was written to in the archive.
        alone = set(instance_dirs.names(self._own.spool)) <= set(self._instances)
        total = 0
        needed = reject_sources.holders(self._own.spool)
        candidates: list[Archived] = []
        for file in archive.archived(self._own.spool, retention_policy.names):
            heartbeat.beat()
            total += file.size
            if now - file.since < retention_policy.append_watch * _MARGIN or file.path in known:
                continue
            if (file.was_appended_to and not alone) or (needed and _is_one_of(needed, file)):
                continue
            candidates.append(file)
            if len(candidates) >= 2 * self.at_once:
                candidates = heapq.nsmallest(self.at_once, candidates)
        return list(superfluous(heapq.nsmallest(self.at_once, candidates), total, retention_policy.keep, now))

    def _delete(self, chosen: list[Archived]) -> tuple[list[Archived], OSError | None]:
        """Delete files; return those that are gone by it, and the last refusal. Blocks on the disk."""
        deleted, refusal = [], None
        for file in chosen:
            heartbeat.beat()
            try:
                if archive.delete(self._own.spool, file):
                    deleted.append(file)
            except OSError as error:
                refusal = error
        return deleted, refusal


def _is_one_of(needed: Collection[str], file: Archived) -> bool:
    """Tell whether an archived file may have been dropped under one of these names."""
    return any(str(place) in needed for place in layout.dropped_at(PurePath(file.path)))
