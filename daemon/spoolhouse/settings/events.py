"""The event types besides the built-in ones, and what happens to unknown fields."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from spoolhouse.settings.base import Group, Live


class EventsSettings(Group):
    """Your own event types, and fields that no type has."""

    folder: Live[Path | None] = Field(default=None, examples=["/etc/spoolhouse/events"])
    """A folder of `*.toml` files, each of which declares an event type with its table; `config/events` holds an
    example. A reload reads them again."""
    unknown: Live[Literal["keep", "drop", "reject"]] = "keep"
    """Policy for a field that no column takes: `keep` stores it in the column `extra`, `drop` drops it, and `reject`
    rejects its line. Lines with such fields are counted in any case."""
