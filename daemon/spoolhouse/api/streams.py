"""Live tail: what lands in a list, as server-sent events. It goes by acknowledged batches, as `Query.delta` does.

A message has the cursor as its id, and as its data a page of records. A reader whose stream has ended, for whatever
reason, asks again with the last id, and misses nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
from aiohttp import web

from spoolhouse.api import problems
from spoolhouse.api.answers import Landed
from spoolhouse.api.errors import BusyError

MOST_STREAMS = 16
"""At the same time."""
_EVERY = 1.0
"""Seconds between two questions for what has landed."""
_HEARTBEAT = 5.0
"""Seconds without a message after which a comment is sent, so that both sides notice when the other is gone."""
_PATIENCE = 30.0
"""Seconds for a reader to take a piece of a message. Meanwhile nothing is asked for it, and but one page is kept."""
_PIECE = 1 << 16
_HEADERS = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}


Poll = Callable[[str | None], Awaitable[Landed]]
"""Asks what has landed since a cursor; None: from now on."""


class Streams:
    """The streams that are open."""

    def __init__(self) -> None:
        """Have no open stream yet."""
        self._open = 0
        self._is_ending = asyncio.Event()

    def end(self) -> None:
        """Have each stream end after its message, and begin no other."""
        self._is_ending.set()

    async def follow(self, request: web.Request, poll: Poll, after: str | None) -> web.StreamResponse:
        """Send what lands until the reader goes away, does not read, or the server ends.

        Raises `BusyError`, and what the first question raises. A later one that fails ends the stream with a message.
        """
        if self._open >= MOST_STREAMS or self._is_ending.is_set():
            raise BusyError(f"no more than {MOST_STREAMS} streams are open at a time; ask again in a moment")
        self._open += 1
        try:
            found = await poll(after)
            response = web.StreamResponse(headers=_HEADERS)
            with suppress(ConnectionError):  # the reader is gone
                await response.prepare(request)
                try:
                    await self._send(request, response, poll, found)
                except _DoesNotReadError:
                    if request.transport is not None:
                        request.transport.abort()
            return response
        finally:
            self._open -= 1

    async def _send(self, request: web.Request, response: web.StreamResponse, poll: Poll, found: Landed) -> None:
        sent_at = 0.0
        while True:
            data = found.message
            if not data and time.monotonic() - sent_at >= _HEARTBEAT:
                data = b": nothing has landed\n\n"
            if data:
                await _write(response, data)
                sent_at = time.monotonic()
            await self._pause(0 if found.has_more else _EVERY)
            if self._is_ending.is_set():
                return
            try:
                found = await poll(found.cursor)
            except Exception as error:  # noqa: BLE001  # it is sent to the reader, who asks again
                _, problem = problems.explained(error, request.path)
                await _write(response, b"event: problem\ndata: %b\n\n" % msgspec.json.encode(problem))
                return

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_ending.wait()


class _DoesNotReadError(Exception):
    """The reader does not take what was sent."""


async def _write(response: web.StreamResponse, data: bytes) -> None:
    rest = memoryview(data)
    try:
        for start in range(0, len(rest), _PIECE):
            async with asyncio.timeout(_PATIENCE):
                await response.write(rest[start : start + _PIECE])
    except TimeoutError:
        raise _DoesNotReadError from None
