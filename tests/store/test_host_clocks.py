"""Of several hosts, each one's clock is compared with this machine's: at each check, and before it is used again."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from spoolhouse.errors import OperatorError, UnreachableError
from spoolhouse.store.clickhouse.driver import Driver, Parameter, Setting
from spoolhouse.store.clickhouse.drivers.connect import connect
from spoolhouse.store.clickhouse.drivers.heartbeat_driver import HeartbeatDriver
from spoolhouse.store.clickhouse.failover import HostSelector
from spoolhouse.store.clickhouse.replicas import Replicas
from tests.engine import Database


class Behind(HeartbeatDriver):
    """A real server whose clock is 40 days behind."""

    async def execute(
        self,
        sql: str,
        parameters: Mapping[str, Parameter] | None = None,
        *,
        query_id: str = "",
        settings: Mapping[str, Setting] | None = None,
    ) -> list[tuple[object, ...]]:
        """Run one statement by that clock."""
        return await super().execute(sql.replace("now64(3)", "now64(3) - INTERVAL 40 DAY"), parameters)


@asynccontextmanager
async def hosts(right: str, wrong: str) -> AsyncIterator[Replicas]:
    drivers: dict[str, Driver] = {"right": connect(right), "wrong": Behind(connect(wrong))}
    servers = Replicas(drivers, HostSelector(drivers, first=1e-9, cap=1e-9))
    try:
        yield servers
    finally:
        await servers.close()


async def test_the_clock_of_a_host_that_is_not_in_use_is_compared(database: Database) -> None:
    async with hosts(database.native_url, database.native_url) as servers:
        with pytest.raises(OperatorError, match=r"clock is 40 days ahead of the ClickHouse server's \(wrong\)"):
            await servers.agree(["spans"])
        assert "wrong" not in servers.present


async def test_the_clock_of_a_host_is_compared_when_it_takes_over(database: Database) -> None:
    async with hosts("clickhouse://127.0.0.1:1", database.native_url) as servers:
        with pytest.raises((OperatorError, UnreachableError)):
            await servers.agree(["spans"])
        with pytest.raises(OperatorError, match="40 days ahead"):
            await servers.pick()
