"""Which event types there are, besides the built-in ones."""

from pathlib import Path

from spoolhouse.settings.group import Group


class EventsSettings(Group):
    """Event types of your own."""

    folder: Path | None = None
    """A folder of *.toml files, each of which declares an event type, with its table."""
