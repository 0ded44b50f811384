"""Stopping, with real signals on the real console script."""

import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.engine import Database, StartServer
from tests.process.daemon import Daemon, drop, once
from tests.process.inputs import good

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
    assert "clickhouse.url" in str(record["mend"])
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
