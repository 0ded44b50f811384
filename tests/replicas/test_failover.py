"""A URL of two hosts: when one is away the other takes over, and what may be on it is not sent to the other."""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from spoolhouse.errors import OperatorError, UnreachableError
from spoolhouse.events.builtin import LOGS
from spoolhouse.service import clickhouse
from spoolhouse.settings import Settings
from spoolhouse.settings.clickhouse import ClickHouseSettings
from spoolhouse.store.clickhouse.driver import RowsInsert
from spoolhouse.store.clickhouse.drivers.connect import connect
from spoolhouse.store.clickhouse.drivers.transport import Transport
from spoolhouse.store.clickhouse.failover import HostSelector
from spoolhouse.store.clickhouse.replicas import Replicas
from tests.contract.proxy import Proxy, proxy_to
from tests.engine import LocalServer, QueryError
from tests.faults.life import wait_until
from tests.process.daemon import Daemon, command, drop, lines, once
from tests.process.inputs import span
from tests.process.test_cluster import log_rows
from tests.replicas.replicated import CLUSTER, Pair, pair_of, settled

LINES = 100
ENV = {
    "SPOOLHOUSE_CONFIG": "",
    "SPOOLHOUSE_CLICKHOUSE__TABLE_PREFIX": "mastra_admin_",
    # Small shipments, so that something is under way whenever something is killed.
    "SPOOLHOUSE_BATCH__MAX_FILES": "1",
    "SPOOLHOUSE_RETRY__CAP": "0.5",
    "SPOOLHOUSE_ADOPT__INTERVAL": "0.5",
}


@pytest.fixture(scope="module")
def made(started_replicas: tuple[LocalServer, LocalServer]) -> Iterator[Pair]:
    with pair_of(started_replicas, cluster=False) as made:
        yield made


@pytest.fixture
def pair(made: Pair, replicas: tuple[LocalServer, LocalServer]) -> Pair:
    """Two servers that run, with one database: each test has a project of its own in it."""
    assert made.servers == replicas
    return made


def fill(spool: Path, project: str, number: int) -> None:
    spans = [span(project, number * LINES + line) for line in range(LINES)]
    drop(spool, "span", project, f"{number}.jsonl", lines(spans))


@asynccontextmanager
async def lost_answer(
    pair: Pair, spool: Path, project: str, *, fetched: bool
) -> AsyncGenerator[tuple[Daemon, Proxy, str]]:
    """Have a daemon send a file to the first server, which takes it and is killed before its answer is through.

    Given are the daemon, what stands before the first server, and the URL to use. The second server has the rows too if
    they are `fetched`, else nothing of them but the token.
    """
    first, second = pair.servers
    if not fetched:
        pair.tell(second, "STOP")
    marker = spool.with_name("sent")
    fill(spool, project, 0)
    async with proxy_to("127.0.0.1", first.endpoint.tcp_port) as proxy:
        url = f"clickhouse://127.0.0.1:{proxy.port},{pair.names[1]}/{pair.database}"
        env = {**ENV, "SPOOLHOUSE_TEST_FAILPOINTS": f"native.block_sent=wait:{marker}"}
        with Daemon(url, spool, env=env, http="any port") as daemon:
            await until(marker.exists)
            proxy.deaf.set()
            await asyncio.to_thread(marker.unlink)
            await until(
                lambda: pair.landed(second if fetched else first, project, synced=False) == (LINES, LINES, LINES)
            )
            first.kill()
            proxy.refusing = True
            pair.tell(second, "START")
            yield daemon, proxy, url


def retries(daemon: Daemon) -> float:
    """Return how often it has tried again what got no answer."""
    [line] = [
        line for line in daemon.get("/metrics").body.decode().splitlines()
        if line.startswith('spoolhouse_retries_total{code="none",kind="transient"}')
    ]  # fmt: skip
    return float(line.split()[-1])


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something is so."""
    await asyncio.to_thread(wait_until, holds)


async def revive(server: LocalServer, proxy: Proxy) -> None:
    """Let a server be there again, and what stands before it."""
    await asyncio.to_thread(server.start)
    proxy.deaf.clear()
    proxy.refusing = False


async def test_what_may_be_on_a_server_waits_for_it_while_others_go_on(pair: Pair, tmp_path: Path) -> None:
    first, _ = pair.servers
    spool = tmp_path / "spool"
    async with lost_answer(pair, spool, "live", fetched=True) as (daemon, proxy, _):
        proxy.cut()
        [waits] = await asyncio.to_thread(daemon.wait_for, "batch_waits")
        name = f"127.0.0.1:{proxy.port}"
        assert name in str(waits["error"])
        assert "take it out of clickhouse.url" in str(waits["hint"])
        fill(spool, "live", 1)
        await asyncio.to_thread(settled, daemon, 1)
        # The second server has its rows, but the first one is asked.
        await until(lambda: retries(daemon) > 2)
        assert len(daemon.events("file_settled")) == 1
        assert daemon.get("/readyz").code == 200
        metrics = daemon.get("/metrics").body.decode()
        assert f'spoolhouse_server_up{{server="{name}"}} 0.0' in metrics
        assert f'spoolhouse_server_up{{server="{pair.names[1]}"}} 1.0' in metrics
        assert "spoolhouse_failovers_total 1.0" in metrics
        assert json.loads(daemon.get("/status").body)["servers"] == {name: False, pair.names[1]: True}
        await revive(first, proxy)
        await asyncio.to_thread(settled, daemon, 2)
        assert len(daemon.events("clickhouse_server_down", server=name)) == 1
        assert len(daemon.events("clickhouse_server_up", server=name)) == 1
    for server in pair.servers:
        assert pair.landed(server, "live") == (2 * LINES, 2 * LINES, 2 * LINES)


async def test_after_a_restart_all_servers_are_asked(pair: Pair, tmp_path: Path) -> None:
    first, second = pair.servers
    spool = tmp_path / "spool"
    async with lost_answer(pair, spool, "restart", fetched=False) as (daemon, proxy, url):
        daemon.kill()
        fill(spool, "restart", 1)
        with Daemon(url, spool, env=ENV, http="any port") as heir:
            [waits] = await asyncio.to_thread(heir.wait_for, "batch_waits")
            assert f"no answer from clickhouse://default@127.0.0.1:{proxy.port}" in str(waits["error"])
            await asyncio.to_thread(settled, heir, 1)
            assert pair.landed(second, "restart", synced=False) == (LINES, LINES, LINES)
            await revive(first, proxy)
            await asyncio.to_thread(settled, heir, 2)
    for server in pair.servers:
        assert pair.landed(server, "restart") == (2 * LINES, 2 * LINES, 2 * LINES)


async def test_a_batch_in_doubt_waits_for_no_other_server_of_the_cluster(
    replicas: tuple[LocalServer, LocalServer], tmp_path: Path
) -> None:
    spool, marker = tmp_path / "spool", tmp_path / "sent"
    fill(spool, "doubt", 0)
    env = {
        **ENV,
        "SPOOLHOUSE_CLICKHOUSE__CLUSTER": CLUSTER,
        "SPOOLHOUSE_TEST_FAILPOINTS": f"native.block_sent=wait:{marker}",
    }
    with pair_of(replicas, cluster=True) as pair:
        first, second = pair.servers
        second.kill()
        async with proxy_to("127.0.0.1", first.endpoint.tcp_port) as proxy:
            url = f"clickhouse://127.0.0.1:{proxy.port},{pair.names[1]}/{pair.database}"
            with Daemon(url, spool, env=env, http="any port") as daemon:
                await until(marker.exists)
                proxy.deaf.set()
                await asyncio.to_thread(marker.unlink)
                await until(lambda: pair.landed(first, "doubt", synced=False) == (LINES, LINES, LINES))
                proxy.deaf.clear()
                proxy.cut()
                await asyncio.to_thread(settled, daemon, 1)
        assert pair.landed(first, "doubt") == (LINES, LINES, LINES)


def test_each_line_once_whichever_server_dies(replicas: tuple[LocalServer, LocalServer], tmp_path: Path) -> None:
    files = 18
    with pair_of(replicas, cluster=True) as pair:
        first, second = pair.servers
        env = {**ENV, "SPOOLHOUSE_CLICKHOUSE__CLUSTER": CLUSTER}
        # Nothing differs from what is declared, or `ON CLUSTER` would be tried.
        checked = command("migrate", "--check", env={**env, "SPOOLHOUSE_CLICKHOUSE__URL": pair.native_url})
        assert checked.returncode == 0, checked.stdout
        for number in range(files // 3):
            fill(tmp_path, "each", number)
        with Daemon(pair.http_url, tmp_path, env=env, http="any port") as daemon:
            settled(daemon, 2)
            first.kill()
            for number in range(files // 3, 2 * files // 3):
                fill(tmp_path, "each", number)
            settled(daemon, 4)
            first.start()
            settled(daemon, files // 2)
            second.kill()
            for number in range(2 * files // 3, files):
                fill(tmp_path, "each", number)
            daemon.wait_for("clickhouse_failover", count=2)
            second.start()
            settled(daemon, files)
        for server in pair.servers:
            assert pair.landed(server, "each") == (files * LINES, files * LINES, files * LINES)


def test_the_doctor_looks_at_all_hosts(pair: Pair, tmp_path: Path) -> None:
    first, _ = pair.servers
    arguments = ("check", "--clickhouse-url", pair.native_url, "--file-storage-path", str(tmp_path))
    told = " ".join(command(*arguments, env=ENV).stdout.split())
    assert f"{', '.join(sorted(pair.names))}: replicas of the same tables" in told
    assert "SYSTEM SYNC REPLICA" not in told
    first.kill()
    told = " ".join(command(*arguments, env=ENV).stdout.split())
    assert f"{pair.names[1]}: replicas of the same tables" in told
    assert f"{pair.names[0]} is away: no answer" in told


async def test_a_server_that_comes_later_is_looked_at_before_it_is_used(pair: Pair) -> None:
    first, second = pair.servers
    ledger = "mastra_admin_ledger"
    second.query(f"DETACH TABLE {pair.database}.{ledger} PERMANENTLY SYNC")
    second.kill()
    driver = clickhouse.open_servers(Settings(clickhouse=ClickHouseSettings(url=pair.native_url)))
    assert isinstance(driver, Replicas)
    try:
        await driver.agree([ledger])
        await asyncio.to_thread(second.start)
        assert await driver.execute("SELECT tcpPort()") == [(first.endpoint.tcp_port,)]
        with pytest.raises(OperatorError, match=f"{ledger} is not there on {pair.names[1]}"):
            await driver.others(await driver.pick())
        await asyncio.to_thread(first.kill)
        with pytest.raises(UnreachableError):
            await driver.execute("SELECT 1")
        with pytest.raises(OperatorError, match=f"{ledger} is not there on {pair.names[1]}"):
            await driver.execute("SELECT 1")
        second.query(f"ATTACH TABLE {pair.database}.{ledger}")
        assert await driver.execute("SELECT tcpPort()") == [(second.endpoint.tcp_port,)]
    finally:
        await driver.close()


async def test_who_waits_behind_another_for_a_server_does_not_ask_it_once_more() -> None:
    asked: list[asyncio.StreamReader] = []

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(reader)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(keep_silent, "127.0.0.1", 0) as listener:
        _, port = listener.sockets[0].getsockname()
        urls = {name: f"clickhouse://127.0.0.1:{at}" for name, at in (("silent", port), ("gone", 1))}
        transport = Transport(connect_timeout=0.2)
        drivers = {name: connect(url, transport=transport) for name, url in urls.items()}
        # Always due, so that all choose the first one.
        servers = Replicas(drivers, HostSelector(drivers, first=1e-9, cap=1e-9))
        try:
            with pytest.raises(UnreachableError):
                await servers.agree(["spans"])
            asked.clear()
            errors = await asyncio.gather(*(servers.pick() for _ in range(4)), return_exceptions=True)
        finally:
            await servers.close()
    assert [type(error) for error in errors] == [UnreachableError] * 4
    assert len(asked) == 1


async def test_a_server_that_has_lost_its_keeper_is_away(pair: Pair, tmp_path: Path) -> None:
    first, second = pair.servers
    logs = "mastra_admin_logs"
    first.kill()
    await until(lambda: forgotten(second, f"{pair.database}.{logs}"))
    await asyncio.to_thread(first.start)
    driver = clickhouse.open_servers(Settings(clickhouse=ClickHouseSettings(url=pair.native_url)))
    assert isinstance(driver, Replicas)
    insert = RowsInsert(table=logs, columns=LOGS.columns, batch_id="b", token="b", clock_ms=1)
    try:
        server = await driver.pick()
        with pytest.raises(UnreachableError) as refused:
            await server.insert_rows(insert, log_rows())
        assert refused.value.code == 242
        await server.ping()
        assert driver.is_split, "that it answers does not mean that it takes rows"
        await driver.insert_rows(insert, log_rows())
        await driver.agree([logs])
        assert driver.present == [pair.names[1]]
        fill(tmp_path, "keeper", 0)
        code, told = once(pair.native_url, tmp_path, env=ENV)
        assert code == 0, told.told()
        first.query(f"SYSTEM RESTORE REPLICA {pair.database}.{logs}")
        await driver.agree([logs])
        assert driver.present == sorted(pair.names)
        assert not driver.is_split
    finally:
        await driver.close()


def forgotten(server: LocalServer, table: str) -> bool:
    """Have Keeper forget the first server's replica, once it knows that this one is gone."""
    try:
        server.query(f"SYSTEM DROP REPLICA 'a' FROM TABLE {table}")
    except QueryError as error:
        assert error.code == 305, error  # noqa: PT017  # it is to be tried again
        return False
    return True


def test_what_a_rollup_lacks_is_fixed_and_replicated(pair: Pair, tmp_path: Path) -> None:
    first, _ = pair.servers
    fill(tmp_path, "fixed", 0)
    with Daemon(
        pair.native_url, tmp_path, env={**ENV, "SPOOLHOUSE_TEST_FAILPOINTS": "insert.answered=kill"}, http="any port"
    ) as daemon:
        assert daemon.wait() == -signal.SIGKILL
    first.query(f"TRUNCATE TABLE {pair.database}.mastra_admin_spans_hourly SETTINGS alter_sync = 2")
    with Daemon(
        pair.native_url, tmp_path, env={**ENV, "SPOOLHOUSE_TEST_FAILPOINTS": "repair.staged=kill"}, http="any port"
    ) as killed:
        assert killed.wait() == -signal.SIGKILL
    # It goes on at the other server, and leaves nothing on this one.
    other_way = f"clickhouse://{pair.names[1]},{pair.names[0]}/{pair.database}"
    code, heir = once(other_way, tmp_path, env=ENV)
    assert code == 0, heir.told()
    assert heir.events("partition_repaired")
    for server in pair.servers:
        assert pair.landed(server, "fixed") == (LINES, LINES, LINES)
        left = f"SELECT name FROM system.tables WHERE database = '{pair.database}' AND name LIKE '%staging%'"
        assert server.query(left) == []


def test_the_ledger_is_read_once_it_is_whole(pair: Pair, tmp_path: Path) -> None:
    first, second = pair.servers
    ledger = f"{pair.database}.mastra_admin_ledger"
    second.query(f"SYSTEM STOP FETCHES {ledger}")
    fill(tmp_path, "ledger", 0)
    code, told = once(pair.native_url, tmp_path, env=ENV)
    assert code == 0, told.told()
    first.kill()
    second.query(f"SYSTEM START FETCHES {ledger}")
    path = str(tmp_path / "span" / "ledger" / "processed" / "0.jsonl")
    settings = ("--clickhouse-url", pair.native_url, "--file-storage-path", str(tmp_path), "--base-path", "")
    for words in (("replay", path), ("verify", path), ("verify", "--since", "1h")):
        refused = command(*words, *settings, env=ENV)
        assert refused.returncode != 0
        assert "does not know it" not in refused.stdout + refused.stderr
        assert "mastra_admin_ledger are on another replica, and not fetched yet" in refused.stderr
    first.start()
    done = command("replay", path, *settings, env=ENV)
    assert done.returncode == 0, done.stderr


def test_a_replay_waits_for_what_another_replica_has(pair: Pair, tmp_path: Path) -> None:
    first, second = pair.servers
    pair.tell(second, "STOP")
    fill(tmp_path, "replayed", 0)
    code, told = once(pair.native_url, tmp_path, env=ENV)
    assert code == 0, told.told()
    first.kill()
    pair.tell(second, "START")
    path = str(tmp_path / "span" / "replayed" / "processed" / "0.jsonl")
    settings = ("--clickhouse-url", pair.native_url, "--file-storage-path", str(tmp_path), "--base-path", "")
    refused = command("replay", path, *settings, env=ENV)
    assert refused.returncode != 0
    assert "on another replica, and not fetched yet" in refused.stderr
    first.start()
    second.query(f"SYSTEM SYNC REPLICA {pair.database}.mastra_admin_spans LIGHTWEIGHT")
    done = command("replay", path, *settings, env=ENV)
    assert done.returncode == 0, done.stderr
    for server in pair.servers:
        assert pair.landed(server, "replayed") == (LINES, LINES, LINES)


def test_tables_that_do_not_replicate_are_refused(pair: Pair, tmp_path: Path) -> None:
    _, second = pair.servers
    ledger = f"{pair.database}.mastra_admin_ledger"
    second.query(f"RENAME TABLE {ledger} TO {pair.database}.aside")
    second.query(f"CREATE TABLE {ledger} AS {pair.database}.aside ENGINE = MergeTree ORDER BY tuple()")
    fill(tmp_path, "refused", 0)
    code, told = once(pair.native_url, tmp_path, env={**ENV, "SPOOLHOUSE_SHUTDOWN__GRACE": "1"})
    doctor = command("check", "--clickhouse-url", pair.native_url, "--file-storage-path", str(tmp_path), env=ENV)
    second.query(f"DROP TABLE {ledger} SYNC")
    second.query(f"RENAME TABLE {pair.database}.aside TO {ledger}")
    assert code == 69
    [refused] = told.events("clickhouse_unavailable")
    assert f"mastra_admin_ledger on {pair.names[1]} does not replicate (MergeTree)" in str(refused["error"])
    assert "name one host" in str(refused["hint"])
    assert f"mastra_admin_ledger on {pair.names[1]} does not replicate" in " ".join(doctor.stdout.split())
    assert (tmp_path / "span" / "refused" / "0.jsonl").exists()


def test_a_host_that_would_count_nothing_is_refused(pair: Pair, tmp_path: Path) -> None:
    first, second = pair.servers
    feed = "mastra_admin_spans_hourly_feed"
    fill(tmp_path, "uncounted", 0)
    second.query(f"DROP VIEW {pair.database}.{feed} SYNC")
    try:
        code, told = once(pair.native_url, tmp_path, env={**ENV, "SPOOLHOUSE_SHUTDOWN__GRACE": "1"})
        doctor = command("check", "--clickhouse-url", pair.native_url, "--file-storage-path", str(tmp_path), env=ENV)
    finally:
        alone = f"clickhouse://{pair.names[1]}/{pair.database}"
        migrated = command("migrate", "--clickhouse-url", alone, env=ENV)
    assert migrated.returncode == 0, migrated.stderr
    assert code == 69
    [refused] = told.events("clickhouse_unavailable")
    assert f"{feed} is not there on {pair.names[1]}, as it is on {pair.names[0]}" in str(refused["error"])
    assert "with the same views" in str(refused["hint"])
    assert f"{feed} is not there on {pair.names[1]}" in " ".join(doctor.stdout.split())
    code, told = once(f"clickhouse://{pair.names[1]},{pair.names[0]}/{pair.database}", tmp_path, env=ENV)
    assert code == 0, told.told()
    for server in (first, second):
        assert pair.landed(server, "uncounted") == (LINES, LINES, LINES)


def test_a_reload_of_retry_holds_for_a_host_that_is_away(pair: Pair, tmp_path: Path) -> None:
    """A batch that may be on it waits; with shorter pauses it lands soon after the host is back."""
    first, _ = pair.servers
    spool, file = tmp_path / "spool", tmp_path / "spoolhouse.toml"
    fill(spool, "paced", 0)
    with Daemon(pair.native_url, spool, env={**ENV, "SPOOLHOUSE_TEST_FAILPOINTS": "insert.answered=kill"}) as daemon:
        assert daemon.wait() == -signal.SIGKILL
    first.kill()
    file.write_text("[retry]\nfirst = 600\ncap = 600\n")
    env = {name: value for name, value in ENV.items() if "RETRY" not in name and "CONFIG" not in name}
    with Daemon(pair.native_url, spool, "--config", str(file), env=env) as daemon:
        daemon.wait_for("batch_waits")
        first.start()
        file.write_text("[retry]\nfirst = 0.1\ncap = 0.2\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("reloaded")
        settled(daemon, 1)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    for server in pair.servers:
        assert pair.landed(server, "paced") == (LINES, LINES, LINES)


def test_a_table_that_appears_while_it_is_looked_for_is_waited_for(pair: Pair, tmp_path: Path) -> None:
    """It may be there at the second query and not at the first: that must not end the daemon."""
    _, second = pair.servers
    ledger, aside = (f"{pair.database}.{name}" for name in ("mastra_admin_ledger", "aside"))
    fill(tmp_path, "appears", 0)
    env = {**ENV, "SPOOLHOUSE_RETRY__FIRST": "0.01", "SPOOLHOUSE_RETRY__CAP": "0.01"}
    second.query(f"RENAME TABLE {ledger} TO {aside}")
    is_aside = True
    with Daemon(pair.http_url, tmp_path, "--no-migrate", env=env) as daemon:
        try:
            daemon.wait_for("clickhouse_unavailable")
            for _ in range(300):
                second.query(f"RENAME TABLE {aside} TO {ledger}")
                is_aside = False
                assert not daemon.has_ended(), daemon.told()
                second.query(f"RENAME TABLE {ledger} TO {aside}")
                is_aside = True
        finally:
            if is_aside:
                second.query(f"RENAME TABLE {aside} TO {ledger}")
        settled(daemon, 1)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
