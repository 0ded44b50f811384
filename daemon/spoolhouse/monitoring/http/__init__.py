"""The daemon's HTTP server: its status, metrics and health checks, and routes of others. Its own change nothing."""

from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp.web import RouteDef

    from spoolhouse.monitoring.http.server import Source


@asynccontextmanager
async def serve(
    address: tuple[str, int] | None,
    source: "Source",
    *,
    names: Collection[str],
    required: bool,
    routes: "Iterable[RouteDef]" = (),
    serves: Collection[str] = (),
    before_end: Callable[[], None] = lambda: None,
) -> AsyncGenerator[str | None]:
    """Serve the answers of `source`, and further `routes`, as long as the context lasts; at its end call `before_end`.

    `serves`: what `routes` do for the page. Yields the URL; None if nothing is served.
    """
    if address is None:
        yield None
        return
    from spoolhouse.monitoring.http.server import serving  # noqa: PLC0415  # 27 MB and 0.2 s, for nothing where it is off

    way = serving(address, source, names=names, required=required, routes=routes, serves=serves, before_end=before_end)
    async with way as url:
        yield url
