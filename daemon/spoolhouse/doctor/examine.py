"""The whole examination: first what everything needs, then what only some of it needs."""

import asyncio
from collections.abc import AsyncIterator

from spoolhouse.clock import now_ms
from spoolhouse.doctor import daemons, drafts, file, folders, left, probe, rights, server
from spoolhouse.doctor import settings as of_settings
from spoolhouse.doctor.finding import Finding, fault, good, warning
from spoolhouse.doctor.ports import InspectedFile, InspectedStore
from spoolhouse.errors import BadSettingError, StoreError
from spoolhouse.settings import Settings


async def examine(settings: Settings, store: InspectedStore, *, fix: bool = False) -> AsyncIterator[Finding]:
    """Yield all findings. The trial folder and the trial table are removed again; nothing else is changed.

    With `fix` the drafts of dead writers are made visible.
    """
    for finding in await asyncio.to_thread(_here, settings, fix=fix):
        yield finding
    running = await asyncio.to_thread(daemons.examine, settings)
    for finding in running:
        yield finding
    async for finding in _store(settings, store, running=bool(running)):
        yield finding


async def examine_file(settings: Settings, store: InspectedFile, *, fix: bool = False) -> AsyncIterator[Finding]:
    """Yield all findings where the store is a file, in the same way."""
    for finding in await asyncio.to_thread(_here, settings, fix=fix):
        yield finding
    running = await asyncio.to_thread(daemons.examine, settings)
    for finding in running:
        yield finding
    async for finding in file.examine(store, running=bool(running)):
        yield finding


def _here(settings: Settings, *, fix: bool) -> list[Finding]:
    return [*of_settings.examine(settings), *_spool(settings, fix=fix)]


def _spool(settings: Settings, *, fix: bool) -> list[Finding]:
    try:
        root = settings.spool.root
    except BadSettingError as error:
        hint = "give --file-storage-path"
        return [warning(folders.SUBJECT, str(error), why="`ingest` needs it; it was not checked", hint=hint)]
    return [*folders.examine(root, settings.spool), *drafts.examine(root, fix=fix), *left.examine(root)]


async def _store(settings: Settings, store: InspectedStore, *, running: bool) -> AsyncIterator[Finding]:
    """Yield findings on the server, then on the database; without a server, or a database, the rest is left out."""
    try:
        await store.ping()
    except StoreError as error:
        why = "without it, files stay where they are"
        yield fault("reach", f"ClickHouse: {error.message}", why=why, hint=error.hint or "see the message")
        return
    yield good("reach", "ClickHouse answers, and accepts the login")
    for finding in await _of_the_server(store, running=running):
        yield finding
    try:
        exists = await store.ping_database()
    except StoreError as error:
        yield fault("database", error.message, why="rows cannot be stored", hint=error.hint or "see the message")
        return
    if not exists:
        yield good("database", f"{settings.clickhouse.database} does not exist yet; it is created at start")
        return
    for finding in await _of_the_database(store, durable=settings.durable):
        yield finding


async def _of_the_server(store: InspectedStore, *, running: bool) -> list[Finding]:
    return [
        *await server.gathered("version", server.version(store)),
        *await server.gathered("cluster", server.cluster(store)),
        *await server.gathered("profile", server.profile(store)),
        *await server.gathered("rights", rights.examine(store)),
        *await server.gathered("clock", server.clock(store, now_ms)),
        *await server.gathered("disks", server.disks(store)),
        *await server.gathered("schema", server.drift(store, running=running)),
    ]


async def _of_the_database(store: InspectedStore, *, durable: bool) -> list[Finding]:
    return [
        *await server.gathered("windows", server.safety(store, durable=durable)),
        *await server.gathered("parts", server.parts(store)),
        await probe.examine(store, now_ms=now_ms()),
        *await server.gathered("hosts", server.hosts(store)),
    ]
