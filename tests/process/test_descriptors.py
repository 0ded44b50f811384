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
FOLDERS = 80
QUICK = {
    "SPOOLHOUSE_SPOOL__APPEND_WATCH": "0.1",
    "SPOOLHOUSE_RETRY__FIRST": "0.05",
    "SPOOLHOUSE_RETRY__CAP": "0.5",
    "SPOOLHOUSE_ADOPT__INTERVAL": "0.5",
}


def limited(soft: int, hard: int) -> str:
    """Return what a daemon runs first."""
    return f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))"


def leave_over(database: Database, spool: Path) -> None:
    """Leave the folders of many dead instances, each with a file that was journalled and not sent."""
    drop(spool, "span", "p", "a.jsonl", good("p", 1))
    env = {**QUICK, "SPOOLHOUSE_TEST_FAILPOINTS": "claim.journalled=kill"}
    assert once(database.native_url, spool, env=env)[0] == -signal.SIGKILL
    [first] = (spool / ".spoolhouse").iterdir()
    for number in range(1, FOLDERS):
        folder = first.with_name(f"{first.name}-{number}")
        shutil.copytree(first, folder)
        claimed = folder / "claimed/span/p/a.jsonl"
        claimed.write_bytes(good("p", 1, first=number))
        with closing(sqlite3.connect(folder / "journal.sqlite")) as journal:
            journal.execute(
                "UPDATE file SET inode = ?, planned_to = ?", (claimed.stat().st_ino, claimed.stat().st_size)
            )
            name = str(uuid.uuid4())
            journal.execute("UPDATE segment SET shipment = ?, end = ?", (name, claimed.stat().st_size))
            journal.execute("UPDATE shipment SET id = ?", (name,))
            journal.commit()


def test_left_over_instances_take_turns(database: Database, tmp_path: Path) -> None:
    """Open at once, they would need three times the descriptors that there are."""
    leave_over(database, tmp_path)
    with Daemon(database.native_url, tmp_path, "--once", env=QUICK, prelude=limited(128, 128)) as daemon:
        assert daemon.wait(120) == 0, daemon.told()
        assert not daemon.events("journal_held"), daemon.told()
    [counted] = database.query(f"SELECT count(), uniqExact(span_id) FROM {SPANS}")
    assert counted == (FOLDERS, FOLDERS)
    assert len(os.listdir(tmp_path / "span/p/processed")) == FOLDERS  # noqa: PTH208  # names alone
    assert not list((tmp_path / ".spoolhouse").glob("*/claimed/**/*.jsonl"))


def test_a_run_ends_although_nothing_that_is_open_can_be_moved(database: Database, tmp_path: Path) -> None:
    """More instances were left over than may be open: those without a turn are left to the next run."""
    leave_over(database, tmp_path)
    env = {**QUICK, "SPOOLHOUSE_TEST_FAILPOINTS": "settle.before_move@*=EACCES"}
    with Daemon(database.native_url, tmp_path, "--once", env=env, prelude=limited(128, 128)) as daemon:
        assert daemon.wait(40) == 1, daemon.told()
        assert daemon.events("instances_left"), daemon.told()
    assert once(database.native_url, tmp_path, env=QUICK)[0] == 0
    [counted] = database.query(f"SELECT count(), uniqExact(span_id) FROM {SPANS}")
    assert counted == (FOLDERS, FOLDERS)


def test_all_descriptors_are_taken_that_are_granted(database: Database, tmp_path: Path) -> None:
    with Daemon(database.native_url, tmp_path, env=QUICK, prelude=limited(100, 300)) as daemon:
        daemon.wait_for("started")
        [line] = [
            line for line in Path(f"/proc/{daemon.pid}/limits").read_text().splitlines() if line.startswith("Max open")
        ]
        assert line.split()[3:5] == ["300", "300"]
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
