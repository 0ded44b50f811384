"""The explorer without a daemon: the page and its API over a store that many may ask, until a signal."""

import asyncio
import ipaddress
import ssl
from collections.abc import Callable
from pathlib import Path

from aiohttp import web
from msgspec import Struct

from spoolhouse.api.access import Access, read_tokens
from spoolhouse.api.intake import Intake
from spoolhouse.api.routes import Api
from spoolhouse.errors import BadSettingError
from spoolhouse.monitoring.http.server import serving
from spoolhouse.query.aliases import Client
from spoolhouse.service.daemons import Daemons
from spoolhouse.service.signals import let_in, stop_on_signal


class Served(Struct, frozen=True, kw_only=True):
    """Where the page is served, and to whom."""

    address: tuple[str, int]
    names: frozenset[str]
    tokens: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    daemons: tuple[str, ...] = ()
    """Addresses of the daemons whose status the page shows; without any, those of the spool."""
    is_plain: bool = False
    """Beyond this host without TLS, by an explicit word."""
    spool: Path | None = None
    """Scores and feedback are written into it, and its daemons are found by it; None: neither."""


def check(served: Served) -> tuple[Access, ssl.SSLContext | None]:
    """Return who may ask, and TLS. Raises `BadSettingError`, before anything listens, for what others could read."""
    if served.key is not None and served.certificate is None:
        raise BadSettingError("--key: it belongs to a --certificate")
    tokens = None if served.tokens is None else read_tokens(served.tokens)
    if not is_loopback(served.address[0]):
        if tokens is None:
            raise BadSettingError(
                f"--listen: beyond this host ({served.address[0]}) everybody could read all events; name a file of "
                "tokens with --tokens"
            )
        if served.certificate is None and not served.is_plain:
            raise BadSettingError(
                f"--listen: beyond this host ({served.address[0]}) tokens could be read on their way; name a "
                "--certificate, or say --plain-http where something else encrypts"
            )
    return Access(tokens=tokens, hint="whoever serves this page gives them out"), _tls(served)


def is_loopback(host: str) -> bool:
    """Tell whether only this host reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(served: Served) -> ssl.SSLContext | None:
    if served.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(served.certificate, served.key)
    except (OSError, ssl.SSLError) as error:
        raise BadSettingError(f"--certificate: it cannot be used: {error.strerror or error}") from None
    return context


async def serve(make: Callable[[], Client], served: Served, show: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `show` gets the URL. Raises `BadSettingError`."""
    access, tls = check(served)
    stop = asyncio.Event()
    with stop_on_signal(stop.set):
        let_in()
        api = Api(make, access, Intake(served.spool))
        try:
            routes, serves = api.routes, api.serves
            if served.daemons or (served.spool is not None and served.spool.is_dir()):
                serves.add("daemon")
                routes.append(web.get("/status", api.guarded(Daemons(served.daemons, served.spool).answer)))
            way = serving(
                served.address, None, names=served.names, required=True, routes=routes, serves=serves, tls=tls,
                before_end=api.end_streams,
            )  # fmt: skip
            async with way as url:
                show(str(url))
                await stop.wait()
        finally:
            await api.close()
