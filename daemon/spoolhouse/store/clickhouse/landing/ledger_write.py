"""Writing the ledger. An entry may be written twice; its table keeps one."""

import uuid
from collections.abc import AsyncIterator, Sequence

from spoolhouse.decode.rows import Rows
from spoolhouse.events.ledger import LEDGER
from spoolhouse.spool.ledger_rows import entry_rows
from spoolhouse.spool.lineage import Entry
from spoolhouse.store.clickhouse.driver import Driver, RowsInsert


async def write_entries(driver: Driver, entries: Sequence[Entry], *, prefix: str) -> None:
    """Return once ClickHouse has `entries`, at least one. Raises `StoreError`."""
    # A token of its own each time: ClickHouse may know one and have lost its rows.
    batch_id = f"ledger:{uuid.uuid4()}"
    insert = RowsInsert(
        table=prefix + LEDGER.name,
        columns=LEDGER.columns,
        batch_id=batch_id,
        token=batch_id,
        clock_ms=max(entry.clock_ms for entry in entries),
    )
    await driver.insert_rows(insert, _one(entry_rows(entries)))


async def _one(rows: Rows) -> AsyncIterator[Rows]:
    yield rows
