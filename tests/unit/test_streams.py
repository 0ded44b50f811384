"""How long a stream waits for its reader, and how it ends."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from spoolhouse.api import streams
from spoolhouse.api.answers import Landed


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


async def test_a_stream_ends_whole_when_the_server_is_about_to() -> None:
    """It is not cut off, which its reader would take for a fault: `read` would raise."""
    own = streams.Streams()

    async def poll(after: str | None) -> Landed:
        message = b"" if after else b"id: c\ndata: {}\n\n"
        return Landed(cursor="c", has_more=False, message=message)

    async def handle(request: web.Request) -> web.StreamResponse:
        return await own.follow(request, poll, None)

    app = web.Application()
    app.router.add_post("/", handle)
    async with TestClient(TestServer(app)) as client:
        answer = await client.post("/")
        assert await answer.content.readline() == b"id: c\n"
        own.end()
        assert await answer.content.read() == b"data: {}\n\n"
