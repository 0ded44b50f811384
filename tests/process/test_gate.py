"""Pause and resume, and a disk that is nearly full, as an operator meets them."""

import signal
from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import Daemon, command, drop, once
from tests.process.inputs import good

SPANS = "mastra_admin_spans"


def spool_flags(spool: Path) -> tuple[str, ...]:
    """Return the flags that name a spool."""
    return ("--file-storage-path", str(spool), "--base-path", "")


def rows(database: Database) -> object:
    """Return how many rows have landed."""
    return database.query(f"SELECT count() FROM {SPANS}")[0][0]


def test_a_pause_holds_all_instances_survives_restarts_and_ends(database: Database, tmp_path: Path) -> None:
    with Daemon(database.native_url, tmp_path) as one, Daemon(database.native_url, tmp_path) as two:
        for daemon in (one, two):
            daemon.wait_for("started")
        done = command("pause", *spool_flags(tmp_path), "--reason", "disk swap")
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.startswith("Paused.")
        for daemon in (one, two):
            (told,) = daemon.wait_for("paused")
            assert "disk swap" in str(told["reason"])
        path = drop(tmp_path, "span", "p", "a.jsonl", good("p", 5))
        two.signal(signal.SIGTERM)
        assert two.wait() == 0, two.told()
        code, other = once(database.native_url, tmp_path)
        assert code == 1, other.told()
        assert other.events("paused")
        assert path.exists()
        again = command("pause", *spool_flags(tmp_path))
        assert again.returncode == 0
        assert "disk swap" in again.stderr
        resumed = command("resume", *spool_flags(tmp_path))
        assert (resumed.returncode, resumed.stderr) == (0, "Resumed.\n")
        one.wait_for("resumed")
        one.wait_for("file_settled")
        one.signal(signal.SIGTERM)
        assert one.wait() == 0, one.told()
    assert rows(database) == 5
    assert command("resume", *spool_flags(tmp_path)).stderr == "It was not paused.\n"


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_without_a_spool_it_says_what_is_missing(verb: str, tmp_path: Path) -> None:
    done = command(verb, env={"SPOOLHOUSE_CONFIG": ""})
    assert done.returncode == 78
    assert "spool.storage_path" in done.stderr


def test_a_disk_that_is_nearly_full_is_left_alone_until_there_is_room(database: Database, tmp_path: Path) -> None:
    """What must stay free can be changed while it runs."""
    spool, config = tmp_path / "spool", tmp_path / "config.toml"
    config.write_text('[spool]\nmin_free = "1TiB"\n')
    path = drop(spool, "span", "p", "a.jsonl", good("p", 5))
    code, daemon = once(database.native_url, spool, "--config", str(config))
    assert code == 1, daemon.told()
    assert path.exists()
    with Daemon(database.native_url, spool, "--config", str(config)) as daemon:
        (told,) = daemon.wait_for("disk_unavailable")
        assert "spool.min_free is 1048576 MiB" in str(told["error"])
        daemon.wait_for("started")
        assert path.exists()
        config.write_text("[spool]\nmin_free = 0\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("disk_available")
        daemon.wait_for("file_settled")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert rows(database) == 5
