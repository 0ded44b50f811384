"""How the daemon lets itself be looked at. It serves what `Source` says, and can change nothing."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from spoolhouse.settings.serving import HttpSettings

if TYPE_CHECKING:
    from spoolhouse.monitoring.http.server import Source


@asynccontextmanager
async def serve(settings: HttpSettings, source: "Source", *, once: bool) -> AsyncGenerator[str | None]:
    """Serve what `source` says as long as the context lasts; yield the URL, None if nothing is served."""
    asked_for = "listen" in settings.model_fields_set
    if settings.address is None or (once and not asked_for):
        yield None
        return
    from spoolhouse.monitoring.http.server import serving  # noqa: PLC0415  # 27 MB and 0.2 s, for nothing where it is off

    # A run with an end may share its settings with a daemon that has the port.
    async with serving(settings.address, source, names=settings.names, required=asked_for and not once) as url:
        yield url
