"""A driver whose answers count as progress: a stage that runs many statements in a row is not stuck."""

from collections.abc import AsyncIterable, Mapping

from spoolhouse.decode.rows import Rows
from spoolhouse.monitoring import heartbeat
from spoolhouse.store.clickhouse.driver import Driver, Parameter, RowsInsert, Setting


class HeartbeatDriver:
    """Wraps a driver. Each answer of the server is a heartbeat of the calling stage.

    (Without it, a repair of many months counted as stuck: test_a_repair_of_many_months_is_no_stuck_stage.)
    """

    def __init__(self, driver: Driver) -> None:
        """Wrap `driver`."""
        self._driver = driver

    async def ping(self) -> None:
        """Return once the server answers a trivial query."""
        await self._driver.ping()
        heartbeat.beat()

    async def execute(
        self,
        sql: str,
        parameters: Mapping[str, Parameter] | None = None,
        *,
        query_id: str = "",
        settings: Mapping[str, Setting] | None = None,
    ) -> list[tuple[object, ...]]:
        """Run one statement and return its rows."""
        rows = await self._driver.execute(sql, parameters, query_id=query_id, settings=settings)
        heartbeat.beat()
        return rows

    async def insert_rows(self, insert: RowsInsert, rows: AsyncIterable[Rows]) -> None:
        """Insert all of `rows`; see `Driver`."""
        await self._driver.insert_rows(insert, rows)
        heartbeat.beat()

    async def close(self) -> None:
        """Close all connections."""
        await self._driver.close()
