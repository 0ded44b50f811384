"""ClickHouse is away: one sentence everywhere, not one for each table, and its return is noticed within seconds."""

import json
import re
from pathlib import Path

from tests.engine import Database, LocalServer, StartServer
from tests.faults.life import wait_until
from tests.process.daemon import Daemon, command, drop, lines
from tests.process.inputs import NOW, good
from tests.process.test_notify import Manager

AWAY = r"ClickHouse has not answered since \d\d:\d\d UTC"
WAITING = AWAY + "; 4 files wait safely"
LOG = {"type": "log", "id": "l", "projectId": "p", "level": "info", "message": "m", "timestamp": NOW.isoformat()}
PREFIX = "mastra_admin_"


def drop_all(spool: Path, name: str) -> None:
    """Drop files of several types, for several tables."""
    drop(spool, "span", "p", f"{name}.jsonl", good("p", 3))
    drop(spool, "span", "q", f"{name}.jsonl", good("q", 3))
    for project in ("p", "q"):
        drop(spool, "log", project, f"{name}.jsonl", lines([{**LOG, "projectId": project}]))


def await_ledger(server: LocalServer) -> None:
    """Wait for the entries of the first four files: they are written a moment after the files are settled."""
    wait_until(lambda: server.query(f"SELECT uniqExact(file) FROM {PREFIX}ledger") == [(4,)])


def test_an_outage_is_said_once_and_in_one_sentence(start_server: StartServer, tmp_path: Path) -> None:
    """In the log, /readyz, `status`, and for the service manager, whatever the number of tables and types."""
    server, spool, manager = start_server(), tmp_path / "spool", Manager(tmp_path / "notify")
    try:
        with Daemon(server.native_url, spool, http="any port", env=manager.environment) as daemon:
            drop_all(spool, "a")
            daemon.wait_for("file_settled", count=4)
            # What the ledger had of the outage would be told of, too.
            await_ledger(server)
            server.kill()
            drop_all(spool, "b")
            [said] = daemon.wait_for("clickhouse_unavailable")
            assert re.match(AWAY, str(said["summary"]))
            assert re.match(WAITING, manager.wait_for("STATUS", "4 files wait safely")["STATUS"])
            # A file that was claimed since the last scan counts twice until the next one.
            wait_until(lambda: re.fullmatch(WAITING, str(reasons(daemon)[0]["summary"])))
            readyz = daemon.get("/readyz")
            assert readyz.code == 503
            [reason] = json.loads(readyz.body)["reasons"]
            assert (reason["scope"], reason["held"]) == ("server", False)
            assert "127.0.0.1" in str(reason["error"])
            shown = command("status", "--file-storage-path", str(spool), "--base-path", "").stdout
            assert len(re.findall(WAITING, " ".join(shown.split()))) == 1
            assert PREFIX not in shown
            server.restart()
            daemon.wait_for("file_settled", count=8)
            assert len(daemon.events("clickhouse_unavailable")) == 1, daemon.told()
            [back] = daemon.wait_for("clickhouse_available")
            assert back["scope"] == "server"
            wait_until(lambda: daemon.get("/readyz").code == 200)
    finally:
        manager.close()


def reasons(daemon: Daemon) -> list[dict[str, object]]:
    """Return why it is not ready."""
    found: list[dict[str, object]] = json.loads(daemon.get("/readyz").body)["reasons"]
    return found


def test_its_return_is_noticed_within_seconds(start_server: StartServer, tmp_path: Path) -> None:
    """Though the next attempt of a batch would be due much later: one probe asks for all of them."""
    server = start_server()
    env = {"SPOOLHOUSE_RETRY__FIRST": "1000", "SPOOLHOUSE_RETRY__CAP": "1000"}
    with Daemon(server.native_url, tmp_path, env=env) as daemon:
        drop_all(tmp_path, "a")
        daemon.wait_for("file_settled", count=4)
        await_ledger(server)  # else its entries miss the server first, and no batch is claimed
        server.kill()
        drop_all(tmp_path, "b")
        daemon.wait_for("clickhouse_unavailable")
        server.restart()
        daemon.wait_for("file_settled", count=8)  # a tenth of the first pause takes longer


def test_at_the_start_too(start_server: StartServer, tmp_path: Path) -> None:
    """The second attempt would be due in minutes."""
    server = start_server()
    server.kill()
    env = {"SPOOLHOUSE_RETRY__FIRST": "1000", "SPOOLHOUSE_RETRY__CAP": "1000"}
    with Daemon(server.native_url, tmp_path, env=env) as daemon:
        daemon.wait_for("clickhouse_unavailable")
        server.restart()
        daemon.wait_for("started")


def test_a_held_table_has_an_event_of_its_own(database: Database, tmp_path: Path) -> None:
    """It is no outage: ClickHouse answers, and takes the rows of all other tables."""
    with Daemon(database.native_url, tmp_path, env={"SPOOLHOUSE_RETRY__CAP": "0.5"}) as daemon:
        daemon.wait_for("started")
        [(create,)] = database.query(f"SHOW CREATE TABLE {PREFIX}logs")
        database.query(f"DROP TABLE {PREFIX}logs SYNC")
        drop_all(tmp_path, "a")
        held = daemon.wait_for("table_held")[0]
        assert (held["scope"], held["code"]) == (f"{PREFIX}logs", 60)
        assert "spoolhouse migrate" in str(held["hint"])
        assert not daemon.events("clickhouse_unavailable"), daemon.told()
        database.query(str(create))
        daemon.wait_for("table_released", scope=f"{PREFIX}logs")
        daemon.wait_for("file_settled", count=4)
        assert not daemon.events("clickhouse_available"), daemon.told()
