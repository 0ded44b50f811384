"""Whole lines: a line whose rows go to several batches lands whole, or is rejected whole.

The batches of a round land side by side, so that a row may be refused when other rows of its line have landed. So where
a round may have lines of several rows, and one of its tables may refuse rows, no batch is sent to its end before all of
them are checked against copies of their tables. The rows of refused lines are left out of every batch: the journal has
that before any other row is sent. A table that begins to refuse rows in between holds its batch, if other rows of a
refused line have landed by then: no line is torn, and it lands once the table is corrected.
"""

from collections import deque
from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import aclosing, asynccontextmanager
from functools import partial

import structlog
from msgspec import Struct

from spoolhouse.errors import OperatorError, RejectedDataError, TooLargeError, TransientError
from spoolhouse.failpoints import reach
from spoolhouse.monitoring import heartbeat
from spoolhouse.pipeline.batch_delivery import BatchDelivery, opened_part
from spoolhouse.pipeline.bisect import FEW_ROWS, TOO_MANY_HINT, RowBisector, too_many
from spoolhouse.pipeline.messages import Batch, LinePlace
from spoolhouse.pipeline.ports import SentBatches, Store
from spoolhouse.spool.batch import BatchToLand
from spoolhouse.spool.row_ranges import RowRange, SplitRange, leave_out, whole_of

log = structlog.get_logger(__name__)
_CORRECT = "correct the table: what is left of these lines lands then"


class UncheckedError(TransientError):
    """A batch must not be sent to its end: its round has to be checked first. Nothing of it has landed."""


class RoundError(OperatorError):
    """The batches of a round are held until `table` is corrected: lines that they share have rows in it."""

    # `table` has a default, because an exception is copied by its message.
    def __init__(self, message: str, *, table: str = "", code: int | None = None, hint: str = _CORRECT) -> None:
        """Take the message, and the table's full name."""
        super().__init__(message, code=code, hint=hint)
        self.table = table


class _Culprit(Struct, frozen=True, kw_only=True):
    """The first row of a line that is refused: the line's record is written for it."""

    table: str
    """Its full name."""
    batch: str
    row: int
    refusal: str


class WholeLines(Struct, kw_only=True):
    """Leaves out the rows of lines that are refused."""

    store: Store
    sent: SentBatches
    bisector: RowBisector

    @asynccontextmanager
    async def sending(self, delivery: BatchDelivery) -> AsyncGenerator[None]:
        """Allow a batch to be sent within the block, without its left-out lines. Raises `StoreError`.

        No further line is left out meanwhile. The lines to leave out are found first, if all batches of the
        round are known.
        """
        common = delivery.batch.round
        async with common.lock:
            if common.batches.done() and await self._is_unchecked(delivery.batch):
                await self._leave_out(delivery.batch)
            if delivery.checks < common.checks:
                delivery.checks = common.checks
                cuts = await self.bisector.cuts(delivery.batch)
                if any(cut.refusal for cut in cuts):
                    delivery.resume(cuts)
            common.begin_sending()
        try:
            yield
        finally:
            common.end_sending()

    async def before_end(self, batch: Batch) -> None:
        """Raise `UncheckedError` where all rows of the batch are sent, and its end must not be."""
        with heartbeat.idle():
            await batch.round.batches
        if await self._is_unchecked(batch):
            reach("lines.unchecked")
            raise UncheckedError(f"batch {batch.id} waits until the lines that it shares are checked", ambiguous=True)

    async def refused(self, batch: Batch, error: RejectedDataError) -> bool:
        """Leave out the lines of rows that the store has refused, where lines may have several rows; else return false.

        Raises `StoreError`, also if a check accepts a row that the table refuses.
        """
        with heartbeat.idle():
            await batch.round.batches
        if not batch.round.may_share_lines:
            return False
        async with batch.round.lock:
            if not await self._leave_out(batch):
                table = self.store.name(batch.table)
                message = f"{table} refuses rows that a copy of it takes, or of a batch that has landed in part"
                raise RoundError(f"{message}: {error.message}", table=table, code=error.code)
        return True

    async def _is_unchecked(self, batch: Batch) -> bool:
        common = batch.round
        if not common.may_share_lines or common.checks:
            return False
        return await self.store.may_refuse([one.table for one in common.batches.result()])

    async def _leave_out(self, batch: Batch) -> bool:
        """Check all batches of a round; journal the lines to leave out of each; tell whether there are any."""
        common = batch.round
        batches = await common.batches
        landed = await self._landed(batch)
        culprits: dict[LinePlace, _Culprit] = {}
        for one in batches:
            if one.id not in landed:
                refused = await self._refused_rows(one)
                async with aclosing(one.locate(refused)) as lines:
                    async for segment, _, line in lines:
                        culprit = _Culprit(
                            table=self.store.name(one.table), batch=one.id, row=line.row, refusal=refused.pop(line.row)
                        )
                        culprits.setdefault((segment.file, line.offset), culprit)
                _expect_found(len(refused))
        if culprits:
            rows = await self._rows_of(batch, culprits)
            if torn := sorted(landed & rows.keys()):
                first = next(iter(culprits.values()))
                message = f"rows are refused of lines of which other rows have landed, in {torn[0]}: {first.refusal}"
                raise RoundError(message, table=first.table)
            cuts = {one.id: leave_out(await self._cuts(one), rows[one.id]) for one in batches if one.id in rows}
            reach("lines.refused")
            await self.bisector.leave_out(batch.shipment, cuts)
            reach("lines.left_out")
            for culprit in culprits.values():
                log.warning("row_refused", batch=culprit.batch, row=culprit.row, error=culprit.refusal)
        common.checks += 1
        return bool(culprits)

    async def _landed(self, batch: Batch) -> set[str]:
        """Return the batches of the round that may have landed in part."""
        common = batch.round
        with heartbeat.idle():
            await common.unsent.wait()
        if not (common.was_sent or batch.shipment.replay):
            return set()
        sent = await self.sent.find(batch.shipment.id, common.tables)
        return {whole_of(one) for one in sent} | common.landed

    async def _cuts(self, batch: Batch) -> Collection[SplitRange]:
        with heartbeat.idle():
            whole = SplitRange(part=RowRange(first=0, end=await batch.count))
        return await self.bisector.cuts(batch) or (whole,)

    async def _refused_rows(self, batch: Batch) -> dict[int, str]:
        """Return the rows of a batch that the store refuses, with its messages. Raises `StoreError`.

        Larger parts come first: so most is known of the batch before a row counts as refused.
        """
        limits = self.bisector.options.value.reject_limits
        unknown = deque(cut.part for cut in await self._cuts(batch) if not cut.refusal)
        refused: dict[int, str] = {}
        taken = 0
        while unknown:
            heartbeat.beat()
            part = unknown.popleft()
            reach("lines.check")
            try:
                await self.store.check(
                    BatchToLand(
                        id=batch.id, table=batch.table, shipment=batch.shipment, rows=partial(opened_part, batch, part)
                    )
                )
            except RejectedDataError as error:
                if part.rows > 1:
                    unknown += part.halves()
                    continue
                refused[part.first] = error.coded
                if len(refused) > max(limits.min_rows, (len(refused) + taken) * limits.max_ratio):
                    table = self.store.name(batch.table)
                    raise RoundError(
                        too_many(table, error), table=table, code=error.code, hint=TOO_MANY_HINT
                    ) from error
            except TooLargeError as error:
                if part.rows < FEW_ROWS:
                    raise TransientError(error.message, code=error.code, hint=error.hint) from error
                # At once: whether any part is small enough shows after few checks.
                unknown.extendleft(part.halves())
            else:
                taken += part.rows
        return refused

    async def _rows_of(self, batch: Batch, culprits: dict[LinePlace, _Culprit]) -> dict[str, dict[int, SplitRange]]:
        """Return all rows of some lines, by the batch that they are in."""
        batches = {one.table.name: one.id for one in await batch.round.batches}
        rows: dict[str, dict[int, SplitRange]] = {}
        found = set()
        async with aclosing(batch.round.locate_rows(culprits.keys())) as located:
            async for place, table, part in located:
                culprit = culprits[place]
                for row in _numbers(part):
                    is_culprit = (batches[table], row) == (culprit.batch, culprit.row)
                    found |= {place} if is_culprit else set()
                    one = RowRange(first=row, end=row + 1)
                    rows.setdefault(batches[table], {})[row] = SplitRange(
                        part=one, refusal=culprit.refusal, follows=not is_culprit
                    )
        _expect_found(len(culprits) - len(found))
        return rows


def _numbers(part: RowRange) -> Iterable[int]:
    return range(part.first, part.end)


def _expect_found(missing: int) -> None:
    if missing:
        raise OperatorError(
            f"{missing} lines with rows that ClickHouse refused were not found in their files",
            hint="a claimed file was taken or changed, or cannot be read just now: put it back",
        )
