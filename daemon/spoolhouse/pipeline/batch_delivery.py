"""One batch on its way: whole at first, cut up once a row of it is refused, landed in the end.

Whether something of it may have landed already is the store's to know (`BatchToLand.memory`).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

from msgspec import Struct
from msgspec.structs import replace

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import OperatorError
from spoolhouse.monitoring import heartbeat
from spoolhouse.pipeline.messages import Batch
from spoolhouse.pipeline.options import RejectLimits
from spoolhouse.retry import Retries
from spoolhouse.spool.batch import BatchToLand
from spoolhouse.spool.row_ranges import RowRange, SplitRange, cover, overlap


class Whole(Struct, frozen=True):
    """The batch is sent as one."""


class Split(Struct, frozen=True, kw_only=True):
    """The batch was cut up, as the journal knows: its parts are sent one by one. None is pending in the end."""

    pending: tuple[RowRange, ...]
    """The parts that are still to be sent, in their order."""
    landed: tuple[RowRange, ...] = ()
    refused: tuple[SplitRange, ...] = ()
    stopped: RejectLimits | None = None
    """More rows were refused than these limits allow: while they are in force, the next refusal holds the batch."""

    def land(self) -> "Split":
        """Return the state after the next part has landed."""
        return replace(self, pending=self.pending[1:], landed=(*self.landed, self.pending[0]), stopped=None)

    def refuse(self, refusal: str) -> "Split":
        """Return the state after the only row of the next part was refused for good."""
        refused = SplitRange(part=self.pending[0], refusal=refusal)
        return replace(self, pending=self.pending[1:], refused=(*self.refused, refused))

    def reconsider(self, limits: RejectLimits) -> "Split":
        """Return the batch with all refused rows pending again: they were more than `limits` allow."""
        again = tuple(cut.part for cut in self.refused)
        return replace(self, pending=(*self.pending, *again), refused=(), stopped=limits)

    def halve(self) -> "Split":
        """Return the batch with the next part cut in two. Its own other half comes first: good rows land soon."""
        whole, *others = self.pending
        halves, first, rest = whole.halves(), tuple(others[:1]), tuple(others[1:])
        if first and first[0].first == whole.end and 0 <= first[0].rows - whole.rows <= 1:
            return replace(self, pending=(*first, *halves, *rest))
        return replace(self, pending=(*halves, *first, *rest))

    def is_cut_as(self, cuts: Sequence[SplitRange]) -> bool:
        """Tell whether these are its parts: those that are sent, and the refused rows."""
        sent, refused = {*self.pending, *self.landed}, {cut.part for cut in self.refused}
        return (sent, refused) == ({c.part for c in cuts if not c.refusal}, {c.part for c in cuts if c.refusal})

    def covers(self, total: int) -> bool:
        """Tell whether the parts are all rows of a batch of `total` rows, each once."""
        return cover([*self.pending, *self.landed, *(cut.part for cut in self.refused)], total)


class Landed(Struct, frozen=True, kw_only=True):
    """The store has all rows but the refused ones. These have to be rejected, then the batch is acknowledged."""

    landed: tuple[RowRange, ...] = ()
    """The parts of a batch that was cut up."""
    refused: tuple[SplitRange, ...] = ()

    @property
    def parts(self) -> tuple[RowRange, ...]:
        """Return the parts of a batch that was cut up; one without rows if all of it was refused."""
        if not self.refused and len(self.landed) <= 1:
            return ()
        return self.landed or (RowRange(first=0, end=0),)


class BatchDelivery:
    """A batch, and how far it is."""

    def __init__(
        self, batch: Batch, *, table: str, retries: Retries, before_end: Callable[[Batch], Awaitable[None]]
    ) -> None:
        """Begin with the batch as a whole, for the table with this full name.

        `before_end` is called when all rows are read, before the end of the insert; an error of it abandons the insert.
        """
        self.batch = batch
        self.table = table
        self.retries = retries
        self.before_end = before_end
        self.state: Whole | Split | Landed = Whole()
        self.checks = 0
        """Of how many checks of its round the result was taken up."""
        self.held_at = ""
        """The table, or the place, that it was held at last."""
        self.waits = False
        """It waits for one server, while other batches are sent."""
        self.is_live = True
        """The rows come from decode as it works; from the second attempt on they are read again."""
        self.to_land = self._next_to_land()
        """The rows to send next."""

    @property
    def part(self) -> RowRange | None:
        """The rows to send next; None is the whole batch."""
        return self.state.pending[0] if isinstance(self.state, Split) else None

    def become(self, state: Split | Landed) -> None:
        """Enter a state, and prepare the rows to send next."""
        if isinstance(state, Split) and not state.pending:
            state = Landed(landed=state.landed, refused=state.refused)
        self.state = state
        self.retries.succeeded()
        self.to_land = self._next_to_land()

    def landed(self) -> None:
        """Enter the next state after the sent rows have landed."""
        self.become(self.state.land() if isinstance(self.state, Split) else Landed())

    def resume(self, cuts: Sequence[SplitRange]) -> None:
        """Go on with the parts that the journal has of the batch; none: it is whole.

        Where these are its parts already, what is known of them stays: which have landed, and which may have.
        """
        if cuts and not (isinstance(self.state, Split) and self.state.is_cut_as(cuts)):
            self.discard_live()
            pending = tuple(cut.part for cut in cuts if not cut.refusal)
            self.become(Split(pending=pending, refused=tuple(cut for cut in cuts if cut.refusal)))

    async def split(self) -> Split:
        """Return the batch as parts: one that is whole is a single part."""
        if isinstance(self.state, Split):
            return self.state
        with heartbeat.idle():
            total = await self.batch.count
        return Split(pending=(RowRange(first=0, end=total),))

    def discard_live(self) -> None:
        """Take no rows as they come from decode: they are read again."""
        self.is_live = False
        self.batch.live.close()

    async def expect_all_rows(self) -> None:
        """Raise `OperatorError` if the parts of a batch that was cut up are not all the rows that it has now."""
        if not isinstance(self.state, Split):
            return
        with heartbeat.idle():
            total = await self.batch.count
        if not self.state.covers(total):
            raise OperatorError(
                f"batch {self.batch.id} was cut up and holds another number of rows now: {total}",
                hint="put its claimed files back as they were, or let the version that claimed them finish them",
            )

    def _next_to_land(self) -> BatchToLand:
        batch, part = self.batch, self.part
        batch_id = batch.id if part is None else part.id(batch.id)
        return BatchToLand(id=batch_id, table=batch.table, shipment=batch.shipment, rows=self._rows)

    @asynccontextmanager
    async def _rows(self) -> AsyncGenerator[AsyncIterator[Rows]]:
        """Open the rows to send next; their files are closed in the end, also after a partial read."""
        if self.is_live and self.part is None:
            self.is_live = False
            try:
                async with aclosing(self._checked(self.batch.live)) as rows:
                    yield rows
            finally:
                self.batch.live.close()
            return
        self.discard_live()
        async with opened_part(self.batch, self.part) as again, aclosing(self._checked(again)) as rows:
            yield rows

    async def _checked(self, rows: AsyncIterator[Rows]) -> AsyncGenerator[Rows]:
        async for piece in rows:
            yield piece
        await self.before_end(self.batch)


@asynccontextmanager
async def opened_part(batch: Batch, part: RowRange | None) -> AsyncGenerator[AsyncIterator[Rows]]:
    """Open the rows of a part of a batch, or all of them, from its files."""
    again = batch.reopen() if part is None else _only(batch.reopen(), part)
    async with aclosing(again) as rows:
        yield rows


async def _only(rows: AsyncGenerator[Rows], part: RowRange) -> AsyncGenerator[Rows]:
    """Yield the rows of `part`. The others are read as well, to the end: there it shows whether a file has changed."""
    before = 0
    async with aclosing(rows) as pieces:
        async for piece in pieces:
            own = overlap(piece, before, part)
            before += piece.count
            if own is not None:
                yield own
