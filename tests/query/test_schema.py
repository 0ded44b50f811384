"""The schema from code: what is missing, what makes it, and what drops it."""

import asyncio
import re
from pathlib import Path

import pytest

from spoolhouse.store.clickhouse.schema.lifecycle import (
    TABLE_NAMES,
    TABLE_SQL,
    VIEW_NAMES,
    VIEW_SQL,
    check_schema_status,
    drop_all_tables,
    run_migrations,
)
from tests.engine import Database, Server

SCRIPT = Path(__file__).parents[2] / "config" / "schema.sql"


def test_the_constants_are_the_whole_schema() -> None:
    script = SCRIPT.read_text()
    assert sorted((*TABLE_NAMES, *VIEW_NAMES)) == sorted(
        re.findall(r"^CREATE [A-Z ]+ EXISTS `(\w+)`", script, re.MULTILINE)
    )
    assert all(statement in script for statement in (*TABLE_SQL.values(), *VIEW_SQL.values()))


@pytest.mark.parametrize("url", ["native_url", "http_url"])
def test_a_schema_is_made_and_dropped(url: str, server: Server) -> None:
    with Database.new(server) as database:
        address = getattr(server, url)
        database.query("CREATE TABLE mine (a Int8) ENGINE = Memory")

        async def missing() -> tuple[bool, set[str], set[str]]:
            status = await check_schema_status(address, database=database.name)
            return status.is_initialized, {*status.missing_tables}, {*status.missing_views}

        async def check() -> None:
            everything = (False, {*TABLE_NAMES}, {*VIEW_NAMES})
            assert await missing() == everything
            for _ in range(2):
                await run_migrations(address, database=database.name)
                assert await missing() == (True, set(), set())
            database.query(f"DROP VIEW {VIEW_NAMES[0]}")
            assert await missing() == (False, set(), {VIEW_NAMES[0]})
            for _ in range(2):
                await drop_all_tables(address, database=database.name)
                assert await missing() == everything

        asyncio.run(check())
        assert database.query("SHOW TABLES") == [("mine",)]
