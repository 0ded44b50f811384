"""The pulse: who works must get on; who waits for others may wait for ever, and a wait in a channel is one."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest

from spoolhouse.monitoring import heartbeat
from spoolhouse.monitoring.heartbeat import Heartbeat
from spoolhouse.pipeline.channel import channel

LIMIT = 10.0
LATE = LIMIT + 1


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def following(life: Heartbeat, work: Coroutine[object, object, None]) -> AsyncGenerator[None]:
    """Run `work` as the stage `claim`, up to its first wait."""
    running = asyncio.create_task(life.follow("claim", work, limit=LIMIT))
    await asyncio.sleep(0)
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def hang() -> None:
    await asyncio.get_running_loop().create_future()


async def test_one_that_works_and_does_not_get_on_is_stuck() -> None:
    clock = Clock()
    life = Heartbeat(clock)
    async with following(life, hang()):
        clock.now = LIMIT
        assert life.stuck() == {}
        clock.now = LATE
        assert life.stuck() == {"claim": LATE}
    assert life.stuck() == {}, "a stage that has ended is not stuck"


async def test_a_beat_starts_the_time_anew() -> None:
    clock = Clock()
    life = Heartbeat(clock)

    async def slow() -> None:
        clock.now = LATE
        # A worker thread of the stage speaks for it.
        await asyncio.to_thread(heartbeat.beat)
        beaten.set()
        await hang()

    beaten = asyncio.Event()
    async with following(life, slow()):
        await beaten.wait()
        assert life.stuck() == {}
        clock.now += LATE
        assert life.stuck() == {"claim": LATE}


async def receives() -> None:
    _sender, receiver = channel(1, int)
    await receiver.receive()


async def sends() -> None:
    sender, _receiver = channel(1, int)
    await sender.send(1)
    await sender.send(2)


async def rests() -> None:
    with heartbeat.idle():
        await hang()


@pytest.mark.parametrize("waits", [receives, sends, rests])
async def test_a_wait_for_others_may_last(waits: Callable[[], Coroutine[object, object, None]]) -> None:
    clock = Clock()
    life = Heartbeat(clock)
    async with following(life, waits()):
        clock.now = 1e9
        assert life.stuck() == {}


async def test_the_time_runs_again_after_a_wait() -> None:
    clock = Clock()
    life = Heartbeat(clock)
    sender, receiver = channel(1, int)

    async def receive_and_hang() -> None:
        await receiver.receive()
        received.set()
        await hang()

    received = asyncio.Event()
    async with following(life, receive_and_hang()):
        clock.now = 1e6
        await sender.send(1)
        await received.wait()
        assert life.stuck() == {}
        clock.now += LATE
        assert life.stuck() == {"claim": LATE}


async def test_stages_do_not_speak_for_each_other() -> None:
    clock = Clock()
    life = Heartbeat(clock)
    async with following(life, hang()):
        clock.now = LATE

        async def other() -> None:
            heartbeat.beat()

        await asyncio.create_task(life.follow("settle", other(), limit=LIMIT))
        heartbeat.beat()
        with heartbeat.idle():
            assert life.stuck() == {"claim": LATE}


async def test_the_result_is_handed_on() -> None:
    async def answer() -> int:
        return 42

    assert await Heartbeat().follow("claim", answer()) == 42
