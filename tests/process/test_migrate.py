"""`spoolhouse migrate` as several instances run it at once, and as a crash leaves it."""

import os
import pty
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import SCRIPT, command, once

LINES_OF_A_BATCH = 40
BATCHES = 5000
LINES = LINES_OF_A_BATCH * BATCHES

WHAT_WAS_THERE = f"""
INSERT INTO mastra_admin_logs (id, project_id, level, message, timestamp, recorded_at, ingested_at, batch_id)
SELECT toString(number), 'p', 'info', 'm', now64() - number / 100, now64(), now64(),
    concat('b', toString(intDiv(number, {LINES_OF_A_BATCH})))
FROM numbers({LINES})
"""


@pytest.fixture
def unfilled(database: Database) -> Database:
    """A database with many batches and without the rollup of them."""
    assert command("migrate", env=environment(database)).returncode == 0
    for name in ("mastra_admin_logs_hourly_feed", "mastra_admin_logs_hourly_stats", "mastra_admin_logs_hourly"):
        database.query(f"DROP TABLE {name} SYNC")
    database.query(WHAT_WAS_THERE)
    return database


def environment(database: Database) -> Mapping[str, str]:
    return {"SPOOLHOUSE_CLICKHOUSE__URL": database.native_url, "SPOOLHOUSE_CONFIG": ""}


def counted(database: Database) -> list[tuple[int, ...]]:
    return database.query("SELECT sum(count) FROM mastra_admin_logs_hourly_stats")


def test_several_at_once_from_nothing(database: Database) -> None:
    database.drop()
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda _: command("migrate", env=environment(database)), range(3)))
    assert [run.returncode for run in runs] == [0, 0, 0], [run.stderr for run in runs]
    assert command("migrate", "--check", env=environment(database)).returncode == 0


def test_several_at_once_count_nothing_twice(unfilled: Database) -> None:
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda _: command("migrate", env=environment(unfilled)), range(3)))
    assert [run.returncode for run in runs] == [0, 0, 0], [run.stderr for run in runs]
    assert counted(unfilled) == [(LINES,)]
    assert command("migrate", "--check", env=environment(unfilled)).returncode == 0


def test_killed_at_each_step_it_goes_on(database: Database) -> None:
    database.drop()
    told = 0
    while killed_after(database, "done: ", lines=5):
        told += 1
    assert told > 1
    assert command("migrate", "--check", env=environment(database)).returncode == 0


def test_killed_while_it_counts_it_goes_on(unfilled: Database) -> None:
    for _ in range(4):
        assert killed_after(unfilled, "rollup_filling", lines=1)
    done = command("migrate", env=environment(unfilled))
    assert done.returncode == 0
    assert "rollup_filled" in done.stderr
    assert counted(unfilled) == [(LINES,)]


def test_a_start_of_the_daemon_counts_too(unfilled: Database, tmp_path: Path) -> None:
    code, daemon = once(unfilled.native_url, tmp_path)
    assert code == 0, daemon.told()
    assert counted(unfilled) == [(LINES,)]


def test_a_terminal_is_shown_how_far_it_is(unfilled: Database) -> None:
    terminal, its_side = pty.openpty()
    with subprocess.Popen(
        [SCRIPT, "migrate"],
        stdout=subprocess.PIPE,
        stderr=its_side,
        env={**environment(unfilled), "TERM": "xterm", "COLUMNS": "120"},
    ) as process:
        os.close(its_side)
        shown = b""
        while piece := _read(terminal):
            shown += piece
        assert process.stdout is not None
        assert b"done: mastra_admin_logs_hourly: 200,000 rows counted\n" in process.stdout.read()
    os.close(terminal)
    assert process.returncode == 0
    assert b"changes" in shown
    assert b"rows of mastra_admin_logs_hourly" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # the other side has closed it
        return b""


def killed_after(database: Database, word: str, *, lines: int) -> bool:
    """Run it, and kill it when it has said so many lines with `word`; tell whether it was there to be killed."""
    with subprocess.Popen(
        [SCRIPT, "migrate", "--clickhouse-url", database.native_url],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PYTHONUNBUFFERED": "1", "SPOOLHOUSE_CONFIG": ""},
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines -= word in line
            if lines == 0:
                process.kill()
                return True
    assert process.returncode == 0
    return False
