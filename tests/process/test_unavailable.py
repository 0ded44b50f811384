"""ClickHouse cannot be used: one clear line with the setting and the fix, files where they were, `--once` exits 69."""

import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.engine import Config, Database, LocalServer, StartServer, User
from tests.process.daemon import Daemon, command, drop, lines, once
from tests.process.inputs import NOW, good, span

PREFIX = "mastra_admin_"
MEMORY = 34 << 20


@pytest.fixture
def strict(start_server: StartServer) -> LocalServer:
    """Start a server on which `writer` has a password and all rights, and `reader` may not create or insert."""
    users = (
        User(name="writer", password="right"),
        User(name="reader", password="right", grants=("GRANT SELECT ON *.*",)),
    )
    return start_server(Config(users=users))


def check(daemon: Daemon, path: Path, code: int, *, hint: str, event: str = "clickhouse_unavailable") -> None:
    """It said why and what to do, in one line, and left the file where it was."""
    assert daemon.wait() == code, daemon.told()
    [record] = daemon.events(event)
    assert hint in str(record["hint"]), record
    assert "right" not in daemon.told(), "no secret is ever said"
    assert path.exists()


def test_wrong_password(strict: LocalServer, tmp_path: Path) -> None:
    path = drop(tmp_path, "span", "p", "a.jsonl", good("p"))
    env = {"SPOOLHOUSE_CLICKHOUSE__USERNAME": "writer", "SPOOLHOUSE_CLICKHOUSE__PASSWORD": "wr0ng"}
    with Daemon(strict.http_url, tmp_path, "--once", env=env) as daemon:
        check(daemon, path, 69, hint="clickhouse.password")


def test_right_password_from_a_file(strict: LocalServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("right\n")
    spool = tmp_path / "spool"
    drop(spool, "span", "p", "a.jsonl", good("p"))
    env = {"SPOOLHOUSE_CLICKHOUSE__USERNAME": "writer", "SPOOLHOUSE_CLICKHOUSE__PASSWORD_FILE": str(secret)}
    code, daemon = once(strict.native_url, spool, env=env)
    assert code == 0, daemon.told()
    assert "right" not in daemon.told()


def test_a_password_by_flag_is_warned_of(strict: LocalServer, tmp_path: Path) -> None:
    drop(tmp_path, "span", "p", "a.jsonl", good("p"))
    flags = ("--clickhouse-username", "writer", "--clickhouse-password", "right")
    code, daemon = once(strict.http_url, tmp_path, *flags)
    assert code == 0, daemon.told()
    assert daemon.events("password_on_command_line", level="warning")
    assert '"right"' not in daemon.told()


def test_no_rights(strict: LocalServer, tmp_path: Path) -> None:
    path = drop(tmp_path, "span", "p", "a.jsonl", good("p"))
    env = {"SPOOLHOUSE_CLICKHOUSE__USERNAME": "reader", "SPOOLHOUSE_CLICKHOUSE__PASSWORD": "right"}
    with Daemon(strict.http_url, tmp_path, "--once", env=env) as daemon:
        check(daemon, path, 69, hint="GRANT")


def test_unknown_database(database: Database, tmp_path: Path) -> None:
    path = drop(tmp_path, "span", "p", "a.jsonl", good("p"))
    url = database.server.http_url
    with Daemon(url, tmp_path, "--once", "--no-migrate", "--clickhouse-database", "nowhere") as daemon:
        check(daemon, path, 69, hint="clickhouse.database")


def test_a_missing_database_is_created_by_the_migration(database: Database, tmp_path: Path) -> None:
    database.drop()
    drop(tmp_path, "span", "p", "a.jsonl", good("p"))
    code, daemon = once(database.native_url, tmp_path)
    assert code == 0, daemon.told()
    assert database.query(f"SELECT count() FROM {PREFIX}spans") == [(1,)]


def test_a_dropped_table_holds_its_batch_until_it_is_back(database: Database, tmp_path: Path) -> None:
    """Nothing is lost: the claimed file waits, `--once` gives up with 69, and the next run lands it."""
    assert once(database.http_url, tmp_path)[0] == 0
    [(create,)] = database.query(f"SHOW CREATE TABLE {PREFIX}spans")
    database.query(f"DROP TABLE {PREFIX}spans SYNC")
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 3))
    env = {"SPOOLHOUSE_SHUTDOWN__GRACE": "0.5", "SPOOLHOUSE_RETRY__CAP": "0.5"}
    code, daemon = once(database.http_url, tmp_path, "--no-migrate", env=env)
    assert code == 69, daemon.told()
    [record, *_] = daemon.events("table_held", scope=f"{PREFIX}spans")
    assert record["code"] == 60
    assert "spoolhouse migrate" in str(record["hint"])
    database.query(str(create))
    code, daemon = once(database.http_url, tmp_path)
    assert code == 0, daemon.told()
    assert database.query(f"SELECT count() FROM {PREFIX}spans") == [(3,)]


@pytest.mark.parametrize(
    ("kind", "table", "fields"),
    [
        ("log", "logs", {"level": "info", "message": "m"}),
        ("tool_call", "tool_calls", {"run_id": "r", "tool_calls": [{"tool_name": "t", "input": "i", "output": "o"}]}),
    ],
)
def test_a_held_table_stalls_only_its_own_type(
    database: Database, tmp_path: Path, kind: str, table: str, fields: Mapping[str, object]
) -> None:
    """The spool is full of it, and the others flow; what is held waits where it was dropped, and lands once it can."""
    assert once(database.http_url, tmp_path)[0] == 0
    [(create,)] = database.query(f"SHOW CREATE TABLE {PREFIX}{table}")
    database.query(f"DROP TABLE {PREFIX}{table} SYNC")

    def drop_held(number: int) -> Path:
        names = {"type": kind, "projectId": "p", "id": str(number)}
        if kind == "tool_call":
            names = {"event_type": kind, "project_id": "p", "event_id": str(number)}
        return drop(tmp_path, kind, "p", f"{number}.jsonl", lines([{**names, **fields, "timestamp": NOW.isoformat()}]))

    for number in range(60):
        drop_held(number)
    env = {"SPOOLHOUSE_BATCH__MAX_FILES": "1", "SPOOLHOUSE_RETRY__CAP": "1"}
    with Daemon(database.http_url, tmp_path, "--no-migrate", env=env) as daemon:
        daemon.wait_for("table_held", scope=f"{PREFIX}{table}", count=2)
        late = [drop_held(number) for number in range(60, 63)]
        for number in range(3):
            drop(tmp_path, "span", "p", f"{number}.jsonl", lines([span("p", number)]))
            daemon.wait_for("file_settled", path=f"span/p/{number}.jsonl")
        assert database.query(f"SELECT count() FROM {PREFIX}spans") == [(3,)]
        assert all(path.exists() for path in late), "it is not claimed any more"
        database.query(str(create))
        daemon.wait_for("file_settled", count=66)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert database.query(f"SELECT count() FROM {PREFIX}{table}") == [(63,)]


@pytest.fixture
def refusing(start_server: StartServer) -> LocalServer:
    """Start a server whose constraints may answer with any code."""
    return start_server(Config(profiles={"default": {"allow_custom_error_code_in_throwif": 1}}))


@pytest.mark.parametrize("code", [252, 242, 692, 241])
def test_a_table_that_refuses_for_a_while_stalls_only_its_own_type(
    refusing: LocalServer, tmp_path: Path, code: int
) -> None:
    """What passes by itself may take hours where it is one table's: others flow, and it goes on once it can."""
    assert once(refusing.http_url, tmp_path)[0] == 0
    refuse = f"NOT throwIf(1, 'not now', toInt16({code}))"
    refusing.query(f"ALTER TABLE {PREFIX}logs ADD CONSTRAINT not_now CHECK {refuse}")

    def drop_log(number: int) -> Path:
        about = {"type": "log", "projectId": "p", "id": str(number), "level": "info", "message": "m"}
        return drop(tmp_path, "log", "p", f"{number}.jsonl", lines([{**about, "timestamp": NOW.isoformat()}]))

    for number in range(30):
        drop_log(number)
    env = {"SPOOLHOUSE_BATCH__MAX_FILES": "1", "SPOOLHOUSE_RETRY__FIRST": "0.1", "SPOOLHOUSE_RETRY__CAP": "0.5"}
    with Daemon(refusing.http_url, tmp_path, "--no-migrate", env=env) as daemon:
        daemon.wait_for("clickhouse_unavailable", scope=f"{PREFIX}logs", attempts=4, code=code)
        late = [drop_log(number) for number in range(30, 33)]
        for number in range(3):
            drop(tmp_path, "span", "p", f"{number}.jsonl", lines([span("p", number)]))
            daemon.wait_for("file_settled", path=f"span/p/{number}.jsonl")
        assert all(path.exists() for path in late), "it is not claimed any more"
        refusing.query(f"ALTER TABLE {PREFIX}logs DROP CONSTRAINT not_now")
        daemon.wait_for("file_settled", count=36)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert refusing.query(f"SELECT count() FROM {PREFIX}logs") == [(33,)]


@pytest.fixture
def narrow(start_server: StartServer) -> LocalServer:
    """Start a server on which `narrow` has less memory for a statement than a batch of 60 000 spans needs."""
    limits = {"narrow": {"max_memory_usage": MEMORY}}
    return start_server(Config(users=(User(name="narrow", password="right", profile="narrow"),), profiles=limits))


@pytest.mark.parametrize("kill", ["", "insert.answered@2=kill"], ids=["", "killed between two parts"])
def test_a_batch_that_needs_more_memory_than_there_is_lands_in_parts(
    narrow: LocalServer, tmp_path: Path, kill: str
) -> None:
    env = {"SPOOLHOUSE_CLICKHOUSE__USERNAME": "narrow", "SPOOLHOUSE_CLICKHOUSE__PASSWORD": "right"}
    assert command("migrate", "--clickhouse-url", narrow.native_url).returncode == 0
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 60_000))
    if kill:
        with Daemon(
            narrow.native_url, tmp_path, "--no-migrate", env={**env, "SPOOLHOUSE_TEST_FAILPOINTS": kill}
        ) as daemon:
            assert daemon.wait() == -signal.SIGKILL, daemon.told()
    with Daemon(narrow.native_url, tmp_path, "--no-migrate", env=env) as daemon:
        [settled] = daemon.wait_for("file_settled", timeout=40)
        assert settled["rows"] == {"spans": 60_000}
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert narrow.query(f"SELECT count(), uniqExact(span_id) FROM {PREFIX}spans") == [(60_000, 60_000)]
    assert narrow.query(f"SELECT uniqExact(batch_id) > 1 FROM {PREFIX}spans") == [(1,)]
    assert narrow.query(f"SELECT sum(lines) FROM {PREFIX}spans_hourly") == [(60_000,)]


def test_many_months_in_one_file_land(database: Database, tmp_path: Path) -> None:
    """More partitions than the server's default for one insert; old rows may expire, so the view counts."""
    months = [NOW.replace(year=1971 + number // 12, month=number % 12 + 1, day=1) for number in range(150)]
    content = lines([span("p", number, startTime=month.isoformat()) for number, month in enumerate(months)])
    drop(tmp_path, "span", "p", "a.jsonl", content)
    code, daemon = once(database.native_url, tmp_path)
    assert code == 0, daemon.told()


def test_a_view_that_would_count_a_repeat_twice_holds_its_table_until_it_is_fixed(
    database: Database, tmp_path: Path
) -> None:
    """Somebody's own view on our table, into a target that remembers no tokens."""
    assert once(database.http_url, tmp_path)[0] == 0
    database.query("CREATE TABLE mine (span_id String) ENGINE = MergeTree ORDER BY span_id")
    database.query(f"CREATE MATERIALIZED VIEW mine_feed TO mine AS SELECT span_id FROM {PREFIX}spans")
    path = drop(tmp_path, "span", "p", "a.jsonl", good("p", 3))
    with Daemon(database.http_url, tmp_path, "--once") as daemon:
        check(daemon, path, 1, event="table_held", hint=f"ALTER TABLE {database.name}.mine MODIFY SETTING")
    database.query("ALTER TABLE mine MODIFY SETTING non_replicated_deduplication_window = 10000")
    code, daemon = once(database.http_url, tmp_path)
    assert code == 0, daemon.told()
    assert database.query("SELECT count() FROM mine") == [(3,)]
