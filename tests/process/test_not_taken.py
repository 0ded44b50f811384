"""What lies in the spool and is not taken is named: in the log once, in the status, the metrics, the exit code."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import Database
from tests.engine.memory import folder_in_memory
from tests.process.daemon import _OBEY_PERMISSIONS, SCRIPT, Daemon, command, drop, once
from tests.process.inputs import good

SPANS = "mastra_admin_spans"


def status(spool: Path, *flags: str) -> dict[str, object]:
    """Return what `spoolhouse status --json` prints for somebody whom permissions bind."""
    arguments = ["status", "--json", "--file-storage-path", str(spool), *(flags or ("--base-path", ""))]
    obeying = [sys.executable, "-c", _OBEY_PERMISSIONS, str(SCRIPT), *arguments]
    done = subprocess.run(obeying, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


def test_a_folder_that_cannot_be_read_is_named_and_left_over(database: Database, tmp_path: Path) -> None:
    """Its files are not taken for nothing: a run with an end exits 1, and its neighbours land."""
    drop(tmp_path, "span", "p", "a.jsonl", good("p"))
    closed = drop(tmp_path, "span", "q", "a.jsonl", good("q")).parent
    closed.chmod(0)
    code, daemon = once(database.http_url, tmp_path, unprivileged=True)
    assert code == 1, daemon.told()
    [record, *more] = daemon.events("not_taken")
    assert record["path"] == str(closed)
    assert all(other["path"] == str(closed) for other in more)
    assert "Permission denied" in str(record["reason"])
    assert [told for told in status(tmp_path)["not_taken"] if str(closed) in told]  # type: ignore[attr-defined]  # JSON
    closed.chmod(0o755)
    code, daemon = once(database.http_url, tmp_path, unprivileged=True)
    assert code == 0, daemon.told()
    assert database.query(f"SELECT count() FROM {SPANS}") == [(2,)]


def test_files_of_other_names_are_counted_and_named_once(database: Database, tmp_path: Path) -> None:
    """Hidden and temporary names are a producer's business."""
    for number in range(3):
        drop(tmp_path, "span", "p", f"{number}.csv", good("p"))
    drop(tmp_path, "log", "q", "notes.txt", b"x")
    for name in (".hidden.csv", "a.TMP", "a.jsonl.part", "a~"):
        (tmp_path / "log/q" / name).write_bytes(b"x")
    with Daemon(database.http_url, tmp_path, http="any port") as daemon:
        daemon.wait_for("not_taken", count=2)
        for number in range(3):
            drop(tmp_path, "span", "p", f"{number}.jsonl", good("p", first=number))
            daemon.wait_for("file_settled", count=number + 1)
        told = {str(record["path"]): str(record["reason"]) for record in daemon.events("not_taken")}
        assert len(daemon.events("not_taken")) == 2
        assert told.keys() == {str(tmp_path / "span/p"), str(tmp_path / "log/q")}
        assert "3 files" in told[str(tmp_path / "span/p")]
        assert "*.ndjson" in told[str(tmp_path / "span/p")]
        assert "notes.txt" in told[str(tmp_path / "log/q")]
        assert b"\nspoolhouse_not_taken 4.0\n" in daemon.get("/metrics").body
        not_taken = json.dumps(status(tmp_path)["not_taken"])
        assert "3 files" in not_taken
        assert "notes.txt" in not_taken
        backlog = json.loads(daemon.get("/status").body)["backlog"]
        assert backlog["not_taken_files"] == 4
        assert "notes.txt" in json.dumps(backlog["not_taken"])


def test_a_spool_beside_its_base_path_is_named(database: Database, tmp_path: Path) -> None:
    """Also at the second start, when the folder that was missing has been made. Its files are left over."""
    drop(tmp_path, "span", "p", "a.jsonl", good("p"))
    for _ in range(2):
        code, daemon = once(database.http_url, tmp_path, "--base-path", "observability")
        assert code == 1, daemon.told()
        [left] = daemon.events("left_untaken")
        assert str(tmp_path / "span") in str(left["first"])
        assert "spool.base_path" in str(left["hint"])
        [record] = daemon.events("not_taken")
        assert record["path"] == str(tmp_path / "span")
        assert "observability" in str(record["reason"])
        assert "spool.base_path" in str(record["hint"])
    told = status(tmp_path, "--base-path", "observability")
    assert str(tmp_path / "span") in json.dumps(told["not_taken"])
    drop(tmp_path / "observability", "span", "p", "a.jsonl", good("p"))
    code, daemon = once(database.http_url, tmp_path, "--base-path", "observability")
    assert code == 0, daemon.told()
    assert not daemon.events("not_taken")


@pytest.mark.parametrize("folder", ["span/p/failed", "span/p", "span", "rejected", "rejected/2026-01-01"])
def test_the_status_names_a_folder_that_it_cannot_list_and_tells_the_rest(folder: str, tmp_path: Path) -> None:
    for name in ("span/p/failed/a.jsonl.gz", "rejected/2026-01-01/x.jsonl", "log/q/a.jsonl", "log/q/failed/b.jsonl.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / folder).chmod(0)
    told = status(tmp_path)
    (tmp_path / folder).chmod(0o755)
    assert told["pending"] == {"files": 1, "bytes": 0}
    assert isinstance(told["ends"], dict)
    assert told["ends"]["failed"]["files"] == (2 if folder.startswith("rejected") else 1)
    assert f"{tmp_path / folder}: cannot be listed: Permission denied" in told["not_taken"]  # type: ignore[operator]  # JSON


def rss(pid: int) -> int:
    """Return the most memory that a process ever had, in bytes."""
    (line,) = [
        line
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        if line.startswith("VmHWM")
    ]
    return int(line.split()[1]) * 1024


@pytest.fixture
def cheap_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for many files: on a disk, they take three times the processor time."""
    owner = threading.Event()
    yield folder_in_memory(owner) or tmp_path
    del owner


def test_a_scan_of_many_pending_files_takes_no_memory_for_each(database: Database, cheap_folder: Path) -> None:
    """Paused, so that nothing but scans happens; all of them are counted all the same.

    They were written a moment ago: of those that are complete `test_no_more_files_are_held_than_are_kept` tells.
    """
    peaks = []
    for count in (1, 120_000):
        spool = cheap_folder / str(count)
        for number in range(count):
            folder = spool / "span" / f"p{number % 3}"
            if number < 3:
                folder.mkdir(parents=True)
            os.mknod(folder / f"20261121T120000Z_{number:032x}.jsonl")
        assert command("pause", "--file-storage-path", str(spool), "--base-path", "").returncode == 0
        with Daemon(database.http_url, spool, env={"SPOOLHOUSE_SPOOL__QUIET": "3600"}, http="any port") as daemon:
            daemon.wait_for("started")
            while f"spoolhouse_pending_files {count}.0".encode() not in daemon.get("/metrics").body:
                assert not daemon.has_ended(), daemon.told()
            peaks.append(rss(daemon.pid))
    assert peaks[1] - peaks[0] < 20 << 20
