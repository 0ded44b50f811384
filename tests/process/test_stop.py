"""Stopping, with real signals on the real console script."""

import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.engine import Database, LocalServer, StartServer
from tests.process.daemon import Daemon, drop, lines, once
from tests.process.inputs import NOW, good

PREFIX = "mastra_admin_"


def count(database: Database) -> int:
    [(rows,)] = database.query(f"SELECT count() FROM {PREFIX}spans")
    return int(rows)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_drains_and_exits_0(database: Database, tmp_path: Path, number: signal.Signals) -> None:
    """What was claimed when the signal came has landed and moved when the process ends."""
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 20_000))
    with Daemon(database.native_url, tmp_path) as daemon:
        daemon.wait_for("started")
        daemon.signal(number)
        assert daemon.wait() == 0, daemon.told()
    claimed = [path for path in (tmp_path / ".spoolhouse").rglob("claimed/**/*") if path.is_file()]
    assert claimed == []
    pending = (tmp_path / "span" / "p" / "a.jsonl").exists()
    assert count(database) == (0 if pending else 20_000)


def test_out_of_time_exits_75_and_loses_nothing(start_server: StartServer, tmp_path: Path) -> None:
    """A server that freezes in mid-flight: the grace ends, and the next start goes on where this one ended."""
    server = start_server()
    drop(tmp_path, "span", "p", "first.jsonl", good("p", 1))
    with Daemon(server.native_url, tmp_path, env={"SPOOLHOUSE_SHUTDOWN__GRACE": "0.5"}) as daemon:
        daemon.wait_for("file_settled")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            drop(tmp_path, "span", "p", "second.jsonl", good("p", 5000, first=1))
            claimed = tmp_path / "span" / "p" / "second.jsonl"
            _until_gone(claimed)
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 75, daemon.told()
        finally:
            os.kill(server.pid, signal.SIGCONT)
    code, _ = once(server.native_url, tmp_path)
    assert code == 0
    assert server.query(f"SELECT count(), uniqExact(span_id) FROM {PREFIX}spans") == [(5001, 5001)]


def _until_gone(path: Path) -> None:
    done = threading.Event()
    for _ in range(400):
        if not path.exists():
            return
        done.wait(0.05)
    raise AssertionError(f"{path} is still there")


def _until_there(path: Path) -> None:
    done = threading.Event()
    for _ in range(400):
        if path.exists():
            return
        done.wait(0.05)
    raise AssertionError(f"{path} is not there")


def _until_recorded(server: LocalServer) -> None:
    """Wait until the ledger has an entry."""
    done = threading.Event()
    for _ in range(400):
        if server.query(f"SELECT count() FROM {PREFIX}ledger") != [(0,)]:
            return
        done.wait(0.05)
    raise AssertionError("nothing in the ledger")


def test_a_second_signal_ends_it_at_once(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    drop(tmp_path, "span", "p", "first.jsonl", good("p", 1))
    with Daemon(server.native_url, tmp_path) as daemon:
        daemon.wait_for("file_settled")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            drop(tmp_path, "span", "p", "second.jsonl", good("p", 10, first=1))
            _until_gone(tmp_path / "span" / "p" / "second.jsonl")
            daemon.signal(signal.SIGTERM)
            daemon.wait_for("stop_requested")
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == -signal.SIGTERM, daemon.told()
        finally:
            os.kill(server.pid, signal.SIGCONT)
    code, _ = once(server.native_url, tmp_path)
    assert code == 0
    assert server.query(f"SELECT count(), uniqExact(span_id) FROM {PREFIX}spans") == [(11, 11)]


def test_an_unreachable_server_leaves_files_where_they_are(tmp_path: Path) -> None:
    """`--once` exits 69 with one clear line; the daemon waits, and stops cleanly."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"clickhouse://127.0.0.1:{free.getsockname()[1]}"
    path = drop(tmp_path, "span", "p", "a.jsonl", good("p", 1))
    code, daemon = once(url, tmp_path)
    assert code == 69, daemon.told()
    [record] = daemon.events("clickhouse_unavailable")
    assert "clickhouse.url" in str(record["hint"])
    assert path.exists()
    with Daemon(url, tmp_path) as waiting:
        waiting.wait_for("clickhouse_unavailable")
        waiting.signal(signal.SIGTERM)
        assert waiting.wait() == 0, waiting.told()
    assert path.exists()


def test_it_goes_on_by_itself_when_the_server_comes_back(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 100))
    with Daemon(server.native_url, tmp_path) as daemon:
        daemon.wait_for("file_settled")
        server.kill()
        drop(tmp_path, "span", "p", "b.jsonl", good("p", 100, first=100))
        daemon.wait_for("clickhouse_unavailable")
        server.restart()
        daemon.wait_for("file_settled", count=2)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert server.query(f"SELECT count(), uniqExact(span_id) FROM {PREFIX}spans") == [(200, 200)]


LOG = {"type": "log", "projectId": "p", "level": "info", "message": "m", "timestamp": NOW.isoformat()}
QUICKLY = 10
"""Seconds: well below the grace, and above what a busy machine takes."""


def stop(daemon: Daemon) -> tuple[int, bool]:
    """Stop it; return its exit code, and whether it ended long before the grace was over."""
    daemon.signal(signal.SIGTERM)
    daemon.wait_for("stop_requested")
    began = time.monotonic()
    return daemon.wait(), time.monotonic() - began < QUICKLY


LONG = {"SPOOLHOUSE_SHUTDOWN__GRACE": "30"}


@pytest.mark.parametrize("flags", [(), ("--once",)], ids=["live", "once"])
def test_what_is_held_is_not_waited_for(flags: tuple[str, ...], database: Database, tmp_path: Path) -> None:
    """It is journalled, and the next start's; a run with an end says by its exit code that something is left."""
    prepare(database, tmp_path / "other")
    [(create,)] = database.query(f"SHOW CREATE TABLE {PREFIX}logs")
    log = [{**LOG, "id": str(number)} for number in range(50)]
    drop(tmp_path, "log", "p", "a.jsonl", lines(log))
    database.query(f"DROP TABLE {PREFIX}logs SYNC")
    with Daemon(
        database.native_url, tmp_path, *flags, env={**LONG, "SPOOLHOUSE_CLICKHOUSE__MIGRATE": "false"}
    ) as daemon:
        daemon.wait_for("table_held", scope=f"{PREFIX}logs")
        drop(tmp_path, "span", "p", "a.jsonl", good("p", 5))
        daemon.wait_for("file_settled", path="span/p/a.jsonl")
        assert stop(daemon) == (1 if flags else 0, True), daemon.told()
        assert not daemon.events("out_of_time")
    database.query(str(create))
    code, daemon = once(database.native_url, tmp_path)
    assert code == 0, daemon.told()
    assert database.query(f"SELECT count(), uniqExact(id) FROM {PREFIX}logs") == [(50, 50)]
    assert count(database) == 5


def test_a_large_shipment_of_a_held_table_is_not_read_to_its_end(database: Database, tmp_path: Path) -> None:
    """Decode breaks it off at the stop: nobody takes its rows, and the next start reads it again."""
    prepare(database, tmp_path / "other")
    [(create,)] = database.query(f"SHOW CREATE TABLE {PREFIX}spans")
    database.query(f"DROP TABLE {PREFIX}spans SYNC")
    rows, here = 80_000, tmp_path / "here"
    drop(tmp_path / "spool", "span", "p", "a.jsonl", good("p", rows))
    env = {
        **LONG,
        "SPOOLHOUSE_CLICKHOUSE__MIGRATE": "false",
        "SPOOLHOUSE_SPOOL__MAX_LINE": "64KiB",  # so long is a step, too
        # More rows than the first block of an insert has: it has failed by then.
        "SPOOLHOUSE_TEST_FAILPOINTS": f"decode.step@180=wait:{here},decode.step@230=kill",
    }
    with Daemon(database.native_url, tmp_path / "spool", env=env) as daemon:
        daemon.wait_for("table_held", scope=f"{PREFIX}spans")
        _until_there(here)
        daemon.signal(signal.SIGTERM)
        here.unlink()
        assert daemon.wait() == 0, daemon.told()
    database.query(str(create))
    code, daemon = once(database.native_url, tmp_path / "spool")
    assert code == 0, daemon.told()
    assert database.query(f"SELECT count(), uniqExact(span_id) FROM {PREFIX}spans") == [(rows, rows)]


def test_a_ledger_that_is_held_is_not_waited_for(database: Database, tmp_path: Path) -> None:
    """The rows have landed, and the next start writes the entries."""
    with Daemon(database.native_url, tmp_path, env=LONG) as daemon:
        daemon.wait_for("started")
        database.query(f"DROP TABLE {PREFIX}ledger SYNC")
        drop(tmp_path, "span", "p", "a.jsonl", good("p", 5))
        daemon.wait_for("ledger_behind", scope=f"{PREFIX}ledger")
        assert stop(daemon) == (0, True), daemon.told()
    assert count(database) == 5
    code, daemon = once(database.native_url, tmp_path)
    assert code == 0, daemon.told()
    assert count(database) == 5
    assert database.query(f"SELECT sum(row_count) FROM {PREFIX}ledger FINAL") == [(5,)]


@pytest.mark.parametrize("again", ["a restart", "a kill"])
def test_a_server_that_is_away_is_not_waited_for(again: str, start_server: StartServer, tmp_path: Path) -> None:
    """Nor are those that wait behind the ones in flight; a kill in the midst of the next run loses nothing either."""
    server = start_server()
    drop(tmp_path, "span", "p", "first.jsonl", good("p", 1))
    env = {**LONG, "SPOOLHOUSE_RETRY__FIRST": "300", "SPOOLHOUSE_RETRY__CAP": "300", "SPOOLHOUSE_BATCH__MAX_FILES": "1"}
    with Daemon(server.native_url, tmp_path, env=env) as daemon:
        daemon.wait_for("file_settled")
        _until_recorded(server)  # else it is the ledger that misses the server first
        server.kill()
        for number in range(8):
            drop(tmp_path, "span", "p", f"{number}.jsonl", good("p", 100, first=1 + 100 * number))
        daemon.wait_for("clickhouse_unavailable", scope="server")
        assert stop(daemon) == (0, True), daemon.told()
    server.restart()
    if again == "a kill":
        code, daemon = once(server.native_url, tmp_path, env={"SPOOLHOUSE_TEST_FAILPOINTS": "insert.answered@2=kill"})
        assert code == -signal.SIGKILL, daemon.told()
    code, daemon = once(server.native_url, tmp_path)
    assert code == 0, daemon.told()
    assert server.query(f"SELECT count(), uniqExact(span_id) FROM {PREFIX}spans") == [(801, 801)]


def test_what_a_server_that_answers_will_take_is_drained(start_server: StartServer, tmp_path: Path) -> None:
    """A refusal that passes is no reason to leave: within the grace it is tried again."""
    server = start_server()
    drop(tmp_path, "span", "p", "first.jsonl", good("p", 1))
    with Daemon(server.native_url, tmp_path, env={**LONG, "SPOOLHOUSE_RETRY__CAP": "0.5"}) as daemon:
        daemon.wait_for("file_settled")
        server.query(f"ALTER TABLE {PREFIX}spans MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 1")
        server.query("SYSTEM STOP MERGES")
        drop(tmp_path, "span", "p", "second.jsonl", good("p", 100, first=1))
        daemon.wait_for("clickhouse_unavailable", scope=f"{PREFIX}spans", code=252)
        daemon.signal(signal.SIGTERM)
        daemon.wait_for("stop_requested")
        server.query(f"ALTER TABLE {PREFIX}spans RESET SETTING parts_to_throw_insert, parts_to_delay_insert")
        assert daemon.wait() == 0, daemon.told()
        assert daemon.events("file_settled", path="span/p/second.jsonl")
    assert server.query(f"SELECT count(), uniqExact(span_id) FROM {PREFIX}spans") == [(101, 101)]


def prepare(database: Database, spool: Path) -> None:
    """Make the tables."""
    code, daemon = once(database.native_url, spool)
    assert code == 0, daemon.told()
