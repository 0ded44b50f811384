"""What the pipeline may rely on in a store: ClickHouse over both protocols, DuckDB, and the one in memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import OperatorError, RejectedDataError, TransientError
from spoolhouse.events.builtin import LOGS
from spoolhouse.events.tombstones import TOMBSTONES
from spoolhouse.spool.batch import BatchToLand
from spoolhouse.spool.shipment import Limits, Shipment
from spoolhouse.store.clickhouse import store as clickhouse
from spoolhouse.store.clickhouse.store import ClickHouseStore
from spoolhouse.store.duckdb.database import Database as File
from spoolhouse.store.duckdb.store import DuckDbStore
from tests.contract.conftest import server_place
from tests.contract.place import SCHEMES, connected
from tests.contract.proxy import proxy_to
from tests.contract.stores import InFile, InMemory, OnServer, Stand, rows_of
from tests.contract.tables import CLOCK_MS, create_table
from tests.engine import Database

TABLE = replace(LOGS, rollups=())
OTHER = replace(TABLE, name="other")
COUNT = 40
MANY = 40_000
"""Rows that a driver does not send in one go."""
LIMITS = Limits(max_rows=1000, max_insert_bytes=10**6, side_bytes=10**6, max_line=10**6, project="trust")


@pytest_asyncio.fixture(params=["memory", "duckdb", "native", "http"])
async def stand(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stand]:
    """Offer each store, with the table of logs in it."""
    if request.param == "memory":
        made: Stand = InMemory()
        made.create(TABLE)
        yield made
        return
    if request.param == "duckdb":
        file = File(tmp_path / "rows.db", memory=1 << 30)
        made = InFile(DuckDbStore(file, prefix=""))
        await made.store.prepare([TABLE, TOMBSTONES])
        yield made
        await file.close()
        return
    database: Database = request.getfixturevalue("database")
    place = server_place(request.param, database)
    endpoint = database.server.endpoint
    port = endpoint.http_port if request.param == "http" else endpoint.tcp_port
    async with proxy_to("127.0.0.1", port) as proxy:
        url = f"{SCHEMES[request.param]}://127.0.0.1:{proxy.port}/{database.name}"
        async with connected(url) as driver:
            made = OnServer(ClickHouseStore(driver, prefix="", fingerprint="f"), place, proxy)
            made.create(TABLE)
            yield made


def batch(name: str, *, first: int = 0, count: int = COUNT, replay: bool = False) -> BatchToLand:
    shipment = Shipment(
        id=name,
        instance="own",
        type="log",
        segments=(),
        clock_ms=CLOCK_MS,
        fingerprint="f",
        limits=LIMITS,
        replay=replay,
    )
    return BatchToLand(id=f"{name}:logs", table=TABLE, shipment=shipment, rows=partial(rows_of, count, first))


async def test_a_batch_lands_once_however_often_it_is_sent(stand: Stand) -> None:
    for _ in range(3):
        await stand.store.land(batch("a"))
    assert stand.count(TABLE) == (COUNT, COUNT)


async def test_a_batch_that_another_process_had_lands_once(stand: Stand) -> None:
    await stand.store.land(batch("a"))
    await stand.store.land(batch("a", replay=True))
    await stand.store.land(batch("b", first=COUNT, replay=True))
    assert stand.count(TABLE) == (2 * COUNT, 2 * COUNT)


async def test_a_lost_answer_doubles_nothing(stand: Stand) -> None:
    one = batch("a", count=MANY)
    await stand.lose_answer(one)
    assert stand.count(TABLE) == (MANY, MANY)
    await stand.store.land(one)
    assert stand.count(TABLE) == (MANY, MANY)


async def test_a_broken_connection_loses_nothing(stand: Stand) -> None:
    one = batch("a", count=MANY)
    await stand.break_off(one)
    assert stand.count(TABLE) == (0, 0)
    await stand.store.land(one)
    assert stand.count(TABLE) == (MANY, MANY)


async def test_a_refused_row_leaves_nothing_of_its_batch(stand: Stand) -> None:
    stand.refuse(f"the message of {COUNT - 1}")
    one, other = batch("a"), batch("b", first=COUNT)
    with pytest.raises(RejectedDataError) as failure:
        await stand.store.land(one)
    assert failure.value.message
    assert stand.count(TABLE) == (0, 0)
    await stand.store.land(other)
    assert stand.count(TABLE) == (COUNT, COUNT), "another batch of the table is not affected"
    stand.refuse("")
    await stand.store.land(one)
    assert stand.count(TABLE) == (2 * COUNT, 2 * COUNT)


async def test_a_check_refuses_what_landing_would(stand: Stand) -> None:
    """And leaves nothing, in the table or beside it."""
    one, other = batch("a"), batch("b", first=COUNT)
    assert not await stand.store.may_refuse([TABLE])
    await stand.store.check(one)
    stand.refuse(f"the message of {COUNT - 1}")
    assert await stand.store.may_refuse([TABLE])
    for _ in range(2):
        with pytest.raises(RejectedDataError, match=r"refused|(?i:constraint)") as failure:
            await stand.store.check(one)
        assert "staging_" not in failure.value.message
    await stand.store.check(other)
    assert stand.count(TABLE) == (0, 0)
    assert not stand.others()


async def test_a_copy_that_cannot_be_dropped_is_dropped_later_and_not_tried_with_each_batch(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clickhouse, "_DROP_AGAIN_SECONDS", 3600.0)
    database.query(create_table(TABLE, TABLE.name))

    async def then_cut(rows: AsyncIterator[Rows]) -> AsyncGenerator[Rows]:
        async for one in rows:
            proxy.cuts = b"DROP TABLE"
            yield one

    @asynccontextmanager
    async def opened() -> AsyncGenerator[AsyncIterator[Rows]]:
        async with rows_of(COUNT, 0) as rows:
            yield then_cut(rows)

    async def is_left_after(name: str) -> bool:
        await store.land(batch(name))
        return bool(database.query("SHOW TABLES LIKE 'staging%'"))

    async with (
        proxy_to("127.0.0.1", database.server.endpoint.http_port) as proxy,
        connected(f"http://127.0.0.1:{proxy.port}/{database.name}") as driver,
    ):
        store = ClickHouseStore(driver, prefix="", fingerprint="f")
        with pytest.raises(TransientError):
            await store.check(replace(batch("a"), rows=opened))
        assert await is_left_after("b"), "it cannot be dropped now either"
        proxy.cuts = b""
        assert await is_left_after("c"), "it is not tried again so soon"
        store._next_drop = 0.0
        assert not await is_left_after("d")


@pytest.mark.parametrize(
    "change",
    [
        "MODIFY COLUMN message LowCardinality(String)",
        "ADD COLUMN more UInt8 MATERIALIZED toUInt8(message)",
        "ADD COLUMN more UInt8 DEFAULT throwIf(message = 'x')",
    ],
)
async def test_a_table_that_is_not_as_declared_may_refuse_rows(database: Database, change: str) -> None:
    async with connected(database.native_url) as driver:
        store = ClickHouseStore(driver, prefix="", fingerprint="f")
        database.query(create_table(TABLE, TABLE.name))
        database.query("ALTER TABLE logs ADD COLUMN plain String")
        assert not await store.may_refuse([TABLE])
        database.query(f"ALTER TABLE logs {change}")
        assert await store.may_refuse([TABLE])
        assert not await store.may_refuse([OTHER])


async def test_what_passes_is_tried_again(stand: Stand) -> None:
    one, other = batch("a"), batch("b", first=COUNT)
    await stand.store.land(one)
    async with stand.stall(TABLE):
        for _ in range(2):
            with pytest.raises(TransientError):
                await stand.store.land(other)
    assert stand.count(TABLE) == (COUNT, COUNT)
    await stand.store.land(other)
    assert stand.count(TABLE) == (2 * COUNT, 2 * COUNT)


async def test_a_missing_table_is_for_a_person(stand: Stand) -> None:
    one = replace(batch("a"), table=OTHER)
    with pytest.raises(OperatorError, match=stand.store.name(OTHER)):
        await stand.store.land(one)
    await stand.store.land(batch("b", first=COUNT))
    stand.create(OTHER)
    await stand.store.land(one)
    assert stand.count(OTHER) == stand.count(TABLE) == (COUNT, COUNT)


async def test_batches_land_side_by_side(stand: Stand) -> None:
    await asyncio.gather(*(stand.store.land(batch(f"b{number}", first=number * COUNT)) for number in range(6)))
    assert stand.count(TABLE) == (6 * COUNT, 6 * COUNT)
