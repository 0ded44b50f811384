"""Questions while a run has a store that no other process can ask: its API, and the file that says where that is."""

import os
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog
from msgspec import Struct

from spoolhouse.monitoring.recent_activity import RejectedText
from spoolhouse.service.backend import Backend

if TYPE_CHECKING:
    from aiohttp.web import RouteDef

    from spoolhouse.api.routes import Api
    from spoolhouse.query.daemon_file import DaemonFile

log = structlog.get_logger(__name__)


class Questions(Struct, frozen=True, kw_only=True):
    """The API of a run."""

    api: "Api"
    token: str
    database: Path
    table_prefix: str

    def routes(self, texts: Sequence[RejectedText]) -> "list[RouteDef]":
        """Return all routes; `/rejects` has the texts of the last rejected lines."""
        from aiohttp import web  # noqa: PLC0415  # as below

        async def rejects(projects: frozenset[str] | None) -> bytes:
            return msgspec.json.encode([] if projects is not None else [*texts])

        return [*self.api.routes, web.get("/rejects", self.api.guarded(rejects))]

    def way(self, url: str) -> "DaemonFile":
        """Return how to ask it at this address."""
        from spoolhouse.query.daemon_file import DaemonFile  # noqa: PLC0415  # as below

        return DaemonFile(url=url, token=self.token, pid=os.getpid(), table_prefix=self.table_prefix)

    def announce(self, url: str | None) -> None:
        """Say where the API is, once the database is ours. Blocks on the disk."""
        from spoolhouse.query import daemon_file  # noqa: PLC0415  # as below

        if url is None:
            return
        path = daemon_file.beside(self.database)
        try:
            daemon_file.write(path, self.way(url))
        except OSError as error:
            hint = "the commands that ask find no way to this daemon: give its user the right to write there"
            log.warning("questions_unavailable", path=os.fspath(path), error=error.strerror, hint=hint)

    def withdraw(self) -> None:
        """Send nobody any more. Blocks on the disk."""
        from spoolhouse.query import daemon_file  # noqa: PLC0415  # as below

        daemon_file.remove(daemon_file.beside(self.database), self.token)


@asynccontextmanager
async def questions(backend: Backend, *, spool: Path, is_served: bool) -> AsyncGenerator[Questions | None]:
    """Answer questions as long as the context lasts; None where nobody has to ask this run, or nothing is served.

    What is written over HTTP goes into `spool`.
    """
    own = backend.own_file
    if not is_served or own is None:
        yield None
        return
    from spoolhouse.api.access import Access, Token  # noqa: PLC0415  # as below
    from spoolhouse.api.intake import Intake  # noqa: PLC0415  # as below
    from spoolhouse.api.routes import Api  # noqa: PLC0415  # aiohttp and the query side: 30 MB and 0.4 s
    from spoolhouse.query.aliases import Client  # noqa: PLC0415  # as above

    token = secrets.token_urlsafe(32)
    hint = "send the one in the file .daemon beside the database"
    access = Access(tokens=(Token(text=token),), hint=hint)
    api = Api(lambda: Client(own.reader), access, Intake(spool))
    try:
        yield Questions(api=api, token=token, database=own.path, table_prefix=own.table_prefix)
    finally:
        await api.close()
