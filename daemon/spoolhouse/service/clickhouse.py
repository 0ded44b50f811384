"""ClickHouse as the store of a run: its drivers by the settings, its schema, and whether its tables are safe."""

import time
from collections.abc import Mapping, Sequence

import structlog

from spoolhouse.clock import now_ms
from spoolhouse.errors import OperatorError, StoreError
from spoolhouse.events.declaration import EventType, Table
from spoolhouse.service.backend import NOTHING_REFUSED, DiffersError
from spoolhouse.settings import Settings
from spoolhouse.spool.lineage import Entry
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.drivers.connect import connect
from spoolhouse.store.clickhouse.drivers.heartbeat_driver import HeartbeatDriver
from spoolhouse.store.clickhouse.drivers.transport import Compression, Tls, Transport
from spoolhouse.store.clickhouse.failover import HostSelector
from spoolhouse.store.clickhouse.landing.ledger_write import write_entries
from spoolhouse.store.clickhouse.landing.sent_batches import ClickHouseSentBatches
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
from spoolhouse.store.clickhouse.store import ClickHouseStore

log = structlog.get_logger(__name__)

_HOUR = 3600.0
MOST_ROWS = 20_000_000
"""How many old rows a start counts into a new rollup, which takes seconds; more are left to `spoolhouse migrate`."""


class ClickHouseBackend:
    """ClickHouse as a run's store; it satisfies `service.backend.Backend`."""

    title = "ClickHouse"
    own_file = None

    def __init__(self, settings: Settings, *, fingerprint: str) -> None:
        """Use the servers that `settings.clickhouse` names. Raises `BadSettingError`."""
        clickhouse = settings.clickhouse
        self._settings = settings
        self._schema: tuple[dict[str, EventType], Schema] | None = None
        self._driver = open_servers(settings)
        self._prefix = clickhouse.insert_prefix
        self._next_drop = 0.0
        """When abandoned staging tables are dropped next, by the monotonic clock."""
        self.store = ClickHouseStore(
            self._driver, prefix=self._prefix, shards=clickhouse.shards, fingerprint=fingerprint
        )
        self.sent = ClickHouseSentBatches(driver=self._driver, prefix=self._prefix, shards=clickhouse.shards)

    @property
    def patience(self) -> float:
        """How long a statement may take until it is broken off."""
        return self._settings.clickhouse.connect_timeout + self._settings.clickhouse.timeout

    def take_over(self, settings: Settings, *, fingerprint: str) -> None:
        """Put reloaded settings in force."""
        self._settings, self._schema = settings, None
        self.store.pace(first=settings.retry.first, cap=settings.retry.cap)
        self.store.fingerprint = fingerprint

    def _declared(self, events: Mapping[str, EventType]) -> Schema:
        """Return the schema of event types; it is made once for those in force."""
        if self._schema is None or self._schema[0] != events:
            self._schema = dict(events), schema_of(self._settings, events)
        return self._schema[1]

    async def ping(self) -> None:
        """Return once a server answers."""
        await self._driver.ping()

    async def prepare(self, events: Mapping[str, EventType]) -> Mapping[str, OperatorError]:
        """Update the schema, and check it; see `prepare`."""
        return await prepare(self._settings, self._driver, self._declared(events))

    async def unsafe_tables(
        self, events: Mapping[str, EventType], refused: Mapping[str, OperatorError]
    ) -> Mapping[str, OperatorError]:
        """Add the tables that would count a repeated batch twice; see `unsafe_tables`."""
        return await unsafe_tables(self._settings, self._driver, self._declared(events), refused)

    async def maintain(
        self,
        events: Mapping[str, EventType],  # noqa: ARG002  # the protocol's
    ) -> None:
        """Drop, once an hour, the staging tables that killed processes have left."""
        if time.monotonic() < self._next_drop:
            return
        self._next_drop = time.monotonic() + _HOUR
        try:
            await self.store.drop_abandoned()
        except StoreError as error:
            log.warning("staging_left", error=error.message, code=error.code, hint=error.hint or "it is tried again")

    async def record(self, entries: Sequence[Entry]) -> None:
        """Write entries of the ledger."""
        await write_entries(self._driver, entries, prefix=self._prefix)

    async def first_row(self, table: Table) -> tuple[str, Mapping[str, object]] | None:
        """Return a table's name for readers, and a row of it; None if it has none."""
        name = self._settings.clickhouse.table_prefix + table.name
        columns = [column.name for column in table.columns]
        listed = ", ".join(f"toString(`{column}`)" for column in columns)
        found = await self._driver.execute(f"SELECT {listed} FROM `{name}` LIMIT 1")  # noqa: S608  # declared names
        return next(((name, dict(zip(columns, row, strict=True))) for row in found), None)

    async def close(self) -> None:
        """Close the connections."""
        await self._driver.close()


class _LoggedProgress(NoProgress):
    """Logs the steps of a migration that runs without a terminal."""

    def unfilled(self, target: str, error: StoreError, /) -> None:
        """Log it."""
        log.warning("rollup_not_filled", target=target, error=error.message, code=error.code, hint=error.hint or None)


def open_driver(settings: Settings, *, database: str | None = None) -> Driver:
    """Return the driver by `settings.clickhouse`, for its database or another one.

    If several hosts are named, it stays with the first that answers. Raises `BadSettingError`.
    """
    drivers = _drivers(settings, database)
    return FirstThatAnswers(drivers.values()) if len(drivers) > 1 else drivers.popitem()[1]


def open_shards(settings: Settings) -> Sequence[Driver]:
    """Return what reaches the servers of `settings.clickhouse` with a statement that changes tables.

    Of shards without Keeper that is each host that is named, else one of them. Raises `BadSettingError`.
    """
    clickhouse = settings.clickhouse
    if clickhouse.cluster is None or clickhouse.keeper:
        return [open_driver(settings)]
    return list(_drivers(settings, None).values())


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


async def unsafe_tables(
    settings: Settings, driver: Driver, schema: Schema, refused: Mapping[str, OperatorError]
) -> Mapping[str, OperatorError]:
    """Return, by the names that inserts use, the tables that differ (`refused`), or would count a batch twice.

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
    return {clickhouse.insert_prefix + table.removeprefix(clickhouse.table_prefix): holds[table] for table in holds}


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
