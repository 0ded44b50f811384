"""The insert stage against a real server: what a token cannot prove."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from spoolhouse import startup
from spoolhouse.channel import Receiver, Sender, channel
from spoolhouse.core.events import BUILT_IN, SPANS
from spoolhouse.core.jsonl import LineDecoder, Origin
from spoolhouse.core.lines import Piece
from spoolhouse.core.ports import Rows
from spoolhouse.core.shipment import Limits, Shipment
from spoolhouse.health import Health
from spoolhouse.pipeline.decode import Batch
from spoolhouse.pipeline.insert import Inserter, Persistence
from spoolhouse.pipeline.pressure import PartPressure
from spoolhouse.pipeline.settle import News
from spoolhouse.progress import Silent
from spoolhouse.settings import Settings
from spoolhouse.settings.clickhouse import ClickHouseSettings
from tests.engine import Database
from tests.process.daemon import lines
from tests.process.inputs import span

PREFIX = "mastra_admin_"
LIMITS = Limits(max_rows=1000, max_insert_bytes=10**6, side_bytes=10**6, max_line=10**6, project="trust")
SHIPMENT = Shipment(
    id="shipment",
    instance="own",
    type="span",
    segments=(),
    clock_ms=int(datetime.now(UTC).timestamp() * 1000),
    fingerprint="f",
    limits=LIMITS,
    replay=True,
)


def rows(count: int) -> Rows:
    """Return canonical rows of spans."""
    content = lines([span("p", number) for number in range(count)])
    origin = Origin(project="p", policy="trust", clock_ms=SHIPMENT.clock_ms)
    return LineDecoder(BUILT_IN).decode(Piece(offset=0, data=content), origin).rows["spans"]


async def deliver(database: Database, url: str, content: Rows) -> None:
    """Let the insert stage deliver one replayed batch, of the id `shipment:spans`."""

    async def reopen() -> AsyncGenerator[Rows]:
        yield content

    settings = Settings(clickhouse=ClickHouseSettings(url=url))
    driver = startup.open_driver(settings)
    await startup.prepare(settings, driver)
    inserter = Inserter(
        driver,
        prefix=PREFIX,
        fingerprint="f",
        health=Health(),
        persistence=Persistence(first=0.01, cap=0.1),
        pressure=PartPressure(driver, {}, asyncio.Event()),
        progress=Silent(),
    )
    live_in, live = channel(1, Rows)
    await live_in.send(content)
    live_in.close()
    batches_in, batches = channel(1, Batch)
    count: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    count.set_result(content.count)
    batch = Batch(
        id="shipment:spans",
        shipment=SHIPMENT,
        table=SPANS,
        round_number=0,
        live=live,
        reopen=reopen,
        count=count,
    )
    await batches_in.send(batch)
    batches_in.close()
    news_in: Sender[News]
    news: Receiver[News]
    news_in, news = channel(1)
    await inserter.run(batches, news_in)
    assert [item async for item in news], "it is acknowledged"
    await driver.close()


@pytest.mark.parametrize("driver", ["native_url", "http_url"])
async def test_a_token_without_rows_is_noticed(database: Database, driver: str) -> None:
    """ClickHouse may know a token and have no row of it (it died in between): the batch lands all the same, once."""
    url = getattr(database, driver)
    await deliver(database, url, rows(3))
    for table in ("spans", "spans_hourly"):
        # A mutation keeps the log of tokens, as the accident does.
        database.query(f"ALTER TABLE {PREFIX}{table} DELETE WHERE 1 SETTINGS mutations_sync = 2")
    with capture_logs() as logs:
        await deliver(database, url, rows(3))
    assert [entry["token"] for entry in logs if entry["event"] == "token_without_rows"] == ["shipment:spans"]
    assert database.query(f"SELECT count(), uniqExact(span_id) FROM {PREFIX}spans") == [(3, 3)]
    assert database.query(f"SELECT sum(count) FROM {PREFIX}spans_hourly_stats") == [(3,)]


async def test_a_replay_of_what_landed_changes_nothing(database: Database) -> None:
    url = database.native_url
    with capture_logs() as logs:
        for _ in range(3):
            await deliver(database, url, rows(5))
    assert not [entry for entry in logs if entry["event"] == "token_without_rows"]
    assert database.query(f"SELECT count() FROM {PREFIX}spans") == [(5,)]
    assert database.query(f"SELECT sum(count) FROM {PREFIX}spans_hourly_stats") == [(5,)]
