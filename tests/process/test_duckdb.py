"""DuckDB as the store: the same daemon lands each line once in a file, which one process has at a time."""

import json
import random
import resource
import signal
import struct
import threading
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.process.daemon import Daemon, command, drop, lines, once
from tests.process.inputs import NOW, good

PREFIX = "mastra_admin_"
FAILPOINTS = "SPOOLHOUSE_TEST_FAILPOINTS"
HASTE = {"SPOOLHOUSE_RETRY__FIRST": "0.05", "SPOOLHOUSE_RETRY__CAP": "0.1", "SPOOLHOUSE_SPOOL__APPEND_WATCH": "0.2"}
LOG = {"type": "log", "id": "l", "projectId": "p", "level": "info", "message": "m", "timestamp": NOW.isoformat()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file in a folder that is not there yet."""
    return tmp_path / "data" / "events.db"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def url_of(path: Path) -> str:
    return f"duckdb://{path}"


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(path, read_only=True) as connection:
        return connection.execute(sql).fetchall()


def counts(path: Path) -> tuple[int, int, int, int]:
    """Return how many spans there are, how many different ones, and how many the batches and the ledger count."""
    [(rows, ids)] = ask(path, f"SELECT count(*), count(DISTINCT span_id) FROM {PREFIX}spans")
    [(batched,)] = ask(path, f"SELECT sum(row_count)::BIGINT FROM {PREFIX}batches WHERE table_name = 'spans'")
    [(entered,)] = ask(path, f"SELECT sum(row_count)::BIGINT FROM {PREFIX}ledger_latest WHERE table_name = 'spans'")
    return rows, ids, batched, entered


@pytest.mark.parametrize("flags", [["--store-url"], ["--clickhouse-url"]])
def test_each_event_lands_with_its_values(path: Path, spool: Path, flags: list[str]) -> None:
    assert command("generate", "--rows", "300", "--files", "16", "--file-storage-path", str(spool)).returncode == 0
    drop(spool / "observability", "span", "p", "odd.jsonl", good("p", 3))
    done = command(
        "ingest", "--once", *flags, url_of(path), "--file-storage-path", str(spool),
        env={"SPOOLHOUSE_HTTP__LISTEN": "off", "SPOOLHOUSE_SPOOL__QUIET": "0.05"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    landed = dict(ask(path, f"SELECT table_name, sum(row_count)::BIGINT FROM {PREFIX}batches GROUP BY ALL"))
    assert landed.keys() >= {"traces", "spans", "logs", "metrics", "scores", "feedback", "events"}
    for table, rows in landed.items():
        assert ask(path, f"SELECT count(*) FROM {PREFIX}{table}") == [(rows,)]
    assert ask(path, f"SELECT name, duration_ms, batch_id != '' FROM {PREFIX}spans WHERE span_id = 'p-0'") == [
        ("call", 0.0, True)
    ]


@pytest.mark.parametrize("place", ["duckdb.rows", "duckdb.before_commit", "duckdb.committed"])
def test_a_kill_beside_the_commit_neither_loses_nor_doubles(path: Path, spool: Path, place: str) -> None:
    drop(spool, "span", "p", "a.jsonl", good("p", 50))
    with Daemon(url_of(path), spool, env={FAILPOINTS: f"{place}=kill"}) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    has_landed = place == "duckdb.committed"
    assert ask(path, f"SELECT count(*) FROM {PREFIX}spans") == [(50 if has_landed else 0,)]
    for _ in range(2):
        code, daemon = once(url_of(path), spool)
        assert code == 0, daemon.told()
        assert counts(path) == (50, 50, 50, 50)


@pytest.mark.timeout(300)
def test_killed_under_load(path: Path, spool: Path) -> None:
    rng, pause = random.Random(13), threading.Event()
    files, rows = 24, 500
    for number in range(files):
        drop(spool, "span", f"p{number % 3}", f"{number:03}.jsonl", good(f"f{number}", rows))
    small = {"SPOOLHOUSE_BATCH__MAX_BYTES": "256KiB", "SPOOLHOUSE_SPOOL__PROJECT": "trust"}
    for kill in range(5):
        with Daemon(url_of(path), spool, env=small) as daemon:
            daemon.wait_for("file_settled" if kill == 0 else "started")
            pause.wait(rng.uniform(0, 0.4))  # anywhere in a shipment's life
            daemon.kill()
    code, daemon = once(url_of(path), spool, env=small)
    assert code == 0, daemon.told()
    assert counts(path) == (files * rows,) * 4


def test_a_file_in_use_is_said_to_be_in_use(path: Path, spool: Path) -> None:
    drop(spool, "span", "p", "a.jsonl", good("p", 3))
    with Daemon(url_of(path), spool) as daemon:
        daemon.wait_for("file_settled")
        other = spool.with_name("other")
        drop(other, "span", "p", "b.jsonl", good("q", 3))
        code, second = once(url_of(path), other)
        assert code == 69, second.told()
        [record] = second.events("duckdb_unavailable")
        assert f"{path} is in use by process {daemon.pid}" in str(record["error"])
        assert "stop it first (a daemon: SIGTERM, or systemctl stop)" in str(record["hint"])
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert once(url_of(path), other)[0] == 0
    assert ask(path, f"SELECT count(*) FROM {PREFIX}spans") == [(6,)]


def test_commands_ask_the_file(path: Path, spool: Path) -> None:
    """They may read: neither write, nor read another file. While a daemon has it that serves no HTTP, they say so."""
    drop(spool, "span", "p", "a.jsonl", good("p", 3))
    url = url_of(path)
    with Daemon(url, spool) as daemon:
        daemon.wait_for("file_settled")
        done = command("spans", "--project", "p", "--store-url", url)
        assert (done.returncode, done.stdout) == (69, "")
        assert f"{path} is in use by process {daemon.pid}" in done.stderr
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    done = command("spans", "--project", "p", "--json", "--store-url", url)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["p-0", "p-1", "p-2"], done.stderr
    counting = f"SELECT count(*) AS spans FROM {PREFIX}spans"
    done = command("sql", "--json", counting, "--store-url", url)
    assert json.loads(done.stdout) == {"spans": 3}, done.stderr
    done = command("sql", f"SELECT span FROM {PREFIX}spans", "--store-url", url)
    assert 'Candidate bindings: "span_id"' in done.stderr
    out = path.with_name("out")
    for refused in (f"DELETE FROM {PREFIX}spans", f"1); COPY (SELECT 1) TO '{out}'; SELECT (1", "FROM '/etc/passwd'"):
        done = command("sql", refused, "--store-url", url)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert "sql: " in done.stderr
    assert not out.exists()
    assert ask(path, counting) == [(3,)]


def test_a_full_disk_is_waited_for(path: Path, spool: Path) -> None:
    """No file can grow beyond a size that the log of the database soon has. What lands later survives a crash."""
    settings = {**HASTE, "SPOOLHOUSE_BATCH__MAX_FILES": "1", "SPOOLHOUSE_SPOOL__PROJECT": "trust"}
    with Daemon(url_of(path), spool, env=settings) as daemon:
        drop(spool, "span", "p", "first.jsonl", good("first", 5))
        daemon.wait_for("file_settled")
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        for number in range(30):
            drop(spool, "span", "p", f"{number:02}.jsonl", good(f"f{number}", 1000))
        told = daemon.wait_for("duckdb_unavailable", attempts=2)
        assert "disk space" in str(told[0]["hint"]), daemon.told()
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        daemon.wait_for("file_settled", count=31)
        daemon.kill()
    assert once(url_of(path), spool)[0] == 0
    assert counts(path) == (30_005,) * 4


def test_what_is_no_database_is_left_alone(path: Path, spool: Path) -> None:
    drop(spool, "span", "p", "a.jsonl", good("p", 3))
    path.parent.mkdir()
    path.write_bytes(b"precious\n")
    code, daemon = once(url_of(path), spool)
    assert code == 69, daemon.told()
    assert "no DuckDB database" in str(daemon.events("duckdb_unavailable")[0]["error"])
    assert path.read_bytes() == b"precious\n"


def test_two_stores_at_once_are_refused(path: Path) -> None:
    done = command("ingest", "--store-url", url_of(path), "--clickhouse-url", "clickhouse://localhost:9000")
    assert done.returncode == 78
    assert "clickhouse.url: given together with store.url" in done.stderr


def test_a_file_is_brought_up_to_date(path: Path, spool: Path) -> None:
    """What is missing is added, in old rows as well; what would rewrite data is refused, and its table is held."""
    migrate = ("migrate", "--store-url", url_of(path))
    done = command(*migrate, "--check")
    assert (done.returncode, path.exists()) == (1, False), done.stderr
    assert f"{PREFIX}spans\n  + table" in done.stdout
    plan = command(*migrate, "--plan").stdout
    assert plan == command(*migrate, "--print").stdout
    with duckdb.connect() as empty:
        empty.execute(plan)
    assert command(*migrate).returncode == command(*migrate, "--check").returncode == 0
    with duckdb.connect(path) as connection:
        connection.execute(f"ALTER TABLE {PREFIX}spans DROP COLUMN extra; ALTER TABLE {PREFIX}logs DROP COLUMN message")
        connection.execute(f"INSERT INTO {PREFIX}spans (span_id) VALUES ('old')")
        connection.execute(f"ALTER TABLE {PREFIX}logs ADD COLUMN message INTEGER")
    done = command(*migrate, "--check")
    assert "+ column extra VARCHAR" in done.stdout
    assert "! column message is INTEGER, and VARCHAR is declared" in done.stdout
    drop(spool, "span", "p", "a.jsonl", good("p", 3))
    drop(spool, "log", "p", "b.jsonl", lines([LOG]))
    code, daemon = once(url_of(path), spool, env={"SPOOLHOUSE_SHUTDOWN__GRACE": "1"})
    assert code == 1, daemon.told()
    [held] = daemon.events("table_held")
    assert "column message is INTEGER" in str(held["error"])
    both = f"SELECT span_id, extra FROM {PREFIX}spans_latest WHERE span_id IN ('old', 'p-0') ORDER BY ALL"
    assert ask(path, both) == [("old", "{}"), ("p-0", "{}")]


def test_rows_expire(path: Path, spool: Path) -> None:
    """Those that are older than their table's TTL are deleted at the start; others stay."""
    drop(spool, "span", "p", "a.jsonl", good("p", 3))
    assert once(url_of(path), spool)[0] == 0
    with duckdb.connect(path) as connection:
        for name, days in (("logs", 29), ("logs", 31), ("spans", 31), ("batches", 100), ("batches", 731)):
            time = {"logs": "timestamp", "spans": "start_time", "batches": "shipped_at"}[name]
            connection.execute(f"INSERT INTO {PREFIX}{name} ({time}) VALUES (now() - INTERVAL {days} DAY)")
    assert once(url_of(path), spool)[0] == 0
    counts = [ask(path, f"SELECT count(*) FROM {PREFIX}{name}")[0][0] for name in ("logs", "spans", "batches")]
    assert counts == [1, 4, 2]


def checksum(block: bytes) -> int:
    """Return what DuckDB writes before a block."""
    found = 5381
    for (word,) in struct.iter_unpack("<Q", block):
        found ^= word * 0xBF58476D1CE4E5B9 % 2**64
    return found


def test_a_damaged_file_is_said_to_be_damaged(path: Path, spool: Path) -> None:
    """What lands later waits, and lands in another file."""
    drop(spool, "span", "p", "a.jsonl", good("p", 3))
    path.parent.mkdir()
    duckdb.connect(path).close()
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    code, daemon = once(url_of(path), spool)
    assert code == 69, daemon.told()
    [record] = daemon.events("duckdb_unavailable")
    assert "Corrupt database file" in str(record["error"])
    assert "restore" in str(record["hint"])
    assert path.read_bytes() == bytes(content)
    assert once(url_of(path.with_name("other.db")), spool)[0] == 0
    assert counts(path.with_name("other.db")) == (3, 3, 3, 3)


def test_a_newer_file_is_refused_in_words(path: Path, spool: Path) -> None:
    drop(spool, "span", "p", "a.jsonl", good("p", 3))
    path.parent.mkdir()
    duckdb.connect(path).close()
    content = bytearray(path.read_bytes())
    content[12:20] = (9999).to_bytes(8, "little")  # the version of the file's format
    content[:8] = checksum(bytes(content[8:4096])).to_bytes(8, "little")
    path.write_bytes(content)
    code, daemon = once(url_of(path), spool)
    assert code == 69, daemon.told()
    [record] = daemon.events("duckdb_unavailable")
    assert "newer DuckDB" in str(record["hint"]), record
    assert path.read_bytes() == bytes(content)


BUILD = """
type = "build"
table = "builds"
time = "at"
key = ["project_id", "id"]
ttl_days = 90
[[columns]]
name = "id"
type = "String"
required = true
[[columns]]
name = "project_id"
type = "String"
path = "projectId"
required = true
[[columns]]
name = "at"
type = "DateTime64(3)"
required = true
[[columns]]
name = "region"
type = "String"
"""
ZONE = """
[[columns]]
name = "zone"
type = "String"
"""
REQUIRED = "required = true\n"


@pytest.mark.parametrize("second", [BUILD + ZONE, BUILD + ZONE + REQUIRED], ids=["more", "as many"])
def test_a_version_that_takes_other_lines_does_not_finish_what_has_landed(path: Path, spool: Path, second: str) -> None:
    """The first one rejects a line that the second one accepts: as a row of a batch that is there, it would be lost."""
    versions = {}
    for name, content in (("first", BUILD + REQUIRED + ZONE), ("second", second)):
        folder = spool.with_name(name)
        folder.mkdir()
        (folder / "build.toml").write_text(content)
        versions[name] = {"SPOOLHOUSE_EVENTS__FOLDER": str(folder), "SPOOLHOUSE_SHUTDOWN__GRACE": "1"}
    events = [
        {"type": "build", "id": str(number), "projectId": "p", "at": NOW.isoformat(), "region": "eu", "zone": "a"}
        for number in range(3)
    ]
    del events[1]["region"], events[2]["zone"]
    drop(spool, "build", "p", "a.jsonl", lines(events))
    env = versions["first"] | {FAILPOINTS: "duckdb.committed=kill"}
    with Daemon(url_of(path), spool, env=env) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    code, daemon = once(url_of(path), spool, env=versions["second"])
    assert code != 0, daemon.told()
    assert "journalled under other declarations" in str(daemon.events("table_held")[0]["error"])
    assert once(url_of(path), spool, env=versions["first"])[0] == 0
    assert ask(path, f"SELECT id FROM {PREFIX}builds ORDER BY id") == [("0",), ("2",)]
    assert list((spool / "build" / "p" / "processed").iterdir())
    [rejected] = (spool / "rejected").rglob("*.jsonl")
    assert json.loads(json.loads(rejected.read_text())["raw"]) == events[1]
