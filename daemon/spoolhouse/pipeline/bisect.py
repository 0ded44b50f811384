"""Poison: rows that decode accepts and ClickHouse refuses. Found by halving their batch, and rejected alone.

A part that was cut off has an id, and so a token, of its own. The journal knows of a cut before anything is sent
under the new ids, and the old id is never used again: a crash between two halves doubles nothing, whatever has become
of the complaint by then.
"""

from collections import Counter, deque
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import structlog

from spoolhouse.decode.reject import Reason, Reject
from spoolhouse.errors import OperatorError, RejectedDataError
from spoolhouse.failpoints import reach
from spoolhouse.monitoring import heartbeat, recent_activity
from spoolhouse.pipeline.batch_delivery import BatchDelivery, RejectLimits
from spoolhouse.pipeline.disk_retry import DiskRetry
from spoolhouse.pipeline.messages import Batch
from spoolhouse.spool import layout
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.reject_file import RejectFile, Source
from spoolhouse.spool.row_ranges import RowRange, SplitRange

log = structlog.get_logger(__name__)

_FEW_ROWS = 2000
"""What is smaller is not cut for want of memory: the memory that it needs is not that of its rows."""


@dataclass(slots=True, kw_only=True)
class RowBisector:
    """What becomes of refused rows."""

    instances: Mapping[str, Instance]
    reject_limits: RejectLimits
    """May be changed at any time."""
    disk: DiskRetry

    async def cuts(self, batch: Batch) -> tuple[SplitRange, ...]:
        """Return how an earlier attempt has cut a batch up; nothing if it has not."""
        instance = self.instances[batch.shipment.instance]
        return await self.disk.persist(instance.folder, partial(instance.journal.cuts, batch.id))

    async def divide(self, delivery: BatchDelivery, error: RejectedDataError) -> None:
        """Cut what was refused in two, or refuse its one row. Nothing of it may have landed.

        Raises `OperatorError` if too much of what is known of the batch is refused: then nothing of it is rejected.
        """
        batch = delivery.batch
        with heartbeat.idle():
            total = await batch.count
        if delivery.stopped == self.reject_limits:
            raise self._fault(delivery, error)
        whole = delivery.part or RowRange(first=0, end=total)
        if whole.rows > 1:
            await self._halve(delivery, whole)
            return
        instance = self.instances[batch.shipment.instance]
        journal, keep = instance.journal, partial(self.disk.persist, instance.folder)
        refused = len(delivery.refused) + 1
        known = refused + sum(part.rows for part in delivery.landed)
        if refused > max(self.reject_limits.min_rows, known * self.reject_limits.max_ratio):
            await keep(partial(journal.reconsider, batch.id))
            delivery.stopped = self.reject_limits
            again = [cut.part for cut in delivery.refused]
            delivery.pending = deque([*(delivery.pending or [whole]), *again])
            delivery.refused.clear()
            raise self._fault(delivery, error)
        refusal = f"ClickHouse code {error.code}: {error.message}"
        await keep(partial(journal.refuse, batch.shipment.id, batch.id, whole, refusal))
        log.warning("row_refused", batch=batch.id, row=whole.first, code=error.code, error=error.message)
        delivery.refused.append(SplitRange(part=whole, refusal=refusal))
        delivery.next()

    async def lighten(self, delivery: BatchDelivery) -> bool:
        """Cut what the server has no memory for in two; return false if it is small enough to be waited for.

        Nothing of it may have landed.
        """
        with heartbeat.idle():
            total = await delivery.batch.count
        whole = delivery.part or RowRange(first=0, end=total)
        if whole.rows < _FEW_ROWS:
            return False
        log.warning("batch_divided", batch=delivery.batch_id, rows=whole.rows)
        await self._halve(delivery, whole)
        return True

    async def _halve(self, delivery: BatchDelivery, whole: RowRange) -> None:
        batch, halves = delivery.batch, whole.halves()
        instance = self.instances[batch.shipment.instance]
        cut = partial(instance.journal.cut, batch.shipment.id, batch.id, whole, halves)
        await self.disk.persist(instance.folder, cut)
        delivery.divide(whole, halves)

    def _fault(self, delivery: BatchDelivery, error: RejectedDataError) -> OperatorError:
        return OperatorError(
            f"too many rows of {delivery.table} are refused, beyond reject.max_ratio: {error.message}",
            code=error.code,
            hint="mend the table; or raise reject.max_ratio, to reject them all",
        )

    async def reject(self, delivery: BatchDelivery) -> tuple[dict[int, int], dict[int, int]]:
        """Write the refused rows' lines to `rejected/`, durably.

        Return how many there are of each file, by number, and how many of these could not be kept there.
        Raises `OperatorError` if they are not found there any more: then nothing is written.
        """
        if not delivery.refused:
            return {}, {}
        batch = delivery.batch
        instance = self.instances[batch.shipment.instance]
        refusals = {cut.part.first: cut.refusal for cut in delivery.refused}
        counts, left_out = Counter[int](), Counter[int]()
        # Its own file: the shipment's is written anew by each replay, which knows of these only in the end.
        keep = partial(self.disk.persist, instance.spool / layout.REJECTED, about="rows that ClickHouse refused")
        file = RejectFile(instance.spool, batch.id.replace(":", "."), batch.shipment.clock_ms)
        try:
            async with aclosing(batch.locate(refusals)) as lines:
                async for segment, lines_before, line in lines:
                    reject = Reject(
                        line=line.line,
                        offset=line.offset,
                        reason=Reason.REFUSED,
                        field="",
                        detail=refusals[line.row],
                        raw=line.raw,
                        batch=batch.id,
                        row=line.row,
                        nth=line.nth,
                    )
                    place = instance.files[segment.file].place
                    source = Source(place=place, start=segment.start, stored=segment.end - segment.start)
                    file.least = self.disk.least
                    left_out[segment.file] += await keep(partial(file.add, source, lines_before, [reject]))
                    recent_activity.rejected(str(place), lines_before, [reject])
                    counts[segment.file] += 1
            if counts.total() != len(refusals):
                raise OperatorError(
                    f"of {len(refusals)} rows that ClickHouse refused, {counts.total()} were found in their files",
                    hint="a claimed file was taken or changed, or cannot be read just now: put it back",
                )
            await keep(file.finish)
            reach("poison.rejected")
        finally:
            file.abort()
        return dict(counts), dict(left_out)
