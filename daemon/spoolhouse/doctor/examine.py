"""The whole examination, in the order in which things are needed."""

import asyncio
import time
from collections.abc import AsyncIterator

from spoolhouse.doctor import daemons, folders, hosts, probe, rights, server
from spoolhouse.doctor import settings as of_settings
from spoolhouse.doctor.finding import Finding, fault, good, warning
from spoolhouse.errors import BadSettingError, StoreError
from spoolhouse.events.registry import load
from spoolhouse.service.prepare import open_driver, schema_of
from spoolhouse.settings import Settings
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.schema.grants import Needs
from spoolhouse.store.clickhouse.schema.render import Schema

_NO_DATABASE = 81


def now_ms() -> int:
    """Return the wall clock, in ms since 1970."""
    return time.time_ns() // 1_000_000


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Yield what is found. Nothing is changed that is not put back."""
    for finding in of_settings.examine(settings):
        yield finding
    for finding in await asyncio.to_thread(_spool, settings):
        yield finding
    there = await asyncio.to_thread(daemons.examine, settings)
    for finding in there:
        yield finding
    async for finding in _clickhouse(settings, running=bool(there)):
        yield finding


def needs_of(settings: Settings, schema: Schema | None = None) -> Needs:
    """Return what decides which rights the user needs."""
    clickhouse = settings.clickhouse
    return Needs(
        schema=schema_of(settings, load(settings.events.folder)) if schema is None else schema,
        prefix=clickhouse.table_prefix,
        migrates=clickhouse.migrate,
        cluster=clickhouse.cluster is not None,
        several=len(clickhouse.hosts) > 1,
    )


def _spool(settings: Settings) -> list[Finding]:
    try:
        root = settings.spool.root
    except BadSettingError as error:
        hint = "give --file-storage-path"
        return [warning(folders.SUBJECT, str(error), why="`ingest` needs it; it was not looked at", hint=hint)]
    return list(folders.examine(root, settings.spool))


async def _clickhouse(settings: Settings, *, running: bool) -> AsyncIterator[Finding]:
    """Go on from what everything needs to what only some need, and end where the rest makes no sense."""
    clickhouse = settings.clickhouse
    schema = schema_of(settings, load(settings.events.folder))
    admin, driver = open_driver(settings, database="default"), open_driver(settings)
    try:
        try:
            await admin.ping()
        except StoreError as error:
            why = "without it, files stay where they are"
            yield fault("reach", f"ClickHouse: {error.message}", why=why, hint=error.hint or "see the message")
            return
        yield good("reach", "ClickHouse answers, and takes the login")
        for finding in await _of_the_server(settings, schema, admin, running=running):
            yield finding
        try:
            await driver.ping()
        except StoreError as error:
            if error.code == _NO_DATABASE and clickhouse.migrate:
                yield good("database", f"{clickhouse.database} does not exist yet; it is created at start")
            else:
                why = "rows have nowhere to go"
                yield fault("database", error.message, why=why, hint=error.hint or "see the message")
            return
        for finding in await _of_the_database(settings, schema, driver):
            yield finding
        for finding in await server.gathered(hosts.SUBJECT, hosts.examine(settings, schema)):
            yield finding
    finally:
        await admin.close()
        await driver.close()


async def _of_the_server(settings: Settings, schema: Schema, admin: Driver, *, running: bool) -> list[Finding]:
    user, migrates = settings.clickhouse.username, settings.clickhouse.migrate
    named, keeper = settings.clickhouse.cluster, settings.clickhouse.keeper
    cluster = [] if named is None else await server.gathered("cluster", server.cluster(admin, named, keeper=keeper))
    return [
        *await server.gathered("version", server.version(admin)),
        *cluster,
        *await server.gathered("profile", server.profile(admin, user=user)),
        *await server.gathered("rights", rights.examine(needs_of(settings, schema), admin, user=user)),
        *await server.gathered("clock", server.clock(admin, now_ms)),
        *await server.gathered("disks", server.disks(admin)),
        *await server.gathered("schema", server.drift(schema, admin, migrates=migrates, running=running)),
    ]


async def _of_the_database(settings: Settings, schema: Schema, driver: Driver) -> list[Finding]:
    tables = [event.table.name for event in schema.tables]
    tables += [rollup.target.name for event in schema.tables for rollup in event.rollups]
    return [
        *await server.gathered("windows", server.safety(schema, driver, durable=settings.durable)),
        *await server.gathered("parts", server.parts(driver, tables)),
        await probe.examine(driver, prefix=settings.clickhouse.table_prefix, now_ms=now_ms()),
    ]
