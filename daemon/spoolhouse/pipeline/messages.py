"""The messages that the stages of the pipeline send each other."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from dataclasses import dataclass, field

from spoolhouse.decode.line_decoder import Line
from spoolhouse.decode.rows import Rows
from spoolhouse.events.declaration import Table
from spoolhouse.pipeline.channel import Receiver
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.lineage import Lineage
from spoolhouse.spool.row_ranges import RowRange
from spoolhouse.spool.shipment import FileStats, Segment, Shipment


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A shipment's rows for one table, in one round: live from decode the first time, after that read again."""

    id: str
    shipment: Shipment
    table: Table
    round_number: int
    live: Receiver[Rows]
    reopen: Callable[[], AsyncGenerator[Rows]]
    locate: Callable[[Collection[int]], AsyncGenerator[tuple[Segment, int, Line]]]
    """Find the lines that rows came from, by row number: each with its segment and the lines before its piece."""
    count: "asyncio.Future[int]"
    """The number of its rows: known once the round is decoded for the first time. Raises `WithdrawnError`."""

    def is_withdrawn(self) -> bool:
        """Tell whether decode took it back, to send it again: nothing of it may land, and it is not acknowledged."""
        return self.count.done() and self.count.exception() is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A shipment is decoded to its end: the number of its batches, and the counts of each file (by number)."""

    shipment: Shipment
    batches: int
    stats: dict[int, FileStats]
    lineage: tuple[Lineage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """ClickHouse has a batch, but for the rows that it refuses.

    `parts` are the row ranges of a batch that was cut up; `refused` counts the rejected lines by file number, and
    `left_out` those whose bytes are in the file alone.
    """

    shipment: Shipment
    batch: str
    table: str
    parts: tuple[RowRange, ...] = ()
    refused: Mapping[int, int] = field(default_factory=dict)
    left_out: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """A claimed file holds nothing (more) to send."""

    instance: Instance
    file: int


News = Counted | Acknowledged | Complete
"""The messages that settle receives."""
