"""`make run`: the first one shows what the daemon does, and so does each one after it."""

import os
import signal
import subprocess
from pathlib import Path

import duckdb

from tests.engine import Database
from tests.faults.life import wait_until
from tests.process.daemon import SCRIPT, as_from_a_terminal

ROOT = Path(__file__).parents[2]
STAMPS = ("venv", "run", "embedded")


def run(folder: Path, *url: str, files: int) -> str:
    """Run it until so many files have landed, end it with Ctrl-C, and return what it printed."""
    made = [f"--assume-old=.venv/.stamp-{name}" for name in STAMPS]
    output = folder / "output"
    with output.open("w") as out:
        making = subprocess.Popen(
            as_from_a_terminal("/usr/bin/make", "-f", ROOT / "Makefile", *made, "run", *url),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, "SPOOLHOUSE_HTTP__LISTEN": "off", "MAKEFLAGS": ""},
            start_new_session=True,
        )
        try:
            wait_until(lambda: making.poll() is not None or len(landed(folder)) >= files, timeout=60)
            os.killpg(making.pid, signal.SIGINT)
            making.wait(60)
        finally:
            if making.poll() is None:
                os.killpg(making.pid, signal.SIGKILL)
                making.wait()
    text = output.read_text()
    assert len(landed(folder)) == files, text
    return text


def landed(folder: Path) -> list[Path]:
    return list(folder.glob("var/spool/observability/*/*/processed/*.jsonl"))


def prepare(folder: Path) -> None:
    """Make a folder look like one where all is installed."""
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(SCRIPT.parent)
    (folder / "pyproject.toml").touch()


def test_without_a_server_the_events_are_in_a_file(tmp_path: Path) -> None:
    """Each run adds to it."""
    prepare(tmp_path)
    counts = []
    for files in (20, 40):
        run(tmp_path, files=files)
        with duckdb.connect(tmp_path / "var" / "events.db", read_only=True) as connection:
            counts += connection.execute("SELECT sum(row_count) FROM mastra_admin_ledger_latest").fetchall()
    [(before,), (after,)] = counts
    assert after > before > 0


def test_each_run_shows_something(database: Database, tmp_path: Path) -> None:
    """A second run has events of its own to land, and says what became of those of the first."""
    prepare(tmp_path)
    first = run(tmp_path, f"URL={database.native_url}", files=20)
    assert "earlier runs" not in first
    rows = database.query("SELECT sum(row_count) FROM mastra_admin_ledger FINAL")
    second = run(tmp_path, f"URL={database.native_url}", files=40)
    assert "20 sample files of earlier runs have landed" in second
    [(before,), (after,)] = rows + database.query("SELECT sum(row_count) FROM mastra_admin_ledger FINAL")
    assert int(str(after)) > int(str(before)) > 0
