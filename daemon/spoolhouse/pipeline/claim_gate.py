"""The gate before the claim stage: new files are not claimed while the spool is paused or its disk is nearly full.

Promises: claimed files are still processed; the gate is checked every second, and opens by itself.
"""

import asyncio
import contextlib
from pathlib import Path

import structlog

from spoolhouse.errors import LowDiskError
from spoolhouse.monitoring import heartbeat
from spoolhouse.monitoring.health import Health
from spoolhouse.pipeline.options import Current, Options
from spoolhouse.spool import disk_space, pause_flag

log = structlog.get_logger(__name__)

_PERIOD = 1.0
FREE_SPACE = "free space"
"""The scope of the trouble."""


class ClaimGate:
    """Whether new files may be claimed. `open` is set while they may."""

    def __init__(self, spool: Path, health: Health, options: Current[Options]) -> None:
        """Guard `spool`."""
        self._spool = spool
        self._health = health
        self._options = options
        self.open = asyncio.Event()
        self.paused: str | None = None
        """Since when, and why; None while it is not."""
        self._is_short = False

    async def run(self, stop: asyncio.Event) -> None:
        """Check every second until `stop`."""
        while not stop.is_set():
            await self.check()
            with contextlib.suppress(TimeoutError), heartbeat.idle():
                async with asyncio.timeout(_PERIOD):
                    await stop.wait()

    async def check(self) -> None:
        """Open or close the gate, and log a change."""
        paused = await asyncio.to_thread(pause_flag.paused, self._spool)
        if paused is not None and self.paused is None:
            hint = "spoolhouse resume lets all instances of this spool claim again; what is claimed goes on"
            log.warning("paused", reason=paused, hint=hint)
        if paused is None and self.paused is not None:
            log.warning("resumed")
        self.paused = paused
        with contextlib.suppress(OSError):  # a disk that fails is reported where it is written to
            room = await asyncio.to_thread(disk_space.free_space, self._spool)
            self._note(disk_space.shortage(room, self._options.value.disk.min_free, was_short=self._is_short))
        if self.paused is None and not self._is_short:
            self.open.set()
        else:
            self.open.clear()

    def _note(self, short: str) -> None:
        if short and not self._is_short:
            hint = "make room; what is claimed goes on, and nothing is lost meanwhile"
            self._health.bad(FREE_SPACE, LowDiskError(f"{self._spool}: {short}: claiming nothing new", hint=hint))
        if not short and self._is_short:
            self._health.good(FREE_SPACE)
        self._is_short = bool(short)
