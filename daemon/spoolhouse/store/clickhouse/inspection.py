"""ClickHouse's answers to the doctor: what the server is, what the user may do, and what the tables are like."""

import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from spoolhouse.decode.rows import Rows
from spoolhouse.doctor.ports import (
    ClusterState,
    Difference,
    Disk,
    Drift,
    Hosts,
    MissingRight,
    PartCount,
    Profile,
    ServerClock,
    TrialTable,
    Unguarded,
    Unsynced,
    Version,
)
from spoolhouse.errors import StoreError
from spoolhouse.events.builtin import LOGS
from spoolhouse.store.clickhouse.driver import Driver, RowsInsert
from spoolhouse.store.clickhouse.drivers.query_settings import NAMES
from spoolhouse.store.clickhouse.part_counts import part_counts
from spoolhouse.store.clickhouse.quoting import identifier
from spoolhouse.store.clickhouse.replicas import Replicas
from spoolhouse.store.clickhouse.schema import dedup_guard, migrate
from spoolhouse.store.clickhouse.schema.grants import Grant, Needs
from spoolhouse.store.clickhouse.schema.render import holding_rows, materialized_views
from spoolhouse.store.clickhouse.schema.tables import DEDUPLICATION_WINDOW, SYNCED, WINDOW, table_definition
from spoolhouse.store.clickhouse.typed_rows import typed

_NO_DATABASE = 81
_SYNTAX_ERROR = 62
_CREATE_DATABASE = "CREATE DATABASE"
_NEEDED = (
    "insert_deduplicate",
    "insert_deduplication_token",
    "deduplicate_blocks_in_dependent_materialized_views",
    "async_insert",
    "optimize_on_insert",
    "max_insert_threads",
)
"""Settings without which a repeated batch could be counted twice, or be stored as several blocks."""
_MACROS = ("shard", "replica")
_SETTINGS = "SELECT name, value, readonly FROM system.settings WHERE name IN {names:Array(String)}"
_CLUSTER = """
SELECT count(DISTINCT shard_num), count(), groupArrayIf(host_name, errors_count > 0)
FROM system.clusters WHERE cluster = {name:String}
"""
_DISKS = "SELECT name, unreserved_space, total_space FROM system.disks WHERE total_space > 0 AND NOT is_remote"


class _Setting(msgspec.Struct, array_like=True, frozen=True):
    name: str
    value: str
    readonly: bool


class Inspection(Struct, frozen=True, kw_only=True):
    """The `InspectedStore` of ClickHouse. It owns its drivers."""

    admin: Driver
    """Connected to a database that exists in any case."""
    driver: Driver
    """Connected to ours."""
    servers: Driver
    """The driver for inserts: `Replicas` where several hosts are named."""
    needs: Needs
    user: str
    cluster_name: str | None
    keeper: bool

    @property
    def migrates(self) -> bool:
        """A start brings the schema up to date."""
        return self.needs.migrates

    async def close(self) -> None:
        """Close all connections."""
        for driver in (self.admin, self.driver, self.servers):
            await driver.close()

    async def ping(self) -> None:
        """Return once the server answers."""
        await self.admin.ping()

    async def ping_database(self) -> bool:
        """Return true once the database answers; false if it does not exist."""
        try:
            await self.driver.ping()
        except StoreError as error:
            if error.code != _NO_DATABASE or not self.migrates:
                raise
            return False
        return True

    async def version(self) -> Version:
        """Return the server's version."""
        [(text,)] = typed(await self.admin.execute("SELECT version()"), tuple[str])
        major, minor = (int(number) for number in text.split(".")[:2])
        sql = "SELECT name FROM system.settings WHERE name IN {names:Array(String)}"
        found = {name for (name,) in typed(await self.admin.execute(sql, {"names": _NEEDED}), tuple[str])}
        return Version(text=text, number=(major, minor), lacking=tuple(sorted(set(_NEEDED) - found)))

    async def profile(self) -> Profile:
        """Return what the user's profile sets."""
        names = [*NAMES, "readonly", "max_memory_usage"]
        found = typed(await self.admin.execute(_SETTINGS, {"names": names}), _Setting)
        values = {setting.name: setting.value for setting in found}
        return Profile(
            readonly=int(values.get("readonly", "0")),
            fixed=tuple(setting.name for setting in found if setting.readonly and setting.name in NAMES),
            async_insert=values.get("async_insert") == "1",
            max_memory=int(values.get("max_memory_usage", "0")),
        )

    async def cluster(self) -> ClusterState | None:
        """Return the state of the cluster."""
        name = self.cluster_name
        if name is None:
            return None
        found = await self.admin.execute(_CLUSTER, {"name": name})
        [(shards, replicas, failing)] = typed(found, tuple[int, int, tuple[str, ...]])
        state = ClusterState(name=name, shards=shards, replicas=replicas, failing=failing)
        if not shards or not self.keeper:
            return state
        sql = "SELECT count() FROM system.macros WHERE macro IN {names:Array(String)}"
        [(macros,)] = typed(await self.admin.execute(sql, {"names": _MACROS}), tuple[int])
        keeper_error = None
        try:
            await self.admin.execute("SELECT 1 FROM system.zookeeper WHERE path = '/' LIMIT 1")
        except StoreError as error:
            keeper_error = error
        return replace(state, has_macros=macros >= len(_MACROS), keeper_error=keeper_error)

    async def missing_rights(self) -> AsyncIterator[MissingRight]:
        """Yield the rights that the user lacks, by what CHECK GRANT answers."""
        exists = "SELECT 1 FROM system.databases WHERE name = {database:String}"
        there = await self.admin.execute(exists, {"database": self.needs.database})
        for grant in self.needs.grants():
            if grant.where.startswith("system.") or (there and _CREATE_DATABASE in grant.rights):
                continue
            try:
                missing = tuple([right for right in grant.rights if not await self._has(right, grant)])
            except StoreError as error:
                if error.code == _SYNTAX_ERROR:
                    return  # an older server does not know CHECK GRANT
                raise
            if missing:
                yield MissingRight(
                    rights=missing,
                    where=grant.where,
                    lacking=grant.lacking,
                    statement=grant.statement(self.user, missing),
                    vital=grant.vital,
                )

    async def _has(self, right: str, grant: Grant) -> bool:
        for place in grant.tried_on:
            [(granted,)] = typed(await self.admin.execute(f"CHECK GRANT {right} ON {place}"), tuple[bool])
            if not granted:
                return False
        return True

    async def unreadable(self) -> Mapping[str, StoreError]:
        """Return the system tables that are needed and cannot be read."""
        errors: dict[str, StoreError] = {}
        for table in self.needs.system_tables():
            # A right to read may be implied; and `zookeeper` can be read by path alone.
            where = " WHERE path = '/'" if table == "zookeeper" else ""
            try:
                await self.admin.execute(f"SELECT 1 FROM system.{table}{where} LIMIT 0")  # noqa: S608  # constants
            except StoreError as error:
                errors[f"system.{table}"] = error
        return errors

    async def clock(self) -> ServerClock:
        """Return the server's clock."""
        found = await self.admin.execute("SELECT toInt64(toUnixTimestamp64Milli(now64(3))), timezone()")
        [(now_ms, zone)] = typed(found, tuple[int, str])
        return ServerClock(now_ms=now_ms, zone=zone)

    async def disks(self) -> Sequence[Disk]:
        """Return the server's local disks."""
        found = typed(await self.admin.execute(_DISKS), tuple[str, int, int])
        return [Disk(name=name, free=free, total=total) for name, free, total in found]

    async def drift(self) -> Drift:
        """Return how the live schema differs from the declared one."""
        plan = await migrate.check(self.needs.schema, self.admin)
        holding = holding_rows(self.needs.schema)
        missing = tuple(sorted(plan.missing & set(holding)))
        return Drift(
            refused=tuple(Difference(text=str(one), statement=one.statement) for one in plan.refusals),
            statements=tuple(plan.statements),
            missing=missing,
            missing_all=len(missing) == len(holding),
        )

    async def unguarded(self) -> Sequence[Unguarded]:
        """Return the tables with a target that remembers too few tokens."""
        change = f"MODIFY SETTING {DEDUPLICATION_WINDOW} = {WINDOW}"
        return [
            Unguarded(table=table, targets=names, hint=f"ALTER TABLE {names[0]} {change}, and likewise the others")
            for table, names in (await dedup_guard.unguarded(self.needs.schema, self.driver)).items()
        ]

    async def unsynced(self) -> Unsynced:
        """Return the tables that do not sync rows to the disk before they acknowledge them."""
        return Unsynced(tables=await dedup_guard.unsynced(self.needs.schema, self.driver), settings=tuple(SYNCED))

    async def parts(self) -> Sequence[PartCount]:
        """Return the parts of each table and rollup target that exists."""
        tables = [event.table.name for event in self.needs.schema.tables]
        tables += [rollup.target.name for event in self.needs.schema.tables for rollup in event.rollups]
        return await part_counts(self.driver, tables)

    async def hosts(self) -> Hosts | None:
        """Return which of the hosts answer, and whether they are replicas of each other."""
        if not isinstance(self.servers, Replicas):
            return None
        disagreement = None
        try:
            await self.servers.agree(holding_rows(self.needs.schema), views=materialized_views(self.needs.schema))
        except StoreError as error:
            disagreement = error
        present, away = tuple(self.servers.present), dict(self.servers.away)
        return Hosts(present=present, away=away, disagreement=disagreement)

    async def trial_table(self) -> TrialTable:
        """Create a table like that of the logs."""
        name = f"{self.needs.prefix}check_{secrets.token_hex(4)}"
        definition = msgspec.structs.replace(table_definition(LOGS, prefix=self.needs.prefix), name=name)
        await self.driver.execute(definition.create(None))
        return _TrialTable(driver=self.driver, name=name)


class _TrialTable(Struct, frozen=True, kw_only=True):
    driver: Driver
    name: str

    @property
    def drop_statement(self) -> str:
        return f"DROP TABLE IF EXISTS {identifier(self.name)} SYNC"

    async def insert(self, message: str, now_ms: int) -> None:
        # An old time would expire at once, by the table's TTL.
        now = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat()
        values = {"id": "a", "project_id": "p", "deployment_id": "", "level": "info", "message": message}
        values |= {"attributes": "{}", "extra": "{}", "timestamp": now, "recorded_at": now}
        row = json.dumps([values.get(column.name) for column in LOGS.columns]).encode() + b"\n"
        insert = RowsInsert(table=self.name, columns=LOGS.columns, batch_id=self.name, token=self.name, clock_ms=now_ms)

        async def stream() -> AsyncGenerator[Rows]:
            yield Rows(data=row, count=1)

        await self.driver.insert_rows(insert, stream())

    async def read(self) -> tuple[int, str]:
        sql = f"SELECT count(), any(message) FROM {identifier(self.name)} WHERE batch_id = {{batch:String}}"  # noqa: S608  # a name of ours
        [found] = typed(await self.driver.execute(sql, {"batch": self.name}), tuple[int, str])
        return found

    async def drop(self) -> None:
        await self.driver.execute(self.drop_statement)
