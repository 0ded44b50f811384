"""What people see on a terminal of 80 columns: nothing breaks within a word or a figure, and what matters is there."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import SCRIPT, Daemon, drop
from tests.process.inputs import good

WIDE, HIGH = 80, 24
LONG = "2026-11-21T12-00-00-123_0123456789abcdef0123456789abcdef.jsonl"
BAD = b'{"type":"span"}\n'


def on_a_terminal(*arguments: str, until: bytes = b"", height: int = HIGH) -> list[str]:
    """Return the lines that a command shows on a terminal of 80 columns, up to its end or to some text."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, WIDE, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}} | {"TERM": "xterm"}
    process = subprocess.Popen([SCRIPT, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    shown = b""
    try:
        while not until or until not in shown:
            shown += os.read(ours, 65536)
    except OSError:
        pass  # it has ended
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert until in shown, shown
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).replace("\r", "").splitlines()


@pytest.fixture
def where(database: Database, tmp_path: Path) -> tuple[str, ...]:
    return ("--clickhouse-url", database.native_url, "--file-storage-path", str(tmp_path), "--base-path", "")


def test_a_table_is_a_line(database: Database, tmp_path: Path, where: tuple[str, ...]) -> None:
    with Daemon(database.native_url, tmp_path) as daemon:
        drop(tmp_path, "span", "p", LONG, good("p", 1234))
        daemon.wait_for("file_settled")
    shown = on_a_terminal("tables", *where[:2])
    assert max(map(len, shown)) <= WIDE
    [row] = [line for line in shown if line.split()[:1] == ["spans"]]
    assert "1,234" in row
    assert len(re.findall(r"\d{4}-\d\d-\d\d", row)) == 2, "the oldest and the newest"
    assert "mastra_admin_" in shown[0]


def test_the_address_of_the_page_has_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOOLHOUSE_HTTP__LISTEN", "127.0.0.1:0")
    arguments = ["--store-url", f"duckdb://{tmp_path}/events.db", "--file-storage-path", str(tmp_path)]
    shown = on_a_terminal("ingest", *arguments, until=b"/#/?token=")
    assert [line for line in shown if re.match(r"In a browser: http://127\.0\.0\.1:\d+/#/\?token=", line)], shown


def test_a_sentence_breaks_between_words(where: tuple[str, ...]) -> None:
    shown = on_a_terminal("check", *where)
    assert [line for line in shown if len(line) > WIDE and " " in line[18:].removeprefix("why: ")] == []
    assert all(re.match(r"(good|warning|fault) +\S| {18}|\d+ faults", line) for line in shown), shown
    assert "create a user for Spoolhouse, and set clickhouse.username" in " ".join(" ".join(shown).split())


@pytest.mark.parametrize("height", [24, 60])
def test_the_live_view_fits(database: Database, tmp_path: Path, where: tuple[str, ...], height: int) -> None:
    """A path gives way to the figures, the past to the types; nothing is cut off below."""
    with Daemon(database.native_url, tmp_path, http="any port") as daemon:
        drop(tmp_path, "span", "a-project-of-some-length", LONG, good("a-project-of-some-length", 1234) + BAD)
        daemon.wait_for("file_settled")
        arguments = ["status", "--watch", "--interval", "0.1", *where[2:]]
        shown = on_a_terminal(*arguments, until=b"Ctrl-C ends it", height=height)
    assert max(map(len, shown)) <= WIDE
    text = "\n".join(shown)
    assert re.search(r"^  span +1,234 +1 +1 *$", text, re.MULTILINE), text
    if height > HIGH:
        [file] = [line for line in shown if line.rstrip().endswith(" s") and "1,234 " in line]
        assert re.match(r"  span/a-project\S*…\S*\.jsonl +1,234 +1 +[\d.]+ kB +[\d.]+ s", file), file
        [reject] = [line for line in shown if "missing_field  " in line]
        assert ".jsonl:1235" in reject
