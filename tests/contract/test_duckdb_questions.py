"""Questions to a DuckDB file: which version of a row counts, and how long a question waits for others."""

import asyncio
import random
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import duckdb
import pytest

from spoolhouse.errors import QuestionTooLargeError, TransientError
from spoolhouse.events.builtin import SPANS
from spoolhouse.query import Query
from spoolhouse.query.requests import ALL_PROJECTS
from spoolhouse.store.duckdb.query.connections import Connections, open_to_read
from spoolhouse.store.duckdb.query.reader import DuckDbReader
from spoolhouse.store.duckdb.schema import bring_up_to_date

HEAVY = "SELECT count(*) FROM range(1000000000000)"
"""It would take hours."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    duckdb.connect(tmp_path / "events.db").close()
    return tmp_path / "events.db"


async def test_one_after_the_other(path: Path) -> None:
    """A question's time begins when the one before it has ended. One that would wait too long is to be asked again."""
    one = Connections(path, partial(open_to_read, path), at_once=1)
    first, patient, hasty = (DuckDbReader(one, "", seconds=seconds) for seconds in (2, 100, 0.5))
    heavy = asyncio.create_task(first.sql(HEAVY, 1))
    await asyncio.sleep(0)  # it is in the queue
    with pytest.raises(TransientError, match="other questions are being answered"):
        await hasty.sql("SELECT 1", 1)
    waiting = asyncio.create_task(patient.sql("SELECT 1 AS one", 1))
    with pytest.raises(QuestionTooLargeError, match="longer than 2 seconds"):
        await heavy
    assert await waiting == (["one"], [(1,)])
    await one.close()


async def test_a_question_that_begins_as_its_wait_ends_is_refused_like_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that is no fault of the event loop, which would log it."""
    loop, faults = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _, fault: faults.append(fault))
    opened, is_first_over = threading.Semaphore(0), threading.Event()

    def connect() -> duckdb.DuckDBPyConnection:
        opened.release()
        return open_to_read(path)

    one = Connections(path, connect, at_once=1)
    first = asyncio.create_task(one.run(lambda _: is_first_over.wait(60), lambda: None))
    second = asyncio.create_task(DuckDbReader(one, "", seconds=100).sql("SELECT 1", 1))
    await asyncio.sleep(0)  # both are in the queue
    await asyncio.to_thread(opened.acquire)

    def let_second_begin() -> None:
        is_first_over.set()
        opened.acquire()

    real = loop.time
    loop.call_at(real() + 101, let_second_begin)
    monkeypatch.setattr(loop, "time", lambda: real() + 102)
    with pytest.raises(TransientError, match="other questions are being answered"):
        await second
    assert await first
    assert not faults
    await one.close()


async def test_the_newest_version_counts(path: Path) -> None:
    """Of equally new ones the last that landed. With a filter and without one, of one project and of all."""
    rng, start = random.Random(8), datetime.now(UTC).replace(microsecond=0, tzinfo=None) - timedelta(hours=1)
    rows = [
        (f"p{rng.randrange(2)}", start + timedelta(seconds=rng.randrange(2)), f"t{rng.randrange(20)}",
         f"s{rng.randrange(3)}", start + timedelta(seconds=rng.randrange(3)), number)
        for number in range(300)
    ]  # fmt: skip
    with duckdb.connect(path) as connection:
        bring_up_to_date(connection, [SPANS], prefix="")
        columns = "project_id, start_time, trace_id, span_id, recorded_at, duration_ms"
        connection.executemany(f"INSERT INTO spans ({columns}) VALUES (?, ?, ?, ?, ?, ?)", rows)
    newest = {row[:4]: row for row in sorted(rows, key=lambda row: row[4])}.values()
    assert 100 < len(newest) < len(rows)
    async with Query(DuckDbReader.of_file(path, "")) as q:
        for project in ("p0", "p1", ALL_PROJECTS):
            expected = sorted(row[5] for row in newest if project in {row[0], ALL_PROJECTS})
            for filters in ({}, {"min": 0}):
                found = [one.duration_ms or 0 async for one in q.spans(project=project, **filters)]
                assert sorted(found) == expected
                assert await q.count("spans", project=project, **filters) == len(expected)
                answer = await q.figures("span", project=project, of=("sum:duration_ms",), **filters)
                assert answer.rows[0].values == {"sum:duration_ms": sum(expected)}
