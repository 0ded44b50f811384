"""Two shards, two daemons on one spool: each line once, whatever is killed, on local tables and through Distributed."""

import json
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from spoolhouse.core.events import LOGS
from spoolhouse.core.ports import Rows, RowsInsert
from spoolhouse.schema.cluster import Cluster
from spoolhouse.schema.migrate import Plan, migrate
from spoolhouse.schema.render import declare
from spoolhouse.store.clickhouse.connect import connect
from tests.engine import Config, LocalServer, StartServer
from tests.process.daemon import Daemon, command, drop, lines, once
from tests.process.inputs import NOW, span

FILES = 24
LINES = 150
SPANS = FILES * LINES
DATABASE = "shop"

Shards = tuple[LocalServer, LocalServer]


@pytest.fixture
def shards(start_server: StartServer) -> Shards:
    """Two servers that know of each other as the cluster `two`; their ports are known only once they run."""
    first, second = start_server(), start_server()
    for server in (first, second):
        server.config = Config(
            server={
                f"remote_servers/two/shard_{number}/replica/{key}": value
                for number, shard in enumerate((first, second))
                for key, value in (("host", "127.0.0.1"), ("port", shard.endpoint.tcp_port))
            }
        )
    for server in (first, second):
        server.restart()
        assert server.query("SELECT count() FROM system.clusters WHERE cluster = 'two'") == [(2,)]
    return first, second


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


async def log_rows() -> AsyncIterator[Rows]:
    """Log lines, each of its own trace, so that every shard gets some."""
    for number in range(LINES):
        event = {"id": str(number), "level": "info", "timestamp": NOW.isoformat(), "recorded_at": NOW.isoformat()}
        row = [event.get(column.name, None if column.nullable else "") for column in LOGS.columns]
        yield Rows(data=json.dumps(row).encode() + b"\n", count=1)
