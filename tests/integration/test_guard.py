"""The guard as a stage: one that gets no answer is stuck in the end, which the watchdog has to hear of."""

import asyncio

from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.monitoring.health import Health
from spoolhouse.monitoring.heartbeat import Heartbeat
from spoolhouse.service import prepare
from spoolhouse.settings import Settings
from spoolhouse.settings.clickhouse import ClickHouseSettings

LIMIT = 10.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_guard_that_gets_no_answer_is_stuck() -> None:
    clock = Clock()
    heartbeat = Heartbeat(clock)
    asked = asyncio.Event()

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(keep_silent, "127.0.0.1", 0) as listener:
        _, port = listener.sockets[0].getsockname()
        settings = Settings(clickhouse=ClickHouseSettings(url=f"clickhouse://127.0.0.1:{port}"))
        driver = prepare.open_driver(settings)
        guarding = prepare.keep_guard(lambda: settings, driver, Health(), asyncio.Event(), BUILT_IN)
        running = asyncio.create_task(heartbeat.follow("guard", guarding, limit=LIMIT))
        try:
            async with asyncio.timeout(10):
                await asked.wait()
            clock.now = LIMIT + 1
            assert list(heartbeat.stuck()) == ["guard"]
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await driver.close()
