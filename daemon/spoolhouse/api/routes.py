"""The routes of the API on an aiohttp server: who may ask, how many at once, and what an error looks like."""

import asyncio
import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
import structlog
from aiohttp import web

from spoolhouse.api.answers import ROUTES, MissingError, answer
from spoolhouse.errors import BadRequestError, QuestionTooLargeError, SpoolhouseError, StoreError, TransientError
from spoolhouse.query.aliases import Client
from spoolhouse.query.loop_thread import LoopThread
from spoolhouse.query.wire import PREFIX, Problem

log = structlog.get_logger(__name__)

AT_ONCE = 4
"""Questions that are answered at the same time, up to the last byte of their answers."""
_SECONDS = 30.0
"""For a question to come in, and for an answer to go out."""
_PIECE = 1 << 18
_AGAIN = {"Retry-After": "1"}


class Api:
    """Answers over HTTP what a client of the query side answers.

    Questions are answered by an event loop in a thread of their own: neither their work nor the making of JSON keeps
    the server's loop. A caller that goes away ends its question.
    """

    def __init__(self, make: Callable[[], Client], token: str) -> None:
        """Answer those who have `token`, with the client that `make` returns in the loop that it is used in."""
        self._token = token
        self._running = 0
        self._thread = LoopThread("spoolhouse-api")
        self._client = self._thread.submit(_made(make)).result()

    @property
    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        known = [web.post(PREFIX + route, self._handle) for route in ROUTES]
        return [*known, web.route("*", PREFIX + "{rest:.*}", _unknown)]

    async def close(self) -> None:
        """End the thread."""
        await asyncio.wrap_future(self._thread.submit(self._client.close()))
        await asyncio.to_thread(self._thread.end)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        try:
            async with asyncio.timeout(_SECONDS):
                body = await request.read()
        except TimeoutError:
            return _problem(408, "the question did not come in", "send it at once")
        except web.HTTPRequestEntityTooLarge:
            return _problem(413, "the question is too long", "1 MiB is accepted")
        if self._running >= AT_ONCE:
            return _problem(503, f"{AT_ONCE} questions are being answered", "ask again in a moment", headers=_AGAIN)
        self._running += 1
        try:
            return await self._answered(request, body)
        finally:
            self._running -= 1

    async def _answered(self, request: web.Request, body: bytes) -> web.StreamResponse:
        route = request.path.removeprefix(PREFIX)
        try:
            found = await asyncio.wrap_future(self._thread.submit(answer(route, self._client, body)))
        except SpoolhouseError as error:
            return _of_error(error)
        except Exception as error:  # noqa: BLE001  # a fault of ours, which must not end with aiohttp's page
            log.error("question_failed", route=route, error=f"{type(error).__name__}: {error}")
            return _problem(500, "the question failed: a fault in Spoolhouse", "its log has the reason")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(found)
        async with asyncio.timeout(_SECONDS):
            await response.prepare(request)
            for start in range(0, len(found), _PIECE):
                await response.write(found[start : start + _PIECE])
            await response.write_eof()
        return response

    def _refusal(self, request: web.Request) -> web.Response | None:
        """Return why somebody may not ask; None if he may."""
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return _problem(403, "a page of another site may not ask")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        given = token.strip().encode(errors="surrogateescape")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, self._token.encode()):
            return _problem(
                401, "the token is missing or wrong", "send the one in the file .daemon beside the database"
            )
        return None


async def _made(make: Callable[[], Client]) -> Client:
    return make()


async def _unknown(request: web.Request) -> web.Response:
    if request.path.removeprefix(PREFIX) in ROUTES:
        return _problem(405, "questions are asked by POST", "send a JSON object", headers={"Allow": "POST"})
    return _problem(404, "there is no such question", f"accepted: {', '.join(ROUTES)}")


def _of_error(error: SpoolhouseError) -> web.Response:
    text, _, fix = str(error).partition("; ")
    match error:
        case BadRequestError():
            return _problem(400, text, fix)
        case MissingError():
            return _problem(404, text, fix)
        case QuestionTooLargeError():
            return _problem(504, text, fix)
        case StoreError():
            headers = _AGAIN if isinstance(error, TransientError) else None
            return _problem(503, error.message, error.hint, headers=headers)
    return _problem(500, text, fix)


def _problem(status: int, error: str, fix: str = "", *, headers: dict[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode(Problem(error=error, fix=fix))
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
