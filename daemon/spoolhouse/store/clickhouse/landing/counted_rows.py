"""Rows that are counted on their way to ClickHouse."""

from collections.abc import AsyncIterator

from spoolhouse.decode.rows import Rows
from spoolhouse.events.declaration import Table
from spoolhouse.failpoints import reach
from spoolhouse.monitoring import heartbeat
from spoolhouse.store.clickhouse.landing.presence import partitions_of


class CountedRows(AsyncIterator[Rows]):
    """Rows that are counted as they pass; with `closely`, their partitions are noted too."""

    def __init__(self, rows: AsyncIterator[Rows], table: Table, *, closely: bool) -> None:
        """Count `rows` of `table`; `closely`: note their partitions."""
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
