"""Writing the ledger. A line of it may be written twice; its table keeps one."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import StoreError
from spoolhouse.events.ledger import LEDGER
from spoolhouse.failpoints import reach
from spoolhouse.monitoring.health import Health
from spoolhouse.retry import Attempt, Retries, RetryPolicy
from spoolhouse.spool.lineage import Entry
from spoolhouse.store.clickhouse.driver import Driver, RowsInsert
from spoolhouse.store.clickhouse.landing.ledger_table import entry_rows


@dataclass(slots=True, kw_only=True)
class LedgerWriter:
    """Writes entries until ClickHouse has them."""

    driver: Driver
    prefix: str
    health: Health
    retry_policy: RetryPolicy
    """May be changed at any time."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def table(self) -> str:
        """The ledger's full name."""
        return self.prefix + LEDGER.name

    async def write(self, entries: Sequence[Entry]) -> bool:
        """Return true once ClickHouse has `entries`, all of them shipped; none: at once. Raises `GivenUpError`.

        False after a stop, if they are left to the next start.
        """
        if not entries:
            return True
        rows = entry_rows(entries)
        retries = Retries(retry_policy=self.retry_policy)
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
            attempt = Attempt(self.stop)
            try:
                reach("ledger.before_write")
                await self.driver.insert_rows(insert, _one(rows))
                reach("ledger.written")
            except StoreError as error:
                self.health.bad(self.table, error)
                if attempt.is_left(error):
                    return False
                await attempt.pause(retries.failed(error), self.health.pause)
            else:
                self.health.landed(self.table)
                return True


async def _one(rows: Rows) -> AsyncIterator[Rows]:
    yield rows
