"""The messages that the stages of the pipeline send each other."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping

from msgspec import Struct, field

from spoolhouse.decode.line_decoder import Line
from spoolhouse.decode.rows import Rows
from spoolhouse.events.declaration import Table
from spoolhouse.pipeline.channel import Receiver
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.lineage import Lineage
from spoolhouse.spool.row_ranges import RowRange
from spoolhouse.spool.shipment import FileStats, Segment, Shipment

LinePlace = tuple[int, int]
"""The number of a line's file, and its first byte in the file's content."""


class Round(Struct, kw_only=True):
    """Shared by the batches of one round of a shipment. All rows of a line are in the same round."""

    tables: Collection[Table]
    """All tables that it may have rows for."""
    locate_rows: Callable[[Collection[LinePlace]], AsyncGenerator[tuple[LinePlace, str, RowRange]]]
    """Find the rows of lines: each line's, by table, as numbers in the table's batch."""
    batches: "asyncio.Future[tuple[Batch, ...]]"
    """Its batches, once it is decoded to its end for the first time. Raises `WithdrawnError`."""
    may_share_lines: bool = False
    """Some line may have several rows; known once the batches are."""
    checks: int = 0
    """How often it was checked. Batches that are sent after a check leave out the lines that the store refuses."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a batch begins to be sent, and while lines are left out."""
    landed: set[str] = field(default_factory=set)
    """The batches that this process has landed, or parts of."""
    was_sent: bool = False
    """A batch was sent, if not with success."""
    unsent: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while no batch is being sent."""
    _sending: int = 0

    def __post_init__(self) -> None:
        """Begin with nothing sent."""
        self.unsent.set()

    def begin_sending(self) -> None:
        """Count a batch that is being sent from now on."""
        self.was_sent = True
        self.unsent.clear()
        self._sending += 1

    def end_sending(self) -> None:
        """Count it no more."""
        self._sending -= 1
        if not self._sending:
            self.unsent.set()


class Batch(Struct, frozen=True, kw_only=True):
    """A shipment's rows for one table, in one round: live from decode the first time, after that read again."""

    id: str
    shipment: Shipment
    table: Table
    round_number: int
    round: Round
    live: Receiver[Rows]
    reopen: Callable[[], AsyncGenerator[Rows]]
    locate: Callable[[Collection[int]], AsyncGenerator[tuple[Segment, int, Line]]]
    """Find the lines that rows came from, by row number: each with its segment and the lines before its piece."""
    count: "asyncio.Future[int]"
    """The number of its rows: known once the round is decoded for the first time. Raises `WithdrawnError`."""

    def is_withdrawn(self) -> bool:
        """Tell whether decode took it back, to send it again: nothing of it may land, and it is not acknowledged."""
        return self.count.done() and self.count.exception() is not None


class Counted(Struct, frozen=True, kw_only=True):
    """A shipment is decoded to its end: the number of its batches, and the counts of each file (by number)."""

    shipment: Shipment
    batches: int
    stats: dict[int, FileStats]
    lineage: tuple[Lineage, ...] = ()


class Acknowledged(Struct, frozen=True, kw_only=True):
    """ClickHouse has a batch, but for the rows that it refuses.

    `parts` are the row ranges of a batch that was cut up. By file number, `refused` counts the rows that did not land,
    `rejected` the lines that are rejected for it here, and `left_out` those whose bytes are in the file alone.
    """

    shipment: Shipment
    batch: str
    table: str
    parts: tuple[RowRange, ...] = ()
    refused: Mapping[int, int] = field(default_factory=dict)
    rejected: Mapping[int, int] = field(default_factory=dict)
    left_out: Mapping[int, int] = field(default_factory=dict)


class Complete(Struct, frozen=True, kw_only=True):
    """A claimed file holds nothing (more) to send."""

    instance: Instance
    file: int


News = Counted | Acknowledged | Complete
"""The messages that settle receives."""
