"""The objects that all parts of one run share, from its start on."""

import asyncio
from dataclasses import dataclass, field

from spoolhouse.events.declaration import EventType
from spoolhouse.monitoring.health import Health
from spoolhouse.monitoring.heartbeat import Heartbeat
from spoolhouse.monitoring.progress import Progress, Silent
from spoolhouse.monitoring.recent_activity import RecentActivity
from spoolhouse.pipeline.options import Current, Options
from spoolhouse.service.options import make_options
from spoolhouse.settings import Settings


@dataclass(slots=True, kw_only=True)
class Shared:
    """Made once, by `run.py`, and passed to the parts of the run as a whole or field by field."""

    settings: Settings
    """In force; a reload replaces them."""
    events: dict[str, EventType]
    """The declared event types; a reload changes the mapping in place."""
    once: bool = False
    """The run ends when it is idle."""
    progress: Progress = field(default_factory=Silent)
    options: Current[Options] = field(init=False)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Something changed in the spool: scan it now."""
    health: Health = field(default_factory=Health)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    recent: RecentActivity = field(default_factory=RecentActivity)

    def __post_init__(self) -> None:
        """Make the options."""
        self.options = Current(make_options(self.settings, self.events, once=self.once))

    def request_stop(self) -> None:
        """Ask all stages to end, and wake those that wait."""
        self.stop.set()
        self.wake.set()
        self.health.stopping()

    def reload(self, settings: Settings) -> None:
        """Put other settings in force, and the options that they and the event types give."""
        self.settings = settings
        self.options.value = make_options(settings, self.events, once=self.once)
