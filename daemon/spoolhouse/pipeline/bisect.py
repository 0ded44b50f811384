"""Bisection: finds the rows that decode accepts and the store refuses, by halving their batch, and rejects them alone.

Each part gets a new id, and so a new token. The journal has a cut before rows are sent under the
new ids, and the old id is never used again: a crash between two halves doubles nothing, even if the store accepts the
row by then. (Where lines may have several rows, `whole_lines` finds the refused ones before anything lands.)
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial

import structlog
from msgspec import Struct, field

from spoolhouse.decode.reject import Reason, Reject
from spoolhouse.errors import OperatorError, RejectedDataError
from spoolhouse.failpoints import reach
from spoolhouse.monitoring.recent_activity import RecentActivity
from spoolhouse.pipeline.batch_delivery import BatchDelivery, Split
from spoolhouse.pipeline.disk_retry import DiskRetry
from spoolhouse.pipeline.messages import Batch
from spoolhouse.pipeline.options import Current, Options
from spoolhouse.spool import layout
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.reject_file import RejectFile, Source
from spoolhouse.spool.row_ranges import SplitRange
from spoolhouse.spool.shipment import Shipment

log = structlog.get_logger(__name__)

FEW_ROWS = 2000
"""A smaller part is not cut for want of memory: the memory that it needs is not that of its rows."""
TOO_MANY_HINT = "correct the table; or raise reject.max_ratio, to reject them all"


def too_many(table: str, error: RejectedDataError) -> str:
    """Return why no row of a batch is rejected."""
    return f"too many rows of {table} are refused, beyond reject.max_ratio: {error.message}"


def refused_lines(instance: Instance, batch_id: str, shipment: Shipment) -> RejectFile:
    """Return the file of a batch's refused lines.

    It is not the shipment's: that one is written anew by each replay, which knows of these lines only in the end.
    """
    return RejectFile(instance.spool, batch_id.replace(":", "."), shipment.clock_ms)


class Refused(Struct, frozen=True):
    """The refused rows of a batch, by file number."""

    rows: Counter[int] = field(default_factory=Counter)
    """Rows that do not land."""
    lines: Counter[int] = field(default_factory=Counter)
    """Lines that are rejected for them, as far as they have their record here."""
    left_out: Counter[int] = field(default_factory=Counter)
    """Those of the lines whose bytes could not be kept in `rejected/`."""


class RowBisector(Struct, kw_only=True):
    """Cuts batches up, and rejects refused rows."""

    instances: Mapping[str, Instance]
    options: Current[Options]
    disk: DiskRetry
    recent: RecentActivity = field(default_factory=RecentActivity)

    async def cuts(self, batch: Batch) -> tuple[SplitRange, ...]:
        """Return how an earlier attempt has cut a batch up; nothing if it has not."""
        instance = self.instances[batch.shipment.instance]
        return await self.disk.persist(instance.folder, partial(instance.journal.cuts, batch.id))

    async def divide(self, delivery: BatchDelivery, error: RejectedDataError) -> None:
        """Cut the refused rows in two, or reject a single one. None of them may have landed.

        Raises `OperatorError`, and rejects nothing, if too large a share of the batch's known rows is refused.
        """
        batch, state, limits = delivery.batch, await delivery.split(), self.options.value.reject_limits
        if state.stopped == limits:
            raise OperatorError(too_many(delivery.table, error), code=error.code, hint=TOO_MANY_HINT)
        part = state.pending[0]
        if part.rows > 1:
            await self._halve(delivery, state)
            return
        instance = self.instances[batch.shipment.instance]
        journal, keep = instance.journal, partial(self.disk.persist, instance.folder)
        refused = len(state.refused) + 1
        known = refused + sum(landed.rows for landed in state.landed)
        if refused > max(limits.min_rows, known * limits.max_ratio):
            await keep(partial(journal.reconsider, batch.id))
            # The next part keeps its id: the journal knows no other.
            delivery.state = state.reconsider(limits)
            raise OperatorError(too_many(delivery.table, error), code=error.code, hint=TOO_MANY_HINT)
        refusal = error.coded
        await keep(partial(journal.refuse, batch.shipment.id, batch.id, part, refusal))
        log.warning("row_refused", batch=batch.id, row=part.first, code=error.code, error=error.message)
        delivery.become(state.refuse(refusal))

    async def lighten(self, delivery: BatchDelivery) -> None:
        """Cut rows in two that the server has no memory for, unless they are few: then wait for memory.

        None of them may have landed.
        """
        state = await delivery.split()
        if state.pending[0].rows < FEW_ROWS:
            delivery.to_land.may_be_cut = False
            return
        log.warning("batch_divided", batch=delivery.to_land.id, rows=state.pending[0].rows)
        await self._halve(delivery, state)

    async def _halve(self, delivery: BatchDelivery, state: Split) -> None:
        batch, whole = delivery.batch, state.pending[0]
        instance = self.instances[batch.shipment.instance]
        cut = partial(instance.journal.cut, batch.shipment.id, batch.id, whole, whole.halves())
        await self.disk.persist(instance.folder, cut)
        delivery.become(state.halve())

    async def leave_out(self, shipment: Shipment, batches: Mapping[str, Iterable[SplitRange]]) -> None:
        """Cut several batches up, so that they leave out lines. Nothing of these lines may have landed."""
        instance = self.instances[shipment.instance]
        await self.disk.persist(instance.folder, partial(instance.journal.leave_out, shipment.id, batches))

    async def reject(self, batch: Batch, refused: Sequence[SplitRange]) -> Refused:
        """Write the refused rows' lines to `rejected/`, durably; return how many there are.

        Raises `OperatorError` if they are not found there any more: then nothing is written.
        """
        result = Refused()
        if not refused:
            return result
        instance = self.instances[batch.shipment.instance]
        refusals = {cut.part.first: cut for cut in refused}
        keep = partial(self.disk.persist, instance.spool / layout.REJECTED, about="rows that ClickHouse refused")
        file = refused_lines(instance, batch.id, batch.shipment)
        try:
            async with aclosing(batch.locate(refusals)) as lines:
                async for segment, lines_before, line in lines:
                    result.rows[segment.file] += 1
                    if refusals[line.row].follows:
                        continue
                    reject = Reject(
                        line=line.line,
                        offset=line.offset,
                        reason=Reason.REFUSED,
                        field="",
                        detail=refusals[line.row].refusal,
                        raw=line.raw,
                        batch=batch.id,
                        row=line.row,
                    )
                    place = instance.files[segment.file].place
                    source = Source(place=place, start=segment.start, stored=segment.end - segment.start)
                    file.least = self.disk.least
                    result.left_out[segment.file] += await keep(partial(file.add, source, lines_before, [reject]))
                    self.recent.rejected(str(place), lines_before, [reject])
                    result.lines[segment.file] += 1
            if result.rows.total() != len(refusals):
                raise OperatorError(
                    f"of {len(refusals)} rows that ClickHouse refused, {result.rows.total()} were found in their files",
                    hint="a claimed file was taken or changed, or cannot be read just now: put it back",
                )
            await keep(file.finish)
            reach("bisect.rejected")
        finally:
            file.abort()
        return result
