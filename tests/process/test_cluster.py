"""Two shards, two daemons on one spool: each line once, whatever is killed, on local tables and through Distributed."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from spoolhouse.decode.rows import Rows
from spoolhouse.events.builtin import LOGS
from spoolhouse.events.ledger import LEDGER
from spoolhouse.events.naming import Shards as ShardNames
from spoolhouse.query.aliases import Client
from spoolhouse.spool.ledger_rows import entry_rows
from spoolhouse.spool.lineage import Entry, Lineage
from spoolhouse.store.clickhouse.driver import RowsInsert
from spoolhouse.store.clickhouse.drivers.connect import connect
from spoolhouse.store.clickhouse.landing.ledger_read import of_batch, of_files
from spoolhouse.store.clickhouse.landing.presence import find
from spoolhouse.store.clickhouse.landing.repair import Repairer
from spoolhouse.store.clickhouse.landing.row_diff import count_mismatched
from spoolhouse.store.clickhouse.query.reader import ClickHouseReader
from spoolhouse.store.clickhouse.schema.backfill_sql import MissingRows, backfill_statements
from spoolhouse.store.clickhouse.schema.cluster import Cluster
from spoolhouse.store.clickhouse.schema.migrate import Plan, migrate
from spoolhouse.store.clickhouse.schema.render import declare
from tests.benchmarks.query import Recording
from tests.engine import Config, LocalServer, find_engine, free_ports
from tests.process.daemon import Daemon, command, drop, lines, once
from tests.process.inputs import NOW, span

FILES = 24
LINES = 150
SPANS = FILES * LINES
DATABASE = "shop"
CLOCK_MS = int(NOW.timestamp() * 1000)

Shards = tuple[LocalServer, LocalServer]


@pytest.fixture(scope="session")
def started_shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shards]:
    """Two servers that know of each other as the cluster `two`; take `shards` instead."""
    ports = [free_ports(), free_ports()]
    config = Config(
        server={
            f"remote_servers/two/shard_{number}/replica/{key}": value
            for number, (port, _) in enumerate(ports)
            for key, value in (("host", "127.0.0.1"), ("port", port))
        },
        profiles={"default": {"allow_custom_error_code_in_throwif": 1}},
    )
    first, second = (LocalServer(find_engine(), tmp_path_factory.mktemp("shard"), config) for _ in ports)
    for server, (tcp, http) in zip((first, second), ports, strict=True):
        server.endpoint = replace(server.endpoint, tcp_port=tcp, http_port=http)
    with first, second:
        yield first, second


@pytest.fixture
def shards(started_shards: Shards) -> Iterator[Shards]:
    """The two servers, both empty; they may be killed."""
    for server in started_shards:
        if not server.is_running:
            server.start()
        assert server.query("SELECT count() FROM system.clusters WHERE cluster = 'two'") == [(2,)]
    yield started_shards
    for server in started_shards:
        server.query(f"DROP DATABASE IF EXISTS {DATABASE} SYNC")
        names = "SELECT name FROM system.tables WHERE database = 'default' ORDER BY engine LIKE '%View' DESC"
        for (name,) in server.query(names):
            server.query(f"DROP TABLE default.`{name}` SYNC")


def fill(spool: Path, numbers: range) -> None:
    for number in numbers:
        content = lines([span("p", number * LINES + line) for line in range(LINES)])
        drop(spool, "span", "p", f"{number}.jsonl", content)


def environment(*, distributed: bool) -> Mapping[str, str]:
    return {
        "SPOOLHOUSE_CLICKHOUSE__CLUSTER": "two",
        "SPOOLHOUSE_CLICKHOUSE__KEEPER": "false",
        "SPOOLHOUSE_CLICKHOUSE__DISTRIBUTED_INSERTS": str(distributed).lower(),
        "SPOOLHOUSE_CLICKHOUSE__DATABASE": DATABASE,
        "SPOOLHOUSE_CONFIG": "",
        # Small shipments, so that something is under way whenever something is killed.
        "SPOOLHOUSE_BATCH__MAX_FILES": "1",
        "SPOOLHOUSE_RETRY__CAP": "0.5",
        "SPOOLHOUSE_ADOPT__INTERVAL": "0.5",
    }


@pytest.mark.parametrize("distributed", [False, True], ids=["local", "distributed"])
def test_each_line_once(shards: Shards, tmp_path: Path, *, distributed: bool) -> None:
    first, second = shards
    env = environment(distributed=distributed)
    for server in shards:
        done = command("migrate", env={**env, "SPOOLHOUSE_CLICKHOUSE__URL": server.native_url})
        assert done.returncode == 0, done.stderr
        checked = command("migrate", "--check", env={**env, "SPOOLHOUSE_CLICKHOUSE__URL": server.http_url})
        assert checked.returncode == 0, checked.stdout
    fill(tmp_path, range(FILES // 2))
    with Daemon(first.native_url, tmp_path, env=env) as daemon:
        daemon.wait_for("file_settled", count=2)
        daemon.kill()
    fill(tmp_path, range(FILES // 2, FILES))
    with Daemon(second.http_url, tmp_path, env=env) as other:
        other.wait_for("file_settled", count=2)
        second.kill()
        second.start()
        other.signal(signal.SIGTERM)
        assert other.wait() in {0, 75}, other.told()
    code, heir = once(first.native_url, tmp_path, env=env)
    assert code == 0, heir.told()
    for server in shards:
        assert server.query(f"SELECT count(), uniqExact(span_id) FROM {DATABASE}.mastra_admin_spans") == [
            (SPANS, SPANS)
        ]
        assert server.query(f"SELECT sum(count) FROM {DATABASE}.mastra_admin_spans_hourly_stats") == [(SPANS,)]
    own = [server.query(f"SELECT count() FROM {DATABASE}.mastra_admin_local_spans")[0][0] for server in shards]
    assert sum(own) == SPANS
    assert all(own)
    if distributed:
        spread = f"SELECT trace_id FROM {DATABASE}.mastra_admin_spans GROUP BY trace_id HAVING uniq(_shard_num) > 1"
        assert first.query(spread) == []


@pytest.mark.parametrize("refusing", ["both", "one"])
def test_a_batch_that_shards_have_no_memory_for_is_cut_if_none_has_any_of_it(
    refusing: str, shards: Shards, tmp_path: Path
) -> None:
    """A shard that has some knows it by the token of the whole: then it is repeated whole. Killed between two parts."""
    env = environment(distributed=True)
    for server in shards:
        assert command("migrate", env={**env, "SPOOLHOUSE_CLICKHOUSE__URL": server.native_url}).returncode == 0
    local, most = f"{DATABASE}.mastra_admin_local_spans", 2000
    poor = shards if refusing == "both" else shards[1:]
    for server in poor:
        refuse = f"NOT throwIf(blockSize() > {most}, 'no memory', toInt16(241))"
        server.query(f"ALTER TABLE {local} ADD CONSTRAINT poor CHECK {refuse}")
    rows = 6 * most
    drop(tmp_path, "span", "p", "a.jsonl", lines([span("p", number) for number in range(rows)]))
    url = shards[0].native_url
    if refusing == "both":
        kill = {"SPOOLHOUSE_TEST_FAILPOINTS": "insert.answered@2=kill"}
        with Daemon(url, tmp_path, "--no-migrate", env={**env, **kill}) as daemon:
            assert daemon.wait() == -signal.SIGKILL, daemon.told()
            assert daemon.events("batch_divided")
    with Daemon(url, tmp_path, "--no-migrate", env=env) as daemon:
        if refusing == "one":
            daemon.wait_for("table_held", code=241, attempts=8)
            assert not daemon.events("batch_divided")
            poor[0].query(f"ALTER TABLE {local} DROP CONSTRAINT poor")
        daemon.wait_for("file_settled")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    spans = f"{DATABASE}.mastra_admin_spans"
    assert shards[0].query(f"SELECT count(), uniqExact(span_id) FROM {spans}") == [(rows, rows)]
    batches = shards[0].query(f"SELECT uniqExact(batch_id) > 1, uniqExact(_shard_num) FROM {spans}")
    assert batches == [(refusing == "both", 2)]
    assert shards[0].query(f"SELECT sum(count) FROM {DATABASE}.mastra_admin_spans_hourly_stats") == [(rows,)]


@pytest.mark.parametrize("distributed", [False, True], ids=["local", "distributed"])
def test_a_line_of_several_rows_lands_whole_or_not_at_all(shards: Shards, tmp_path: Path, *, distributed: bool) -> None:
    """Although the shards that have its rows refuse some of them."""
    env = environment(distributed=distributed)
    for server in shards:
        done = command("migrate", env={**env, "SPOOLHOUSE_CLICKHOUSE__URL": server.native_url})
        assert done.returncode == 0, done.stderr
        server.query(f"ALTER TABLE {DATABASE}.mastra_admin_local_tool_calls ADD CONSTRAINT no CHECK tool_name != 'bad'")
    event = {"event_type": "prompt_call", "project_id": "p", "timestamp": NOW.isoformat(), "prompt": "?", "model": "m"}
    bad = {3, 17}
    events = [
        {
            **event, "event_id": f"e{number}", "run_id": f"r{number}",
            "tool_calls": [{"tool_name": "good"}, {"tool_name": "bad" if number in bad else "fine"}],
        }
        for number in range(30)
    ]  # fmt: skip
    drop(tmp_path, "prompt_call", "p", "a.jsonl", lines(events))
    code, daemon = once(shards[0].native_url, tmp_path, env=env)
    assert code == 0, daemon.told()
    good = len(events) - len(bad)
    for table, rows in (("events", good), ("tool_calls", 2 * good)):
        found = f"SELECT count(), uniqExact(event_id) FROM {DATABASE}.mastra_admin_{table}"
        assert shards[1].query(found) == [(rows, good)]
    assert shards[1].query(f"SELECT sum(total_events) FROM {DATABASE}.mastra_admin_project_summary") == [(good,)]
    [rejected] = tmp_path.glob("rejected/*/*.jsonl")
    assert {json.loads(line)["line"] - 1 for line in rejected.read_text().splitlines()} == bad
    for server in shards:
        assert not server.query(f"SHOW TABLES FROM {DATABASE} LIKE '%staging%'")


async def test_each_shard_drops_a_batch_that_is_repeated(shards: Shards) -> None:
    schema = declare(database="default", prefix="", tables=(LOGS,), cluster=Cluster(name="two", keeper=False))
    urls = {"native": [server.native_url for server in shards], "http": [server.http_url for server in shards]}
    for scheme, of_both in urls.items():
        drivers = [connect(url) for url in of_both]
        try:
            for driver in drivers:
                assert await migrate(schema, driver) == Plan()
            for driver in (*drivers, *drivers):
                insert = RowsInsert(table="logs", columns=LOGS.columns, batch_id=scheme, token=scheme, clock_ms=1)
                await driver.insert_rows(insert, log_rows())
        finally:
            for driver in drivers:
                await driver.close()
    for server in shards:
        assert server.query("SELECT batch_id, count(), uniqExact(_shard_num) FROM logs GROUP BY 1 ORDER BY 1") == [
            ("http", LINES, 2),
            ("native", LINES, 2),
        ]
        assert server.query("SELECT sum(count) FROM logs_hourly_stats") == [(2 * LINES,)]


async def test_rows_that_another_shard_has_are_no_strangers(shards: Shards) -> None:
    """An heir of another version, on another shard, looks whether a batch was sent with the same rows."""
    schema = declare(database="default", prefix="", tables=(LOGS,), cluster=Cluster(name="two", keeper=False))
    drivers = [connect(server.native_url) for server in shards]
    insert = RowsInsert(table="local_logs", columns=LOGS.columns, batch_id="s:logs", token="t", clock_ms=1)
    cluster = ShardNames(cluster="two", prefix="", through=False)
    try:
        for driver in drivers:
            assert await migrate(schema, driver) == Plan()
        await drivers[0].insert_rows(insert, log_rows())
        for driver in drivers:
            repairer = Repairer(driver=driver, prefix="local_", shards=cluster)
            found = await find(driver, LOGS, ["s:logs"], prefix="local_", shards=cluster)
            there = found.of("local_logs")
            assert there
            assert await count_mismatched(repairer, LOGS, insert, log_rows(), found=there, shipment="s") == 0
            assert await count_mismatched(repairer, LOGS, insert, log_rows(), found=(), shipment="s") == LINES
    finally:
        for driver in drivers:
            await driver.close()


async def test_a_line_of_the_ledger_counts_once_on_whichever_shards_it_is(shards: Shards) -> None:
    """Its first writer died before it had an answer, and its heir is at another server."""
    schema = declare(database="default", prefix="", tables=(LEDGER,), cluster=Cluster(name="two", keeper=False))
    lineage = Lineage(batch="s:logs", table="logs", file=1, start=0, end=9, first=0, rows=3)
    entry = Entry(lineage=lineage, place="log/p/a.jsonl", inode=1, claimed_ms=1, parts=(), clock_ms=CLOCK_MS)
    insert = RowsInsert(table="local_ledger", columns=LEDGER.columns, batch_id="l", token="l", clock_ms=CLOCK_MS)
    drivers = [connect(server.native_url) for server in shards]
    try:
        for driver in drivers:
            assert await migrate(schema, driver) == Plan()
            await driver.insert_rows(insert, only(entry_rows([entry])))
        for driver in drivers:
            assert [line.rows for line in await of_files(driver, ["log/p/a.jsonl"], prefix="")] == [3]
            assert [line.rows for line in await of_batch(driver, "s:logs", prefix="")] == [3]
    finally:
        for driver in drivers:
            await driver.close()


async def only(rows: Rows) -> AsyncIterator[Rows]:
    yield rows


async def test_an_insert_into_any_server_is_seen_before_a_rollup_is_filled(shards: Shards) -> None:
    tables = declare(database="default", prefix="", tables=(LOGS,), cluster=Cluster(name="two"))
    running = backfill_statements(tables.tables[0].rollups[0], MissingRows.ALL, "default").running
    bare = declare(database="default", prefix="", tables=(LOGS,), cluster=Cluster(name="two", keeper=False))
    drivers = [connect(server.native_url) for server in shards]
    insert = RowsInsert(table="local_logs", columns=LOGS.columns, batch_id="s:logs", token="t", clock_ms=1)
    seen = asyncio.Event()
    try:
        for driver in drivers:
            assert await migrate(bare, driver) == Plan()
        async with asyncio.TaskGroup() as group:
            inserting = group.create_task(drivers[1].insert_rows(insert, log_rows(seen)))
            for driver in drivers:
                while not await driver.execute(running):
                    assert not inserting.done()
            seen.set()
        async with asyncio.timeout(30):  # a server lists a query for a moment after it has answered
            for driver in drivers:
                while await driver.execute(running):
                    pass
    finally:
        for driver in drivers:
            await driver.close()


async def log_rows(until: asyncio.Event | None = None) -> AsyncIterator[Rows]:
    """Log lines, each of its own trace, so that every shard gets some; `until` then, the end does not come."""
    for number in range(LINES):
        event = {"id": str(number), "level": "info", "timestamp": NOW.isoformat(), "recorded_at": NOW.isoformat()}
        # An insert begins with its first four megabytes.
        event["message"] = "" if until is None else "m" * 50_000
        row = [event.get(column.name, None if column.nullable else "") for column in LOGS.columns]
        yield Rows(data=json.dumps(row).encode() + b"\n", count=1)
    if until is not None:
        await until.wait()


VERSIONS = [
    # By server: the span, its version, its status. Of one version a row is as good as the other.
    [("a", 1, "ok"), ("b", 2, "error"), ("c", 1, "ok"), ("e", 1, "ok"), ("f", 1, "ok"), ("f", 3, "ok")],
    [("a", 2, "error"), ("b", 1, "ok"), ("d", 1, "error"), ("e", 1, "ok"), ("f", 2, "error")],
]
NEWEST = {"a": "error", "b": "error", "c": "ok", "d": "error", "e": "ok", "f": "ok"}


def test_the_newest_version_counts_on_whichever_shard_it_is(shards: Shards, tmp_path: Path) -> None:
    """Each daemon lands on its own shard. A deletion reaches the servers that it is told of, and names the others."""
    env = {**environment(distributed=False), "SPOOLHOUSE_CLICKHOUSE__TEXT_INDEX": "true"}
    for server, versions in zip(shards, VERSIONS, strict=True):
        own = {**env, "SPOOLHOUSE_CLICKHOUSE__URL": server.native_url}
        assert command("migrate", env=own).returncode == 0
        spans = [
            {**span("shop", 0), "id": one, "traceId": f"trace-{one}", "name": f"v{version}", "status": status}
            | {"durationMs": version, "recordedAt": (NOW + timedelta(seconds=version)).isoformat()}
            for one, version, status in versions
        ]
        drop(tmp_path, "span", "shop", "a.jsonl", lines(spans))
        logs = [
            {"id": one["id"], "projectId": "shop", "level": "info", "message": f"Span {one['name']} ended"}
            | {"timestamp": one["startTime"], "recordedAt": one["recordedAt"]}
            for one in spans
        ]
        drop(tmp_path, "log", "shop", "a.jsonl", lines(logs))
        code, daemon = once(server.native_url, tmp_path, env=env)
        assert code == 0, daemon.told()
    drop(tmp_path, "trace", "shop", "a.jsonl", lines([trace_of(one) for one in NEWEST]))
    assert once(shards[0].native_url, tmp_path, env=env)[0] == 0
    for server in shards:
        assert asyncio.run(answers(server.native_url)) == {
            "ok": ["c", "e", "f"],
            "error": ["a", "b", "d"],
            "by duration": ["f", "b", "a", "e", "d", "c"],
            "pages": (["d", "c"], 6),
            "by status": {"ok": 3, "error": 3},
            "names": ["v1", "v2", "v3"],
            "traces": ["a", "b", "d"],
            "trace": "error",
            "words": ["a", "b"],
            "logs by level": {"info": 6},
            "of both shards": 2,
        }
    delete = ("delete", "traces", *(f"trace-{one}" for one in NEWEST), "--project", "shop")
    url = {"SPOOLHOUSE_CLICKHOUSE__URL": shards[1].native_url}
    done = command(*delete, env={**env, **url})
    assert done.returncode == 69, done.stderr
    assert f"127.0.0.1:{shards[0].endpoint.tcp_port}" in done.stderr
    both = {"SPOOLHOUSE_CLICKHOUSE__URL": f"{shards[1].native_url},127.0.0.1:{shards[0].endpoint.tcp_port}"}
    done = command(*delete, "--json", env={**env, **both})
    assert (done.returncode, done.stderr) == (0, "")
    for server in shards:
        assert server.query(f"SELECT count() FROM {DATABASE}.mastra_admin_spans") == [(0,)]


def trace_of(one: str) -> Mapping[str, object]:
    return {"type": "trace", "id": f"trace-{one}", "projectId": "shop", "name": one, "startTime": NOW.isoformat()}


async def answers(url: str) -> Mapping[str, object]:
    """Return what one server says of all shards, in each of the ways that rows are read."""
    asked: dict[str, Any] = {"project": "shop", "since": NOW - timedelta(hours=1), "until": NOW + timedelta(hours=1)}
    failed = {"some": "spans", "where": {"field": "status", "op": "eq", "value": "error"}}
    driver = Recording(connect(url, database=DATABASE))
    async with Client(ClickHouseReader(driver, "mastra_admin_")) as q:
        driver.statements = []
        words = [one.id async for one in q.logs(**asked, words="V2 span", order="time")]
        *_, search = [sql for sql in driver.statements if "hasAllTokens" in sql]
        plan = await driver.execute(f"EXPLAIN indexes = 1, distributed = 1 {search}")
        by_level = await q.figures("log", **asked, by="level", words="ended")
        page = await q.list_spans(**asked, order_by={"field": "start_time", "direction": "desc"}, page=1, per_page=2)
        by_status = await q.figures("span", **asked, by="status")
        one = await q.get_span("shop", "trace-a", "a")
        return {
            "ok": [one.span_id async for one in q.spans(**asked, status="ok", order="time")],
            "error": [one.span_id async for one in q.spans(**asked, status="error", order="time")],
            "by duration": [one.span_id async for one in q.spans(**asked, order="-duration_ms")],
            "pages": ([one.span_id for one in page.data], page.pagination.total),
            "by status": {one.by["status"]: one.values["count"] for one in by_status.rows},
            "names": await q.values("names", **asked, signal="span"),
            "traces": sorted([one.name async for one in q.traces(**asked, where=failed)]),
            "trace": one and one.status,
            "words": words,
            "logs by level": {one.by["level"]: one.values["count"] for one in by_level.rows},
            "of both shards": sum("idx_message_words" in str(line) for line in plan),
        }


@pytest.mark.parametrize("distributed", [False, True], ids=["local", "distributed"])
def test_a_settled_file_is_verified_and_brought_back(shards: Shards, tmp_path: Path, *, distributed: bool) -> None:
    """From either server: a row may be on any shard. What was deleted is not brought back."""
    first, second = shards
    env = environment(distributed=distributed)
    for server in shards:
        assert command("migrate", env={**env, "SPOOLHOUSE_CLICKHOUSE__URL": server.native_url}).returncode == 0
    fill(tmp_path, range(1))
    assert once(first.native_url, tmp_path, env=env)[0] == 0
    (path,) = tmp_path.glob("span/p/processed/*")

    def run(name: str, server: LocalServer) -> tuple[int, str]:
        url = {"SPOOLHOUSE_CLICKHOUSE__URL": server.native_url}
        done = command(name, str(path), "--file-storage-path", str(tmp_path), "--base-path", "", env={**env, **url})
        return done.returncode, done.stdout + done.stderr

    for server in shards:
        assert run("verify", server) == (0, f"rows: {LINES} there\n")
    first.query(f"TRUNCATE TABLE {DATABASE}.mastra_admin_local_spans SYNC")
    assert run("verify", second)[0] == 1
    code, said = run("replay", second)
    if distributed:
        assert (code, "on several shards" in said) == (1, True), said
        return
    assert (code, "brought back to mastra_admin_local_spans" in said) == (0, True), said
    assert run("replay", first)[1].endswith("all there\n")
    for server in shards:
        assert run("verify", server) == (0, f"rows: {LINES} there\n")
        assert server.query(f"SELECT sum(count) FROM {DATABASE}.mastra_admin_spans_hourly_stats") == [(LINES,)]
    ids = [f"trace-{number}" for number in range(LINES)]
    url = {"SPOOLHOUSE_CLICKHOUSE__URL": second.native_url}  # where they are now
    deleted = command("delete", "traces", *ids, "--project", "p", env={**env, **url})
    assert deleted.returncode == 0, deleted.stderr
    for server in shards:
        assert run("verify", server) == (0, f"rows: {LINES} deleted\n")
        assert "brought back to mastra_admin_local_spans " not in run("replay", server)[1]
        assert server.query(f"SELECT count() FROM {DATABASE}.mastra_admin_spans") == [(0,)]
