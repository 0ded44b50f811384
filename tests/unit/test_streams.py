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


def answered(message: bytes) -> "asyncio.Future[Landed]":
    """Return what has landed, as the answer to a question that took no time."""
    answer: asyncio.Future[Landed] = asyncio.get_running_loop().create_future()
    answer.set_result(Landed(cursor="c", has_more=False, message=message))
    return answer


def served(own: streams.Streams, poll: streams.Poll) -> TestClient[web.Request, web.Application]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await own.follow(request, poll, None)

    app = web.Application()
    app.router.add_post("/", handle)
    return TestClient(TestServer(app))


async def test_a_stream_ends_whole_when_the_server_is_about_to() -> None:
    """It is not cut off, which its reader would take for a fault: `read` would raise."""
    own = streams.Streams()
    async with served(own, lambda after: answered(b"" if after else b"id: c\ndata: {}\n\n")) as client:
        answer = await client.post("/")
        assert await answer.content.readline() == b"id: c\n"
        own.end()
        assert await answer.content.read() == b"data: {}\n\n"


async def test_heartbeats_come_while_a_question_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another stream's question may be the one that takes long. The end of the server waits for neither."""
    monkeypatch.setattr(streams, "_HEARTBEAT", 0.01)
    monkeypatch.setattr(streams, "_EVERY", 0.0)
    own, asked = streams.Streams(), asyncio.Queue[asyncio.Future[Landed]]()

    def poll(after: str | None) -> "asyncio.Future[Landed]":
        if after is None:
            return answered(b"data: 1\n\n")
        question: asyncio.Future[Landed] = asyncio.get_running_loop().create_future()
        asked.put_nowait(question)
        return question

    async with served(own, poll) as client:
        answer = await client.post("/")
        assert await answer.content.readuntil(b"\n\n") == b"data: 1\n\n"
        long = await asked.get()
        for _ in range(2):
            assert await answer.content.readuntil(b"\n\n") == b": nothing has landed\n\n"
        long.set_result(answered(b"data: 2\n\n").result())
        while (found := await answer.content.readuntil(b"\n\n")).startswith(b":"):
            pass
        assert found == b"data: 2\n\n"
        next_one = await asked.get()
        own.end()
        await answer.content.read()
        assert next_one.cancelled()
