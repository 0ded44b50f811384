"""Prepare for the first claim: make the driver, wait for the server, bring the schema up to date, check its safety."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType

import structlog

from spoolhouse.clock import now_ms
from spoolhouse.errors import OperatorError, StoreError, UnreachableError
from spoolhouse.events.declaration import EventType
from spoolhouse.monitoring import heartbeat
from spoolhouse.monitoring.health import GUARD, SERVER, Health
from spoolhouse.retry import delay
from spoolhouse.settings import Settings
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.drivers.connect import connect
from spoolhouse.store.clickhouse.drivers.heartbeat_driver import HeartbeatDriver
from spoolhouse.store.clickhouse.drivers.transport import Compression, Tls, Transport
from spoolhouse.store.clickhouse.failover import HostSelector
from spoolhouse.store.clickhouse.replicas import FirstThatAnswers, Replicas
from spoolhouse.store.clickhouse.schema.clock import expect_same_day
from spoolhouse.store.clickhouse.schema.cluster import Cluster
from spoolhouse.store.clickhouse.schema.dedup_guard import unguarded, unsynced
from spoolhouse.store.clickhouse.schema.migrate import migrate
from spoolhouse.store.clickhouse.schema.migration_progress import NoProgress
from spoolhouse.store.clickhouse.schema.migration_steps import Plan
from spoolhouse.store.clickhouse.schema.render import (
    Schema,
    declare,
    holding_rows,
    materialized_views,
    owners,
    tables_of,
)
from spoolhouse.store.clickhouse.schema.tables import DEDUPLICATION_WINDOW, SYNCED, WINDOW

log = structlog.get_logger(__name__)

_SOON = 2.0
"""Seconds between two probes of a server that is away, at the most."""
MOST_ROWS = 20_000_000
"""How many old rows a start counts into a new rollup, which takes seconds; more are left to `spoolhouse migrate`."""

NOTHING_REFUSED: Mapping[str, OperatorError] = MappingProxyType({})


class _LoggedProgress(NoProgress):
    """Logs the steps of a migration that runs without a terminal."""

    def unfilled(self, target: str, error: StoreError, /) -> None:
        """Log it."""
        log.warning("rollup_not_filled", target=target, error=error.message, code=error.code, hint=error.hint or None)


class DiffersError(OperatorError):
    """A table or one of its rollups differs from its declaration, and a migration may not change it."""


def open_driver(settings: Settings, *, database: str | None = None) -> Driver:
    """Return the driver by `settings.clickhouse`, for its database or another one.

    If several hosts are named, it stays with the first that answers. Raises `BadSettingError`.
    """
    drivers = _drivers(settings, database)
    return FirstThatAnswers(drivers.values()) if len(drivers) > 1 else drivers.popitem()[1]


def open_servers(settings: Settings) -> Driver:
    """Return the driver for inserts: if several hosts are named, it fails over from one to another.

    Raises `BadSettingError`.
    """
    drivers = _drivers(settings, None)
    if len(drivers) == 1:
        return drivers.popitem()[1]
    return Replicas(drivers, HostSelector(drivers, first=settings.retry.first, cap=settings.retry.cap))


def _drivers(settings: Settings, database: str | None) -> dict[str, Driver]:
    """Return a driver for each host."""
    clickhouse = settings.clickhouse
    if not clickhouse.tls_verify and database is None:
        log.warning(
            "tls_not_verified",
            url=clickhouse.url,
            hint="anybody between here and the server can read and change what is sent: set clickhouse.tls_ca instead",
        )
    password = None if clickhouse.password is None else clickhouse.password.get_secret_value()
    return {
        name: HeartbeatDriver(
            connect(
                url,
                username=clickhouse.username,
                password=password,
                database=database or clickhouse.database,
                transport=transport(settings),
            )
        )
        for name, url in clickhouse.hosts.items()
    }


def transport(settings: Settings) -> Transport:
    """Return the way to the server that `settings.clickhouse` describe."""
    clickhouse = settings.clickhouse
    return Transport(
        connect_timeout=clickhouse.connect_timeout,
        timeout=clickhouse.timeout,
        tls=Tls(ca=clickhouse.tls_ca, cert=clickhouse.tls_cert, key=clickhouse.tls_key, verify=clickhouse.tls_verify),
        compression=Compression(clickhouse.compression),
    )


async def await_ready(
    settings: Settings,
    driver: Driver,
    health: Health,
    stop: asyncio.Event,
    *,
    once: bool,
    events: Mapping[str, EventType],
) -> bool:
    """Return true once ClickHouse answers and has the schema; false after a stop, or with `once` if it does not.

    Nothing is claimed before: a file that cannot be sent stays in its pending place.
    """
    attempt = 0
    while not stop.is_set():
        attempt += 1
        try:
            await prepare_and_guard(settings, driver, health, events)
        except StoreError as error:
            health.bad(SERVER, error)
            if once:
                return False
            pause = delay(attempt, first=settings.retry.first, cap=min(settings.retry.cap, _SOON), fraction=1.0)
            try:
                async with asyncio.timeout(pause):
                    await stop.wait()
            except TimeoutError:
                continue
        else:
            health.good(SERVER)
            return True
    return False


async def prepare_and_guard(
    settings: Settings, driver: Driver, health: Health, events: Mapping[str, EventType]
) -> None:
    """Bring the schema up to date (where wanted), and hold the tables that are not safe. Raises `StoreError`."""
    schema = schema_of(settings, events)
    refused = await prepare(settings, driver, schema)
    await guard(settings, driver, health, schema, refused)


async def guard(
    settings: Settings,
    driver: Driver,
    health: Health,
    schema: Schema,
    refused: Mapping[str, OperatorError],
) -> None:
    """Hold each table that differs from its declaration (`refused`), or that would count a repeated batch twice.

    Other tables stay open, and a fixed table is opened again. Called again and again: a view can be added to a table
    at any time. Batches that were claimed before still land: one in doubt is checked before it is sent again.
    Raises `OperatorError` if the server's clock is days off, and `StoreError`.
    """
    holds = dict(refused)
    if isinstance(driver, Replicas):
        await driver.agree(holding_rows(schema), views=materialized_views(schema))
    else:
        await expect_same_day(driver, now_ms())
    for table, names in (await unguarded(schema, driver)).items():
        where = ", ".join(names)
        holds[table] = OperatorError(
            f"a repeated batch would be counted twice in {where}: no deduplication window, or a small one",
            hint=f"ALTER TABLE {names[0]} MODIFY SETTING {DEDUPLICATION_WINDOW} = {WINDOW}, and likewise the others",
        )
    clickhouse = settings.clickhouse
    scopes = {clickhouse.insert_prefix + table.removeprefix(clickhouse.table_prefix): table for table in holds}
    for scope, table in scopes.items():
        health.hold(scope, holds[table])
    for scope in health.holds.keys() - scopes.keys():
        health.release(scope)


async def keep_guard(
    current: Callable[[], Settings],
    driver: Driver,
    health: Health,
    stop: asyncio.Event,
    events: Mapping[str, EventType],
) -> None:
    """Check the server and the tables every `retry.cap` until `stop`; at once and often during an outage.

    An idle daemon inserts nothing, so only this probe notices an outage and its end. `current` returns the settings in
    force. The caller that sets `stop` sets `health.probe`, too.
    """
    failures = 0
    while not stop.is_set():
        settings = current()
        retry = settings.retry
        try:
            health.probe.clear()
            await driver.ping()
            health.speaks()
            # Only another run of the migration can find that its refusal is resolved.
            differs = any(isinstance(error, DiffersError) for error in health.holds.values())
            schema = schema_of(settings, events)
            refused = await prepare(settings, driver, schema) if differs else NOTHING_REFUSED
            await guard(settings, driver, health, schema, refused)
        except UnreachableError as error:
            failures += 1
            health.silent(error)
        except StoreError as error:
            failures += 1
            health.bad(GUARD, error)
        else:
            if failures:
                health.good(SERVER)
                health.good(GUARD)
            failures = 0
        soon = delay(failures, first=retry.first, cap=min(retry.cap, _SOON), fraction=1.0)
        with suppress(TimeoutError), heartbeat.idle():
            async with asyncio.timeout(soon if failures else retry.cap):
                # During an outage the probe keeps its pace, however many callers report the outage.
                await (stop if failures else health.probe).wait()


def schema_of(settings: Settings, events: Mapping[str, EventType], *, qualified: bool = True) -> Schema:
    """Return the declared schema of the database; `qualified`: its names include the database."""
    clickhouse = settings.clickhouse
    return declare(
        database=clickhouse.database if qualified else None,
        prefix=clickhouse.table_prefix,
        durable=settings.durable,
        text_index=clickhouse.text_index,
        tables=tables_of(events),
        cluster=None if clickhouse.cluster is None else Cluster(name=clickhouse.cluster, keeper=clickhouse.keeper),
    )


async def prepare(settings: Settings, driver: Driver, declared: Schema) -> Mapping[str, OperatorError]:
    """Update the schema (if wanted), and check that it is safe; wait for nothing. Raises `StoreError`.

    Returns the event tables with a difference that only a person may resolve.
    """
    refused: Mapping[str, OperatorError] = NOTHING_REFUSED
    if settings.clickhouse.migrate:
        # The database itself may be missing: then no connection to it is possible.
        admin = open_driver(settings, database="default")
        try:
            # The replicas of a shard cannot keep each other from counting the same rows: a person starts one of them.
            replicated = declared.on_cluster or len(settings.clickhouse.hosts) > 1
            most_rows = 0 if replicated else MOST_ROWS
            left = await migrate(declared, admin, progress=_LoggedProgress(), most_rows=most_rows)
        finally:
            await admin.close()
        if left.unfilled:
            log.warning(
                "rollups_unfilled",
                targets=left.unfilled,
                hint="run `spoolhouse migrate`: it counts what was there before them, while this daemon goes on",
            )
        refused = _refused(declared, left)
    if settings.durable and (unsafe := await unsynced(declared, driver)):
        wanted = ", ".join(f"{name} = {value}" for name, value in SYNCED.items())
        raise OperatorError(
            f"clickhouse.durable: the server acknowledges rows before they are on its disk in {', '.join(unsafe)}",
            hint=f"run `spoolhouse migrate`, or ALTER TABLE {unsafe[0]} MODIFY SETTING {wanted}, and the others",
        )
    return refused


def _refused(declared: Schema, left: Plan) -> Mapping[str, OperatorError]:
    tables = owners(declared)
    found: dict[str, OperatorError] = {}
    for refusal in left.refusals:
        if refusal.name in tables:
            hint = "see `spoolhouse migrate --check`, or set clickhouse.migrate = false"
            found.setdefault(tables[refusal.name], DiffersError(f"the schema differs: {refusal}", hint=hint))
        else:
            # A view that people read: rows land all the same.
            log.warning("view_differs", view=refusal.name, reason=refusal.reason, hint=refusal.hint)
    return found
