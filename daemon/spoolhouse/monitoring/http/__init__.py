"""The daemon's HTTP server: its status, metrics and health checks. No request can change anything."""

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spoolhouse.monitoring.http.server import Source


@asynccontextmanager
async def serve(
    address: tuple[str, int] | None, source: "Source", *, names: Collection[str], required: bool
) -> AsyncGenerator[str | None]:
    """Serve the answers of `source` as long as the context lasts; yield the URL, None if nothing is served."""
    if address is None:
        yield None
        return
    from spoolhouse.monitoring.http.server import serving  # noqa: PLC0415  # 27 MB and 0.2 s, for nothing where it is off

    async with serving(address, source, names=names, required=required) as url:
        yield url
