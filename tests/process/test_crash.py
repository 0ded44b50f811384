"""Kills, restarts and several instances: each valid line is in ClickHouse once, and counted once in the rollups."""

import random
import signal
import threading
from pathlib import Path

import pytest

from tests.engine import Database
from tests.faults.life import wait_until
from tests.process.daemon import Daemon, drop, once
from tests.process.inputs import good

PREFIX = "mastra_admin_"
KILLS = 10


def totals(database: Database) -> tuple[int, int, int]:
    """Return lines in the table, different ids, and lines in the rollup."""
    [(lines, ids)] = database.query(f"SELECT count(), uniqExact(span_id) FROM {PREFIX}spans")
    [(counted,)] = database.query(f"SELECT sum(count) FROM {PREFIX}spans_hourly_stats")
    return int(lines), int(ids), int(counted)


def in_processed(spool: Path) -> int:
    return len(list(spool.glob("span/*/processed/*.jsonl")))


@pytest.mark.parametrize("driver", ["native_url", "http_url"])
@pytest.mark.timeout(300)
def test_killed_ten_times_mid_load(database: Database, tmp_path: Path, driver: str) -> None:
    """Killed (-9) at random moments under load and restarted: nothing is lost, nothing is there twice."""
    rng = random.Random(driver)
    url = getattr(database, driver)
    files, rows = 60, 500
    for number in range(files):
        drop(tmp_path, "span", f"p{number % 3}", f"{number:03}.jsonl", good(f"f{number}", rows))
    small = {"SPOOLHOUSE_BATCH__MAX_BYTES": "256KiB", "SPOOLHOUSE_SPOOL__PROJECT": "trust"}
    pause = threading.Event()
    for kill in range(KILLS):
        with Daemon(url, tmp_path, env=small) as daemon:
            daemon.wait_for("file_settled" if kill == 0 else "started")
            # Anywhere in a shipment's life: which moment it hits is chance, and ten of them are tried.
            pause.wait(rng.uniform(0, 0.4))
            daemon.kill()
    code, daemon = once(url, tmp_path, env=small)
    assert code == 0, daemon.told()
    assert totals(database) == (files * rows, files * rows, files * rows)
    assert in_processed(tmp_path) == files


def test_two_instances_share_a_spool(database: Database, tmp_path: Path) -> None:
    """500 files that come while two daemons watch: both go for each of them, each row lands once."""
    env = {"SPOOLHOUSE_BATCH__MAX_FILES": "10", "SPOOLHOUSE_SPOOL__PROJECT": "trust"}
    with Daemon(database.native_url, tmp_path, env=env) as one, Daemon(database.http_url, tmp_path, env=env) as two:
        one.wait_for("started")
        two.wait_for("started")
        for number in range(500):
            drop(tmp_path, "span", f"p{number % 7}", f"{number:03}.jsonl", good(f"f{number}", 20))
        seen = threading.Event()
        for _ in range(600):
            if in_processed(tmp_path) == 500:
                break
            seen.wait(0.1)
        for daemon in (one, two):
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0, daemon.told()
        settled = [len(daemon.events("file_settled")) for daemon in (one, two)]
    assert sum(settled) == 500
    assert totals(database) == (10_000, 10_000, 10_000)


def test_the_work_of_a_dead_neighbour_is_adopted(database: Database, tmp_path: Path) -> None:
    """One of two instances is killed with files claimed: the other one lands them while it runs."""
    env = {
        "SPOOLHOUSE_ADOPT__INTERVAL": "0.2",
        "SPOOLHOUSE_SPOOL__PROJECT": "trust",
        "SPOOLHOUSE_BATCH__MAX_BYTES": "300kB",
    }
    for number in range(40):
        drop(tmp_path, "span", "p", f"{number:03}.jsonl", good(f"f{number}", 500))
    with Daemon(database.native_url, tmp_path, env=env) as one:
        one.wait_for("file_settled")
        one.kill()
    assert any(path.is_file() for path in (tmp_path / ".spoolhouse").rglob("claimed/**/*"))
    with Daemon(database.native_url, tmp_path, env=env) as two:
        two.wait_for("adopted")
        done = threading.Event()
        for _ in range(600):
            if in_processed(tmp_path) == 40:
                break
            done.wait(0.1)
        two.signal(signal.SIGTERM)
        assert two.wait() == 0, two.told()
    assert totals(database) == (20_000, 20_000, 20_000)


def test_appended_bytes_are_ingested(database: Database, tmp_path: Path) -> None:
    """A writer that goes on after the claim, and even after the move, loses nothing."""
    path = drop(tmp_path, "span", "p", "a.jsonl", good("p", 10))
    writer = path.open("ab")
    with writer, Daemon(database.native_url, tmp_path) as daemon:
        daemon.wait_for("file_settled")
        writer.write(good("p", 5, first=10))
        writer.flush()
        done = threading.Event()
        for _ in range(200):
            if totals(database)[0] == 15:
                break
            done.wait(0.1)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert totals(database) == (15, 15, 15)
    assert (tmp_path / "span" / "p" / "processed" / "a.jsonl").read_bytes() == good("p", 15)


def test_bytes_that_came_while_nobody_watched_wait_for_a_look_at_their_file(database: Database, tmp_path: Path) -> None:
    """Its watch is over, and its disk fails for a moment: unseen, it is not taken for unchanged, and forgotten."""
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 10))
    env = {"SPOOLHOUSE_SPOOL__APPEND_WATCH": "0.001"}
    with Daemon(
        database.native_url, tmp_path, env={**env, "SPOOLHOUSE_TEST_FAILPOINTS": "settle.recorded=kill"}
    ) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    with (tmp_path / "span/p/processed/a.jsonl").open("ab") as writer:
        writer.write(good("p", 5, first=10))
    with Daemon(
        database.native_url, tmp_path, env={**env, "SPOOLHOUSE_TEST_FAILPOINTS": "instance.look@1x3=EIO"}
    ) as daemon:
        wait_until(lambda: totals(database) == (15, 15, 15), timeout=60)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert totals(database) == (15, 15, 15)


def test_a_file_that_is_begun_anew_is_ingested(database: Database, tmp_path: Path) -> None:
    """Its writer truncates it after the claim, when it holds a torn line alone, and writes on when it has been moved.

    It is in the journal by then: else nobody could ship what is appended, before or after a restart.
    """
    path = drop(tmp_path, "span", "p", "a.jsonl", b'{"type": "sp')
    done, looked = threading.Event(), tmp_path / "looked"
    with path.open("r+b") as writer:
        env = {"SPOOLHOUSE_SPOOL__TORN_AFTER": "60", "SPOOLHOUSE_TEST_FAILPOINTS": f"claim.tail_checked=wait:{looked}"}
        with Daemon(database.native_url, tmp_path, env=env) as daemon:
            for _ in range(200):
                if looked.exists():
                    break
                done.wait(0.1)
            writer.truncate(0)
            looked.unlink()
            daemon.wait_for("file_settled", bytes=0)
            writer.write(good("p", 5))
            writer.flush()
            for _ in range(100):
                if totals(database)[0] == 5:
                    break
                done.wait(0.1)
            daemon.kill()
        assert totals(database) == (5, 5, 5), daemon.told()
        writer.write(good("p", 5, first=5))
        writer.flush()
        assert once(database.native_url, tmp_path)[0] == 0
    assert totals(database) == (10, 10, 10)


def test_a_file_with_the_name_and_the_inode_of_one_that_was_taken_away_is_no_tail_of_it(
    database: Database, tmp_path: Path
) -> None:
    """File systems give the inode of a deleted file to the next one; the first file is still watched by then."""
    processed, done = tmp_path / "span/p/processed/a.jsonl", threading.Event()
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 5))
    with Daemon(database.native_url, tmp_path) as daemon:
        daemon.wait_for("file_settled")
        second = processed.rename(tmp_path / "span/p/.second.tmp")  # for sure the same inode
        second.write_bytes(good("p", 10, first=5))
        second.rename(tmp_path / "span/p/a.jsonl")
        daemon.wait_for("file_settled", count=2)
        for _ in range(60):
            done.wait(0.1)
            assert totals(database)[0] <= 15


def test_delete_after_process(database: Database, tmp_path: Path) -> None:
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 10))
    code, daemon = once(database.native_url, tmp_path, "--delete-after-process")
    assert code == 0, daemon.told()
    assert totals(database)[0] == 10
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_a_name_in_the_archive_is_not_overwritten(database: Database, tmp_path: Path) -> None:
    for first in (0, 10):
        drop(tmp_path, "span", "p", "a.jsonl", good("p", 10, first=first))
        assert once(database.native_url, tmp_path)[0] == 0
    archive = tmp_path / "span" / "p" / "processed"
    assert sorted(path.name for path in archive.iterdir()) == ["a.1.jsonl", "a.jsonl"]
    assert (archive / "a.jsonl").read_bytes() == good("p", 10)
    assert totals(database)[0] == 20
