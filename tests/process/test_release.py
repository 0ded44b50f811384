"""`spoolhouse release`: what was never sent goes back, what may have been sent stays; a running daemon is let be."""

import gzip
import os
import signal
import threading
from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import Daemon, command, drop, lines, once
from tests.process.inputs import good, span

FAILPOINTS = "SPOOLHOUSE_TEST_FAILPOINTS"


def flags(spool: Path) -> tuple[str, ...]:
    """Return the flags that name a spool."""
    return ("--file-storage-path", str(spool), "--base-path", "")


def claimed(spool: Path) -> list[Path]:
    """Return the files that instances hold."""
    return [path for path in spool.glob(".spoolhouse/*/claimed/**/*") if path.is_file()]


def test_what_was_never_sent_goes_back(database: Database, tmp_path: Path) -> None:
    path = drop(tmp_path, "span", "p", "a.jsonl", good("p", 5))
    code, daemon = once(database.native_url, tmp_path, env={FAILPOINTS: "instance.claimed=kill"})
    assert code == -signal.SIGKILL, daemon.told()
    assert not path.exists()
    done = command("release", "--dry-run", *flags(tmp_path))
    assert (done.returncode, done.stdout) == (0, "would release span/p/a.jsonl\n")
    assert len(claimed(tmp_path)) == 1
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 5, first=5))
    done = command("release", *flags(tmp_path))
    assert (done.returncode, done.stdout) == (0, "released span/p/a.1.jsonl\n")
    assert (tmp_path / "span/p/a.1.jsonl").read_bytes() == good("p", 5)
    assert list((tmp_path / ".spoolhouse").iterdir()) == []
    done = command("release", *flags(tmp_path))
    assert (done.returncode, done.stderr) == (0, "No instance has left anything.\n")


@pytest.mark.parametrize("place", ["journal.plan", "claim.journalled", "insert.before_send", "settle.acknowledged"])
def test_what_may_have_been_sent_stays(place: str, database: Database, tmp_path: Path) -> None:
    """Whether it was, the journal alone does not say: from the plan on, a daemon has to finish it."""
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 5))
    code, daemon = once(database.native_url, tmp_path, env={FAILPOINTS: f"{place}=kill"})
    assert code == -signal.SIGKILL, daemon.told()
    done = command("release", *flags(tmp_path))
    if place == "journal.plan":  # it died before the commit
        assert (done.returncode, done.stdout) == (0, "released span/p/a.jsonl\n")
    else:
        assert done.returncode == 1
        assert "1 files stay claimed: they may have been sent" in done.stdout
        assert len(claimed(tmp_path)) == 1
    code, daemon = once(database.native_url, tmp_path)
    assert code == 0, daemon.told()
    assert database.query("SELECT count() FROM mastra_admin_spans") == [(5,)]


def test_a_running_daemon_and_a_damaged_journal_are_left_alone(database: Database, tmp_path: Path) -> None:
    with Daemon(database.native_url, tmp_path) as daemon:
        daemon.wait_for("started")
        done = command("release", *flags(tmp_path))
        assert done.returncode == 1
        assert "it is running: stop it first" in done.stdout
        (instance,) = [path.name for path in (tmp_path / ".spoolhouse").iterdir() if path.is_dir()]
        daemon.kill()
    journal = tmp_path / ".spoolhouse" / instance / "journal.sqlite"
    kept = tmp_path / ".spoolhouse" / instance / "claimed/span/p/a.jsonl"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(good("p", 5))
    journal.write_bytes(b"garbage" * 1000)
    journal.with_name("journal.sqlite-wal").unlink(missing_ok=True)
    done = command("release", instance, *flags(tmp_path))
    assert done.returncode == 1
    assert "1 files stay claimed" in done.stdout
    assert kept.exists()


@pytest.mark.parametrize("place", ["none", "journal.acknowledge", "settle.before_move"])
def test_a_shipment_whose_file_is_gone_for_good_is_given_up(place: str, database: Database, tmp_path: Path) -> None:
    """A kill meanwhile changes nothing. Its other file has landed as well, and never lands again."""
    for number in range(2):
        drop(tmp_path, "span", "p", f"{number}.jsonl", good("p", 5, first=5 * number))
    code, daemon = once(database.native_url, tmp_path, env={FAILPOINTS: "insert.answered=kill"})
    assert code == -signal.SIGKILL, daemon.told()
    next(path for path in claimed(tmp_path) if path.name == "0.jsonl").unlink()
    clickhouse = ("--clickhouse-url", database.native_url)
    give_up = ("release", "--give-up", *flags(tmp_path), *clickhouse)
    with Daemon(database.native_url, tmp_path) as daemon:
        [held] = daemon.wait_for("shipment_held", attempts=1)
        assert "release --give-up" in str(held["hint"])
        assert "it is running: stop it first" in command(*give_up).stdout
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    if place != "none":
        assert command(*give_up, env={FAILPOINTS: f"{place}=kill"}).returncode == -signal.SIGKILL
    if place != "settle.before_move":
        done = command(*give_up)
        assert done.returncode == 0, done.stdout
        assert "span/p/0.jsonl is gone" in done.stdout
        assert "at least 10 rows of span/p/0.jsonl, span/p/1.jsonl have landed" in done.stdout
        assert "what is left is in span/p/failed/1.jsonl" in done.stdout
    once(database.native_url, tmp_path)
    assert claimed(tmp_path) == []
    assert (tmp_path / "span/p/failed/1.jsonl").read_bytes() == good("p", 5, first=5)
    reason = (tmp_path / "span/p/failed/1.jsonl.reason.txt").read_text()
    assert "given up: span/p/0.jsonl is gone; at least 10 rows" in reason
    done = command("retry", "--all", *flags(tmp_path), *clickhouse)
    assert (done.returncode, "not known which" in done.stdout) == (1, True), done.stdout
    assert database.query("SELECT count(), uniqExact(span_id) FROM mastra_admin_spans") == [(10, 10)]
    assert database.query("SELECT sum(lines) FROM mastra_admin_spans_hourly") == [(10,)]


def test_a_batch_that_was_cut_up_and_has_landed_in_part_is_given_up(database: Database, tmp_path: Path) -> None:
    """Its file ends early now: which rows the missing bytes gave can no longer be known. What has landed stays."""
    refused = [span("p", number) | {"name": "bad" if number == 5 else "good"} for number in range(8)]
    drop(tmp_path, "span", "p", "a.jsonl", lines(refused))
    spans = "mastra_admin_spans"
    database.query(f"ALTER TABLE {spans} ADD CONSTRAINT no CHECK name != 'bad'")
    code, daemon = once(database.native_url, tmp_path, env={FAILPOINTS: "insert.answered=kill"})
    assert code == -signal.SIGKILL, daemon.told()
    database.query(f"ALTER TABLE {spans} DROP CONSTRAINT no")
    [path] = claimed(tmp_path)
    os.truncate(path, len(lines(refused[:2])))
    with Daemon(database.native_url, tmp_path) as daemon:
        [held, *_] = daemon.wait_for("shipment_held")
        assert "has landed in part" in str(held["error"])
        assert "release --give-up" in str(held["hint"])
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    done = command("release", "--give-up", *flags(tmp_path), "--clickhouse-url", database.native_url)
    assert done.returncode == 0, done.stdout
    assert "at least 4 rows of span/p/a.jsonl have landed" in done.stdout
    assert "what is left is in span/p/failed/a.jsonl" in done.stdout
    assert once(database.native_url, tmp_path)[0] == 0
    assert claimed(tmp_path) == []
    assert database.query(f"SELECT count(), uniqExact(span_id) FROM {spans}") == [(4, 4)]
    assert database.query("SELECT sum(lines) FROM mastra_admin_spans_hourly") == [(4,)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_shipment_whose_file_was_cut_before_it_was_read_is_not_given_up(
    name: str, database: Database, tmp_path: Path
) -> None:
    """Where its content ends is in the journal: a daemon lands what is left of it, and holds nothing."""
    kept, cut = good("p", 5), good("p", 5, first=5)
    if name.endswith(".gz"):
        kept, cut = gzip.compress(kept), gzip.compress(cut)
    drop(tmp_path, "span", "p", name, kept + cut)
    here, pause = tmp_path / "here", threading.Event()
    places = f"claim.journalled=wait:{here},insert.answered=kill"
    with Daemon(database.native_url, tmp_path, env={FAILPOINTS: places}) as daemon:
        while not here.exists():
            assert not daemon.has_ended(), daemon.told()
            pause.wait(0.05)
        [path] = claimed(tmp_path)
        os.truncate(path, len(kept))
        here.unlink()
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    done = command("release", "--give-up", *flags(tmp_path), "--clickhouse-url", database.native_url)
    assert "gave up" not in done.stdout
    code, daemon = once(database.native_url, tmp_path)
    failure = f"shorter by {len(cut)} bytes than when it was claimed"
    assert (code, len(daemon.events("file_settled", failure=failure))) == (1, 1), daemon.told()
    assert database.query("SELECT count() FROM mastra_admin_spans") == [(5,)]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    assert command("release", *flags(tmp_path / "none")).returncode == 78
    done = command("release", "nobody", *flags(tmp_path))
    assert done.returncode == 78
    assert "there is no instance nobody" in done.stderr
