"""Questions to a daemon over its HTTP API."""

import asyncio
import http.client
import socket
import time
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from spoolhouse.errors import (
    BadRequestError,
    OperatorError,
    QuestionTooLargeError,
    SpoolhouseError,
    TransientError,
    UnreachableError,
)
from spoolhouse.query import wire
from spoolhouse.query.daemon_file import DaemonFile

T = TypeVar("T")

_SECONDS = 40.0
"""For an answer: a question has 15, and its answer takes a while."""
_PATIENCE = 10.0
"""Seconds for which a daemon may be busy with other questions."""
_AGAIN = 0.2
_OK, _BAD, _WRONG_TOKEN, _MISSING, _AWAY, _TOO_LARGE = 200, 400, 401, 404, 503, 504


class MissingError(SpoolhouseError):
    """There is nothing of that id in the project."""


class Daemon:
    """One daemon."""

    def __init__(self, way: DaemonFile) -> None:
        """Ask the daemon that a file names."""
        self._way = way

    async def ask(self, route: str, fields: wire.Fields, kind: type[T]) -> T:
        """Return the answer. Raises `UnreachableError` if no such daemon answers there, and what a reader raises.

        A cancellation ends the question in the daemon.
        """
        body, give_up_at = wire.encoded(fields), time.monotonic() + _PATIENCE
        while True:
            status, again, data = await self._post(route, body)
            if status == _OK:
                return msgspec.json.decode(data, type=kind)
            if again is None or time.monotonic() > give_up_at:
                raise self._error(status, data)
            await asyncio.sleep(_AGAIN)

    async def _post(self, route: str, body: bytes) -> tuple[int, str | None, bytes]:
        url = urlsplit(self._way.url)
        connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=_SECONDS)
        try:
            return await asyncio.to_thread(_exchange, connection, route, self._way.token, body)
        except asyncio.CancelledError:
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
            raise
        except TimeoutError:
            raise TransientError(f"{self._name} does not answer", hint="see `spoolhouse status`") from None
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"{self._name} does not answer: {error}") from None

    @property
    def _name(self) -> str:
        return f"the daemon at {self._way.url} (process {self._way.pid})"

    def _error(self, status: int, data: bytes) -> SpoolhouseError:
        """Return the error that an answer is."""
        try:
            problem = msgspec.json.decode(data, type=wire.Problem)
        except ValueError:
            return UnreachableError(f"at {self._way.url} something else answers")
        text = f"{problem.error}; {problem.fix}" if problem.fix else problem.error
        kinds: dict[int, Any] = {_BAD: BadRequestError, _MISSING: MissingError, _TOO_LARGE: QuestionTooLargeError}
        if status in kinds:
            return kinds[status](text)  # type: ignore[no-any-return]  # one of ours
        if status == _WRONG_TOKEN:
            return UnreachableError(f"at {self._way.url} another daemon answers")
        return (TransientError if status == _AWAY else OperatorError)(problem.error, hint=problem.fix)


def _exchange(
    connection: http.client.HTTPConnection, route: str, token: str, body: bytes
) -> tuple[int, str | None, bytes]:
    """Return the status, when to ask again, and the body of the answer. Blocks."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Connection": "close"}
    try:
        connection.request("POST", wire.PREFIX + route, body, headers)
        response = connection.getresponse()
        return response.status, response.getheader("Retry-After"), response.read()
    finally:
        connection.close()
