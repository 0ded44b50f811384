"""The objects that all parts of one run share, from its start on."""

import asyncio

from spoolhouse.events.declaration import EventType
from spoolhouse.monitoring.health import Health
from spoolhouse.monitoring.heartbeat import Heartbeat
from spoolhouse.monitoring.progress import Progress, Silent
from spoolhouse.monitoring.recent_activity import RecentActivity
from spoolhouse.pipeline.options import Current
from spoolhouse.service.options import make_options
from spoolhouse.settings import Settings


class Shared:
    """Made once, by `run.py`, and passed to the parts of the run as a whole or field by field."""

    def __init__(
        self,
        *,
        settings: Settings,
        events: dict[str, EventType],
        once: bool = False,
        progress: Progress | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        """Make what the parts share. With `once` the run ends when it is idle."""
        self.settings = settings
        """In force; a reload replaces them."""
        self.events = events
        """The declared event types; a reload changes the mapping in place."""
        self.once = once
        self.progress = progress or Silent()
        self.heartbeat = heartbeat or Heartbeat()
        self.options = Current(make_options(settings, events, once=once))
        self.stop = asyncio.Event()
        self.wake = asyncio.Event()
        """Something changed in the spool: scan it now."""
        self.health = Health()
        self.recent = RecentActivity()

    def request_stop(self) -> None:
        """Ask all stages to end, and wake those that wait."""
        self.stop.set()
        self.wake.set()
        self.health.stopping()

    def reload(self, settings: Settings) -> None:
        """Put other settings in force, and the options that they and the event types give."""
        self.settings = settings
        self.options.value = make_options(settings, self.events, once=self.once)
