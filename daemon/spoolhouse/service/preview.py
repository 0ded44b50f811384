"""Reads one row back, for a person who tries the daemon out."""

from collections.abc import Mapping

import structlog

from spoolhouse.errors import StoreError
from spoolhouse.events.declaration import Table
from spoolhouse.monitoring.progress import Progress
from spoolhouse.service.backend import Backend

log = structlog.get_logger(__name__)


async def show_first_row(
    backend: Backend, progress: Progress, tables: Mapping[str, Table], rows: Mapping[str, int]
) -> None:
    """Show a row of the table in which the most have landed (`rows`, by table); nothing if none has."""
    name = max(tables, key=lambda table: rows.get(table, 0))
    if not rows.get(name):
        return
    try:
        found = await backend.first_row(tables[name])
    except StoreError as error:
        log.warning("sample_unavailable", error=str(error))
        return
    if found is not None:
        progress.sample(*found)
