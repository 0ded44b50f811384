"""Descriptors are short: few are used however much was left over, and a shortage is no fault of any file."""

import os
import shutil
import signal
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

from tests.engine import Database
from tests.process.daemon import Daemon, drop, once
from tests.process.inputs import good

SPANS = "mastra_admin_spans"
FOLDERS = 40
QUICK = {
    "SPOOLHOUSE_SPOOL__APPEND_WATCH": "0.1",
    "SPOOLHOUSE_RETRY__FIRST": "0.05",
    "SPOOLHOUSE_RETRY__CAP": "0.5",
    "SPOOLHOUSE_ADOPT__INTERVAL": "0.5",
}


def limited(soft: int, hard: int) -> str:
    """Return what a daemon runs first."""
    return f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))"


def leave_over(database: Database, spool: Path, *, project: str = "p", folders: int = FOLDERS) -> None:
    """Leave the folders of many dead instances, each with a file that was journalled and not sent."""
    drop(spool, "span", project, "a.jsonl", good(project, 1))
    env = {**QUICK, "SPOOLHOUSE_TEST_FAILPOINTS": "claim.journalled=kill"}
    assert once(database.native_url, spool, env=env)[0] == -signal.SIGKILL
    [first] = (spool / ".spoolhouse").iterdir()
    for number in range(1, folders):
        folder = first.with_name(f"{first.name}-{number}")
        shutil.copytree(first, folder)
        claimed = folder / "claimed/span" / project / "a.jsonl"
        claimed.write_bytes(good(project, 1, first=number))
        with closing(sqlite3.connect(folder / "journal.sqlite")) as journal:
            journal.execute(
                "UPDATE file SET inode = ?, planned_to = ?", (claimed.stat().st_ino, claimed.stat().st_size)
            )
            name = str(uuid.uuid4())
            journal.execute("UPDATE segment SET shipment = ?, end = ?", (name, claimed.stat().st_size))
            journal.execute("UPDATE shipment SET id = ?", (name,))
            journal.commit()


def test_left_over_instances_take_turns(database: Database, tmp_path: Path) -> None:
    """Open at once, they would need half as many descriptors again as there are."""
    leave_over(database, tmp_path)
    with Daemon(database.native_url, tmp_path, "--once", env=QUICK, prelude=limited(128, 128)) as daemon:
        assert daemon.wait(120) == 0, daemon.told()
        assert not daemon.events("journal_held"), daemon.told()
    [counted] = database.query(f"SELECT count(), uniqExact(span_id) FROM {SPANS}")
    assert counted == (FOLDERS, FOLDERS)
    assert len(os.listdir(tmp_path / "span/p/processed")) == FOLDERS  # noqa: PTH208  # names alone
    assert not list((tmp_path / ".spoolhouse").glob("*/claimed/**/*.jsonl"))


def test_a_run_ends_although_nothing_can_be_moved(database: Database, tmp_path: Path) -> None:
    """More instances were left over than may be open: each gets a turn, and all are left to the next run."""
    leave_over(database, tmp_path)
    env = {**QUICK, "SPOOLHOUSE_TEST_FAILPOINTS": "settle.before_move@*=EACCES"}
    with Daemon(database.native_url, tmp_path, "--once", env=env, prelude=limited(128, 128)) as daemon:
        assert daemon.wait() == 1, daemon.told()
    assert database.query(f"SELECT count() FROM {SPANS}") == [(FOLDERS,)]
    assert once(database.native_url, tmp_path, env=QUICK)[0] == 0
    [counted] = database.query(f"SELECT count(), uniqExact(span_id) FROM {SPANS}")
    assert counted == (FOLDERS, FOLDERS)


def test_instances_whose_files_cannot_be_moved_give_others_a_turn(database: Database, tmp_path: Path) -> None:
    """More of them than may be open; they get their turn again, and are done once their files can be moved."""
    (tmp_path / "span/stuck").mkdir(parents=True)
    obstacle = tmp_path / "span/stuck/processed"
    obstacle.write_bytes(b"in the way")
    leave_over(database, tmp_path, folders=12, project="stuck")
    state = tmp_path / ".spoolhouse"
    stuck = {path.name for path in state.iterdir()}
    drop(tmp_path, "span", "p", "b.jsonl", good("p", 1))
    env = {**QUICK, "SPOOLHOUSE_TEST_FAILPOINTS": "claim.journalled=kill", "SPOOLHOUSE_ADOPT__INTERVAL": "60"}
    assert once(database.native_url, tmp_path, env=env)[0] == -signal.SIGKILL
    [last] = [path for path in state.iterdir() if path.name not in stuck]
    last.rename(state / "zzz")
    with Daemon(database.native_url, tmp_path, env=QUICK, prelude=limited(128, 128)) as daemon:
        daemon.wait_for("file_settled", path="span/p/b.jsonl")
        obstacle.unlink()
        daemon.wait_for("file_settled", count=13)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
        assert not daemon.events("journal_held"), daemon.told()
    counted = database.query(f"SELECT project_id, count(), uniqExact(span_id) FROM {SPANS} GROUP BY 1 ORDER BY 1")
    assert counted == [("p", 1, 1), ("stuck", 12, 12)]


def test_a_ledger_that_refuses_keeps_no_instance_from_its_turn(database: Database, tmp_path: Path) -> None:
    """Their entries wait in their journals."""
    leave_over(database, tmp_path, folders=12)
    [(create,)] = database.query("SHOW CREATE TABLE mastra_admin_ledger")
    database.query("DROP TABLE mastra_admin_ledger SYNC")
    with Daemon(database.native_url, tmp_path, "--no-migrate", env=QUICK, prelude=limited(128, 128)) as daemon:
        daemon.wait_for("file_settled", count=12)
        database.query(str(create))
        daemon.wait_for("ledger_caught_up")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert once(database.native_url, tmp_path, env=QUICK)[0] == 0
    assert database.query(f"SELECT count(), uniqExact(span_id) FROM {SPANS}") == [(12, 12)]
    assert database.query("SELECT sum(row_count) FROM mastra_admin_ledger FINAL") == [(12,)]


def test_all_descriptors_are_taken_that_are_granted(database: Database, tmp_path: Path) -> None:
    with Daemon(database.native_url, tmp_path, env=QUICK, prelude=limited(100, 300)) as daemon:
        daemon.wait_for("started")
        [line] = [
            line for line in Path(f"/proc/{daemon.pid}/limits").read_text().splitlines() if line.startswith("Max open")
        ]
        assert line.split()[3:5] == ["300", "300"]
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
