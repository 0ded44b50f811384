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

from spoolhouse import recent
from spoolhouse.core.parts import Cut, Part
from spoolhouse.core.reject import Reason, Reject
from spoolhouse.errors import OperatorError, RejectedDataError
from spoolhouse.failpoints import reach
from spoolhouse.pipeline.delivery import Delivery
from spoolhouse.pipeline.disk import Disk
from spoolhouse.spool import layout
from spoolhouse.spool.home import Home
from spoolhouse.spool.rejects import RejectFile

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How many refused rows are an accident: `min_rows` of a batch, or, if that is more, `max_ratio` of it."""

    max_ratio: float
    min_rows: int


@dataclass(slots=True, kw_only=True)
class Poison:
    """What becomes of refused rows."""

    homes: Mapping[str, Home]
    tolerance: Tolerance
    """May be changed at any time."""
    disk: Disk

    async def divide(self, delivery: Delivery, error: RejectedDataError) -> None:
        """Cut what was refused in two, or refuse its one row. Nothing of it may have landed.

        Raises `OperatorError` if too much of the batch is refused: then nothing is rejected, and all is kept.
        """
        batch = delivery.batch
        total = await batch.count
        if delivery.stopped:
            raise self._fault(delivery, error)
        whole = delivery.part or Part(first=0, end=total)
        home = self.homes[batch.shipment.instance]
        journal, keep = home.journal, partial(self.disk.persist, home.folder)
        if delivery.pending is None:
            delivery.pending = deque([whole])
        if whole.rows > 1:
            halves = whole.halves()
            await keep(partial(journal.cut, batch.shipment.id, batch.id, whole, halves))
            delivery.next()
            delivery.pending.extendleft(reversed(halves))
            return
        refusal = f"ClickHouse code {error.code}: {error.message}"
        await keep(partial(journal.refuse, batch.shipment.id, batch.id, whole, refusal))
        log.warning("row_refused", batch=batch.id, row=whole.first, code=error.code, error=error.message)
        delivery.refused.append(Cut(part=whole, refusal=refusal))
        delivery.next()
        if len(delivery.refused) > max(self.tolerance.min_rows, total * self.tolerance.max_ratio):
            await keep(partial(journal.reconsider, batch.id))
            delivery.stopped = True
            fault = self._fault(delivery, error)
            delivery.pending.extendleft(reversed([cut.part for cut in delivery.refused]))
            delivery.refused.clear()
            raise fault

    def _fault(self, delivery: Delivery, error: RejectedDataError) -> OperatorError:
        return OperatorError(
            f"too many rows of {delivery.table} are refused, beyond reject.max_ratio: {error.message}",
            code=error.code,
            mend="mend the table; or raise reject.max_ratio, to reject them all",
        )

    async def reject(self, delivery: Delivery) -> dict[int, int]:
        """Write the refused rows' lines to `rejected/`, durably; return how many there are of each file, by number."""
        if not delivery.refused:
            return {}
        batch = delivery.batch
        home = self.homes[batch.shipment.instance]
        refusals = {cut.part.first: cut.refusal for cut in delivery.refused}
        numbers = iter(sorted(refusals))
        counts: Counter[int] = Counter()
        # Its own file: the shipment's is written anew by each replay, which knows of these only in the end.
        keep = partial(self.disk.persist, home.spool / layout.REJECTED)
        file = RejectFile(home.spool, batch.id.replace(":", "."), batch.shipment.clock_ms)
        try:
            async with aclosing(batch.locate(refusals)) as lines:
                async for segment, lines_before, line in lines:
                    number = next(numbers)
                    reject = Reject(
                        line=line.line,
                        offset=line.offset,
                        reason=Reason.REFUSED,
                        field="",
                        detail=refusals[number],
                        raw=line.raw,
                        batch=batch.id,
                        row=number,
                    )
                    name = str(home.files[segment.file].place)
                    await keep(partial(file.add, name, lines_before, [reject]))
                    recent.rejected(name, lines_before, [reject])
                    counts[segment.file] += 1
            await keep(file.finish)
            reach("poison.rejected")
        finally:
            file.abort()
        return dict(counts)
