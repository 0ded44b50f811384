"""How long a stream waits for its reader."""

import asyncio

import pytest
from aiohttp import web

from spoolhouse.api import streams


class SlowReader(web.StreamResponse):
    """Takes what is sent at 10 kB a second of a clock that runs by what was taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.taken = 0
        loop = asyncio.get_running_loop()
        begun = loop.time()
        monkeypatch.setattr(loop, "time", lambda: begun + self.taken / 10_000)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self.taken += len(data)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_a_slow_reader_gets_a_large_message_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = SlowReader(monkeypatch)
    await streams._write(reader, b"x" * 2_000_000)
    assert reader.taken == 2_000_000
