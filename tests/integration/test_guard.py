"""The guard as a stage: one that gets no answer is stuck in the end, which the watchdog has to hear of."""

import asyncio

from tests.integration import build

LIMIT = 10.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_guard_that_gets_no_answer_is_stuck() -> None:
    clock = Clock()
    heartbeat = build.heartbeat(clock)
    asked = asyncio.Event()

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(keep_silent, "127.0.0.1", 0) as listener:
        _, port = listener.sockets[0].getsockname()
        settings = build.settings(f"clickhouse://127.0.0.1:{port}", retry={"cap": 0.01})
        running = asyncio.create_task(build.guard(settings, heartbeat, limit=LIMIT))
        try:
            async with asyncio.timeout(10):
                await asked.wait()
            clock.now = LIMIT + 1
            assert list(heartbeat.stuck()) == ["guard"]
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
