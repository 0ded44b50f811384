"""Retention as an operator meets it: the archive is shortened while the daemon runs, and says so."""

import signal
from pathlib import Path

from tests.engine import Database
from tests.process.daemon import Daemon, drop
from tests.process.inputs import good


def test_a_kill_at_a_deletion_is_harmless(database: Database, tmp_path: Path) -> None:
    env = {
        "SPOOLHOUSE_RETENTION__MAX_AGE_DAYS": "0.000005",
        "SPOOLHOUSE_RETENTION__INTERVAL": "0.1",
        "SPOOLHOUSE_SPOOL__APPEND_WATCH": "0.1",
    }
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 5))
    with Daemon(database.native_url, tmp_path, env={**env, "SPOOLHOUSE_TEST_FAILPOINTS": "archive.delete=kill"}) as one:
        assert one.wait() == -signal.SIGKILL, one.told()
    with Daemon(database.native_url, tmp_path, env=env) as daemon:
        daemon.wait_for("archive_shortened")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert list(tmp_path.glob("span/p/processed/*")) == []
    assert database.query("SELECT count() FROM mastra_admin_spans") == [(5,)]


def test_the_archive_is_shortened_and_the_rows_stay(database: Database, tmp_path: Path) -> None:
    env = {
        "SPOOLHOUSE_RETENTION__MAX_AGE_DAYS": "0.000005",
        "SPOOLHOUSE_RETENTION__INTERVAL": "0.1",
        "SPOOLHOUSE_SPOOL__APPEND_WATCH": "0.1",
    }
    for number in range(3):
        drop(tmp_path, "span", "p", f"{number}.jsonl", good(f"p{number}", 5))
    drop(tmp_path, "span", "p", "bad.jsonl.gz", b"no archive")
    with Daemon(database.native_url, tmp_path, env=env) as daemon:
        daemon.wait_for("file_settled", count=4)
        deleted = 0
        for count in range(1, 4):
            told = daemon.wait_for("archive_shortened", count=count)
            deleted = sum(int(str(record["files"])) for record in told)
            if deleted == 3:
                break
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert deleted == 3
    assert sorted(path.name for path in tmp_path.glob("span/p/*/*")) == ["bad.jsonl.gz", "bad.jsonl.gz.reason.txt"]
    assert database.query("SELECT count() FROM mastra_admin_spans") == [(15,)]


def test_the_only_copy_of_a_rejected_line_is_kept(database: Database, tmp_path: Path) -> None:
    """A line over the limit is in its file alone: `rejected/` has its place and its digest."""
    env = {
        "SPOOLHOUSE_RETENTION__MAX_AGE_DAYS": "0.000005",
        "SPOOLHOUSE_RETENTION__INTERVAL": "0.1",
        "SPOOLHOUSE_SPOOL__APPEND_WATCH": "0.1",
        "SPOOLHOUSE_SPOOL__MAX_LINE": "64KiB",
    }
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 5) + b"[" + b"x" * 70_000 + b"\n")
    with Daemon(database.native_url, tmp_path, env=env) as daemon:
        daemon.wait_for("file_settled", left_out=1)
        drop(tmp_path, "span", "p", "b.jsonl", good("p", 5, first=5))
        daemon.wait_for("archive_shortened", last="span/p/processed/b.jsonl")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert [path.name for path in tmp_path.glob("span/p/processed/*")] == ["a.jsonl"]
