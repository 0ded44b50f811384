"""Logs by words with a text index: the same answers as without, from fewer rows, also of rows older than the index."""

import asyncio
from pathlib import Path

import pytest

from spoolhouse.query import Query
from spoolhouse.store.clickhouse.drivers.connect import connect
from spoolhouse.store.clickhouse.query.reader import ClickHouseReader
from tests.benchmarks.query import Recording
from tests.engine import Database
from tests.process.daemon import command, once
from tests.query.landed import PREFIX, land, log

INDEXED = {"SPOOLHOUSE_CLICKHOUSE__TEXT_INDEX": "true"}
INDEX = "idx_message_words"
SEARCHES = ("payment", "PAYMENT failed", "größe", "Größe 7", "7 failed", "paymen", "café", " ".join(["card"] * 70))


def search(database: Database) -> tuple[dict[str, list[str]], list[str]]:
    """Return the ids that each search finds, and the statements."""

    async def asked() -> tuple[dict[str, list[str]], list[str]]:
        driver = Recording(connect(database.native_url))
        driver.statements = []
        found = {}
        async with Query(ClickHouseReader(driver, PREFIX)) as q:
            for words in SEARCHES:
                found[words] = [one.id async for one in q.logs(project="shop", words=words)]
        return found, driver.statements

    return asyncio.run(asked())


def uses_index(database: Database, statements: list[str]) -> bool:
    return any(
        INDEX in str(line)
        for sql in statements
        if "logs" in sql
        for (line,) in database.query(f"EXPLAIN indexes = 1 {sql}")
    )


def test_words_are_found_with_and_without_an_index(database: Database, tmp_path: Path) -> None:
    land(database, tmp_path, [*(log(n) for n in range(30)), log(50, message="Größe 7: café"), log(51, message="gone")])
    land(database, tmp_path, [log(3, message="another")])  # superseded
    found, statements = search(database)
    assert len(found["payment"]) == 29
    assert found["7 failed"] == ["l007"]
    assert found["Größe 7"] == found["café"] == ["l050"]
    assert found["paymen"] == []
    assert not uses_index(database, statements)
    database.query(
        f"ALTER TABLE {PREFIX}logs ADD INDEX {INDEX} lower(message) TYPE text(tokenizer = 'splitByNonAlpha')"
    )
    land(database, tmp_path, [log(52, message="a late payment FAILED: card")])
    expected = {words: sorted([*ids, *(["l052"] if words in LATER else [])]) for words, ids in found.items()}
    address = {**INDEXED, "SPOOLHOUSE_CLICKHOUSE__URL": database.native_url}
    for step in ("old rows without it", "old rows with it", "merged"):
        if step == "old rows with it":
            assert command("migrate", env=address).returncode == 0
            assert command("migrate", "--check", env=address).returncode == 0
        elif step == "merged":
            database.query(f"OPTIMIZE TABLE {PREFIX}logs FINAL")
        later, statements = search(database)
        assert uses_index(database, statements)
        assert {words: sorted(ids) for words, ids in later.items()} == expected


LATER = ("payment", "PAYMENT failed", " ".join(["card"] * 70))
"""The searches that the last log has."""


@pytest.mark.parametrize("url", ["native_url", "http_url"])
def test_lost_rows_come_back_to_a_table_with_an_index(url: str, database: Database, tmp_path: Path) -> None:
    address = {**INDEXED, "SPOOLHOUSE_CLICKHOUSE__URL": getattr(database, url)}
    assert command("migrate", env=address).returncode == 0
    land(database, tmp_path, [log(n) for n in range(3)])
    database.query(f"TRUNCATE TABLE {PREFIX}logs")
    where = ("--file-storage-path", str(tmp_path), "--base-path", "")
    (path,) = tmp_path.glob("log/shop/processed/*")
    done = command("replay", str(path), *where, env=address)
    assert (done.returncode, "brought back" in done.stdout) == (0, True), done.stdout + done.stderr
    assert search(database)[0]["payment"] == ["l000", "l001", "l002"]
    assert once(database.native_url, tmp_path, env=INDEXED)[0] == 0
