"""The insert stage against a real server: what a token cannot prove."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from spoolhouse.decode.rows import Rows
from spoolhouse.events.builtin import SPANS
from spoolhouse.spool.row_ranges import RowRange
from tests.engine import Database
from tests.integration import build
from tests.process.daemon import lines
from tests.process.inputs import span

PREFIX = "mastra_admin_"
SHIPMENT = build.shipment("shipment", clock_ms=int(datetime.now(UTC).timestamp() * 1000), replay=True)


def start(age: int) -> datetime:
    """Return noon, that many days ago."""
    return datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=age)


def spans(count: int, *, first: int = 0, age: int = 0, clock_ms: int = SHIPMENT.clock_ms) -> Rows:
    """Return canonical rows of spans `s0`, `s1` …; those of another age (in days) have other numbers."""
    events = [
        span("p", 0, id=f"s{number}", startTime=start(age).isoformat())
        for number in range(1000 * age + first, 1000 * age + first + count)
    ]
    return build.decoded(lines(events), clock_ms=clock_ms).rows["spans"]


async def until(happens: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not happens():  # noqa: ASYNC110  # it happens in the server, or on the disk
            await asyncio.sleep(0.01)


@pytest.fixture
async def stage(database: Database, tmp_path: Path) -> AsyncIterator[build.InsertStage]:
    await build.prepared(build.settings(database.native_url))
    with build.instance(tmp_path) as instance:
        build.claim(instance)
        instance.journal.plan([], [SHIPMENT])
        yield build.InsertStage(database=database, instance=instance, shipment=SHIPMENT)


EVERYWHERE = ("spans", *build.rollup_targets(SPANS))
"""The tables that the insert of a span goes to."""


def lose(database: Database, table: str, where: str = "1") -> None:
    """Take rows away as a server does that dies between its log of tokens and its part: the log keeps the token."""
    database.query(f"ALTER TABLE {PREFIX}{table} DELETE WHERE {where} SETTINGS mutations_sync = 2")


def forbid(database: Database, rows: str) -> None:
    """Let ClickHouse refuse rows that decode accepts."""
    database.query(f"ALTER TABLE {PREFIX}spans ADD CONSTRAINT forbidden CHECK NOT ({rows})")


def allow(database: Database) -> None:
    """Undo what `forbid` has done."""
    database.query(f"ALTER TABLE {PREFIX}spans DROP CONSTRAINT forbidden")


def counted(database: Database) -> tuple[object, ...]:
    """Return rows, different rows, and lines that the rollup counts."""
    (found,) = database.query(f"SELECT count(), uniqExact(span_id) FROM {PREFIX}spans")
    ((lines_counted,),) = database.query(f"SELECT sum(count) FROM {PREFIX}spans_hourly_stats")
    return (*found, lines_counted)


@pytest.mark.parametrize("driver", ["native_url", "http_url"])
async def test_a_token_without_rows_is_noticed(stage: build.InsertStage, driver: str) -> None:
    """ClickHouse may know a token and have no row of it (it died in between): the batch lands all the same, once."""
    stage.url = getattr(stage.database, driver)
    await stage.deliver([spans(3)])
    for table in EVERYWHERE:
        lose(stage.database, table)
    with capture_logs() as logs:
        await stage.deliver([spans(3)])
    assert [entry["token"] for entry in logs if entry["event"] == "token_without_rows"] == ["shipment:spans"]
    assert counted(stage.database) == (3, 3, 3)


async def test_tokens_without_rows_are_noticed_however_often_and_however_late(stage: build.InsertStage) -> None:
    """Nothing of the batch was ever there, so that no rollup can have folded it, old as it is."""
    old = structs.replace(SHIPMENT, id="old", clock_ms=SHIPMENT.clock_ms - 40 * 86_400_000)
    await stage.deliver([spans(3)], shipment=old)
    for _ in range(2):
        for table in EVERYWHERE:
            lose(stage.database, table)
        await stage.deliver([spans(3)], shipment=old)
        assert counted(stage.database) == (3, 3, 3)


PLACES = [(table, age) for table in ("spans", "spans_hourly") for age in (0, 40)]


@pytest.mark.parametrize("window", [1, 10_000])
@pytest.mark.parametrize("lost", [some for n in range(1, 5) for some in combinations(PLACES, n)], ids=str)
async def test_whatever_is_missing_of_a_batch_is_brought_back(
    stage: build.InsertStage, lost: tuple[tuple[str, int], ...], window: int
) -> None:
    """Parts are committed partition by partition and view by view: any of them may be missing, in any company."""
    remember(stage.database, window)
    content = [spans(3), spans(2, age=40)]
    await stage.deliver(content)
    for table, age in lost:
        column = "hour" if table == "spans_hourly" else "start_time"
        lose(stage.database, table, f"toDate({column}) = toDate('{start(age):%Y-%m-%d}')")
    for _ in range(2):
        await stage.deliver(content)
        assert counted(stage.database) == (5, 5, 5)
    assert not stage.database.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE '%staging%'"
    )
    remember(stage.database, 10_000)  # as it was: another test takes these tables


def remember(database: Database, tokens: int) -> None:
    """Let the tables of spans remember so many tokens."""
    for table in ("spans", "spans_hourly"):
        database.query(f"ALTER TABLE {PREFIX}{table} MODIFY SETTING non_replicated_deduplication_window = {tokens}")


async def test_a_dropped_partition_is_brought_back_without_counting_twice(stage: build.InsertStage) -> None:
    content = [spans(3), spans(2, age=40)]
    await stage.deliver(content)
    stage.database.query(f"ALTER TABLE {PREFIX}spans DROP PARTITION {start(40):%Y%m}")
    await stage.deliver(content)
    assert counted(stage.database) == (5, 5, 5)


async def test_a_batch_whose_rows_were_superseded_has_landed(stage: build.InsertStage) -> None:
    """A later state of the same spans stands in the place of all rows of a batch, after a merge."""
    await stage.deliver([spans(3)])
    later = structs.replace(SHIPMENT, id="later", clock_ms=SHIPMENT.clock_ms + 1000)
    await stage.deliver([spans(3, clock_ms=later.clock_ms)], shipment=later)
    stage.database.query(f"OPTIMIZE TABLE {PREFIX}spans FINAL")
    await stage.deliver([spans(3)])
    assert counted(stage.database) == (3, 3, 6)


async def test_a_batch_whose_rows_have_expired_has_landed(stage: build.InsertStage) -> None:
    content = [spans(3), spans(2, age=200)]
    await stage.deliver(content)
    stage.database.query(f"OPTIMIZE TABLE {PREFIX}spans FINAL")
    await stage.deliver(content)
    assert counted(stage.database) == (3, 3, 5)


async def test_a_replay_of_what_landed_changes_nothing(stage: build.InsertStage) -> None:
    with capture_logs() as logs:
        for _ in range(3):
            await stage.deliver([spans(5)])
    assert not [entry for entry in logs if entry["event"] in {"token_without_rows", "partition_repaired"}]
    assert counted(stage.database) == (5, 5, 5)


@pytest.mark.parametrize("bad", [[0], [6], [3, 4], [0, 1, 2, 3, 4, 5, 6]], ids=str)
async def test_a_row_that_clickhouse_refuses_harms_no_other(stage: build.InsertStage, bad: list[int]) -> None:
    stage.database.query(
        f"ALTER TABLE {PREFIX}spans ADD CONSTRAINT no CHECK NOT has({bad}, toInt64(substring(span_id, 2)))"
    )
    await stage.deliver([spans(4), spans(3, first=4)])
    assert counted(stage.database) == (7 - len(bad),) * 3
    (news,) = stage.news
    assert news.refused == {1: len(bad)}
    assert sum(part.rows for part in news.parts) == 7 - len(bad)
    (file,) = (stage.instance.spool / "rejected").rglob("*.jsonl")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(record["line"], record["reason"]) for record in records] == [(number + 1, "refused") for number in bad]
    assert all("469" in record["detail"] for record in records)


async def test_after_a_crash_between_the_halves_nothing_is_doubled(stage: build.InsertStage) -> None:
    """The complaint is fixed while the daemon is down: the batch is not sent as one, half of it has landed."""
    forbid(stage.database, "span_id = 's6'")
    driver_dies = asyncio.create_task(stage.deliver([spans(4), spans(4, first=4)]))
    await until(lambda: bool(stage.instance.journal.cuts("shipment:spans")) and counted(stage.database)[0] != 0)
    driver_dies.cancel()
    with suppress(asyncio.CancelledError):
        await driver_dies
    allow(stage.database)
    await stage.deliver([spans(4), spans(4, first=4)])
    found, different, lines_counted = counted(stage.database)
    assert found == different == lines_counted
    refused = sum(bool(cut.refusal) for cut in stage.instance.journal.cuts("shipment:spans"))
    assert found == 8 - refused


async def test_a_batch_that_is_bad_throughout_is_held(stage: build.InsertStage) -> None:
    """Somebody has deployed a wrong schema: nothing is rejected, and all of it lands once that is fixed."""
    stage.min_rows = 2
    forbid(stage.database, "span_id != ''")
    delivering = asyncio.create_task(stage.deliver([spans(50)]))
    await until(lambda: stage.health.is_held(f"{PREFIX}spans"))
    assert "reject.max_ratio" in str(stage.health.troubles[f"{PREFIX}spans"])
    assert counted(stage.database)[0] == 0
    allow(stage.database)
    await delivering
    assert counted(stage.database) == (50, 50, 50)
    assert not list(stage.instance.spool.rglob("rejected/**/*.jsonl"))
    assert stage.news[0].refused == {}


async def test_one_row_that_was_held_lands_under_the_id_that_the_journal_knows(stage: build.InsertStage) -> None:
    """Killed before its acknowledgement, the batch is replayed as a whole: it must not land a second time."""
    stage.min_rows = 0
    forbid(stage.database, "span_id != ''")
    delivering = asyncio.create_task(stage.deliver([spans(1)]))
    await until(lambda: stage.health.is_held(f"{PREFIX}spans"))
    allow(stage.database)
    await delivering
    await stage.deliver([spans(1)])
    assert counted(stage.database) == (1, 1, 1)


async def test_an_error_of_a_view_is_not_the_rows_fault(stage: build.InsertStage) -> None:
    stage.database.query(
        f"CREATE MATERIALIZED VIEW foreign_feed TO {PREFIX}spans_hourly AS"
        f" SELECT throwIf(span_id = 's1', 'no') AS lines FROM {PREFIX}spans"
    )
    delivering = asyncio.create_task(stage.deliver([spans(3)]))
    await until(lambda: stage.health.is_held(f"{PREFIX}spans"))
    assert stage.instance.journal.cuts("shipment:spans") == ()
    stage.database.query("DROP TABLE foreign_feed")
    await delivering
    assert counted(stage.database) == (3, 3, 3)


async def test_a_replay_after_a_month_does_not_count_twice(stage: build.InsertStage) -> None:
    """By then a rollup has folded the batch into others: that it does not know it says nothing."""
    old = structs.replace(SHIPMENT, id="old", clock_ms=SHIPMENT.clock_ms - 40 * 86_400_000)
    other = structs.replace(old, id="other")
    await stage.deliver([spans(3)], shipment=old)
    await stage.deliver([spans(3, first=3)], shipment=other)
    stage.database.query(f"OPTIMIZE TABLE {PREFIX}spans_hourly FINAL")
    for shipment, first in ((old, 0), (other, 3)):
        await stage.deliver([spans(3, first=first)], shipment=shipment)
    assert counted(stage.database) == (6, 6, 6)


async def test_a_batch_that_was_refused_as_a_whole_before_the_crash_ends(stage: build.InsertStage) -> None:
    for number in range(6):
        part = RowRange(first=number, end=number + 1)
        stage.instance.journal.refuse("shipment", "shipment:spans", part, "ClickHouse code 469: no")
    async with asyncio.timeout(30):
        await stage.deliver([spans(1, first=number) for number in range(6)])
    (news,) = stage.news
    assert news.refused == {1: 6}
    assert news.parts == (RowRange(first=0, end=0),), "not to be taken for a batch that landed as one"
    assert counted(stage.database)[0] == 0


async def test_a_foreign_view_gets_its_rows_once_it_works(stage: build.InsertStage) -> None:
    """What it lacks cannot be fixed from here: the batch is held until its token has brought the view its rows."""
    window = "SETTINGS non_replicated_deduplication_window = 1000"
    stage.database.query(f"CREATE TABLE foreign (id String) ENGINE = MergeTree ORDER BY id {window}")
    stage.database.query("CREATE TABLE may (fail UInt8) ENGINE = Memory")
    stage.database.query("INSERT INTO may VALUES (1)")
    stage.database.query(
        "CREATE MATERIALIZED VIEW foreign_feed TO foreign AS SELECT span_id AS id"
        f" FROM {PREFIX}spans WHERE throwIf((SELECT max(fail) FROM may), 'no') = 0"
    )
    new = structs.replace(SHIPMENT, replay=False)
    with capture_logs() as logs:
        delivering = asyncio.create_task(stage.deliver([spans(3)], shipment=new))
        await until(lambda: any((entry.get("scope"), entry.get("attempts")) == (f"{PREFIX}spans", 4) for entry in logs))
    assert not delivering.done(), "the view still fails"
    stage.database.query("TRUNCATE TABLE may")
    await delivering
    assert counted(stage.database) == (3, 3, 3)
    assert stage.database.query("SELECT count(), uniqExact(id) FROM foreign") == [(3, 3)]


async def test_parts_that_are_not_all_rows_any_more_are_held(stage: build.InsertStage) -> None:
    """A line is valid now that was not before: nobody knows which rows the parts stood for."""
    whole = RowRange(first=0, end=4)
    stage.instance.journal.cut("shipment", "shipment:spans", whole, whole.halves())
    delivering = asyncio.create_task(stage.deliver([spans(6)]))
    await until(lambda: stage.health.is_held(f"{PREFIX}spans"))
    assert counted(stage.database)[0] == 0
    delivering.cancel()
    with suppress(asyncio.CancelledError):
        await delivering


@pytest.mark.parametrize("rows", [[spans(5)], [spans(2)], [spans(3)]], ids=["more", "fewer", "the same"])
async def test_a_replay_by_another_version_is_compared_row_by_row(stage: build.InsertStage, rows: list[Rows]) -> None:
    await stage.deliver([spans(3)])
    stage.fingerprint = "another"
    delivering = asyncio.create_task(stage.deliver(rows))
    if rows[0].count <= 3:
        await delivering
        assert counted(stage.database) == (3, 3, 3)
        return
    await until(lambda: stage.health.is_held(f"{PREFIX}spans"))
    assert "2 of its rows differ" in str(stage.health.troubles[f"{PREFIX}spans"])
    delivering.cancel()
    with suppress(asyncio.CancelledError):
        await delivering


async def test_a_tolerance_that_was_raised_counts_at_once(stage: build.InsertStage) -> None:
    stage.min_rows = 2
    forbid(stage.database, "span_id < 's5'")
    delivering = asyncio.create_task(stage.deliver([spans(10)]))
    await until(lambda: stage.health.is_held(f"{PREFIX}spans"))
    stage.tolerate(1.0)
    await delivering
    assert counted(stage.database) == (5, 5, 5)
    assert stage.news[0].refused == {1: 5}


async def test_few_bad_rows_beside_many_good_ones_are_no_fault(stage: build.InsertStage) -> None:
    """Also if they stand together at the start: what is good lands before they are looked at one by one."""
    stage.min_rows = 2
    forbid(stage.database, "length(span_id) = 2")
    await stage.deliver([spans(200)])
    assert counted(stage.database) == (190, 190, 190)


async def test_a_fixed_part_knows_when_it_expires(stage: build.InsertStage) -> None:
    content = [spans(3), spans(2, age=40)]
    await stage.deliver(content)
    lose(stage.database, "spans", f"toDate(start_time) = toDate('{start(40):%Y-%m-%d}')")
    await stage.deliver(content)
    parts = stage.database.query(
        "SELECT partition_id, toString(toDate(delete_ttl_info_min)) FROM system.parts WHERE active AND rows > 0"
        f" AND database = currentDatabase() AND table = '{PREFIX}spans' ORDER BY partition_id"
    )
    assert parts == [(f"{start(age):%Y%m}", f"{start(age) + timedelta(days=90):%Y-%m-%d}") for age in (40, 0)]


async def test_refused_rows_whose_file_is_gone_are_held(stage: build.InsertStage) -> None:
    """They are not acknowledged with nothing of them in `rejected/`."""
    stage.located = 0
    forbid(stage.database, "span_id = 's1'")
    delivering = asyncio.create_task(stage.deliver([spans(3)]))
    await until(lambda: stage.health.is_held(f"{PREFIX}spans"))
    assert "were found in their files" in str(stage.health.troubles[f"{PREFIX}spans"])
    stage.located = 10
    await delivering
    assert stage.news[0].refused == {1: 1}
