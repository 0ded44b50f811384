"""Migration on a real server: from nothing, from drift, by several instances at once, and after an interruption."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from chdb.session import Session
from msgspec import structs
from msgspec.structs import replace

from spoolhouse.events.builtin import BUILT_IN, LOGS
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.drivers.connect import connect
from spoolhouse.store.clickhouse.schema.dedup_guard import unguarded
from spoolhouse.store.clickhouse.schema.migrate import Plan, apply, check, migrate
from spoolhouse.store.clickhouse.schema.render import declare, object_names, tables_of
from tests.engine import Database, QueryError
from tests.store.test_backfill import Overtaken

TABLES = tables_of(BUILT_IN)

SCRIPT = Path(__file__).parents[2] / "config" / "schema.sql"

GOLDEN = Path(__file__).parents[1] / "unit" / "golden"

WINDOW = "non_replicated_deduplication_window = 10000"

DRIFTS = {
    "a column": "ALTER TABLE mastra_admin_traces DROP COLUMN metadata",
    "an index": "ALTER TABLE mastra_admin_traces DROP INDEX idx_trace_id",
    "a codec": "ALTER TABLE mastra_admin_traces MODIFY COLUMN input REMOVE CODEC",
    "a table's window": "ALTER TABLE mastra_admin_spans RESET SETTING non_replicated_deduplication_window",
    "a target's window": "ALTER TABLE mastra_admin_spans_hourly MODIFY SETTING non_replicated_deduplication_window = 5",
    "a readable view": "DROP VIEW mastra_admin_logs_hourly_stats",
    "another readable view": "CREATE OR REPLACE VIEW mastra_admin_spans_hourly_stats AS SELECT 1 AS one",
    "a feed": "DROP VIEW mastra_admin_logs_hourly_feed",
    "a target": "DROP TABLE mastra_admin_metrics_hourly",
    "a table": "DROP TABLE mastra_admin_scores",
    "days of a TTL": "ALTER TABLE mastra_admin_logs MODIFY TTL toDateTime(timestamp) + INTERVAL 5 DAY",
    "a fold": "ALTER TABLE mastra_admin_traces_hourly MODIFY TTL toDateTime(hour) + INTERVAL 730 DAY",
}
"""What a database may lose, each fixed by adding it again."""

REFUSED = {
    "a type": "ALTER TABLE mastra_admin_traces MODIFY COLUMN duration_ms Nullable(Int32)",
    "a NULL": "ALTER TABLE mastra_admin_logs MODIFY COLUMN message Nullable(String)",
    "an index of another kind": (
        "ALTER TABLE mastra_admin_traces DROP INDEX idx_trace_id, ADD INDEX idx_trace_id name TYPE minmax"
    ),
    "more days": "ALTER TABLE mastra_admin_logs MODIFY TTL toDateTime(timestamp) + INTERVAL 500 DAY",
    "no TTL": "ALTER TABLE mastra_admin_logs REMOVE TTL",
    "a feed of another kind": "ALTER TABLE mastra_admin_logs_hourly_feed MODIFY COMMENT 'mine'",
}
"""What a migration may not undo, because data would go, or be written or counted anew."""

ALLOWED = {
    "a column": "ALTER TABLE mastra_admin_traces ADD COLUMN mine String DEFAULT 'x'",
    "an index": "ALTER TABLE mastra_admin_traces ADD INDEX mine name TYPE set(10)",
    "a table": "CREATE TABLE mastra_admin_mine (id String) ENGINE = Log",
    "a view": "CREATE VIEW mine AS SELECT 1 AS one",
    "a codec": "ALTER TABLE mastra_admin_traces MODIFY COLUMN input CODEC(ZSTD(9))",
    "a longer window": "ALTER TABLE mastra_admin_traces MODIFY SETTING non_replicated_deduplication_window = 90000",
    "another setting": "ALTER TABLE mastra_admin_traces MODIFY SETTING parts_to_throw_insert = 5000",
}
"""What people may do to a database of theirs without being told off."""

FIRST_VERSION = (
    """
    CREATE TABLE mastra_admin_traces
    (
        trace_id String, project_id String, deployment_id String, name String,
        status Enum8('ok' = 1, 'error' = 2, 'unset' = 0), start_time DateTime64(3), end_time Nullable(DateTime64(3)),
        duration_ms Nullable(Int64), input String DEFAULT '', output String DEFAULT '', metadata String DEFAULT '{}',
        recorded_at DateTime64(3), ingested_at DateTime64(3) DEFAULT now64(3)
    )
    ENGINE = ReplacingMergeTree(ingested_at) PARTITION BY toYYYYMM(start_time)
    ORDER BY (project_id, deployment_id, start_time, trace_id)
    """,
    """
    CREATE MATERIALIZED VIEW mastra_admin_traces_hourly_stats
    ENGINE = SummingMergeTree ORDER BY (project_id, hour)
    AS SELECT project_id, toStartOfHour(start_time) AS hour, count() AS count
    FROM mastra_admin_traces GROUP BY project_id, hour
    """,
    "INSERT INTO mastra_admin_traces (trace_id, project_id, start_time) VALUES ('t', 'p', now64())",
)
"""The seed's traces, as a database may have them from before."""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Driver]:
    """Connect as a daemon must whose own database is yet to be made: to `default`."""
    driver = connect(url, database="default")
    try:
        yield driver
    finally:
        await driver.close()


def names(database: Database) -> set[str]:
    return {name for (name,) in database.query("SELECT name FROM system.tables WHERE database = currentDatabase()")}


def insert_log(database: Database, batch: str, level: str) -> None:
    database.query(
        "INSERT INTO mastra_admin_logs (id, project_id, level, message, timestamp, recorded_at, ingested_at, batch_id) "
        f"VALUES ('{batch}', 'p', '{level}', 'm', now64(), now64(), now64(), '{batch}')"
    )


def counted_logs(database: Database) -> dict[str, int]:
    return dict(database.query("SELECT toString(level), sum(count) FROM mastra_admin_logs_hourly_stats GROUP BY level"))


@pytest.mark.parametrize("scheme", ["http", "native"])
async def test_from_nothing_to_nothing_left_to_do(database: Database, scheme: str) -> None:
    database.drop()
    schema = declare(database=database.name, tables=TABLES)
    async with connected(database.http_url if scheme == "http" else database.native_url) as driver:
        assert len((await check(schema, driver)).statements) > len(object_names(schema))
        assert await migrate(schema, driver) == Plan()
        assert await unguarded(schema, driver) == {}
    assert names(database) == set(object_names(schema))


async def test_from_nothing_in_an_embedded_engine(engine: tuple[str, Session]) -> None:
    driver = connect(engine[0])
    try:
        assert await migrate(declare(database="embedded", tables=TABLES), driver) == Plan()
    finally:
        await driver.execute("DROP DATABASE IF EXISTS embedded SYNC")
        await driver.close()


async def test_a_check_changes_nothing(database: Database) -> None:
    async with connected(database.http_url) as driver:
        assert not (await check(declare(database=database.name, tables=TABLES), driver)).empty
    assert not names(database)


async def test_names_are_only_names(database: Database) -> None:
    odd = f"{database.name} `odd` 'name' \\"
    async with connected(database.http_url) as driver:
        try:
            assert await migrate(declare(database=odd, prefix="it's `mine` \\", tables=TABLES), driver) == Plan()
        finally:
            await driver.execute("DROP DATABASE IF EXISTS {odd:Identifier} SYNC", {"odd": odd})


async def test_the_committed_script_makes_the_same(database: Database) -> None:
    script = re.sub(r"^--.*\n", "", SCRIPT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for statement in script.split(";\n"):
        if statement.strip():
            database.query(statement)
    async with connected(database.http_url) as driver:
        assert await check(declare(database=database.name, tables=TABLES), driver) == Plan()


async def test_several_instances_at_once(database: Database) -> None:
    """All of them start from the same look at the database, so all their statements race."""
    database.drop()
    schema = declare(database=database.name, tables=TABLES)

    async def instance(url: str, everyone_has_looked: asyncio.Barrier) -> None:
        async with connected(url) as driver:
            todo = await check(schema, driver)
            await everyone_has_looked.wait()
            await apply(todo, driver)

    urls = [database.http_url, database.native_url] * 3
    for drifts in (list(DRIFTS.values()), []):
        barrier = asyncio.Barrier(len(urls))
        await asyncio.gather(*(instance(url, barrier) for url in urls))
        async with connected(database.http_url) as driver:
            assert await check(schema, driver) == Plan()
        for drift in drifts:
            database.query(drift)


async def test_an_interruption_at_any_statement(database: Database) -> None:
    schema = declare(database=database.name, tables=TABLES)
    async with connected(database.http_url) as driver:
        todo = await check(schema, driver)
        while todo.statements:
            await apply(structs.replace(todo, steps=todo.steps[:1]), driver)
            left = await check(schema, driver)
            assert left.statements == todo.statements[1:]
            todo = left


async def test_a_cancellation_at_any_time(database: Database) -> None:
    schema = declare(database=database.name, tables=TABLES)
    seconds = 0.005
    async with connected(database.native_url) as driver:
        while True:
            try:
                async with asyncio.timeout(seconds):
                    assert await migrate(schema, driver) == Plan()
                break
            except TimeoutError:
                seconds *= 1.5
        assert await check(schema, driver) == Plan()


@pytest.mark.parametrize("drift", DRIFTS)
async def test_what_is_lost_is_added_again(database: Database, drift: str) -> None:
    schema = declare(database=database.name, tables=TABLES)
    async with connected(database.http_url) as driver:
        await migrate(schema, driver)
        database.query(DRIFTS[drift])
        found = await check(schema, driver)
        assert found.statements
        assert not found.refusals
        assert await migrate(schema, driver) == Plan()
    insert_log(database, "b", "fatal")
    assert counted_logs(database) == {"fatal": 1}


@pytest.mark.parametrize("drift", REFUSED)
async def test_what_costs_data_is_refused_with_a_statement_that_works(database: Database, drift: str) -> None:
    schema = declare(database=database.name, tables=TABLES)
    async with connected(database.http_url) as driver:
        await migrate(schema, driver)
        database.query(REFUSED[drift])
        found = await migrate(schema, driver)
        (refusal,) = found.refusals
        assert not found.statements
        await driver.execute(refusal.statement)
        assert await migrate(schema, driver) == Plan()


@pytest.mark.parametrize("change", ALLOWED)
async def test_what_is_not_ours_is_left_alone(database: Database, change: str) -> None:
    schema = declare(database=database.name, tables=TABLES)
    async with connected(database.http_url) as driver:
        await migrate(schema, driver)
        database.query(ALLOWED[change])
        assert await check(schema, driver) == Plan()


async def test_a_first_version_of_the_tables_is_not_touched(database: Database) -> None:
    for statement in FIRST_VERSION:
        database.query(statement)
    before = database.query("SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()")
    schema = declare(database=database.name, tables=TABLES)
    async with connected(database.http_url) as driver:
        left = await migrate(schema, driver)
        assert [refusal.name for refusal in left.refusals] == ["mastra_admin_traces"]
        assert not left.statements
        after = database.query("SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()")
        assert set(before) <= set(after)
        assert database.query("SELECT count() FROM mastra_admin_traces") == [(1,)]
        # Made way for, statement by statement, it is there beside the new one.
        while left.refusals:
            await driver.execute(left.refusals[0].statement)
            left = await migrate(schema, driver)
        assert left == Plan()
    assert database.query("SELECT count() FROM mastra_admin_traces_old") == [(1,)]


async def test_a_choice_is_added(database: Database) -> None:
    level = LOGS.column("level")
    columns = tuple(replace(c, choices={"debug": 0, "info": 1}) if c is level else c for c in LOGS.columns)
    schema = declare(database=database.name, tables=(replace(LOGS, columns=columns),))
    async with connected(database.http_url) as driver:
        await migrate(schema, driver)
        insert_log(database, "1", "info")
        with pytest.raises(QueryError):
            insert_log(database, "2", "fatal")
        assert await migrate(declare(database=database.name, tables=(LOGS,)), driver) == Plan()
    insert_log(database, "3", "fatal")
    assert counted_logs(database) == {"info": 1, "fatal": 1}


async def test_a_column_that_is_added_has_its_default_in_old_rows(database: Database) -> None:
    attributes = LOGS.column("attributes")
    columns = tuple(column for column in LOGS.columns if column is not attributes)
    async with connected(database.http_url) as driver:
        await migrate(declare(database=database.name, tables=(replace(LOGS, columns=columns),)), driver)
        insert_log(database, "1", "info")
        await migrate(declare(database=database.name, tables=(LOGS,)), driver)
    assert database.query("SELECT attributes FROM mastra_admin_logs") == [("{}",)]


@pytest.mark.parametrize("statement", range(1, 7))
async def test_rows_that_come_while_a_database_is_read_do_not_seem_to_lack_an_index(
    database: Database, statement: int
) -> None:
    schema = declare(database=database.name, tables=(LOGS,))

    async def insert() -> None:
        insert_log(database, "1", "info")

    async with connected(database.http_url) as driver:
        await migrate(schema, driver)
        overtaken = Overtaken(driver=driver, after=statement, overtake=insert)
        assert await check(schema, overtaken) == Plan()
        assert overtaken.times == 0, "the check asks less"


async def test_a_table_that_goes_or_comes_while_a_database_is_read_ends_nobody(database: Database) -> None:
    """Some of the statements find it, and others do not; the next check sees what is there."""
    schema = declare(database=database.name, tables=(LOGS,))
    async with connected(database.http_url) as driver:
        await migrate(schema, driver)
        for statement in range(1, 7):
            for names in ("mastra_admin_logs TO aside", "aside TO mastra_admin_logs"):
                rename = partial(asyncio.to_thread, database.query, f"RENAME TABLE {names}")
                overtaken = Overtaken(driver=driver, after=statement, overtake=rename)
                await check(schema, overtaken)
                assert overtaken.times == 0, "the check asks less"
        assert await check(schema, driver) == Plan()


async def test_an_index_that_is_added_is_made_for_old_rows(database: Database) -> None:
    schema = declare(database=database.name, tables=(LOGS,))
    stored = (
        "SELECT data_uncompressed_bytes > 0 FROM system.data_skipping_indices"
        " WHERE database = currentDatabase() AND name = 'idx_trace_id'"
    )
    async with connected(database.http_url) as driver:
        await migrate(schema, driver)
        database.query("ALTER TABLE mastra_admin_logs DROP INDEX idx_trace_id")
        insert_log(database, "1", "info")
        assert await migrate(schema, driver) == Plan()
        while database.query(stored) != [(1,)]:  # noqa: ASYNC110  # a mutation tells nobody
            await asyncio.sleep(0.02)
        # As ALTER TABLE … ADD INDEX by hand leaves it.
        database.query("ALTER TABLE mastra_admin_logs CLEAR INDEX idx_trace_id", mutations_sync=1)
        (change,) = (await check(schema, driver)).changes
        assert change.what == "~ index idx_trace_id, for old rows in the background"


async def test_a_setting_that_an_older_server_does_not_know_is_left_out(database: Database) -> None:
    schema = declare(database=database.name, tables=(LOGS,))
    (event,) = schema.tables
    newer = structs.replace(event.table, settings={**event.table.settings, "setting_of_a_later_year": 1})
    async with connected(database.http_url) as driver:
        assert await migrate(structs.replace(schema, tables=(structs.replace(event, table=newer),)), driver) == Plan()
    insert_log(database, "1", "info")


@pytest.mark.parametrize("golden", ["cluster_keeper.sql", "cluster_bare.sql", "cluster_changes.sql"])
def test_the_server_understands_every_statement_for_a_cluster(database: Database, golden: str) -> None:
    text = re.sub(r"^--.*\n", "", (GOLDEN / golden).read_text(), flags=re.MULTILINE)
    for statement in filter(str.strip, text.split(";\n")):
        assert database.query(f"EXPLAIN AST {statement}")


async def test_tables_that_would_take_a_repeated_batch_twice_are_named(database: Database) -> None:
    schema = declare(database=database.name, tables=TABLES)
    async with connected(database.http_url) as driver:
        await migrate(schema, driver)
        for statement in (
            "CREATE TABLE `odd name` (id String) ENGINE = MergeTree ORDER BY id",
            "CREATE TABLE good (id String) ENGINE = MergeTree ORDER BY id SETTINGS " + WINDOW,
            "CREATE MATERIALIZED VIEW v1 TO `odd name` AS SELECT id FROM mastra_admin_logs",
            "CREATE MATERIALIZED VIEW v2 TO good AS SELECT id FROM mastra_admin_logs",
            "CREATE MATERIALIZED VIEW v3 ENGINE = MergeTree ORDER BY id AS SELECT id FROM mastra_admin_scores",
            DRIFTS["a table's window"],
            DRIFTS["a target's window"],
        ):
            database.query(statement)
        (uuid,) = database.query(
            "SELECT toString(uuid) FROM system.tables WHERE database = currentDatabase() AND name = 'v3'"
        )
        found = await unguarded(schema, driver)
    bare = {table: {name.removeprefix(f"{database.name}.") for name in names} for table, names in found.items()}
    assert bare == {
        "mastra_admin_logs": {"odd name"},
        "mastra_admin_scores": {f".inner_id.{uuid[0]}"},
        "mastra_admin_spans": {"mastra_admin_spans", "mastra_admin_spans_hourly"},
    }
