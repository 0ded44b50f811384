"""Names that a producer chose, seen by a person: no command sends a terminal anything that it would obey."""

import gzip
import json
import os
import signal
from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import Daemon, command, drop, once
from tests.process.inputs import good

SPANS = "mastra_admin_spans"
NASTY = os.fsdecode(b"\x1b]0;owned\x07\x1b[2J\n\xff\xc2\x9b[red]")
"""Sets a title, clears the screen, begins a line, is no UTF-8, and holds what rich would take for markup."""


def seen(*arguments: str | Path, code: int) -> str:
    """Run a command, which must end with `code`; return what it printed: UTF-8 that a terminal shows as it is."""
    done = command(*map(str, arguments))
    told = done.stdout + done.stderr
    assert done.returncode == code, told
    assert [char for char in told if not char.isprintable() and char != "\n"] == [], told
    assert "owned" in told, told
    return told


def test_no_command_obeys_a_name(database: Database, tmp_path: Path) -> None:
    spool = ("--file-storage-path", tmp_path, "--base-path", "")
    where = (*spool, "--clickhouse-url", database.native_url)
    drop(tmp_path, "span", NASTY, f"{NASTY}.jsonl", good("p", 3) + b"{\n")
    drop(tmp_path, "span", NASTY, f"{NASTY}.jsonl.gz", gzip.compress(good("p", 3, first=3))[:-8])
    code, daemon = once(database.native_url, tmp_path)
    assert code == 1, daemon.told()
    assert database.query(f"SELECT count() FROM {SPANS}") == [(6,)]
    file = tmp_path / "span" / NASTY / "processed" / f"{NASTY}.jsonl"
    seen("trace-file", file, *where, code=0)
    database.query(f"TRUNCATE TABLE {SPANS}")
    assert "3 rows of spans are missing" in seen("verify", file, *where, code=1)
    assert seen("verify", "--since", "1h", *where, code=1).count("3 rows of spans are missing") == 2
    assert "not found in" in seen("replay", file, "--dry-run", *where, code=0)
    assert "brought back" in seen("replay", file, *where, code=0)
    seen("replay", file.with_name(f"{NASTY}.2.jsonl"), "--dry-run", *where, code=1)
    seen("verify", file.with_name(f"{NASTY}.2.jsonl"), *where, code=1)
    seen("retry", "--all", *where, code=1)
    seen("status", "--file-storage-path", tmp_path / NASTY, code=78)
    drop(tmp_path, NASTY, "p", "a.jsonl", good("p"))
    seen("status", *spool, code=1)
    told = json.loads(seen("status", "--json", *spool, code=1))
    assert "no such event type" in str(told["not_taken"])
    (rejects,) = (tmp_path / "rejected").glob("*/*.jsonl")
    rejects.with_name(f"{NASTY}.jsonl").write_bytes(rejects.read_bytes())
    assert "1 line would go" in seen("replay", "--rejected", "--dry-run", *where, code=1)
    seen("verify", "--json", file.with_name(f"{NASTY}.2.jsonl"), *where, code=1)


def test_nor_where_it_was_claimed(database: Database, tmp_path: Path) -> None:
    spool = ("--file-storage-path", tmp_path, "--base-path", "")
    drop(tmp_path, "span", "p", f"{NASTY}.jsonl", good("p", 3))
    env = {"SPOOLHOUSE_TEST_FAILPOINTS": "instance.claimed=kill"}
    assert once(database.native_url, tmp_path, env=env)[0] == -signal.SIGKILL
    seen("release", "--dry-run", *spool, code=0)
    seen("release", *spool, code=0)
    assert command("pause", "--reason", NASTY, *map(str, spool)).returncode == 0
    seen("pause", *spool, code=0)
    folder = tmp_path / ".spoolhouse" / NASTY / "claimed" / "span" / "p"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(good("p"))
    for arguments in (["release"], ["status"], ["status", "--json"]):
        seen(*arguments, *spool, code=1)


NAMES = [
    pytest.param(b"\xff", id="no UTF-8"),
    pytest.param(b"\xed\xa0\x80\xc3", id="half a surrogate pair"),
    pytest.param(b"a\nb", id="line end"),
    pytest.param(b"\x01\x1b[2J\x7f\xc2\x85", id="control characters"),
    pytest.param(b"n" * 249, id="255 bytes"),
    pytest.param(b"\xff" * 249, id="255 bytes, no UTF-8"),
]


def drop_three(spool: Path, raw: bytes) -> list[Path]:
    """Drop a file of this name, one in a project of this name, and one in a type's folder of this name."""
    name = os.fsdecode(raw)
    return [
        drop(spool, "span", "p", f"{name}.jsonl", good("p", 2)),
        drop(spool, "span", name, "b.jsonl", good("q", 2)),
        drop(spool, name, "p", "c.jsonl", good("r", 2)),
    ]


def expect_two_taken(database: Database, dropped: list[Path], daemon: Daemon) -> None:
    """A file and a project may have any name; a folder of no event type is reported, and left alone."""
    for path in dropped[:2]:
        assert not path.exists(), daemon.told()
        assert (path.parent / "processed" / path.name).is_file()
    assert dropped[2].exists()
    (record,) = daemon.events("not_taken")
    assert record["path"] == os.fsencode(dropped[2].parent.parent).decode("utf-8", "backslashreplace")
    assert "no such event type" in str(record["reason"])
    assert database.query(f"SELECT count(), uniqExact(span_id) FROM {SPANS}") == [(4, 4)]
    assert not daemon.events("stage_failed"), daemon.told()


@pytest.mark.parametrize("raw", NAMES)
def test_a_name_of_any_bytes_ends_no_daemon(raw: bytes, database: Database, tmp_path: Path) -> None:
    """The next file is seen at once, long before the next scan: the spool is still watched."""
    with Daemon(database.native_url, tmp_path, "--poll-interval", "600000") as daemon:
        daemon.wait_for("started")
        dropped = drop_three(tmp_path, raw)
        daemon.wait_for("file_settled", count=2)
        drop(tmp_path, "span", "p", "last.jsonl", b"")
        daemon.wait_for("file_settled", path="span/p/last.jsonl")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
        expect_two_taken(database, dropped, daemon)


@pytest.mark.parametrize("raw", NAMES)
def test_nor_a_run_with_an_end(raw: bytes, database: Database, tmp_path: Path) -> None:
    dropped = drop_three(tmp_path, raw)
    code, daemon = once(database.native_url, tmp_path)
    assert code == 0, daemon.told()
    expect_two_taken(database, dropped, daemon)
