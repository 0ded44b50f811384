"""Which event types there are, besides the built-in ones."""

from pathlib import Path

from spoolhouse.settings.group import Group, Live


class EventsSettings(Group):
    """Event types of your own."""

    folder: Live[Path | None] = None
    """A folder of *.toml files, each of which declares an event type, with its table. A reload reads them again."""
