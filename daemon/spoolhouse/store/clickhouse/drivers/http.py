"""The driver for ClickHouse's HTTP interface: rows are streamed as the body of a request, in chunks."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import aclosing
from http import HTTPStatus
from types import MappingProxyType

import aiohttp

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import BadSettingError, OperatorError, StoreError, UnreachableError
from spoolhouse.failpoints import reach
from spoolhouse.store.clickhouse import codes
from spoolhouse.store.clickhouse.driver import Parameter, RowsInsert, Setting, insert_query_id
from spoolhouse.store.clickhouse.drivers import query_settings, result_types
from spoolhouse.store.clickhouse.drivers.blocks import next_piece
from spoolhouse.store.clickhouse.drivers.parameters import posted
from spoolhouse.store.clickhouse.drivers.statements import http_insert
from spoolhouse.store.clickhouse.drivers.transport import Compression, Compressor, Transport, compressor
from spoolhouse.store.clickhouse.drivers.url import Address

ANSWER_SETTINGS: Mapping[str, Setting] = {
    # The status is sent after the query, so that 200 means that it is done.
    "wait_end_of_query": 1,
    "send_progress_in_http_headers": 0,
    "http_write_exception_in_output_format": 0,
    "default_format": "JSONCompact",
}

_CODE = re.compile(r"Code: (\d+)\. DB::")
_KEEP_ALIVE = 5.0
"""Seconds that an idle connection is kept: less than on the server, which must not close one that we write to."""


class HttpDriver:
    """Talks to one server, or to a load balancer in front of several.

    The HTTP client's task iterates over the rows of an insert, except for the first piece: a generator of rows must not
    hold a timeout or a task group open over a `yield`. The server gives up after 30 s without rows (its own
    `http_receive_timeout`, which cannot be set from here): a transient error.
    """

    def __init__(self, address: Address, transport: Transport) -> None:
        """Prepare the driver; connect to nothing yet. The timeout is for each piece sent, and for each answer."""
        if not (address.user + address.password).isprintable():
            raise BadSettingError(
                "clickhouse.username and clickhouse.password can hold no control characters over HTTP"
            )
        scheme = "https" if address.secure else "http"
        host = f"[{address.host}]" if ":" in address.host else address.host
        self._where = address.shown
        self._url = f"{scheme}://{host}:{address.port}/"
        self._login = {"X-ClickHouse-User": address.user, "X-ClickHouse-Key": address.password}
        self._database = address.database
        self._connect_timeout = transport.connect_timeout
        self._timeout = transport.timeout
        self._compression = transport.compression
        # aiohttp makes one context for all at import; this one heeds the environment of now (SSL_CERT_FILE).
        self._tls = transport.tls.context()
        none = self._compression is Compression.NONE
        self._encoding = {} if none else {"Content-Encoding": self._compression.value}
        self._session: aiohttp.ClientSession | None = None
        self._known: frozenset[str] | None = None
        """The settings that the server knows; queried once, and again after an error: it may be another server."""

    async def ping(self) -> None:
        """Return once the server answers a trivial query."""
        await self.execute("SELECT 1")

    async def execute(
        self,
        sql: str,
        parameters: Mapping[str, Parameter] | None = None,
        *,
        query_id: str = "",
        settings: Mapping[str, Setting] | None = None,
    ) -> list[tuple[object, ...]]:
        """Run one statement, without a FORMAT of its own, and return its rows, as `result_types` describes them."""
        known = await self._settings_known()
        name = {"query_id": query_id} if query_id else {}
        return await self._ask(sql, {**posted(parameters or {}), **query_settings.for_reading(known, settings), **name})

    async def insert_rows(self, insert: RowsInsert, rows: AsyncIterable[Rows]) -> None:
        """Stream `rows` into one atomic insert; see `Driver`."""
        pieces = aiter(rows)
        # The first piece is awaited before anything is sent: it may take long, and there may be none.
        first = await next_piece(pieces)
        if first is None:
            return
        known = await self._settings_known()
        body = _Body(http_insert(insert), first, pieces, compressor(self._compression), timeout=self._timeout)
        try:
            query = {"query_id": insert_query_id(insert.batch_id), **query_settings.for_insert(insert, known)}
            answer = await self._post(body.encoded(), query, body.deadline, self._encoding)
        except BaseException as error:
            # The client iterates over `rows` in a task of its own, which it has cancelled but not awaited.
            await body.at_rest.wait()
            # Whatever the client made of it: in Python 3.12 it may stumble over its own upload, which ended at once.
            if body.failure is not None and not isinstance(error, asyncio.CancelledError):
                raise body.take_failure() from None
            raise
        if answer:
            raise self._refusal(HTTPStatus.OK, "", answer, ambiguous=True)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _settings_known(self) -> frozenset[str]:
        if self._known is None:
            names = posted(query_settings.KNOWN_PARAMETERS)
            self._known = frozenset(str(name) for (name,) in await self._ask(query_settings.KNOWN_SQL, names))
        return self._known

    async def _ask(self, sql: str, query: Mapping[str, Setting]) -> list[tuple[object, ...]]:
        answer = await self._post(sql.encode(), query, asyncio.timeout(self._timeout))
        if not answer:
            return []
        try:
            table = json.loads(answer.decode(errors="replace"))
            return result_types.rows((column["type"] for column in table["meta"]), table["data"])
        except (ValueError, TypeError, KeyError):
            raise self._refusal(HTTPStatus.OK, "", answer, ambiguous=True) from None

    async def _post(
        self,
        body: bytes | AsyncIterator[bytes],
        query: Mapping[str, Setting],
        deadline: asyncio.Timeout,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> bytes:
        """Send one request; return the body if ClickHouse itself answered with success."""
        parameters = {"database": self._database, **ANSWER_SETTINGS, **query}
        try:
            reach("http.post")
            async with (
                deadline,
                self._connected().post(
                    self._url, params=parameters, data=body, headers={**self._login, **headers}, allow_redirects=False
                ) as response,
            ):
                reach("http.answered")
                answer = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise self._lost(error, ambiguous=False) from error
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise self._lost(error, ambiguous=True) from error
        code = response.headers.get("X-ClickHouse-Exception-Code", "")
        # At a wrong port anything may answer 200; only ClickHouse's own 200 acknowledges.
        if response.status == HTTPStatus.OK and not code and "X-ClickHouse-Query-Id" in response.headers:
            return answer
        raise self._refusal(response.status, code, answer, ambiguous=False)

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._tls, keepalive_timeout=_KEEP_ALIVE),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout),
                skip_auto_headers=("Content-Type",),
            )
        return self._session

    def _lost(self, error: BaseException, *, ambiguous: bool) -> StoreError:
        self._known = None
        return codes.unreachable(self._where, error, ambiguous=ambiguous)

    def _refusal(self, status: int, code: str, answer: bytes, *, ambiguous: bool) -> StoreError:
        """Return the error for an unsuccessful answer, which may be a proxy's."""
        self._known = None
        text = answer.decode(errors="replace")
        if not code and (found := _CODE.search(text)):
            code, text = found[1], text[found.start() :]
        if code.isdigit():
            return codes.error(int(code), text, ambiguous=ambiguous)
        message = f"{self._where} answered with HTTP status {status}, and not as ClickHouse does"
        if (
            status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
            or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        ):
            return UnreachableError(
                message, ambiguous=True, hint="check clickhouse.url, and any proxy in front of the server"
            )
        return OperatorError(
            message, ambiguous=ambiguous, hint="check clickhouse.url: it must be ClickHouse's HTTP port"
        )


class _Body:
    """The body of an insert: the statement, then the rows. It limits how long the server may take for a piece."""

    def __init__(
        self, sql: str, first: bytes, pieces: AsyncIterator[Rows], press: Compressor | None, *, timeout: float
    ) -> None:
        self._sql = sql
        self._press = press
        self._first = first
        self._pieces = pieces
        self._timeout = timeout
        self.deadline = asyncio.timeout(timeout)
        self.at_rest = asyncio.Event()
        """Set while `pieces` is not running, so that its creator may close it."""
        self.at_rest.set()
        self.failure: BaseException | None = None
        """The exception that `pieces` raised. The HTTP client wraps it in one of its own."""

    def take_failure(self) -> BaseException:
        """Return and forget the exception of `pieces`: with its frames it would form a reference cycle."""
        failure, self.failure = self.failure, None
        assert failure is not None  # noqa: S101  # the caller has seen it
        return failure

    async def encoded(self) -> AsyncGenerator[bytes]:
        """Yield the body, compressed if that is asked for."""
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                data = chunk if self._press is None else self._press.compress(chunk)
                if data:  # an empty chunk would end the body
                    yield data
        if self._press is not None:
            yield self._press.flush()

    async def _chunks(self) -> AsyncGenerator[bytes]:
        """Yield the body in the pieces in which the rows come."""
        # In the body and not in the URL: proxies limit the length of a URL.
        yield self._sql.encode() + b"\n"
        piece: bytes | None = self._first
        while piece is not None:
            self._expect(self._timeout)
            yield piece
            reach("http.piece_sent")
            piece = await self._next()
        self._expect(self._timeout)

    async def _next(self) -> bytes | None:
        self._expect(None)  # waiting for rows is not the server's time
        self.at_rest.clear()
        try:
            return await next_piece(self._pieces)
        except asyncio.CancelledError:
            raise  # ours: the client cancels the upload when the server answers early
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self.at_rest.set()

    def _expect(self, seconds: float | None) -> None:
        when = None if seconds is None else asyncio.get_running_loop().time() + seconds
        if not self.deadline.expired():
            self.deadline.reschedule(when)
