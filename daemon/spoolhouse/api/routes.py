"""The routes of the API on an aiohttp server: who may ask, how many at once, and what an error looks like."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from spoolhouse.api import jaeger, problems
from spoolhouse.api.access import Access, ForbiddenError, Projects
from spoolhouse.api.answers import Landed, answer, landed
from spoolhouse.api.errors import BusyError, LateError, LongError
from spoolhouse.api.intake import Intake
from spoolhouse.api.openapi import document
from spoolhouse.api.streams import Streams
from spoolhouse.api.table import TABLE, RouteKind
from spoolhouse.query.aliases import Client
from spoolhouse.query.loop_thread import LoopThread
from spoolhouse.query.wire import PREFIX, Problem

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]

AT_ONCE = 4
"""Questions that are answered at the same time, up to the last byte of their answers. The streams ask one more."""
_SECONDS = 30.0
"""For a question to come in, and for an answer to go out."""
_PIECE = 1 << 18


class Api:
    """Answers over HTTP what a client of the query side answers.

    Questions are answered by an event loop in a thread of their own: neither their work nor the making of JSON keeps
    the server's loop. A caller that goes away ends its question.
    """

    def __init__(self, make: Callable[[], Client], access: Access, intake: Intake) -> None:
        """Answer those whom `access` allows, with the client that `make` returns in the loop that it is used in.

        `intake` takes what they write.
        """
        self._access = access
        self._intake = intake
        self._places = asyncio.Semaphore(AT_ONCE)
        self._turn = asyncio.Lock()
        """Held by the stream that asks, in the API's thread: all streams together ask one question at a time."""
        self._streams = Streams()
        self._thread = LoopThread("spoolhouse-api")
        self._client = self._thread.submit(_made(make)).result()

    @property
    def routes(self) -> list[web.RouteDef]:
        """All routes of the table."""
        handlers = {
            RouteKind.QUESTION: self._handle,
            RouteKind.LIVE: self._handle_live,
            RouteKind.WRITTEN: self._handle_written,
            RouteKind.JAEGER: self._handle_jaeger,
            RouteKind.DOCUMENT: _document,
        }
        known = [
            web.route(route.method, route.path, _explaining(partial(handlers[route.kind], route.name)))
            for route in TABLE
        ]
        return [*known, web.route("*", PREFIX + "{rest:.*}", _unknown)]

    @property
    def serves(self) -> set[str]:
        """What the routes do, by the names that `explorer.load` takes."""
        found = {"api": True, "token": self._access.tokens is not None, "write": self._intake.is_open}
        return {name for name, is_so in found.items() if is_so}

    def end_streams(self) -> None:
        """Have all streams end, before the server waits for its answers."""
        self._streams.end()

    def guarded(self, work: Callable[[Projects], Awaitable[bytes]]) -> Handler:
        """Return a handler that answers those who may ask with the JSON that `work` returns for their projects."""

        async def handle(request: web.Request) -> web.StreamResponse:
            body = await work(self._allowed(request))
            return web.Response(body=body, content_type="application/json")

        return _explaining(handle)

    async def close(self) -> None:
        """End the thread."""
        await asyncio.wrap_future(self._thread.submit(self._client.close()))
        await asyncio.to_thread(self._thread.end)
        await asyncio.to_thread(self._intake.close)

    async def _handle(self, name: str, request: web.Request) -> web.StreamResponse:
        projects, body = await self._asked(request)
        return await self._limited(request, partial(answer, name, self._client, body, projects))

    async def _handle_live(self, name: str, request: web.Request) -> web.StreamResponse:
        projects, body = await self._asked(request)

        def poll(after: str | None) -> asyncio.Future[Landed]:
            work = partial(landed, name, self._client, body, projects, after)
            return asyncio.wrap_future(self._thread.submit(self._in_turn(work)))

        return await self._streams.follow(request, poll, request.headers.get("Last-Event-ID"))

    async def _handle_written(self, name: str, request: web.Request) -> web.StreamResponse:
        projects, body = await self._asked(request)
        found = await self._intake.take(name, body, projects)
        return web.Response(body=found, status=202, content_type="application/json")

    async def _handle_jaeger(self, path: str, request: web.Request) -> web.StreamResponse:
        projects = self._allowed(request)
        asked = {**request.query, **request.match_info}
        return await self._limited(request, partial(jaeger.answer, path, self._client, asked, projects))

    async def _asked(self, request: web.Request) -> tuple[Projects, bytes]:
        """Return the projects that the caller may ask about, and the request's body. Raises `SpoolhouseError`."""
        projects = self._allowed(request)
        try:
            async with asyncio.timeout(_SECONDS):
                return projects, await request.read()
        except TimeoutError:
            raise LateError("the request did not come in; send it at once") from None
        except web.HTTPRequestEntityTooLarge:
            raise LongError("the request is too long; 1 MiB is accepted") from None

    async def _limited(self, request: web.Request, work: Work[bytes]) -> web.StreamResponse:
        if self._places.locked():
            raise BusyError(f"{AT_ONCE} questions are being answered; ask again in a moment")
        async with self._places:
            return await self._answered(request, work)

    async def _in_turn(self, work: Work[T]) -> T:
        """Return the answer to a stream's question, once those of the streams before it are answered."""
        async with self._turn:
            return await work()

    async def _answered(self, request: web.Request, work: Work[bytes]) -> web.StreamResponse:
        found = await asyncio.wrap_future(self._thread.submit(work()))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(found)
        async with asyncio.timeout(_SECONDS):
            await response.prepare(request)
            for start in range(0, len(found), _PIECE):
                await response.write(found[start : start + _PIECE])
            await response.write_eof()
        return response

    def _allowed(self, request: web.Request) -> Projects:
        """Return the projects that somebody may ask about. Raises `DeniedError`, `ForbiddenError`."""
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise ForbiddenError("a page of another site may not ask")
        return self._access.projects(request.headers.get("Authorization", ""))


async def _made(make: Callable[[], Client]) -> Client:
    return make()


def _explaining(handle: Handler) -> Handler:
    """Return a handler that answers errors as JSON."""

    async def handled(request: web.Request) -> web.StreamResponse:
        try:
            return await handle(request)
        except (web.HTTPException, ConnectionError, TimeoutError):
            raise  # aiohttp answers the first; after the others nobody takes an answer
        except Exception as error:  # noqa: BLE001  # a fault of ours must not end with aiohttp's page
            return problems.answered(error, request.path.removeprefix(PREFIX))

    return handled


async def _document(_name: str, _request: web.Request) -> web.Response:
    return web.Response(body=document(), content_type="application/json")


async def _unknown(request: web.Request) -> web.Response:
    known = next((route for route in TABLE if route.path == request.path), None)
    if known is not None:
        problem = Problem(error=f"this is asked by {known.method}", fix="see openapi.json beside it")
        return problems.refused(405, problem, headers={"Allow": known.method})
    names = ", ".join(route.path.removeprefix(PREFIX) for route in TABLE if route.path.startswith(PREFIX))
    return problems.refused(404, Problem(error="there is no such question", fix=f"accepted: {names}"))
