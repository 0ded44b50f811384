"""Opens the store and the files of the spool for the recovery commands."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spoolhouse.recover.ports import RecoveryStore
    from spoolhouse.recover.processed_files import ProcessedFiles
    from spoolhouse.settings import Settings


@asynccontextmanager
async def open_store(settings: "Settings") -> "AsyncIterator[RecoveryStore]":
    """Yield the store that the settings name, and close it after. Raises `BadSettingError`, `StoreError`."""
    if settings.store.path is not None:
        from spoolhouse.service.duckdb import open_database  # noqa: PLC0415  # --help needs none of this
        from spoolhouse.store.duckdb.recovery import Recovery as FileRecovery  # noqa: PLC0415  # nor this

        database = open_database(settings, settings.store.path)
        try:
            yield FileRecovery(database, prefix=settings.clickhouse.table_prefix)
        finally:
            await database.close()
        return
    from spoolhouse.service.clickhouse import open_driver  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.store.clickhouse.landing.repair import Repairer  # noqa: PLC0415  # nor this
    from spoolhouse.store.clickhouse.recovery import Recovery  # noqa: PLC0415  # nor this

    clickhouse = settings.clickhouse
    driver = open_driver(settings)
    try:
        repairer = Repairer(driver=driver, prefix=clickhouse.insert_prefix, shards=clickhouse.shards)
        yield Recovery(driver=driver, prefix=clickhouse.table_prefix, repairer=repairer)
    finally:
        await driver.close()


@asynccontextmanager
async def open_files(settings: "Settings") -> "AsyncIterator[ProcessedFiles]":
    """Yield the processed and failed files of the spool, and close their store after. Raises `BadSettingError`."""
    from spoolhouse.events.registry import load  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.recover.processed_files import processed_files  # noqa: PLC0415  # nor this

    async with open_store(settings) as store:
        yield processed_files(settings, store, load(settings.events))
