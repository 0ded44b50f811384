"""Writing the ledger. A line of it may be written twice; its table keeps one."""

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from spoolhouse import pulse
from spoolhouse.core.ledger import LEDGER, Entry, entry_rows
from spoolhouse.core.ports import Driver, Rows, RowsInsert
from spoolhouse.errors import StoreError
from spoolhouse.failpoints import reach
from spoolhouse.health import Health
from spoolhouse.landing.persistence import Persistence, Trials


@dataclass(slots=True, kw_only=True)
class LedgerWriter:
    """Writes entries until ClickHouse has them."""

    driver: Driver
    prefix: str
    health: Health
    persistence: Persistence
    """May be changed at any time."""

    @property
    def table(self) -> str:
        """The ledger's full name."""
        return self.prefix + LEDGER.name

    async def write(self, entries: Sequence[Entry]) -> None:
        """Return once ClickHouse has `entries`, all of them shipped; none: at once. Raises `GivenUpError`."""
        if not entries:
            return
        rows = entry_rows(entries)
        trials = Trials(persistence=self.persistence)
        while True:
            # A token of its own each time: ClickHouse may know one and have lost its rows.
            batch_id = f"ledger:{uuid.uuid4()}"
            insert = RowsInsert(
                table=self.table,
                columns=LEDGER.columns,
                batch_id=batch_id,
                token=batch_id,
                clock_ms=max(entry.clock_ms for entry in entries),
            )
            try:
                reach("ledger.before_write")
                await self.driver.insert_rows(insert, _one(rows))
                reach("ledger.written")
            except StoreError as error:
                self.health.bad(self.table, error)
                with pulse.resting():
                    await self.health.pause(trials.failed(error))
            else:
                self.health.landed(self.table)
                return


async def _one(rows: Rows) -> AsyncIterator[Rows]:
    yield rows
