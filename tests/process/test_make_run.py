"""`make run`: each one shows a little application at work, and its terminal says how to look at it from another one."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tests.engine import Database
from tests.faults.life import wait_until
from tests.process.daemon import SCRIPT, as_from_a_terminal, get

ROOT = Path(__file__).parents[2]
STAMPS = ("venv", "run", "embedded")


class Run(NamedTuple):
    folder: Path
    process: "subprocess.Popen[bytes]"

    @property
    def text(self) -> str:
        """What it has printed."""
        return (self.folder / "output").read_text()

    @property
    def commands(self) -> list[list[str]]:
        """The commands that it prints for a second terminal."""
        return [shlex.split(line) for line in self.text.splitlines() if line.startswith("  /")]

    def wait_until_landed(self, files: int) -> None:
        wait_until(lambda: self.process.poll() is not None or len(landed(self.folder)) >= files, timeout=200)
        assert self.process.poll() is None, self.text


@contextmanager
def running(folder: Path, *url: str) -> Iterator[Run]:
    """Run it, and end it with Ctrl-C; all that it started ends with it."""
    made = [f"--assume-old=.venv/.stamp-{name}" for name in STAMPS]
    with (folder / "output").open("w") as out:
        making = subprocess.Popen(
            as_from_a_terminal("/usr/bin/make", "-f", ROOT / "Makefile", *made, "run", *url),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, "SPOOLHOUSE_HTTP__LISTEN": "127.0.0.1:0", "MAKEFLAGS": ""},
            start_new_session=True,
        )
    run = Run(folder, making)
    try:
        yield run
        os.killpg(making.pid, signal.SIGINT)
        making.wait(90)
        wait_until(lambda: not is_there(making.pid))
    finally:
        if is_there(making.pid):
            os.killpg(making.pid, signal.SIGKILL)
            making.wait()
    assert "Traceback" not in run.text


def is_there(group: int) -> bool:
    """Tell whether a process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def landed(folder: Path) -> list[Path]:
    return list(folder.glob("var/spool/observability/*/*/processed/*.jsonl"))


def prepare(folder: Path) -> None:
    """Make a folder look like one where all is installed."""
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(SCRIPT.parent)
    (folder / "pyproject.toml").touch()


def test_the_printed_commands_show_an_application_at_work(tmp_path: Path) -> None:
    """A second run is as lively as the first."""
    prepare(tmp_path)
    with running(tmp_path) as run:
        run.wait_until_landed(21)
        traces, logs, sql = run.commands
        shown = subprocess.run(traces, capture_output=True, text=True, check=True, timeout=90).stdout
        assert len(shown.splitlines()) == 51, shown
        shown = subprocess.run(sql, capture_output=True, text=True, check=True, timeout=90).stdout
        dollars = [float(line.split()[-1]) for line in shown.splitlines() if line.startswith(("gpt", "claude"))]
        assert len(dollars) == 3, shown
        assert min(dollars) > 0
        follow_until_now(logs)
        [serve] = re.findall(r"^    (/.* serve .*)$", run.text, re.MULTILINE)
        shown = subprocess.run(shlex.split(serve), capture_output=True, text=True, check=True, timeout=90).stdout
        page, _, token = shown.split()[-1].partition("#/?token=")
        assert (get(page).code, len(token)) == (200, 43)
        [url] = re.findall(r'"url": ?"(http:[^"]+)"', run.text)
        assert get(url).code == 200
    assert "of earlier runs" not in run.text
    with running(tmp_path) as run:
        wait_until(lambda: len(run.commands) == 3)
        follow_until_now(run.commands[1])
    assert "of earlier runs have landed" in run.text


def follow_until_now(logs: list[str]) -> None:
    """Read what a command shows until there is a record that is younger than the command."""
    began = datetime.now(UTC)
    with subprocess.Popen(as_from_a_terminal(*logs), stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        for line in following.stdout:
            if line.startswith("20") and datetime.fromisoformat(line[:23]).replace(tzinfo=UTC) > began:
                break
        else:
            raise AssertionError("it has ended")
        following.send_signal(signal.SIGINT)


def test_it_uses_a_server_as_well(database: Database, tmp_path: Path) -> None:
    prepare(tmp_path)
    with running(tmp_path, f"URL={database.native_url}") as run:
        run.wait_until_landed(21)
    [(rows,)] = database.query("SELECT sum(row_count) FROM mastra_admin_ledger FINAL")
    assert int(str(rows)) > 20_000
