"""Part pressure on a real server: it is seen, in a table and in what its views fill, and its end is seen, too."""

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from spoolhouse.pipeline.part_pressure import PartPressure
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.drivers.connect import connect
from tests.contract.conftest import GUARDED
from tests.engine import Database, StartServer

LIMITS = "parts_to_delay_insert = 10, parts_to_throw_insert = 20"


def create(database: Database, name: str, settings: str = LIMITS) -> None:
    database.query(
        f"CREATE TABLE {name} (month UInt8) ENGINE = MergeTree PARTITION BY month ORDER BY month SETTINGS {settings}"
    )
    database.query(f"SYSTEM STOP MERGES {name}")


def add_parts(database: Database, name: str, count: int, month: int = 1) -> None:
    for _ in range(count):
        database.query(f"INSERT INTO {name} VALUES ({month})")


async def scanned(driver: Driver, tables: dict[str, Sequence[str]]) -> PartPressure:
    """Return the pressure that one insert into each table has looked at; over at once: nothing waits."""
    stop = asyncio.Event()
    stop.set()
    made = PartPressure(driver, tables, stop)
    async with made.room(next(iter(tables))):
        pass
    return made


@pytest.mark.parametrize("url", ["native_url", "http_url"])
async def test_the_fullest_partition_decides(database: Database, url: str) -> None:
    create(database, "spans")
    driver = connect(getattr(database, url))
    add_parts(database, "spans", 4)
    for month in range(2, 9):
        add_parts(database, "spans", 2, month)
    assert (await scanned(driver, {"spans": ["spans"]})).of("spans") == 0
    add_parts(database, "spans", 4)
    made = await scanned(driver, {"spans": ["spans"]})
    # Eight parts, and the insert that was let through since: (9 - 5) / (10 - 5).
    assert made.of("spans") == pytest.approx(0.8)
    assert made.of("logs") == 0
    await driver.close()


async def test_parts_of_a_rollup_press_its_table(database: Database) -> None:
    create(database, "spans", "index_granularity = 8192")
    create(database, "spans_hourly")
    add_parts(database, "spans_hourly", 12)
    driver = connect(database.native_url)
    with capture_logs() as logs:
        made = await scanned(driver, {"spans": ["spans", "spans_hourly"]})
    assert made.of("spans") == 1
    (told,) = [entry for entry in logs if entry["event"] == "part_pressure_began"]
    assert (told["table"], told["parts"], told["delay_at"], told["throw_at"]) == ("spans_hourly", 12, 10, 20)
    await driver.close()


async def test_the_servers_own_limits_hold_where_the_table_has_none(database: Database) -> None:
    create(database, "spans", "index_granularity = 8192")
    add_parts(database, "spans", 30)
    driver = connect(database.native_url)
    assert (await scanned(driver, {"spans": ["spans"]})).of("spans") == 0  # of 1000
    await driver.close()


async def test_our_own_inserts_count_between_two_looks(database: Database) -> None:
    create(database, "spans")
    driver = connect(database.native_url)
    made = await scanned(driver, {"spans": ["spans"]})
    for _ in range(9):
        async with made.room("spans"):
            pass
    assert made.of("spans") == 1
    await driver.close()


async def test_an_insert_waits_until_the_parts_are_merged(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spoolhouse.pipeline.part_pressure._INTERVAL", 0.05)
    create(database, "spans")
    add_parts(database, "spans", 15)
    driver = connect(database.native_url)
    made = PartPressure(driver, {"spans": ["spans"]}, asyncio.Event())
    entered = asyncio.Event()

    async def insert() -> None:
        async with made.room("spans"):
            entered.set()

    with capture_logs() as logs:
        inserting = asyncio.create_task(insert())
        while made.of("spans") == 0:  # noqa: ASYNC110  # a figure, there is no event to wait for
            await asyncio.sleep(0)
        assert not entered.is_set()
        database.query("SYSTEM START MERGES spans")
        database.query("OPTIMIZE TABLE spans FINAL")
        await inserting
    events = [entry["event"] for entry in logs]
    assert events == ["part_pressure_began", "part_pressure_ended"]
    await driver.close()


async def test_its_end_is_seen_without_inserts_and_a_stop_ends_the_look(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spoolhouse.pipeline.part_pressure._INTERVAL", 0.05)
    create(database, "spans")
    add_parts(database, "spans", 7)
    driver = connect(database.native_url)
    stop = asyncio.Event()
    made = PartPressure(driver, {"spans": ["spans"]}, stop)
    running = asyncio.create_task(made.run())
    async with made.room("spans"):
        pass
    assert made.of("spans") > 0
    database.query("SYSTEM START MERGES spans")
    database.query("OPTIMIZE TABLE spans FINAL")
    while made.of("spans") > 0:  # noqa: ASYNC110  # as above
        await asyncio.sleep(0.01)
    stop.set()
    await running
    await driver.close()


async def test_a_look_that_fails_keeps_nothing_back(start_server: StartServer) -> None:
    server = start_server(GUARDED)
    driver = connect(server.endpoint.url("clickhouse", "default"))
    server.kill()
    made = PartPressure(driver, {"spans": ["spans"]}, asyncio.Event())
    with capture_logs() as logs:
        async with made.room("spans"):
            pass
    assert [entry["event"] for entry in logs] == ["part_pressure_unknown"]
    assert made.of("spans") == 0
    await driver.close()
