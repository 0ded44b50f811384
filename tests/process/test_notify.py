"""The notify protocol with the real process: what systemd would hear of it."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import Database, StartServer
from tests.faults.life import wait_until
from tests.process.daemon import Daemon, drop, lines
from tests.process.inputs import good

MONTHS = 48


class Manager:
    """The end that systemd has of the socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.environment = {"NOTIFY_SOCKET": str(path)}
        self.heard: list[dict[str, str]] = []

    def wait_for(self, name: str, text: str = "", timeout: float = 60) -> dict[str, str]:
        """Return the next message that has a field with that text in it."""
        deadline = time.monotonic() + timeout
        while True:
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                lines = self._socket.recv(65536).decode().split("\n")
            except TimeoutError:
                raise AssertionError(f"no {name}={text}; heard {self.heard}") from None
            fields = dict(line.split("=", 1) for line in lines)
            self.heard.append(fields)
            if name in fields and text in fields[name]:
                return fields

    def is_silent_for(self, name: str, seconds: float) -> bool:
        """Tell whether no message with that field comes for a while, what waits in the queue left out."""
        self._socket.settimeout(0)
        try:
            while True:
                self._socket.recv(65536)
        except BlockingIOError:
            pass
        try:
            self.wait_for(name, timeout=seconds)
        except AssertionError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def test_ready_status_and_stopping(database: Database, tmp_path: Path, manager: Manager) -> None:
    storage = tmp_path / "spool"
    drop(storage, "span", "p", "a.jsonl", good("p", 100))
    with Daemon(database.native_url, storage, env=manager.environment, installed=True) as daemon:
        ready = manager.wait_for("READY", "1")
        assert "1 file waiting" in ready["STATUS"]
        manager.wait_for("STATUS", "Ingesting: 0 files waiting, 0 in flight, 1 done")
        daemon.signal(signal.SIGTERM)
        stopping = manager.wait_for("STOPPING", "1")
        assert stopping["STATUS"] == "Stopping: 0 files to finish, within 25 s"
        assert int(stopping["EXTEND_TIMEOUT_USEC"]) > 25_000_000
        assert daemon.wait() == 0, daemon.told()
    assert all("WATCHDOG" not in fields for fields in manager.heard), "nobody asked for signs of life"


def test_a_server_that_is_down_is_a_status_and_no_failed_start(start_server: StartServer, tmp_path: Path) -> None:
    """It is ready, says what it waits for, gives signs of life meanwhile, and goes on by itself."""
    server = start_server()
    server.kill()
    manager = Manager(tmp_path / "notify")
    drop(tmp_path / "spool", "span", "p", "a.jsonl", good("p", 100))
    environment = {**manager.environment, "WATCHDOG_USEC": "300000"}
    try:
        with Daemon(server.native_url, tmp_path / "spool", env=environment):
            manager.wait_for("READY", "1")
            waiting = manager.wait_for("STATUS", "ClickHouse has not answered since ")
            assert "clickhouse.url" in waiting["STATUS"], "the fix"
            for _ in range(10):
                manager.wait_for("WATCHDOG", "1")
            server.restart()
            manager.wait_for("STATUS", "1 done")
            server.kill()
            drop(tmp_path / "spool", "span", "p", "b.jsonl", good("p", 100, first=100))
            # A stage in a timed retry is alive.
            manager.wait_for("STATUS", "ClickHouse has not answered since ")
            for _ in range(10):
                manager.wait_for("WATCHDOG", "1")
            server.restart()
            manager.wait_for("STATUS", "2 done")
    finally:
        manager.close()


def test_a_blocked_event_loop_gives_no_sign_of_life(database: Database, tmp_path: Path, manager: Manager) -> None:
    environment = {**manager.environment, "WATCHDOG_USEC": "300000"}
    with Daemon(database.native_url, tmp_path / "spool", env=environment) as daemon:
        manager.wait_for("WATCHDOG", "1")
        daemon.signal(signal.SIGSTOP)
        daemon.wait_until_frozen()
        assert manager.is_silent_for("WATCHDOG", 0.6)
        daemon.signal(signal.SIGCONT)
        manager.wait_for("WATCHDOG", "1")


def test_a_stuck_stage_gives_no_sign_of_life(database: Database, tmp_path: Path, manager: Manager) -> None:
    """A disk that hangs: the event loop runs on, the stage does not get on; then it does, and so do the signs."""
    hang = tmp_path / "hang"
    environment = {
        **manager.environment,
        "WATCHDOG_USEC": "300000",
        "SPOOLHOUSE_TEST_STUCK_AFTER": "1",
        "SPOOLHOUSE_TEST_FAILPOINTS": f"settle.before_move=wait:{hang}",
    }
    storage = tmp_path / "spool"
    with Daemon(database.native_url, storage, env=environment) as daemon:
        manager.wait_for("WATCHDOG", "1")
        drop(storage, "span", "p", "a.jsonl", good("p", 1))
        [record] = daemon.wait_for("stage_stuck")
        assert record["stage"] == "settle"
        manager.wait_for("STATUS", " s: settle. ")
        assert manager.is_silent_for("WATCHDOG", 1)
        hang.unlink()
        manager.wait_for("STATUS", "1 done")
        manager.wait_for("WATCHDOG", "1")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()


def test_a_repair_of_many_months_is_no_stuck_stage(database: Database, tmp_path: Path, manager: Manager) -> None:
    """Each of its statements is answered soon; all of them together take longer than one may."""
    storage, folder, marker = tmp_path / "spool", tmp_path / "events", tmp_path / "attached"
    folder.mkdir()
    declared = Path(__file__).parents[2] / "config" / "events" / "deployment.toml"
    (folder / "deployment.toml").write_text(declared.read_text())
    environment = {
        "SPOOLHOUSE_EVENTS__FOLDER": str(folder),
        "WATCHDOG_USEC": "300000",
        **manager.environment,
    }
    impatient = {
        "SPOOLHOUSE_CLICKHOUSE__CONNECT_TIMEOUT": "1",
        "SPOOLHOUSE_CLICKHOUSE__TIMEOUT": "5",
        "SPOOLHOUSE_TEST_STUCK_AFTER": "0.5",
    }
    months = [f"{2040 + number // 12}-{number % 12 + 1:02}" for number in range(MONTHS)]
    about = {"type": "deployment", "projectId": "p", "service": "cart"}
    rows = [{**about, "id": month, "finishedAt": f"{month}-15T12:00:00Z"} for month in months]
    drop(storage, "deployment", "p", "a.jsonl", lines(rows))
    killing = {**environment, "SPOOLHOUSE_TEST_FAILPOINTS": "insert.answered=kill"}
    with Daemon(database.native_url, storage, env=killing) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    # The rollup has it, so that the batch is found; its rows are to be brought back, month by month.
    database.query("TRUNCATE TABLE mastra_admin_deployments")
    slow = {**environment, **impatient, "SPOOLHOUSE_TEST_FAILPOINTS": f"repair.attached@*=wait:{marker}"}
    with Daemon(database.native_url, storage, env=slow) as daemon:
        for _ in range(MONTHS):
            slowed(marker, 0.2)
        daemon.wait_for("file_settled", path="deployment/p/a.jsonl")
        assert daemon.events("stage_stuck") == []
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert database.query("SELECT count() FROM mastra_admin_deployments") == [(MONTHS,)]
    assert database.query("SELECT sum(lines) FROM mastra_admin_deployments_hourly") == [(MONTHS,)]


def slowed(marker: Path, seconds: float) -> None:
    """Let the daemon stand at a failpoint for a while, then go on."""
    wait_until(marker.exists, timeout=60)
    threading.Event().wait(seconds)  # the watchdog is to find that it stands
    marker.unlink()


def test_the_watchdog_s_signal_shows_where_it_hangs(tmp_path: Path) -> None:
    with Daemon("clickhouse://127.0.0.1:1", tmp_path / "spool") as daemon:
        daemon.wait_for("clickhouse_unavailable")
        daemon.signal(signal.SIGABRT)
        assert daemon.wait() == -signal.SIGABRT
    told = "".join(daemon.noise)
    assert "Fatal Python error: Aborted" in told
    assert "in run" in told, "the stack"


def test_once_is_ready_too(database: Database, tmp_path: Path, manager: Manager) -> None:
    """`systemctl start` of a oneshot's like returns when the run has begun, and its exit code is the outcome."""
    drop(tmp_path / "spool", "span", "p", "a.jsonl", good("p", 100))
    with Daemon(database.native_url, tmp_path / "spool", "--once", env=manager.environment) as daemon:
        manager.wait_for("READY", "1")
        assert daemon.wait() == 0, daemon.told()
