"""Repairs a batch: adds its missing rows to the tables and rollups that lack them, and to no others.

An INSERT cannot do that: it goes to the table and to all rollups. So the rows go to a staging table, a copy of the real
one without views. From there a missing partition is attached to the real table, which triggers no view, and the figures
of a missing partition are inserted into a rollup directly. Each step concerns one partition of one table, which has all
rows of the batch or none: after a kill, the next attempt checks the presence of the batch again, and continues.
"""

from collections.abc import AsyncIterator

import structlog
from msgspec import Struct
from msgspec.structs import replace

from spoolhouse.decode.rows import Rows
from spoolhouse.events.declaration import Rollup, Table
from spoolhouse.events.naming import Shards, target_name
from spoolhouse.failpoints import reach
from spoolhouse.store.clickhouse.driver import Driver, Parameter, RowsInsert
from spoolhouse.store.clickhouse.landing import tombstones
from spoolhouse.store.clickhouse.landing.presence import Found, staging_name
from spoolhouse.store.clickhouse.quoting import identifier, identifiers
from spoolhouse.store.clickhouse.schema.backfill_sql import backfill_id, counting
from spoolhouse.store.clickhouse.schema.clock import server_ms
from spoolhouse.store.clickhouse.schema.ddl import partition_by
from spoolhouse.store.clickhouse.schema.rollups import COMPACT_DAYS, kept, rollup_definition, rollup_select
from spoolhouse.store.clickhouse.schema.tables import table_definition

log = structlog.get_logger(__name__)

DAY = 24 * 3600
_VERSION = "recorded_at"


class Repaired(Struct, frozen=True, kw_only=True):
    """A partition (such as 202611) of a table, or of a rollup target."""

    table: str
    partition: str


class Repairer(Struct, frozen=True, kw_only=True):
    """Repairs batches of one installation."""

    driver: Driver
    prefix: str
    shards: Shards | None
    """Of a cluster: repaired rows go to this shard, and may already be on any."""

    @property
    def read_prefix(self) -> str:
        """The prefix of the names under which the rows of all shards are read."""
        return self.prefix if self.shards is None else self.shards.prefix

    def everywhere(self, table: Table) -> str:
        """Return the name under which the rows of all shards are read."""
        return self.read_prefix + table.name

    async def repair(
        self, table: Table, insert: RowsInsert, rows: AsyncIterator[Rows], found: Found, *, never_landed: bool = False
    ) -> tuple[Repaired, ...]:
        """Bring `rows` of a batch to all partitions where `found` does not have it; return these. Raises `StoreError`.

        `never_landed`: no row of the batch was ever in ClickHouse, however old the batch is.
        Rows that would vanish again are left out: expired ones, and those that a later version of the event replaces;
        and those that were deleted on request.
        """
        staging, _ = await self.stage_kept(table, insert, rows)
        return await self.fill(table, insert, staging, found, never_landed=never_landed)

    async def fill(
        self, table: Table, insert: RowsInsert, staging: str, found: Found, *, never_landed: bool = False
    ) -> tuple[Repaired, ...]:
        """Do the same with rows that are staged."""
        here = await self._partitions(staging)
        repaired = []
        for partition in sorted(here - found.of(insert.table)):
            if await self._is_wanted(table, staging, partition):
                await self._attach(insert.table, staging, partition)
                repaired.append(Repaired(table=insert.table, partition=partition))
        for rollup in table.rollups if never_landed or await self._is_recent(insert) else ():
            target = target_name(rollup, prefix=self.prefix)
            for partition in sorted(here - found.of(target)):
                if await self._has_figures(table, rollup, staging, partition):
                    await self._fill(table, rollup, staging, partition)
                    repaired.append(Repaired(table=target, partition=partition))
        for one in repaired:
            log.warning("partition_repaired", batch=insert.batch_id, table=one.table, partition=one.partition)
        return tuple(repaired)

    async def _is_recent(self, insert: RowsInsert) -> bool:
        """Tell whether a rollup without the batch's id lacks the batch: compaction replaces the ids of old batches.

        The server tells its age, because it compacts by its own clock.
        """
        if await server_ms(self.driver) - insert.clock_ms < (COMPACT_DAYS - 1) * DAY * 1000:
            return True
        log.warning("rollups_not_checked", batch=insert.batch_id, days=COMPACT_DAYS, hint="they are left as they are")
        return False

    async def drop_staging(self, batch_id: str) -> None:
        """Drop the staging table of a batch, if a killed repair has left one. Raises `StoreError`."""
        await self.driver.execute(f"DROP TABLE IF EXISTS {identifier(staging_name(batch_id, prefix=self.prefix))} SYNC")
        reach("repair.staging_dropped")

    async def stage(self, table: Table, insert: RowsInsert, rows: AsyncIterator[Rows]) -> str:
        """Return the name of a new table that holds the rows, and nothing but them."""
        staging = staging_name(insert.batch_id, prefix=self.prefix)
        # A killed attempt may have left some of them.
        await self.drop_staging(insert.batch_id)
        await self.driver.execute(
            # Of an engine that collapses nothing: rollups count lines.
            f"CREATE TABLE {identifier(staging)} AS {identifier(self.prefix + table.name)} ENGINE = MergeTree"
            f" PARTITION BY {partition_by(table.time)} ORDER BY ({identifiers(table.order_by)})"
            # So that an attached part knows when it expires; here nothing does: also what is too old counts in rollups.
            f" TTL {table_definition(table, prefix=self.prefix).ttl.sql()}"
            " SETTINGS max_number_of_merges_with_ttl_in_pool = 0, fsync_after_insert = 1, fsync_part_directory = 1"
        )
        reach("repair.before_staging")
        await self.driver.insert_rows(replace(insert, table=staging, token=staging), rows)
        reach("repair.staged")
        return staging

    async def stage_kept(self, table: Table, insert: RowsInsert, rows: AsyncIterator[Rows]) -> tuple[str, int]:
        """Do the same without the rows that were deleted on request since they were shipped; add their number."""
        staging = await self.stage(table, insert, rows)
        if not await tombstones.may_cover(self.driver, table, insert, prefix=self.read_prefix):
            return staging, 0
        return staging, await tombstones.leave_out_deleted(self.driver, table, staging, prefix=self.read_prefix)

    async def was_deleted(self, table: Table, insert: RowsInsert) -> bool:
        """Tell whether rows of a batch had landed, and were deleted on request. Raises `StoreError`."""
        return await tombstones.may_cover(self.driver, table, insert, prefix=self.read_prefix, landed=True)

    async def _partitions(self, staging: str) -> frozenset[str]:
        found = await self.driver.execute(f"SELECT DISTINCT _partition_id FROM {identifier(staging)}")  # noqa: S608  # a name of ours
        return frozenset(str(partition) for (partition,) in found)

    async def _is_wanted(self, table: Table, staging: str, partition: str) -> bool:
        """Tell whether any row of the partition is neither expired nor superseded."""
        keys = identifiers(table.order_by)
        version, real = identifier(_VERSION), identifier(self.prefix + table.name)
        here = f"FROM {identifier(staging)} WHERE _partition_id = {{partition:String}}"
        later = (
            f"SELECT {keys}, max({version}) AS _later, 1 AS _known FROM {real}"  # noqa: S608  # declared names
            f" WHERE _partition_id = {{partition:String}} AND ({keys}) IN (SELECT {keys} {here}) GROUP BY {keys}"
        )
        wanted = (
            f"SELECT 1 FROM (SELECT * {here}) AS _own LEFT JOIN ({later}) AS _there USING ({keys})"  # noqa: S608  # declared names
            f" WHERE (ifNull(_known, 0) = 0 OR _later < _own.{version})"
            f" AND toDateTime({identifier(table.time)}) + toIntervalDay({table.ttl_days}) > now() LIMIT 1"
        )
        return bool(await self.driver.execute(wanted, {"partition": partition}))

    async def _attach(self, real: str, staging: str, partition: str) -> None:
        await self.driver.execute(
            # A partition's id is digits, from the server; a parameter cannot stand here.
            f"ALTER TABLE {identifier(real)} ATTACH PARTITION ID '{int(partition)}' FROM {identifier(staging)}"
        )
        reach("repair.attached")

    async def _has_figures(self, table: Table, rollup: Rollup, staging: str, partition: str) -> bool:
        """Tell whether the rollup keeps any figures of the partition's rows."""
        figures = rollup_select(table, rollup, source=_partition_of(staging, and_where=kept(rollup)))
        return bool(await self.driver.execute(f"SELECT 1 FROM ({figures}) LIMIT 1", _where(partition)))  # noqa: S608  # declared names

    async def _fill(self, table: Table, rollup: Rollup, staging: str, partition: str) -> None:
        definition = rollup_definition(table, rollup, database=None, prefix=self.prefix)
        # Checked once more: `spoolhouse migrate` may be counting old batches into a new rollup just now.
        target = identifier(definition.target.name)
        absent = f"batch_id NOT IN (SELECT batch_id FROM {target} WHERE _partition_id = {{partition:String}})"  # noqa: S608  # declared names
        await self.driver.execute(
            counting(definition, None, source=_partition_of(staging, and_where=absent)),
            _where(partition),
            query_id=backfill_id(definition.target.name),
        )
        reach("repair.rollup_filled")


def _partition_of(staging: str, *, and_where: str) -> str:
    return f"(SELECT * FROM {identifier(staging)} WHERE _partition_id = {{partition:String}} AND {and_where})"  # noqa: S608  # a name of ours


def _where(partition: str) -> dict[str, Parameter]:
    return {"partition": partition}
