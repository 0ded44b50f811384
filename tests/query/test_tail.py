"""Following a list: each row once it has landed, also what had to wait, page by page."""

import asyncio
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spoolhouse.errors import BadRequestError
from spoolhouse.query import Logs, connect
from tests.engine import Database
from tests.process.daemon import SCRIPT
from tests.query.landed import PREFIX, land, log


def insert(database: Database, batch: str, numbers: range, *, ago: float = 0, ingested: float = 0) -> None:
    now = datetime.now(UTC)
    lines = [
        json.dumps({
            "id": f"l{n:03}", "project_id": "shop", "level": "info", "message": "m", "batch_id": batch,
            "timestamp": f"{now - timedelta(seconds=ago + n):%Y-%m-%d %H:%M:%S}.000",
            "recorded_at": f"{now:%Y-%m-%d %H:%M:%S}.000",
            "ingested_at": f"{now - timedelta(seconds=ingested):%Y-%m-%d %H:%M:%S}.000",
        })
        for n in numbers
    ]  # fmt: skip
    database.query(f"INSERT INTO {PREFIX}logs FORMAT JSONEachRow\n" + "\n".join(lines))


def test_each_row_is_followed_once(database: Database) -> None:
    insert(database, "before", range(5))

    async def follow() -> list[list[str]]:
        found: list[list[str]] = []
        async with connect(database.native_url) as q:
            delta = await q.delta("logs", project="shop", limit=4)
            assert (delta.records, delta.has_more) == ([], False)
            # Ten rows in one batch; one that happened hours ago, and was read minutes ago; one of a clock that is fast.
            await asyncio.to_thread(insert, database, "new", range(10, 20))
            await asyncio.to_thread(insert, database, "late", range(50, 51), ago=20_000, ingested=300)
            await asyncio.to_thread(insert, database, "fast", range(30, 31), ingested=-3600)
            while not found or found[-1]:
                delta = await q.delta("logs", project="shop", limit=4, after=delta.cursor)
                found.append([record.id for record in delta.records])
            await asyncio.to_thread(insert, database, "again", range(12, 13))
            delta = await q.delta("logs", project="shop", limit=4, after=delta.cursor)
            found.append([record.id for record in delta.records])
        return found

    found = asyncio.run(follow())
    assert found == [
        ["l050", "l030", "l019", "l018"], ["l017", "l016", "l015", "l014"], ["l013", "l012", "l011", "l010"],
        [], ["l012"],
    ]  # fmt: skip


def test_a_cursor_of_another_list_is_refused(database: Database) -> None:
    async def refused() -> None:
        async with connect(database.native_url) as q:
            delta = await q.delta("logs", project="shop")
            with pytest.raises(BadRequestError, match="of another list"):
                await q.delta("logs", project="other", after=delta.cursor)
            with pytest.raises(BadRequestError, match="1 to 100"):
                await q.delta("logs", Logs(project="shop", limit=101))

    asyncio.run(refused())


def test_logs_are_followed_on_a_terminal(database: Database, tmp_path: Path) -> None:
    land(database, tmp_path, [log(1), log(2)])
    arguments = ["logs", "--project", "shop", "--follow", "--json", "--clickhouse-url", database.native_url]
    with subprocess.Popen([str(SCRIPT), *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["id"] for _ in range(2)] == ["l002", "l001"]
        land(database, tmp_path, [log(0), log(3)])
        assert [json.loads(process.stdout.readline())["id"] for _ in range(2)] == ["l003", "l000"]
        process.terminate()
