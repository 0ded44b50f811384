"""A bounded channel between tasks that ends when its last sender closes.

`asyncio.Queue` can only be shut down since Python 3.13, and does not know how many senders are left. Here a
stage iterates over its receiver; the iteration ends cleanly only when every sender has closed, so that a drain needs
no flag and a crashed stage (which never closes its sender) does not look like the end of the data.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from copy import copy
from typing import Generic, Self, TypeVar

from spoolhouse.monitoring import heartbeat

T = TypeVar("T")


class ReceiverGoneError(Exception):
    """The receiver has closed: nothing that is sent would be received."""


class _State(Generic[T]):
    __slots__ = ("capacity", "failure", "items", "moved", "receiver_gone", "senders")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.items: deque[T] = deque()
        self.senders = 1
        self.receiver_gone = False
        self.failure: Exception | None = None
        # One event for both directions: with one receiver and few senders a wake-up too many costs nothing.
        self.moved = asyncio.Event()

    def signal(self) -> None:
        self.moved.set()
        self.moved = asyncio.Event()


class Sender(Generic[T]):
    """One of the writing ends. Close it exactly when there is no more to come; an `async with` closes on success."""

    def __init__(self, state: _State[T]) -> None:
        """Use `channel()` or `clone()` instead."""
        self._state = state
        self._open = True

    async def send(self, item: T) -> None:
        """Hand over `item`, waiting for room. Raises `ReceiverGoneError` if the receiver has closed."""
        state = self._state
        while len(state.items) >= state.capacity and self._open and not state.receiver_gone:
            with heartbeat.idle():
                await state.moved.wait()
        self._check_open()
        if state.receiver_gone:
            raise ReceiverGoneError
        state.items.append(item)
        state.signal()

    def clone(self) -> "Sender[T]":
        """Return another writing end, to be closed on its own."""
        self._check_open()
        self._state.senders += 1
        return Sender(self._state)

    def close(self) -> None:
        """Say that nothing more comes from here. Closing twice is the same as once."""
        if self._open:
            self._open = False
            self._state.senders -= 1
            self._state.signal()

    def fail(self, error: Exception) -> None:
        """Make the receiver raise `error` instead of giving the items that wait."""
        self._state.failure = error
        self._state.items.clear()
        self.close()

    def _check_open(self) -> None:
        # The receiver may have seen the end already: a later item would be lost unnoticed.
        if not self._open:
            raise RuntimeError("this sender is closed")

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close, unless an exception passes through: a crash is not the end of the data."""
        if kind is None:
            self.close()


class Receiver(AsyncIterator[T]):
    """The reading end; may be shared by the tasks of a pool."""

    def __init__(self, state: _State[T]) -> None:
        """Use `channel()` instead."""
        self._state = state

    async def receive(self) -> T:
        """Return the next item. Raises StopAsyncIteration when all senders have closed and nothing is left."""
        state = self._state
        while not state.items:
            if state.failure is not None and not state.receiver_gone:
                raise copy(state.failure)
            if state.senders == 0 or state.receiver_gone:
                raise StopAsyncIteration
            with heartbeat.idle():
                await state.moved.wait()
        item = state.items.popleft()
        state.signal()
        return item

    async def receive_many(self, limit: int, timeout: float | None) -> list[T]:  # noqa: ASYNC109  # [] is an answer
        """Return up to `limit` items as soon as there is one, or none after `timeout` seconds.

        Raises StopAsyncIteration as `receive` does.
        """
        try:
            async with asyncio.timeout(timeout):
                items = [await self.receive()]
        except TimeoutError:
            return []
        state = self._state
        while state.items and len(items) < limit:
            items.append(state.items.popleft())
        state.signal()
        return items

    def close(self) -> None:
        """Drop the items that wait; further sends raise `ReceiverGoneError`."""
        self._state.receiver_gone = True
        self._state.items.clear()
        self._state.signal()

    def __aiter__(self) -> Self:
        """Iterate until all senders have closed."""
        return self

    async def __anext__(self) -> T:
        """Return the next item."""
        return await self.receive()


def channel(capacity: int, _item: type[T] | None = None) -> tuple[Sender[T], Receiver[T]]:
    """Return both ends of a channel that holds at most `capacity` items."""
    state: _State[T] = _State(capacity)
    return Sender(state), Receiver(state)
