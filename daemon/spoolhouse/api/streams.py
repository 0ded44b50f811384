"""Live tail: what lands in a list, as server-sent events. It goes by acknowledged batches, as `Query.delta` does.

A message has the cursor as its id, and as its data a page of records. A reader whose stream has ended, for whatever
reason, asks again with the last id, and misses nothing.
"""

import asyncio
import time
from asyncio import FIRST_COMPLETED
from collections.abc import Callable
from contextlib import suppress
from typing import Any

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


Poll = Callable[[str | None], "asyncio.Future[Landed]"]
"""Asks what has landed since a cursor; None: from now on."""


class Streams:
    """The streams that are open."""

    def __init__(self) -> None:
        """Begin without streams. Called in the event loop that sends them."""
        self._open = 0
        self._end: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        """Done once all are to end."""

    def end(self) -> None:
        """Have each stream end after its message, and begin no other."""
        if not self._end.done():
            self._end.set_result(None)

    async def follow(self, request: web.Request, poll: Poll, after: str | None) -> web.StreamResponse:
        """Send what lands until the reader goes away, does not read, or the server ends.

        Raises `BusyError`, and what the first question raises. A later one that fails ends the stream with a message.
        """
        if self._open >= MOST_STREAMS or self._end.done():
            raise BusyError(f"no more than {MOST_STREAMS} streams are open at a time; ask again in a moment")
        self._open += 1
        try:
            found = await poll(after)
            response = web.StreamResponse(headers=_HEADERS)
            with suppress(ConnectionError):  # the reader is gone
                await response.prepare(request)
                try:
                    await self._send(request, _Reader(response), poll, found)
                except _DoesNotReadError:
                    if request.transport is not None:
                        request.transport.abort()
            return response
        finally:
            self._open -= 1

    async def _send(self, request: web.Request, reader: "_Reader", poll: Poll, found: Landed) -> None:
        while True:
            await reader.send(found.message)
            await asyncio.wait([self._end], timeout=0 if found.has_more else _EVERY)
            if self._end.done():
                return
            answer = poll(found.cursor)
            try:
                # It may take long: it waits for the questions of other streams.
                while not answer.done():
                    wait = reader.seconds_to_comment
                    await asyncio.wait([answer, self._end], timeout=wait, return_when=FIRST_COMPLETED)
                    if self._end.done():
                        return
                    await reader.send(b"")
            finally:
                answer.cancel()
            try:
                found = answer.result()
            except Exception as error:  # noqa: BLE001  # it is sent to the reader, who asks again
                _, problem = problems.explained(error, request.path)
                await reader.send(b"event: problem\ndata: %b\n\n" % msgspec.json.encode(problem))
                return


class _DoesNotReadError(Exception):
    """The reader does not take what was sent."""


class _Reader:
    """The reader of a stream, and when something was sent to it last."""

    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response
        self._sent_at = 0.0

    @property
    def seconds_to_comment(self) -> float:
        """How many seconds may go by without a message until a comment is due."""
        return max(0.0, self._sent_at + _HEARTBEAT - time.monotonic())

    async def send(self, message: bytes) -> None:
        """Send a message; of an empty one nothing, or a comment if that is due."""
        data = message or (b"" if self.seconds_to_comment else b": nothing has landed\n\n")
        if data:
            await _write(self._response, data)
            self._sent_at = time.monotonic()


async def _write(response: web.StreamResponse, data: bytes) -> None:
    rest = memoryview(data)
    try:
        for start in range(0, len(rest), _PIECE):
            async with asyncio.timeout(_PATIENCE):
                await response.write(rest[start : start + _PIECE])
    except TimeoutError:
        raise _DoesNotReadError from None
