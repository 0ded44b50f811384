"""`clickhouse.durable`: rows are on the server's disk before they are acknowledged, in the tables and the rollups."""

import pytest

from spoolhouse.errors import OperatorError
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.service import clickhouse
from spoolhouse.settings import Settings
from spoolhouse.settings.clickhouse import ClickHouseSettings
from spoolhouse.settings.spool import SpoolSettings
from spoolhouse.store.clickhouse.drivers.connect import connect
from spoolhouse.store.clickhouse.schema.dedup_guard import unsynced
from spoolhouse.store.clickhouse.schema.migrate import Plan, check, migrate
from spoolhouse.store.clickhouse.schema.render import declare, tables_of
from tests.engine import Database

TABLES = tables_of(BUILT_IN)

SYNCED = ("fsync_after_insert", "fsync_part_directory")


def settings_of(database: Database, **clickhouse: bool) -> Settings:
    return Settings(clickhouse=ClickHouseSettings.model_validate({"url": database.native_url, **clickhouse}))


async def prepare_with(settings: Settings) -> None:
    driver = clickhouse.open_driver(settings)
    try:
        await clickhouse.prepare(settings, driver, clickhouse.schema_of(settings, BUILT_IN))
    finally:
        await driver.close()


def table_settings(database: Database) -> dict[str, int]:
    """Return how many of the settings each table has that holds rows."""
    rows = database.query(
        f"SELECT name, {' + '.join(f'(engine_full LIKE {name!r})' for name in (f'%{name} = 1%' for name in SYNCED))} "
        "FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    )
    return dict(rows)


def syncs(database: Database) -> int:
    """Return how often the server has synced a file or a folder so far."""
    # A constant first: there is no row for an event that never happened.
    rows = database.query("SELECT sum(value) FROM system.events WHERE event IN ('FileSync', 'DirectorySync')")
    return int(rows[0][0])


@pytest.mark.parametrize(
    "settings",
    [{"clickhouse": {"durable": True}}, {"spool": {"delete_after_process": True}}],
    ids=["asked for", "files are deleted"],
)
async def test_all_tables_that_hold_rows_are_synced(database: Database, settings: dict[str, dict[str, bool]]) -> None:
    clickhouse = ClickHouseSettings.model_validate({"url": database.native_url, **settings.get("clickhouse", {})})
    await prepare_with(Settings(clickhouse=clickhouse, spool=SpoolSettings.model_validate(settings.get("spool", {}))))
    found = table_settings(database)
    assert {"mastra_admin_spans", "mastra_admin_spans_hourly"} <= set(found)
    assert set(found.values()) == {2}


async def test_an_insert_syncs_table_and_rollup(database: Database) -> None:
    insert = "INSERT INTO mastra_admin_logs (id, project_id, timestamp) VALUES ('{}', 'p', now64())"
    counts = []
    for durable in (False, True):
        await prepare_with(settings_of(database, durable=durable))
        before = syncs(database)
        database.query(insert.format(durable))
        counts.append(syncs(database) - before)
    assert counts[0] == 0
    assert counts[1] >= 4  # a part and its folder, in the table and in its rollup


async def test_tables_that_are_there_are_changed_and_stay_so(database: Database) -> None:
    await prepare_with(settings_of(database))
    assert set(table_settings(database).values()) == {0}
    await prepare_with(settings_of(database, durable=True))
    assert set(table_settings(database).values()) == {2}
    driver = connect(database.native_url)
    assert await check(declare(database=database.name, durable=True, tables=TABLES), driver) == Plan()
    # What is safer than was asked for is no drift.
    assert await migrate(declare(database=database.name, tables=TABLES), driver) == Plan()
    await driver.close()
    assert set(table_settings(database).values()) == {2}


async def test_nothing_is_claimed_while_it_is_not_so(database: Database) -> None:
    """Without `clickhouse.migrate` only a person can fix it; until then a deleted file could take its rows along."""
    await prepare_with(settings_of(database))
    with pytest.raises(OperatorError, match=r"clickhouse\.durable.*mastra_admin_logs") as refusal:
        await prepare_with(settings_of(database, durable=True, migrate=False))
    assert "fsync_after_insert = 1" in refusal.value.hint


async def test_the_servers_own_spelling_of_true_counts(database: Database) -> None:
    await prepare_with(settings_of(database, durable=True))
    database.query("ALTER TABLE mastra_admin_logs MODIFY SETTING fsync_after_insert = true")
    driver = connect(database.native_url)
    schema = declare(database=database.name, durable=True, tables=TABLES)
    assert await unsynced(schema, driver) == ()
    database.query("ALTER TABLE mastra_admin_logs RESET SETTING fsync_after_insert")
    assert await unsynced(schema, driver) == (f"{database.name}.mastra_admin_logs",)
    await driver.close()
