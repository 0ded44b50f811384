"""Channels: bounded and in order; they end when all senders have closed, and lose and double nothing on the way."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from itertools import count
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spoolhouse.pipeline.channel import Receiver, ReceiverGoneError, channel

T = TypeVar("T")


async def others_run() -> None:
    """Let every other task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def blocked(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start `coroutine` and see that it waits."""
    task = asyncio.create_task(coroutine)
    await others_run()
    assert not task.done()
    return task


async def collect(receiver: Receiver[int]) -> list[int]:
    return [item async for item in receiver]


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize("capacity", [1, 2, 100])
async def test_items_come_in_the_order_they_were_sent(capacity: int) -> None:
    sender, receiver = channel(capacity, int)

    async def send() -> None:
        async with sender:
            for number in range(50):
                await sender.send(number)

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        received = group.create_task(collect(receiver))
    assert received.result() == list(range(50))


async def test_a_full_channel_makes_its_sender_wait() -> None:
    sender, receiver = channel(2, int)
    await sender.send(1)
    await sender.send(2)
    third = await blocked(sender.send(3))
    assert await receiver.receive() == 1
    await third
    fourth = await blocked(sender.send(4))
    assert [await receiver.receive() for _ in range(3)] == [2, 3, 4]
    await fourth


async def test_it_ends_when_the_last_sender_closes() -> None:
    sender, receiver = channel(3, int)
    clone = sender.clone()
    await sender.send(1)
    sender.close()
    sender.close()
    assert await receiver.receive() == 1
    waiting = await blocked(collect(receiver))
    await clone.send(2)
    clone.close()
    assert await waiting == [2]
    assert await collect(receiver) == []


async def test_what_was_sent_before_the_end_is_received() -> None:
    sender, receiver = channel(3, int)
    async with sender:
        await sender.send(1)
        await sender.send(2)
    assert await collect(receiver) == [1, 2]


async def test_a_crash_is_not_the_end() -> None:
    """A sender that an exception or a cancellation passes through stays open: its receiver is not told of an end."""
    sender, receiver = channel(1, int)

    async def crash() -> None:
        async with sender:
            raise LookupError

    with pytest.raises(LookupError):
        await crash()
    waiting = await blocked(collect(receiver))

    async def wait() -> None:
        async with sender:
            await asyncio.Event().wait()

    await cancel(await blocked(wait()))
    await others_run()
    assert not waiting.done()
    await cancel(waiting)


async def test_a_closed_sender_sends_nothing() -> None:
    """Its receiver may have seen the end already; what came after it would be lost without a word."""
    sender, receiver = channel(1, int)
    await sender.send(1)
    second = await blocked(sender.send(2))
    sender.close()
    with pytest.raises(RuntimeError):
        await second
    with pytest.raises(RuntimeError):
        await sender.send(3)
    with pytest.raises(RuntimeError):
        sender.clone()
    assert await collect(receiver) == [1]


async def test_receivers_share_the_items() -> None:
    sender, receiver = channel(2, int)
    pool = [await blocked(collect(receiver)) for _ in range(3)]
    async with sender:
        for number in range(30):
            await sender.send(number)
    shares = [await one for one in pool]
    assert sorted(number for share in shares for number in share) == list(range(30))
    assert all(share == sorted(share) for share in shares)


async def test_senders_are_told_that_the_receiver_is_gone() -> None:
    sender, receiver = channel(1, int)
    clone = sender.clone()
    await sender.send(1)
    waiting = [await blocked(sender.send(2)), await blocked(clone.send(3))]
    receiver.close()
    for task in waiting:
        with pytest.raises(ReceiverGoneError):
            await task
    with pytest.raises(ReceiverGoneError):
        await clone.send(4)
    assert await collect(receiver) == []


async def test_a_receiver_that_waits_is_told_that_it_is_closed() -> None:
    _sender, receiver = channel(1, int)
    waiting = await blocked(collect(receiver))
    receiver.close()
    assert await waiting == []


async def test_many_are_taken_as_soon_as_there_is_one() -> None:
    sender, receiver = channel(10, int)
    waiting = await blocked(receiver.receive_many(3, None))
    await sender.send(0)
    assert await waiting == [0]
    for number in range(1, 6):
        await sender.send(number)
    assert await receiver.receive_many(3, 0) == [1, 2, 3]
    assert await receiver.receive_many(3, None) == [4, 5]
    assert await receiver.receive_many(3, 0) == []
    sender.close()
    with pytest.raises(StopAsyncIteration):
        await receiver.receive_many(3, None)


async def test_taking_many_makes_room_for_all_that_wait() -> None:
    sender, receiver = channel(2, int)
    await sender.send(0)
    await sender.send(1)
    waiting = [await blocked(sender.send(number)) for number in (2, 3)]
    assert await receiver.receive_many(9, None) == [0, 1]
    await asyncio.gather(*waiting)
    assert await receiver.receive_many(9, None) == [2, 3]


async def test_a_cancelled_send_sends_nothing() -> None:
    sender, receiver = channel(1, int)
    await sender.send(1)
    await cancel(await blocked(sender.send(2)))
    third = await blocked(sender.send(3))
    assert await receiver.receive() == 1
    await third
    sender.close()
    assert await collect(receiver) == [3]


@pytest.mark.parametrize("timeout", [None, 1000])
async def test_a_cancelled_receive_takes_nothing(timeout: float | None) -> None:  # noqa: ASYNC109  # it is the argument under test
    """Also where the item came in the same turn of the loop: the receiver was woken, and cancelled before it ran."""
    sender, receiver = channel(1, int)
    for receive in (receiver.receive, lambda: receiver.receive_many(3, timeout)):
        waiting = await blocked(receive())
        await sender.send(1)
        await cancel(waiting)
        assert await receiver.receive() == 1


async def test_a_timeout_in_the_turn_of_the_item_loses_nothing() -> None:
    sender, receiver = channel(1, int)
    waiting = asyncio.create_task(receiver.receive_many(3, 0))
    asyncio.get_running_loop().call_soon(asyncio.create_task, sender.send(1))
    assert await waiting + await receiver.receive_many(3, 0) == [1]


STEPS = st.lists(
    st.sampled_from(["send", "send", "receive", "many", "many at once", "run", "run"]) | st.integers(0, 20), max_size=40
)


@given(st.integers(1, 3), STEPS)
@settings(max_examples=100, deadline=None)
def test_nothing_is_lost_or_doubled_whoever_is_cancelled(capacity: int, steps: list[str | int]) -> None:
    """An item is received once if its send returned, and never if it did not; a number cancels that task."""
    asyncio.run(every_item_once(capacity, steps))


async def every_item_once(capacity: int, steps: list[str | int]) -> None:
    sender, receiver = channel(capacity, int)
    numbers = count()
    sends: dict[int, asyncio.Task[None]] = {}
    receives: list[asyncio.Task[list[int]]] = []

    async def one() -> list[int]:
        return [await receiver.receive()]

    for step in steps:
        match step:
            case "send":
                number = next(numbers)
                sends[number] = asyncio.create_task(sender.send(number))
            case "receive":
                receives.append(asyncio.create_task(one()))
            case "many" | "many at once":
                receives.append(asyncio.create_task(receiver.receive_many(2, None if step == "many" else 0)))
            case "run":
                await asyncio.sleep(0)
            case int():
                tasks: list[asyncio.Task[Any]] = [*sends.values(), *receives]
                if step < len(tasks):
                    tasks[step].cancel()
    await others_run()
    for task in (*sends.values(), *receives):
        task.cancel()
    await asyncio.gather(*sends.values(), *receives, return_exceptions=True)
    sender.close()
    received = [number for task in receives if not task.cancelled() for number in task.result()]
    received += await collect(receiver)
    assert Counter(received) == Counter(number for number, task in sends.items() if not task.cancelled())
