"""The result of decoding: `Decoded` for callers, `Found` while lines are read."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from functools import cached_property

import msgspec
from msgspec import Struct, field

from spoolhouse.decode import times
from spoolhouse.decode.counts import LineCounts, count_names
from spoolhouse.decode.origin import FUTURE_AFTER, Origin
from spoolhouse.decode.reject import Reason, Reject, RejectedLineError
from spoolhouse.decode.rows import Row, Rows
from spoolhouse.events import json_paths
from spoolhouse.events.declaration import EventType


class Decoded(LineCounts, kw_only=True):
    """The result of a piece of lines. `rows` is by table."""

    rows: dict[str, Rows] = msgspec.field(default_factory=dict)
    rejects: list[Reject] = msgspec.field(default_factory=list)

    @property
    def may_share_lines(self) -> bool:
        """Whether several rows may be of one line. A line of a foreign shape may have any number of rows, also none."""
        return bool(self.shapes) or sum(rows.count for rows in self.rows.values()) > self.lines - len(self.rejects)


class Line(Struct, frozen=True, kw_only=True):
    """A line that gave a row: its number in its piece (from 1), where it starts, its bytes without the line end."""

    line: int
    offset: int
    raw: bytes
    row: int
    """The row's number among those of its table in the piece."""


class JudgedType:
    """An event type, with the places and bounds by which the policies for project and time judge its rows."""

    def __init__(self, event: EventType, origin: Origin) -> None:
        names = [column.name for column in event.table.columns]
        self.event = event
        self.tables = event.tables
        self.project_place = names.index(event.project)
        self.time_place = names.index(event.table.time)
        kept = timedelta(days=event.table.ttl_days)
        # The first time that an event may be of, and the first that it may not, without being counted.
        self.oldest = times.EARLIEST if origin.expired == "trust" else max(times.EARLIEST, origin.clock - kept)
        self.newest = times.LATEST if origin.future == "trust" else min(times.LATEST, origin.clock + FUTURE_AFTER)

    @cached_property
    def _project_key(self) -> str:
        return json_paths.spelt(self.event.column(self.event.project).keys[0])

    def mismatch(self) -> RejectedLineError:
        """Return why an event of another project is rejected."""
        return RejectedLineError(Reason.PROJECT_MISMATCH, self._project_key, "not the project of its folder")


class Found(Struct, kw_only=True):
    """The rows and counts of the lines read so far, before the rows are encoded."""

    rows: defaultdict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    decoded: Decoded = field(default_factory=Decoded)

    def count_odd(self, kind: JudgedType, rows: Iterable[Row]) -> None:
        """Count the events whose time is out of bounds."""
        for row in rows:
            if isinstance(time := row[kind.time_place], datetime):
                self.decoded.expired += time < kind.oldest
                self.decoded.future += time >= kind.newest

    def count_notes(self, converted: Collection[str], unknown: Collection[str]) -> None:
        """Count a line's conversions and unknown fields."""
        if converted:
            self.decoded.converted_lines += 1
            count_names(self.decoded.converted, converted)
        if unknown:
            self.decoded.unknown_lines += 1
            count_names(self.decoded.unknown, unknown)

    def is_any_rejected(self, origin: Origin) -> bool:
        """Tell whether a policy rejects some of the lines, so that lines have to be read one by one."""
        decoded = self.decoded
        return (
            (decoded.mismatched > 0 and origin.policy == "reject")
            or (decoded.expired > 0 and origin.expired == "reject")
            or (decoded.future > 0 and origin.future == "reject")
        )
