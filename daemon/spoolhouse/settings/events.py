"""The event types besides the built-in ones."""

from pathlib import Path

from pydantic import Field

from spoolhouse.settings.base import Group, Live


class EventsSettings(Group):
    """Your own event types."""

    folder: Live[Path | None] = Field(default=None, examples=["/etc/spoolhouse/events"])
    """A folder of `*.toml` files, each of which declares an event type with its table; `config/events` holds an
    example. A reload reads them again."""
