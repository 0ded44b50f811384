"""The HTTP server: /livez, /readyz, /metrics, /status, and the page at /.

It is bound before the daemon connects to ClickHouse, and answers from memory alone, but for what is handed in: further
routes, such as those of the API. No client can harm the daemon: none of its own routes changes anything, the
connections and the answers for each are limited, and a request whose Host header does not name this daemon gets no
answer but that of /livez.
"""

import asyncio
import errno
import ipaddress
import logging
import ssl
from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec
import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from spoolhouse.errors import BadSettingError
from spoolhouse.explorer import POLICY, File, load
from spoolhouse.monitoring.exposition import CONTENT_TYPE
from spoolhouse.monitoring.status_model import Liveness, Readiness, Status

log = structlog.get_logger(__name__)

MOST_CONNECTIONS = 64
MOST_REQUESTS = 100
"""Answers that one connection gets: a client that sends thousands has to connect again, behind others."""
_IDLE_SECONDS = 15.0
_LONGEST_LINE = 4096
_LONGEST_BODY = 1 << 20
_CLOSING_SECONDS = 1.0
_NOT_MODIFIED = 304
_SERVICE_UNAVAILABLE = 503
_MISDIRECTED = 421
_Answered = dict[object, int]
"""How many requests there were on each connection."""


class Source(Protocol):
    """Builds the answers. No method blocks."""

    def liveness(self) -> Liveness:
        """Return whether the stages are alive."""

    def readiness(self) -> Readiness:
        """Return whether ClickHouse takes rows of all types."""

    def status(self) -> Status:
        """Return everything."""

    def exposition(self) -> bytes:
        """Return the metrics in the text format of Prometheus."""


@asynccontextmanager
async def serving(
    address: tuple[str, int],
    source: Source | None,
    *,
    names: Collection[str],
    required: bool,
    routes: Iterable[web.RouteDef] = (),
    serves: Collection[str] = (),
    tls: ssl.SSLContext | None = None,
    before_end: Callable[[], None] = lambda: None,
) -> AsyncGenerator[str | None]:
    """Serve on `address` and yield the URL; answer to `names` besides those that always mean this host.

    Without a `source` there is no daemon in this process. `serves`: what `routes` do for the page, as `explorer.load`
    names it. `before_end` is called before the last answers are waited for, and ends those that would last as long as
    their readers want.

    An address that cannot be had is a `BadSettingError` if it is `required`; else a free port is taken, or nothing is
    served (None) if there is none either: rows can land without being watched.
    """
    counts: _Answered = {}
    runner = web.AppRunner(
        _app(source, _guard(names, counts), routes, serves),
        access_log=None,
        logger=_quiet_logger(),
        handle_signals=False,
        keepalive_timeout=_IDLE_SECONDS,
        shutdown_timeout=_CLOSING_SECONDS,
        handler_cancellation=True,
        max_line_size=_LONGEST_LINE,
        max_field_size=_LONGEST_LINE,
    )
    await runner.setup()
    listener = None
    try:
        listener = await _bind(_limit_connections(runner, counts), address, required=required, tls=tls)
        url = None if listener is None else _url(listener, is_safe=tls is not None)
        if url is not None:
            log.info("http_listening", url=url)
        yield url
    finally:
        if listener is not None:
            listener.close()
        before_end()
        await runner.cleanup()


def _limit_connections(runner: web.AppRunner, counts: _Answered) -> Callable[[], asyncio.Protocol]:
    """Return the protocol factory for new connections; beyond the limit it closes the oldest connection.

    Most answers are short, so an old connection is idle or hostile; the reader of a live tail goes on where it was. If
    new connections were refused instead, a client could keep a health check out.
    """
    server = runner.server
    if server is None:
        raise RuntimeError("the runner is not set up")

    def enter() -> asyncio.Protocol:
        # Those that are closing stay in the list for a moment: they are the oldest too.
        connections = server.connections
        if len(connections) >= MOST_CONNECTIONS:
            connections[len(connections) - MOST_CONNECTIONS].force_close()
        for gone in counts.keys() - set(connections):
            del counts[gone]
        return server()

    return enter


async def _bind(
    door: Callable[[], asyncio.Protocol],
    address: tuple[str, int],
    *,
    required: bool,
    tls: ssl.SSLContext | None,
) -> asyncio.Server | None:
    loop = asyncio.get_running_loop()
    host, port = address
    try:
        return await loop.create_server(door, host, port, ssl=tls)
    except OSError as error:
        reason = "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        if required:
            raise BadSettingError(
                f"http.listen: {host}:{port} cannot be listened on ({reason}); accepted: a free address of this "
                "host, port 0 for any free port, or off"
            ) from error
    try:
        listener = await loop.create_server(door, host, 0, ssl=tls)
    except OSError as error:
        log.warning("http_unavailable", error=error.strerror or str(error), hint="set http.listen")
        return None
    hint = "set http.listen to a free port for a fixed address; `spoolhouse status` finds this one"
    log.warning("http_port_taken", port=port, reason=reason, hint=hint)
    return listener


def _quiet_logger() -> logging.Logger:
    """Return aiohttp's logger for faults of ours; it drops reports of requests that are no HTTP."""
    logger = logging.getLogger(__name__)
    logger.addFilter(_is_ours)
    return logger


def _is_ours(record: logging.LogRecord) -> bool:
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, HttpProcessingError)


def _url(listener: asyncio.Server, *, is_safe: bool) -> str:
    host, port = listener.sockets[0].getsockname()[:2]
    scheme = "https" if is_safe else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def is_own(host: str, names: Collection[str]) -> bool:
    """Tell whether a Host header means this daemon: an address, localhost, or one of `names` (in lower case).

    Another site could lead a browser here by a DNS name of its own, but not by an address.
    """
    bare, bracket, port = host.partition("]")
    if bracket:
        name = bare.removeprefix("[") if host.startswith("[") and (not port or port.startswith(":")) else ""
    else:
        name = host.partition(":")[0].rstrip(".").lower()
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _guard(names: Collection[str], counts: _Answered) -> Middleware:
    """Return the middleware of all answers."""

    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
        # A container's health check may use any name; the answer is only whether the daemon is well.
        if request.path == "/livez" or all(is_own(host, names) for host in request.headers.getall("Host", ())):
            return await handler(request)
        text = "This is none of the names that this daemon answers to; http.allowed_hosts can name it.\n"
        return web.Response(status=_MISDIRECTED, text=text)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        count = counts[request.protocol] = counts.get(request.protocol, 0) + 1
        try:
            response = await answered(request, handler)
        except web.HTTPException as error:
            if count >= MOST_REQUESTS:
                error.force_close()
            raise
        if count >= MOST_REQUESTS:
            response.force_close()
        return response

    return guard


def _app(
    source: Source | None, guard: Middleware, routes: Iterable[web.RouteDef], serves: Collection[str]
) -> web.Application:
    app = web.Application(client_max_size=_LONGEST_BODY, middlewares=[guard])

    async def prepare(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "spoolhouse"
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"

    if source is not None:
        app.add_routes(_of_daemon(source))
    page = load({*serves, *(() if source is None else ("daemon", "metrics"))})
    app.add_routes([web.get(f"/{path}", _file(file)) for path, file in page.items()])
    app.add_routes(routes)
    app.on_response_prepare.append(prepare)
    return app


def _of_daemon(source: Source) -> list[web.RouteDef]:
    """Return the routes that answer from a daemon's memory."""

    def answer(value: Liveness | Readiness | Status, *, well: bool) -> web.Response:
        code = 200 if well else _SERVICE_UNAVAILABLE
        return web.Response(body=msgspec.json.encode(value), status=code, content_type="application/json")

    async def livez(_request: web.Request) -> web.Response:
        liveness = source.liveness()
        return answer(liveness, well=liveness.alive)

    async def readyz(_request: web.Request) -> web.Response:
        readiness = source.readiness()
        return answer(readiness, well=readiness.ready)

    async def status(_request: web.Request) -> web.Response:
        return answer(source.status(), well=True)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=source.exposition(), headers={"Content-Type": CONTENT_TYPE})

    handlers = {"/livez": livez, "/readyz": readyz, "/status": status, "/metrics": metrics}
    return [web.get(path, handler) for path, handler in handlers.items()]


def _file(file: File) -> Handler:
    """Return the handler that answers with a file of the page, and with 304 to a browser that has it."""

    async def answer(request: web.Request) -> web.Response:
        headers = {
            "Content-Type": f"{file.content_type}; charset=utf-8",
            "Content-Security-Policy": POLICY,
            # A browser keeps it, and asks each time whether it is still the same.
            "Cache-Control": "no-cache",
            "ETag": file.etag,
            "Vary": "Accept-Encoding",
        }
        if file.etag in request.headers.get("If-None-Match", ""):
            return web.Response(status=_NOT_MODIFIED, headers=headers)
        if "gzip" not in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=file.body, headers=headers)
        return web.Response(body=file.packed, headers={**headers, "Content-Encoding": "gzip"})

    return answer
