"""Deletes events by id, within a project: the rows of every table that has any, for good.

Tombstones come first: from then on no replay brings the rows back, and a deletion that was killed can be repeated.
Shards without Keeper are reached one by one, those that are named; rows on others are an error, which names these.
"""

from collections.abc import Sequence

from msgspec import Struct

from spoolhouse.clock import now_ms
from spoolhouse.errors import StoreError
from spoolhouse.events.declaration import Table
from spoolhouse.events.ledger import LEDGER
from spoolhouse.events.tombstones import DELETABLE, TOMBSTONES, expect_deletable
from spoolhouse.failpoints import reach
from spoolhouse.query.questions import All, Compare, Field, Op
from spoolhouse.recover.ports import Deleted
from spoolhouse.spool.row_ranges import whole_of
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.landing import tombstones
from spoolhouse.store.clickhouse.query.dialect import Layout, Statement
from spoolhouse.store.clickhouse.quoting import identifier
from spoolhouse.store.clickhouse.schema.ddl import placed
from spoolhouse.store.clickhouse.schema.render import EventTable, Schema
from spoolhouse.store.clickhouse.typed_rows import typed

_CHUNK = 100


class _Found(Struct, frozen=True, kw_only=True):
    """Rows of an event that a batch has brought."""

    id: str
    batch: str
    rows: int
    last_ms: int
    """When they were shipped."""


async def delete(
    servers: Sequence[Driver], schema: Schema, prefix: str, what: str, *, project: str, ids: Sequence[str]
) -> Deleted:
    """Delete events; return once the servers have rewritten the tables. Harmless for what is not there.

    Any of `servers` reads the rows of all. Figures in rollups stay: they name nobody. Raises `StoreError`.
    """
    expect_deletable(what, project, ids)
    driver = servers[0]
    deletion = _Deletion(driver=driver, servers=servers, schema=schema, prefix=prefix, what=what, project=project)
    rows = {table.name: 0 for table, _ in DELETABLE[what]}
    batches: set[str] = set()
    for start in range(0, len(ids), _CHUNK):
        some = ids[start : start + _CHUNK]
        found = {table.name: await deletion.found(table, column, some) for table, column in DELETABLE[what]}
        batches |= await deletion.mark(some, [one for rows in found.values() for one in rows])
        reach("delete.marked")
        for table, column in DELETABLE[what]:
            rows[table.name] += sum(one.rows for one in found[table.name])
            if found[table.name]:
                await deletion.delete(table, column, some)
                reach("delete.table_done")
    return Deleted(rows=rows, files=await _files(driver, prefix, sorted(map(whole_of, batches))))


class _Deletion(Struct, frozen=True, kw_only=True):
    """The steps for some ids. Methods raise `StoreError`."""

    driver: Driver
    servers: Sequence[Driver]
    schema: Schema
    prefix: str
    what: str
    project: str

    async def found(self, table: Table, column: str, ids: Sequence[str]) -> list[_Found]:
        """Return the rows that there are."""
        made = Statement(self.prefix, Layout())
        where = made.where(table, self._where(column, ids), newest=False)
        sql = (
            f"SELECT {identifier(column)}, batch_id, count(), toUnixTimestamp64Milli(max(ingested_at))"
            f" FROM {made.table(table, newest=False)} WHERE {where} GROUP BY {identifier(column)}, batch_id"
        )
        found = typed(await self.driver.execute(sql, made.values), tuple[str, str, int, int])
        return [_Found(id=one, batch=batch, rows=rows, last_ms=last) for one, batch, rows, last in found]

    async def mark(self, ids: Sequence[str], found: Sequence[_Found]) -> set[str]:
        """Write the tombstones; return all batches that have ever brought rows of these ids, as far as is known."""
        earlier = await tombstones.batches_of(
            self.driver, project=self.project, what=self.what, ids=ids, prefix=self.prefix
        )
        batches = {one: earlier.get(one, set()) for one in ids}
        for one in found:
            batches[one.id].add(one.batch)
        await tombstones.write(
            self.driver,
            self._own(TOMBSTONES).table.name,
            project=self.project,
            what=self.what,
            batches=batches,
            # The clock of the daemon that shipped them may be ahead of this one.
            deleted_ms=max([now_ms(), *(one.last_ms for one in found)]),
        )
        return set().union(*batches.values())

    async def delete(self, table: Table, column: str, ids: Sequence[str]) -> None:
        """Delete the rows; return once they are gone on all replicas."""
        made = Statement(self.prefix, Layout())
        condition = made.where(table, self._where(column, ids), newest=False)
        place = placed(self.schema.database, self._own(table).table.name, self.schema.on_cluster)
        # 2: on all replicas. A mutation rewrites the parts that have such a row.
        sql = f"ALTER TABLE {place} DELETE WHERE {condition} SETTINGS mutations_sync = 2"
        for server in self.servers:
            await server.execute(sql, made.values)
        if left := await self.found(table, column, ids):
            rows = f"{sum(one.rows for one in left)} rows of {self.prefix}{table.name}"
            if others := await self._servers_with(table, column, ids):
                raise StoreError(
                    f"{rows} are on servers that were not asked to delete them, or came meanwhile: {', '.join(others)}",
                    hint="name a host of each shard in clickhouse.url, separated by commas, and run the command again",
                )
            raise StoreError(
                f"{rows} came while they were deleted", hint="run the command again once their files have landed"
            )

    async def _servers_with(self, table: Table, column: str, ids: Sequence[str]) -> list[str]:
        """Return the servers of the shards that have rows, where one statement does not reach all shards."""
        distributed = self._own(table).distributed
        if not distributed or self.schema.on_cluster:
            return []
        made = Statement(self.prefix, Layout())
        shards = (
            f"SELECT _shard_num FROM {made.table(table, newest=False)}"
            f" WHERE {made.where(table, self._where(column, ids), newest=False)}"
        )
        sql = (
            "SELECT DISTINCT concat(host_name, ':', toString(port)) FROM system.clusters"
            f" WHERE cluster = {made.bind(distributed[0].cluster.name)} AND shard_num IN ({shards}) ORDER BY 1"
        )
        return [str(one) for (one,) in await self.driver.execute(sql, made.values)]

    def _where(self, column: str, ids: Sequence[str]) -> All:
        return All((Compare(Field("project_id"), Op.EQ, self.project), Compare(Field(column), Op.IN, tuple(ids))))

    def _own(self, table: Table) -> EventTable:
        [own] = [one for one in self.schema.tables if one.name == self.prefix + table.name]
        return own


async def _files(driver: Driver, prefix: str, batches: Sequence[str]) -> list[str]:
    files: set[str] = set()
    for start in range(0, len(batches), _CHUNK):
        made = Statement(prefix, Layout())
        some = made.bind(batches[start : start + _CHUNK], "Array(String)")
        sql = f"SELECT DISTINCT file FROM {identifier(prefix + LEDGER.name)} WHERE batch IN {some}"
        files |= {str(file) for (file,) in await driver.execute(sql, made.values)}
    return sorted(files)
