"""Rollups that come after their rows, in another version, or that lost their feed: every line is counted once."""

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import RejectedDataError
from spoolhouse.events.builtin import LOGS, METRICS
from spoolhouse.events.declaration import Rollup, Table, Tally
from spoolhouse.events.naming import target_name
from spoolhouse.store.clickhouse.driver import Driver, Parameter, RowsInsert, Setting
from spoolhouse.store.clickhouse.drivers.connect import connect
from spoolhouse.store.clickhouse.schema import backfill, backfill_sql
from spoolhouse.store.clickhouse.schema.migrate import Plan, apply, check, migrate
from spoolhouse.store.clickhouse.schema.render import Schema, declare
from spoolhouse.store.clickhouse.schema.rollups import COMPACT_DAYS
from spoolhouse.store.migration import Change
from tests.engine import Database

NOW = datetime.now(tz=UTC).replace(microsecond=0)
MONTHS = [NOW - timedelta(days=days) for days in (1, 25, 32)]
LEVELS = ("info", "error")

(HOURLY,) = LOGS.rollups
SECOND = replace(HOURLY, version=2, keys=("project_id",), tallies=(Tally(name="errors", only={"level": ("error",)}),))
"""The same rollup as somebody may want it a year later."""


def logs_with(*rollups: Rollup) -> Table:
    # Else rows of two months would expire in the middle of a test.
    return replace(LOGS, rollups=rollups, ttl_days=365)


def schema_of(database: Database, *rollups: Rollup) -> Schema:
    return declare(database=database.name, prefix="", tables=(logs_with(*rollups),))


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Driver]:
    driver = connect(url)
    try:
        yield driver
    finally:
        await driver.close()


@dataclass(slots=True, kw_only=True)
class Sender:
    """Sends batches of log lines as a daemon does, and remembers them."""

    driver: Driver
    sent: dict[str, list[str]] = field(default_factory=dict)
    """The levels of each batch's lines."""
    old: set[str] = field(default_factory=set)
    """Batches that are folded into one another as soon as a target is whole."""

    async def send(self, levels: list[str], *, days_ago: int = 0, gate: asyncio.Event | None = None) -> str:
        """Send a batch; with a `gate`, all but its end before that opens."""
        batch = f"{uuid.uuid4()}:logs"
        self.sent[batch] = levels
        if days_ago > COMPACT_DAYS:
            self.old.add(batch)
        await self.driver.insert_rows(
            RowsInsert(
                table="logs",
                columns=LOGS.columns,
                batch_id=batch,
                token=batch,
                clock_ms=int((NOW - timedelta(days=days_ago)).timestamp() * 1000),
            ),
            self._rows(levels, gate),
        )
        return batch

    async def _rows(self, levels: list[str], gate: asyncio.Event | None) -> AsyncIterator[Rows]:
        for number, level in enumerate(levels):
            time = MONTHS[number % len(MONTHS)].isoformat()
            event = {"id": uuid.uuid4().hex, "project_id": "p", "level": level, "timestamp": time, "recorded_at": time}
            # An insert begins with its first four megabytes.
            event["message"] = "m" if gate is None else "m" * 5_000_000
            row = [event.get(column.name, None if column.nullable else "") for column in LOGS.columns]
            yield Rows(data=json.dumps(row).encode() + b"\n", count=1)
        if gate is not None:
            await gate.wait()


def by_batch(database: Database, rollup: Rollup) -> dict[str, int]:
    target = target_name(rollup, prefix="")
    return dict(database.query(f"SELECT batch_id, sum(lines) FROM {target} GROUP BY batch_id"))


def shown(database: Database) -> dict[str, int]:
    return dict(database.query("SELECT toString(level), sum(count) FROM logs_hourly_stats GROUP BY level"))


def expected(sender: Sender) -> dict[str, int]:
    lines = [level for levels in sender.sent.values() for level in levels]
    return {level: lines.count(level) for level in LEVELS if level in lines}


@pytest.fixture
async def sender(database: Database) -> AsyncIterator[Sender]:
    """Somebody who sends, into a table that has no rollup yet."""
    async with connected(database.native_url) as driver:
        await migrate(schema_of(database), driver)
        yield Sender(driver=driver)


async def test_a_rollup_that_comes_late_counts_what_was_there(database: Database, sender: Sender) -> None:
    for number in range(5):
        await sender.send(["info"] * number + ["error"], days_ago=number * 20)
    assert await migrate(schema_of(database, HOURLY), sender.driver) == Plan()
    assert shown(database) == expected(sender)
    await sender.send(["info"] * 4)
    assert shown(database) == expected(sender)


async def test_another_version_is_built_from_the_rows_while_the_first_is_shown(
    database: Database, sender: Sender
) -> None:
    await migrate(schema_of(database, HOURLY), sender.driver)
    await sender.send(["info", "error", "error"])
    todo = await check(schema_of(database, SECOND), sender.driver)
    await apply(todo, sender.driver, most_rows=0)
    # Not shown yet, but fed: what comes from now on need not be looked for.
    await sender.send(["info"])
    assert shown(database) == expected(sender)
    assert (await check(schema_of(database, SECOND), sender.driver)).unfilled == ("logs_hourly_v2",)
    assert await migrate(schema_of(database, SECOND), sender.driver) == Plan()
    assert shown(database) == expected(sender)
    assert database.query("SELECT sum(errors) FROM logs_hourly_stats") == [(2,)]
    names = {name for (name,) in database.query("SHOW TABLES")}
    assert names == {"logs", "logs_hourly", "logs_hourly_v2", "logs_hourly_v2_feed", "logs_hourly_stats"}


async def test_a_rollup_that_changed_without_a_version_is_refused(database: Database, sender: Sender) -> None:
    await migrate(schema_of(database, HOURLY), sender.driver)
    left = await migrate(schema_of(database, replace(HOURLY, count_when="trace_id")), sender.driver)
    (refusal,) = left.refusals
    assert "version" in refusal.hint
    assert not left.steps


async def test_what_came_while_there_was_no_feed_is_counted(database: Database, sender: Sender) -> None:
    """Old batches that are folded cannot be told from missing ones: they must not be counted again."""
    await migrate(schema_of(database, HOURLY), sender.driver)
    for _ in range(3):
        await sender.send(["info"], days_ago=COMPACT_DAYS + 5)
    database.query("OPTIMIZE TABLE logs_hourly FINAL")
    assert len(by_batch(database, HOURLY)) == 1
    await sender.send(["error"])
    database.query("DROP VIEW logs_hourly_feed")
    await sender.send(["info", "error"])
    assert shown(database) != expected(sender)
    assert await migrate(schema_of(database, HOURLY), sender.driver) == Plan()
    assert shown(database) == expected(sender)


async def test_an_insert_that_is_older_than_the_feed_is_waited_for_and_counted(
    database: Database, sender: Sender
) -> None:
    gate = asyncio.Event()
    async with connected(database.native_url) as admin, asyncio.TaskGroup() as group:
        group.create_task(sender.send(["info", "error"], gate=gate))
        while not await admin.execute("SELECT 1 FROM system.processes WHERE endsWith(query_id, ':logs')"):  # noqa: ASYNC110  # a server tells nobody
            await asyncio.sleep(0.01)
        migration = group.create_task(migrate(schema_of(database, HOURLY), admin))
        while not database.query("EXISTS logs_hourly_feed")[0][0]:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.01)
        done, _ = await asyncio.wait([migration], timeout=2 * backfill.PAUSE)
        assert not done
        gate.set()
    assert migration.result() == Plan()
    assert by_batch(database, HOURLY) == {batch: len(levels) for batch, levels in sender.sent.items()}


@pytest.mark.parametrize("seed", range(2))
async def test_instances_fill_while_others_insert(
    database: Database, sender: Sender, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several migrations at once, one of them cut off again and again, beside a stream of inserts."""
    monkeypatch.setattr(backfill_sql, "BATCHES", 7)
    monkeypatch.setattr(backfill, "ROWS", 12)
    monkeypatch.setattr(backfill, "PAUSE", 0.02)
    chance = random.Random(seed)
    some = [[chance.choice(LEVELS) for _ in range(chance.randint(1, 6))] for _ in range(80)]
    for levels in some[:40]:
        await sender.send(levels, days_ago=chance.choice([0, 40]))
    schema = schema_of(database, HOURLY)

    async def insert(portion: list[list[str]]) -> None:
        for levels in portion:
            await sender.send(levels)

    async def fill(url: str) -> None:
        async with connected(url) as driver:
            assert await migrate(schema, driver) == Plan()

    async def fill_with_interruptions() -> None:
        seconds = 0.02
        while True:
            try:
                async with asyncio.timeout(seconds):
                    await fill(database.native_url)
            except TimeoutError:
                seconds *= 1.5
            else:
                return

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(insert(some[40 + number :: 3]))
        group.create_task(fill(database.native_url))
        group.create_task(fill(database.http_url))
        group.create_task(fill_with_interruptions())
    young = sender.sent.keys() - sender.old
    counted = by_batch(database, HOURLY)
    assert {batch: counted[batch] for batch in young} == {batch: len(sender.sent[batch]) for batch in young}
    database.query("OPTIMIZE TABLE logs_hourly FINAL")
    assert shown(database) == expected(sender)
    assert await check(schema, sender.driver) == Plan()


@dataclass(slots=True, kw_only=True)
class Overtaken:
    """A driver whose user is overtaken by others each time, or some times, after one of its statements."""

    driver: Driver
    after: str | int
    """The statement, or its number."""
    overtake: Callable[[], Awaitable[object]]
    times: int = 1
    statements: int = 0

    async def ping(self) -> None:
        await self.driver.ping()

    async def execute(
        self,
        sql: str,
        parameters: Mapping[str, Parameter] | None = None,
        *,
        query_id: str = "",
        settings: Mapping[str, Setting] | None = None,
    ) -> list[tuple[object, ...]]:
        rows = await self.driver.execute(sql, parameters, query_id=query_id, settings=settings)
        self.statements += 1
        if self.after in {sql, self.statements} and self.times:
            self.times -= 1
            await self.overtake()
        return rows

    async def insert_rows(self, insert: RowsInsert, rows: AsyncIterable[Rows]) -> None:
        await self.driver.insert_rows(insert, rows)

    async def close(self) -> None:
        await self.driver.close()


async def test_a_fill_that_is_overtaken_ends(database: Database, sender: Sender) -> None:
    """Folded batches look as if they were missing, for ever: only the target says that they are counted."""
    for _ in range(3):
        await sender.send(["info"], days_ago=COMPACT_DAYS + 5)
    schema = schema_of(database, HOURLY)
    todo = await check(schema, sender.driver)
    (fill,) = (step for step in todo.steps if not isinstance(step, Change))

    async def overtake() -> None:
        assert await migrate(schema, sender.driver) == Plan()
        database.query("OPTIMIZE TABLE logs_hourly FINAL")

    async with asyncio.timeout(30):
        await apply(todo, Overtaken(driver=sender.driver, after=fill.backfill.left, overtake=overtake))
    assert shown(database) == expected(sender)


async def test_figures_that_would_expire_at_once_are_not_counted(database: Database, sender: Sender) -> None:
    """A merge takes them away, and then they look as if they were missing: they would be counted for ever."""
    for _ in range(3):
        await sender.send(["info"] * len(MONTHS))
    todo = await check(schema_of(database, replace(HOURLY, ttl_days=10)), sender.driver)
    (fill,) = (step for step in todo.steps if not isinstance(step, Change))

    async def merge() -> None:
        database.query("OPTIMIZE TABLE logs_hourly FINAL")

    merging = Overtaken(driver=sender.driver, after=fill.backfill.count, overtake=merge, times=20)
    async with asyncio.timeout(30):
        await apply(todo, merging)
    assert merging.times > 0
    assert shown(database) == {"info": 3}


async def test_a_stale_plan_counts_nothing_again(database: Database, sender: Sender) -> None:
    """Another instance has finished meanwhile, and old batches are folded: they look as if they were missing."""
    for _ in range(3):
        await sender.send(["info"], days_ago=COMPACT_DAYS + 5)
    todo = await check(schema_of(database, HOURLY), sender.driver)
    assert await migrate(schema_of(database, HOURLY), sender.driver) == Plan()
    database.query("OPTIMIZE TABLE logs_hourly FINAL")
    await apply(todo, sender.driver)
    assert shown(database) == expected(sender)
    (fill,) = (step for step in todo.steps if not isinstance(step, Change))
    for (partition,) in database.query("SELECT DISTINCT _partition_id FROM logs"):
        values = {"partition": str(partition), "batches": list(sender.sent)}
        await sender.driver.execute(fill.backfill.count, values)
    assert shown(database) == expected(sender)


async def test_a_rollup_that_cannot_be_filled_keeps_a_daemon_from_nothing(database: Database, sender: Sender) -> None:
    """Its target forbids it here; elsewhere its memory may not suffice. A person is told at once."""
    await sender.send(["info"])
    schema = declare(database=database.name, prefix="", tables=(logs_with(HOURLY), METRICS))
    target = schema.tables[0].rollups[0].target
    database.query(target.create(database.name, comment=backfill_sql.MissingRows.ALL))
    database.query("ALTER TABLE logs_hourly ADD CONSTRAINT no CHECK lines > 1000")
    with pytest.raises(RejectedDataError):
        await migrate(schema, sender.driver)
    assert not database.query("EXISTS metrics")[0][0]
    left = await migrate(schema, sender.driver, most_rows=100)
    assert (left.unfilled, left.refusals) == (("logs_hourly",), ())
    assert database.query("EXISTS metrics_hourly_feed")[0][0]
    database.query("ALTER TABLE logs_hourly DROP CONSTRAINT no")
    assert await migrate(schema, sender.driver, most_rows=100) == Plan()
    assert shown(database) == expected(sender)


def test_portions_are_bounded_but_for_one_batch_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "ROWS", 10)
    assert [list(group) for group in backfill.portions([("a", 6), ("b", 4), ("c", 1), ("d", 30), ("e", 1)])] == [
        [("a", 6), ("b", 4)],
        [("c", 1)],
        [("d", 30)],
        [("e", 1)],
    ]
