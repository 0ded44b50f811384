"""The rights that Spoolhouse needs: one printed block gives them all, and a user who has no more gets along with it."""

import json
import re
from pathlib import Path

import pytest

from tests.engine import Config, Database, LocalServer, QueryError, StartServer, User
from tests.process.daemon import Daemon, command, drop, lines, once
from tests.process.inputs import NOW, good

DATABASE, WRITER, PREFIX = "shop", "writer", "mastra_admin_"
REQUIRES_GRANT: dict[str, str | int] = {
    f"access_control_improvements/{name}": "true"
    for name in (
        "table_engines_require_grant",
        "select_from_system_db_requires_grant",
        "select_from_information_schema_requires_grant",
        "on_cluster_queries_require_cluster_grant",
    )
}
"""All that a server can ask a right for."""
LOG = {"type": "log", "id": "l", "projectId": "p", "level": "info", "message": "m", "timestamp": NOW.isoformat()}


def printed(*flags: str) -> str:
    """Return the block that `check --grants` prints; it asks no server."""
    named = ("--clickhouse-username", WRITER, "--clickhouse-database", DATABASE)
    done = command("check", "--grants", *named, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def granted(block: str) -> tuple[str, ...]:
    """Return its GRANT statements as a server's configuration takes them."""
    grants = re.findall(rf"^(GRANT .*) TO `{WRITER}`;$", block, re.MULTILINE)
    assert block.count("GRANT ") == len(grants) > 5
    return tuple(grants)


def server_for(start_server: StartServer, *grants: str, **server: str | int) -> LocalServer:
    users = (User(name=WRITER, password="p", grants=grants), User(name="admin", password="p"))
    return start_server(Config(users=users, server={**REQUIRES_GRANT, **server}))


def url_of(server: LocalServer, scheme: str) -> str:
    return server.endpoint.url(scheme, DATABASE, user=WRITER, password="p")


def admin(server: LocalServer, sql: str) -> list[tuple[object, ...]]:
    return server.query(sql, user="admin", password="p")


@pytest.mark.parametrize("scheme", ["clickhouse", "http"])
def test_the_printed_block_is_all_that_is_needed(start_server: StartServer, tmp_path: Path, scheme: str) -> None:
    """From a server without the database to rows that were lost and are brought back; and no right is there in vain."""
    server = server_for(start_server, *granted(printed()))
    url, spool = url_of(server, scheme), tmp_path / "spool"
    where = ("--clickhouse-url", url, "--file-storage-path", str(spool), "--base-path", "")
    spool.mkdir()
    for arguments in (["check"], ["migrate"], ["check"], ["migrate", "--check"]):
        done = command(*arguments, *(where if arguments == ["check"] else where[:2]))
        assert done.returncode == 0, done.stdout + done.stderr
    drop(spool, "span", "p", "a.jsonl", good("p", 3))
    with Daemon(url, spool, env={"SPOOLHOUSE_TEST_FAILPOINTS": "insert.answered=kill"}) as daemon:
        daemon.wait()
    code, daemon = once(url, spool)
    assert code == 0, daemon.told()
    spans = f"{DATABASE}.{PREFIX}spans"
    assert admin(server, f"SELECT count() FROM {spans}") == [(3,)]
    admin(server, f"TRUNCATE TABLE {spans} SYNC")
    replayed = command("replay", str(spool / "span/p/processed/a.jsonl"), *where)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert admin(server, f"SELECT count() FROM {spans}") == [(3,)]
    # A view of somebody else's on our table is noticed, though the user may not use it.
    admin(server, f"CREATE MATERIALIZED VIEW {DATABASE}.theirs ENGINE = MergeTree ORDER BY id AS SELECT id FROM"
          f" {DATABASE}.{PREFIX}logs")  # fmt: skip
    noticed = command("check", *where)
    assert (noticed.returncode, "would be counted twice" in noticed.stdout) == (1, True)
    for foreign in (f"DROP TABLE {DATABASE}.theirs", f"CREATE TABLE {DATABASE}.mine (i Int8) ENGINE = Memory"):
        with pytest.raises(QueryError, match="ACCESS_DENIED"):
            server.query(foreign, user=WRITER, password="p")


def test_the_block_for_a_schema_that_others_look_after_changes_none_of_it(
    start_server: StartServer, tmp_path: Path
) -> None:
    config = tmp_path / "spoolhouse.toml"
    config.write_text("[clickhouse]\nmigrate = false\n")
    block = printed("--config", str(config))
    assert "CREATE DATABASE" not in block
    assert "CREATE VIEW" not in block
    server = server_for(start_server, *granted(block))
    as_admin = server.endpoint.url("http", DATABASE, user="admin", password="p")
    assert command("migrate", "--clickhouse-url", as_admin).returncode == 0
    url, spool = url_of(server, "http"), tmp_path / "spool"
    drop(spool, "log", "p", "a.jsonl", lines([LOG]))
    code, daemon = once(url, spool, "--no-migrate")
    assert code == 0, daemon.told()
    where = ("--clickhouse-url", url, "--file-storage-path", str(spool), "--base-path", "")
    done = command("check", "--config", str(config), *where)
    assert done.returncode == 0, done.stdout


def test_who_may_not_create_the_database_is_told_before(start_server: StartServer) -> None:
    """All that is missing is named at once, with the block that gives it."""
    block = printed()
    server = server_for(start_server, *(grant for grant in granted(block) if "CREATE DATABASE" not in grant))
    url = url_of(server, "http")
    done = command("check", "--clickhouse-url", url)
    assert done.returncode == 1, done.stdout
    assert f"GRANT CREATE DATABASE ON `{DATABASE}`.* TO `{WRITER}`" in done.stdout
    assert block in done.stdout
    report = json.loads(command("check", "--json", "--clickhouse-url", url).stdout)
    assert report["grants"] == block
    assert [finding["subject"] for finding in report["findings"] if finding["level"] == "fault"] == ["rights"]


def test_two_shards_take_the_block_of_a_cluster(start_server: StartServer, tmp_path: Path) -> None:
    config = tmp_path / "spoolhouse.toml"
    config.write_text('[clickhouse]\ncluster = "two"\nkeeper = false\n')
    block = printed("--config", str(config))
    shards = [server_for(start_server, *granted(block)) for _ in range(2)]
    remote = {
        f"remote_servers/two/shard_{number}/replica/{key}": value
        for number, shard in enumerate(shards)
        for key, value in (("host", "127.0.0.1"), ("port", shard.endpoint.tcp_port), ("user", "admin"),
                           ("password", "p"))
    }  # fmt: skip
    for shard in shards:
        shard.config = Config(users=shard.config.users, server={**shard.config.server, **remote})
        shard.restart()
    spool = tmp_path / "spool"
    drop(spool, "span", "p", "a.jsonl", good("p", 3))
    for shard in shards:
        done = command("migrate", "--config", str(config), "--clickhouse-url", url_of(shard, "clickhouse"))
        assert done.returncode == 0, done.stderr
    url = url_of(shards[0], "clickhouse")
    code, daemon = once(url, spool, "--config", str(config))
    assert code == 0, daemon.told()
    where = ("--clickhouse-url", url, "--file-storage-path", str(spool), "--base-path", "")
    done = command("check", "--config", str(config), *where)
    assert done.returncode == 0, done.stdout
    assert admin(shards[1], f"SELECT count() FROM {DATABASE}.{PREFIX}spans") == [(3,)]


@pytest.mark.parametrize("http", ["off", "any port"])
def test_a_table_that_was_dropped_under_a_daemon_is_a_fault(database: Database, tmp_path: Path, http: str) -> None:
    """A start would create it, and a daemon that runs holds what belongs there."""
    where = ("--clickhouse-url", database.native_url, "--file-storage-path", str(tmp_path), "--base-path", "")
    with Daemon(database.native_url, tmp_path, http="off" if http == "off" else "any port") as daemon:
        daemon.wait_for("started")
        assert command("check", *where).returncode == 0
        database.query(f"DROP TABLE {PREFIX}logs SYNC")
        drop(tmp_path, "log", "p", "a.jsonl", lines([LOG]))
        daemon.wait_for("table_held")
        done = command("check", *where)
        assert done.returncode == 1, done.stdout
        assert f"{PREFIX}logs" in done.stdout
        assert "spoolhouse migrate" in done.stdout
    stopped = command("check", *where)
    assert stopped.returncode == 0, stopped.stdout
    assert f"{PREFIX}logs" in stopped.stdout
