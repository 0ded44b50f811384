"""The routes of the API on an aiohttp server: who may ask, how many at once, and what an error looks like."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog
from aiohttp import web

from spoolhouse.api import jaeger
from spoolhouse.api.access import Access, DeniedError, ForbiddenError, Projects
from spoolhouse.api.answers import ROUTES, MissingError, answer
from spoolhouse.errors import BadRequestError, QuestionTooLargeError, SpoolhouseError, StoreError, TransientError
from spoolhouse.query.aliases import Client
from spoolhouse.query.loop_thread import LoopThread
from spoolhouse.query.wire import PREFIX, Problem

log = structlog.get_logger(__name__)

Work = Callable[[], Coroutine[Any, Any, bytes]]

AT_ONCE = 4
"""Questions that are answered at the same time, up to the last byte of their answers."""
_SECONDS = 30.0
"""For a question to come in, and for an answer to go out."""
_PIECE = 1 << 18
_AGAIN = {"Retry-After": "1"}
_STATUSES: Mapping[type[SpoolhouseError], int] = {
    DeniedError: 401, ForbiddenError: 403, BadRequestError: 400, MissingError: 404, QuestionTooLargeError: 504,
}  # fmt: skip


class Api:
    """Answers over HTTP what a client of the query side answers.

    Questions are answered by an event loop in a thread of their own: neither their work nor the making of JSON keeps
    the server's loop. A caller that goes away ends its question.
    """

    def __init__(self, make: Callable[[], Client], access: Access) -> None:
        """Answer those whom `access` allows, with the client that `make` returns in the loop that it is used in."""
        self._access = access
        self._running = 0
        self._thread = LoopThread("spoolhouse-api")
        self._client = self._thread.submit(_made(make)).result()

    @property
    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        known = [web.post(PREFIX + route, self._handle) for route in ROUTES]
        known += [web.get(path, self._handle_jaeger) for path in jaeger.ROUTES]
        return [*known, web.route("*", PREFIX + "{rest:.*}", _unknown)]

    async def close(self) -> None:
        """End the thread."""
        await asyncio.wrap_future(self._thread.submit(self._client.close()))
        await asyncio.to_thread(self._thread.end)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            projects = self._allowed(request)
        except SpoolhouseError as error:
            return _of_error(error)
        try:
            async with asyncio.timeout(_SECONDS):
                body = await request.read()
        except TimeoutError:
            return _problem(408, "the question did not come in", "send it at once")
        except web.HTTPRequestEntityTooLarge:
            return _problem(413, "the question is too long", "1 MiB is accepted")
        route = request.path.removeprefix(PREFIX)
        return await self._limited(request, partial(answer, route, self._client, body, projects))

    async def _handle_jaeger(self, request: web.Request) -> web.StreamResponse:
        try:
            projects = self._allowed(request)
        except SpoolhouseError as error:
            return _of_error(error)
        resource = request.match_info.route.resource
        asked = {**request.query, **request.match_info}
        path = "" if resource is None else resource.canonical
        return await self._limited(request, partial(jaeger.answer, path, self._client, asked, projects))

    async def _limited(self, request: web.Request, work: Work) -> web.StreamResponse:
        if self._running >= AT_ONCE:
            return _problem(503, f"{AT_ONCE} questions are being answered", "ask again in a moment", headers=_AGAIN)
        self._running += 1
        try:
            return await self._answered(request, work)
        finally:
            self._running -= 1

    async def _answered(self, request: web.Request, work: Work) -> web.StreamResponse:
        try:
            found = await asyncio.wrap_future(self._thread.submit(work()))
        except SpoolhouseError as error:
            return _of_error(error)
        except Exception as error:  # noqa: BLE001  # a fault of ours, which must not end with aiohttp's page
            log.error(
                "question_failed", route=request.path.removeprefix(PREFIX), error=f"{type(error).__name__}: {error}"
            )
            return _problem(500, "the question failed: a fault in Spoolhouse", "its log has the reason")
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


async def _unknown(request: web.Request) -> web.Response:
    if request.path.removeprefix(PREFIX) in ROUTES:
        return _problem(405, "questions are asked by POST", "send a JSON object", headers={"Allow": "POST"})
    return _problem(404, "there is no such question", f"accepted: {', '.join(ROUTES)}")


def _of_error(error: SpoolhouseError) -> web.Response:
    text, _, fix = str(error).partition("; ")
    status = next((code for kind, code in _STATUSES.items() if isinstance(error, kind)), 500)
    if isinstance(error, StoreError):
        headers = _AGAIN if isinstance(error, TransientError) else None
        return _problem(503, error.message, error.hint, headers=headers)
    return _problem(status, text, fix)


def _problem(status: int, error: str, fix: str = "", *, headers: dict[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode(Problem(error=error, fix=fix))
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
