"""`make run`: the first one shows what the daemon does, and so does each one after it."""

import os
import signal
import subprocess
from pathlib import Path

from tests.engine import Database
from tests.faults.life import wait_until
from tests.process.daemon import SCRIPT, as_from_a_terminal

ROOT = Path(__file__).parents[2]
STAMPS = ("venv", "run", "embedded")


def run(folder: Path, url: str, *, files: int) -> str:
    """Run it until so many files have landed, end it with Ctrl-C, and return what it printed."""
    made = [f"--assume-old=.venv/.stamp-{name}" for name in STAMPS]
    output = folder / "output"
    with output.open("w") as out:
        making = subprocess.Popen(
            as_from_a_terminal("/usr/bin/make", "-f", ROOT / "Makefile", *made, "run", f"URL={url}"),
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


def test_each_run_shows_something(database: Database, tmp_path: Path) -> None:
    """A second run has events of its own to land, and says what became of those of the first."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(SCRIPT.parent)
    (tmp_path / "pyproject.toml").touch()
    first = run(tmp_path, database.native_url, files=20)
    assert "earlier runs" not in first
    rows = database.query("SELECT sum(row_count) FROM mastra_admin_ledger FINAL")
    second = run(tmp_path, database.native_url, files=40)
    assert "20 sample files of earlier runs have landed" in second
    [(before,), (after,)] = rows + database.query("SELECT sum(row_count) FROM mastra_admin_ledger FINAL")
    assert int(str(after)) > int(str(before)) > 0
