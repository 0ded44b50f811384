"""Part pressure: slows inserts down while ClickHouse cannot merge as fast as they come, before it refuses them (252).

Promises: an insert never waits longer than `core.pressure.LONGEST_WAIT`, nor after a stop; a look that fails keeps
nothing from being inserted.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import structlog

from spoolhouse.errors import StoreError
from spoolhouse.events.declaration import Table
from spoolhouse.events.naming import target_name
from spoolhouse.monitoring import heartbeat, metrics
from spoolhouse.spool import linger
from spoolhouse.spool.linger import PartLimits
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.schema import server_ddl

log = structlog.get_logger(__name__)

_INTERVAL = 3.0
"""Seconds between two looks, while there are inserts or pressure."""
_PATIENCE = 5.0
"""Seconds that a look may take."""
_TOLD_FROM = 0.1
"""Pressure from which it is said that there is some; its end is said at none, so that it does not flicker."""

_DELAY, _THROW = "parts_to_delay_insert", "parts_to_throw_insert"
# What the session says wins over what the table says, which wins over the server's default.
_SETTINGS = f"""
SELECT 'session', name, toUInt64(value) FROM system.settings WHERE name IN ('{_DELAY}', '{_THROW}')
UNION ALL
SELECT 'default', name, toUInt64(value) FROM system.merge_tree_settings WHERE name IN ('{_DELAY}', '{_THROW}')
"""  # noqa: S608  # constants
_TABLES = """
SELECT name, engine_full FROM system.tables
WHERE database = currentDatabase() AND has({names:Array(String)}, name) AND engine LIKE '%MergeTree'
"""
# The server looks at the fullest partition, whichever an insert goes to; and not at one of large parts, which cost
# readers little.
_PARTS = """
SELECT table, max(parts) FROM
(
    SELECT table, count() AS parts FROM system.parts
    WHERE active AND database = currentDatabase() AND has({names:Array(String)}, table) GROUP BY table, partition_id
    HAVING avg(bytes_on_disk) <=
        (SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'max_avg_part_size_for_too_many_parts')
)
GROUP BY table
"""


def filled(tables: Iterable[Table], *, prefix: str) -> dict[str, tuple[str, ...]]:
    """Return, for each table, all tables that an insert into it makes parts in: itself, and its rollups' targets."""
    return {
        prefix + table.name: (
            prefix + table.name,
            *(target_name(rollup, prefix=prefix) for rollup in table.rollups),
        )
        for table in tables
    }


async def look(driver: Driver, names: Sequence[str]) -> dict[str, tuple[int, PartLimits]]:
    """Return, for each table of the driver's database that is there, the parts of its fullest partition and its limits.

    Raises `StoreError`.
    """
    about = {"names": names}
    settings = await driver.execute(_SETTINGS)
    chosen = {(str(scope), str(name)): int(str(value)) for scope, name, value in settings}
    described = {str(name): str(full) for name, full in await driver.execute(_TABLES, about)}
    parts = {str(name): int(str(count)) for name, count in await driver.execute(_PARTS, about)}

    def limit(full: str, setting: str) -> int:
        own = server_ddl.setting(full, setting)
        return chosen.get(("session", setting)) or own or chosen.get(("default", setting), 0)

    return {
        name: (parts.get(name, 0), PartLimits(delay_at=limit(full, _DELAY), throw_at=limit(full, _THROW)))
        for name, full in described.items()
    }


class PartPressure:
    """What is known of the parts of each table and of the targets that its views fill; shared by all inserts.

    Between two looks each of our own inserts counts as one part: limits may be lower than what lands in an interval.
    """

    def __init__(self, driver: Driver, tables: Mapping[str, Sequence[str]], stop: asyncio.Event) -> None:
        """Ask through `driver`; `tables` are the names that an insert into each table makes parts in, its own too."""
        self._driver = driver
        self._stop = stop
        self.watch(tables)
        self._limits: dict[str, PartLimits] = {}
        self._parts: dict[str, int] = {}
        self._under_way: dict[str, int] = {}
        self._done: dict[str, int] = {}
        """Inserts since the last look."""
        self._looking = asyncio.Lock()
        self._looked = float("-inf")
        self._told: set[str] = set()
        self._unknown = False

    def watch(self, tables: Mapping[str, Sequence[str]]) -> None:
        """Look at these tables from now on."""
        self._tables = tables
        self._names = sorted({name for names in tables.values() for name in names})

    def of(self, table: str) -> float:
        """Return the pressure on a table: 0 is none, at 1 inserts are as few as they can be."""
        own = self._under_way.get(table, 0) + self._done.get(table, 0)
        return max((self._on(name, own) for name in self._tables.get(table, ())), default=0.0)

    @asynccontextmanager
    async def room(self, table: str) -> AsyncGenerator[None]:
        """Wait until an insert into `table` should be sent, and count it while it runs."""
        await self._look_if_due()
        began = time.monotonic()
        while (left := linger.wait(self.of(table)) - (time.monotonic() - began)) > 0 and not self._stop.is_set():
            await self._pause(min(left, _INTERVAL))
            await self._look_if_due()
        self._under_way[table] = self._under_way.get(table, 0) + 1
        try:
            yield
        finally:
            self._under_way[table] -= 1
            self._done[table] = self._done.get(table, 0) + 1

    async def run(self) -> None:
        """Go on looking while there is pressure, so that its end is seen also when nothing is inserted."""
        while not self._stop.is_set():
            await self._pause(_INTERVAL)
            if any(self.of(table) for table in self._tables):
                await self._look_if_due()

    def _on(self, name: str, own: int) -> float:
        limits = self._limits.get(name)
        return 0.0 if limits is None else linger.pressure(self._parts.get(name, 0) + own, limits)

    async def _pause(self, seconds: float) -> None:
        with heartbeat.idle(), suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    async def _look_if_due(self) -> None:
        async with self._looking:
            if time.monotonic() - self._looked < _INTERVAL:
                return
            done = dict(self._done)
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._look()
            except (StoreError, TimeoutError) as error:
                # Whether the server can be used is found out, and said, by the insert itself.
                if not self._unknown:
                    log.warning("part_pressure_unknown", error=str(error) or "no answer in time")
                self._unknown = True
            else:
                self._unknown = False
                for table, count in done.items():  # what ended during the look may not be in its answer
                    self._done[table] -= count
                self._tell()
            self._looked = time.monotonic()

    async def _look(self) -> None:
        seen = await look(self._driver, self._names)
        self._limits = {name: limits for name, (_, limits) in seen.items()}
        self._parts = {name: parts for name, (parts, _) in seen.items()}

    def _tell(self) -> None:
        for name, limits in self._limits.items():
            strain, parts = self._on(name, 0), self._parts.get(name, 0)
            metrics.PART_PRESSURE.labels(name).set(strain)
            if strain >= _TOLD_FROM and name not in self._told:
                self._told.add(name)
                log.warning(
                    "part_pressure_began",
                    table=name,
                    parts=parts,
                    delay_at=limits.delay_at,
                    throw_at=limits.throw_at,
                    hint="inserts are fewer and larger until merges catch up; if it lasts, see why it does not merge",
                )
            elif not strain and name in self._told:
                self._told.remove(name)
                log.info("part_pressure_ended", table=name, parts=parts)
