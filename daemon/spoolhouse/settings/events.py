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
    traces_from_root_spans: Live[bool] = False
    """Whether a `span` line without a parent makes a row of `traces`, too: for programs that write no `trace` lines.
    Root spans are then what `traces_hourly_stats` counts; a `trace` line still gives its row, in place of the span's if
    both have the same `startTime`, and is not counted. Root spans of other shapes (OTLP, Mastra) always make traces."""
    unknown: Live[Literal["keep", "drop", "reject"]] = "keep"
    """Policy for a field that no column takes: `keep` stores it in the column `extra`, `drop` drops it, and `reject`
    rejects its line. Lines with such fields are counted in any case."""
