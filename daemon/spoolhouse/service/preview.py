"""Reads one row back, for a person who tries the daemon out."""

from collections.abc import Mapping

import structlog

from spoolhouse.errors import StoreError
from spoolhouse.events.declaration import Table
from spoolhouse.monitoring.progress import Progress
from spoolhouse.store.clickhouse.driver import Driver

log = structlog.get_logger(__name__)


async def show_first_row(
    driver: Driver, progress: Progress, prefix: str, tables: Mapping[str, Table], rows: Mapping[str, int]
) -> None:
    """Show a row of the table in which the most have landed (`rows`, by table); nothing if none has."""
    name = max(tables, key=lambda table: rows.get(table, 0))
    if not rows.get(name):
        return
    table = prefix + name
    columns = [column.name for column in tables[name].columns]
    listed = ", ".join(f"toString(`{column}`)" for column in columns)
    try:
        found = await driver.execute(f"SELECT {listed} FROM `{table}` LIMIT 1")  # noqa: S608  # declared names
    except StoreError as error:
        log.warning("sample_unavailable", error=str(error))
        return
    for row in found:
        progress.sample(table, dict(zip(columns, row, strict=True)))
