"""One batch on its way: what of it is still to be sent, and what was found out."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import OperatorError, StoreError
from spoolhouse.events.declaration import Table
from spoolhouse.failpoints import reach
from spoolhouse.monitoring import heartbeat
from spoolhouse.pipeline.messages import Batch
from spoolhouse.retry import Retries
from spoolhouse.spool.row_ranges import RowRange, SplitRange, cover, overlap
from spoolhouse.store.clickhouse.driver import Driver, RowsInsert
from spoolhouse.store.clickhouse.landing.presence import partitions_of

_NO_MEMORY = frozenset({173, 241, 777, 778})
"""ClickHouse's codes for a statement that needs more memory than it may have, or than there is."""
_SHORTAGES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectLimits:
    """How many refused rows are an accident: `min_rows` of a batch, or `max_ratio` of what is known of it."""

    max_ratio: float
    min_rows: int


@dataclass(slots=True, kw_only=True)
class BatchDelivery:
    """A batch, as a whole or, once ClickHouse has refused a row of it, in parts."""

    batch: Batch
    table: str
    """The table's full name."""
    retries: Retries
    live: bool = True
    """The rows come from decode as it works; from the second attempt on they are read again."""
    doubtful: bool
    """Something of what comes next may be in ClickHouse already."""
    lost_tokens: int = 0
    """Tokens of what comes next that ClickHouse knew without having a row."""
    pending: deque[RowRange] | None = None
    """The parts that are still to be sent; None for a batch that is whole."""
    landed: list[RowRange] = field(default_factory=list)
    refused: list[SplitRange] = field(default_factory=list)
    stopped: "RejectLimits | None" = None
    """So many rows were refused that a person has to look: the next refusal holds the batch at once, if that is still
    what is tolerated."""
    server: Driver | None = None
    """Which server was tried last: while there is doubt, the one that may have something of what comes next."""
    waits: bool = False
    """It was put aside until a server is back, while others go on."""
    short_of_memory: int = 0
    """How often the server had no memory for what comes next."""
    in_view: bool = False
    """The last attempt met an error of a view: the token is sent again, for that view."""

    def resume(self, cuts: Sequence[SplitRange]) -> None:
        """Go on with the parts that an earlier attempt has made of the batch; none: it is whole."""
        if cuts:
            self.discard_live()
            self.pending = deque(cut.part for cut in cuts if not cut.refusal)
            self.refused = [cut for cut in cuts if cut.refusal]

    @property
    def part(self) -> RowRange | None:
        """What comes next; None is the batch as a whole."""
        return self.pending[0] if self.pending else None

    @property
    def is_complete(self) -> bool:
        """Tell whether all parts have landed or are refused."""
        return self.pending is not None and not self.pending

    @property
    def batch_id(self) -> str:
        """The id that the rows carry which come next."""
        return self.batch.id if self.part is None else self.part.id(self.batch.id)

    def insert(self) -> RowsInsert:
        """Return the insert of what comes next."""
        return RowsInsert(
            table=self.table,
            columns=self.batch.table.columns,
            batch_id=self.batch_id,
            token=self.batch_id if not self.lost_tokens else f"{self.batch_id}~{self.lost_tokens}",
            clock_ms=self.batch.shipment.clock_ms,
        )

    @asynccontextmanager
    async def rows(self) -> AsyncGenerator[AsyncIterator[Rows]]:
        """Open the rows of what comes next; what is read for them is closed in the end, however far they were read."""
        if self.live and self.part is None:
            self.live = False
            yield self.batch.live
            return
        self.discard_live()
        again = self.batch.reopen() if self.part is None else _only(self.batch.reopen(), self.part)
        async with aclosing(again) as rows:
            yield rows

    def divide(self, whole: RowRange, halves: tuple[RowRange, RowRange]) -> None:
        """Go on with the halves of what came next. Its own other half is tried first: what is good lands soon."""
        self.pending = self.pending or deque([whole])
        self.next()
        other = self.part
        is_first_half = other is not None and other.first == whole.end and 0 <= other.rows - whole.rows <= 1
        at = 1 if is_first_half else 0
        for half in reversed(halves):
            self.pending.insert(at, half)

    def discard_live(self) -> None:
        """Say that the rows are not taken as they come."""
        self.live = False
        self.batch.live.close()

    def parts(self) -> tuple[RowRange, ...]:
        """Return the parts that have landed of a batch that was cut up; one without rows if all of it was refused."""
        if not self.refused and len(self.landed) <= 1:
            return ()
        return tuple(self.landed) or (RowRange(first=0, end=0),)

    async def expect_all_rows(self) -> None:
        """Raise `OperatorError` if the parts of a batch that was cut up are not all the rows that it has now."""
        if self.pending is None:
            return
        with heartbeat.idle():
            total = await self.batch.count
        if not cover([*self.pending, *self.landed, *(cut.part for cut in self.refused)], total):
            raise OperatorError(
                f"batch {self.batch.id} was cut up and holds another number of rows now: {total}",
                hint="put its claimed files back as they were, or let the version that claimed them finish them",
            )

    def failed(self, error: StoreError) -> None:
        """Note how an attempt at what comes next has failed."""
        self.discard_live()
        self.doubtful = self.doubtful or error.ambiguous
        self.in_view = error.in_view
        self.short_of_memory += error.code in _NO_MEMORY and not error.in_view

    @property
    def is_too_large(self) -> bool:
        """Tell whether the server has had no memory for what comes next so often that it may have some for less."""
        return self.short_of_memory >= _SHORTAGES

    def next(self, *, landed: bool = False) -> None:
        """Go on to the next part, after this one has `landed`, or was refused."""
        if landed:
            self.stopped = None
            if self.part is not None:
                self.landed.append(self.part)
        self.pending = self.pending or deque()
        if self.pending:
            self.pending.popleft()
        self.retries.succeeded()
        self.doubtful, self.lost_tokens, self.in_view = self.batch.shipment.replay, 0, False
        self.short_of_memory = 0
        self.server = None


async def _only(rows: AsyncGenerator[Rows], part: RowRange) -> AsyncGenerator[Rows]:
    """Yield the rows of `part`. The others are read as well, to the end: there it shows whether a file has changed."""
    before = 0
    async with aclosing(rows) as pieces:
        async for piece in pieces:
            own = overlap(piece, before, part)
            before += piece.count
            if own is not None:
                yield own


class CountedRows(AsyncIterator[Rows]):
    """Rows that are counted as they pass; where that is asked for, it is noted which partitions they belong to."""

    def __init__(self, rows: AsyncIterator[Rows], table: Table, *, closely: bool) -> None:
        """Watch `rows` of `table`; `closely`: note their partitions."""
        self._rows = rows
        self._table = table
        self._closely = closely
        self.count = 0
        self.partitions: set[str] = set()

    async def __anext__(self) -> Rows:
        """Return the next piece."""
        rows = await anext(self._rows)
        heartbeat.beat()  # a batch may be read through without being sent
        reach("insert.sending")
        self.count += rows.count
        if self._closely:
            self.partitions |= partitions_of(rows, self._table)
        return rows
