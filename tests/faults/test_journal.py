"""The journal is damaged, put back to an earlier time, or of another version: files are kept, nothing lands twice."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.life import QUICK, armed, die_at, recover, wait_until
from tests.faults.oracle import AnyOracle
from tests.process.daemon import Daemon, once


def main_file(instance: Path) -> Path:
    return instance / "journal.sqlite"


def log_file(instance: Path) -> Path:
    return instance / "journal.sqlite-wal"


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def garble(path: Path) -> None:
    path.write_bytes(os.urandom(max(path.stat().st_size, 100)))


def garble_a_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(3000))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "log removed": lambda instance: log_file(instance).unlink(),
    "log emptied": lambda instance: os.truncate(log_file(instance), 0),
    "log halved": lambda instance: halve(log_file(instance)),
    "log garbled": lambda instance: garble(log_file(instance)),
    "a page of the log garbled": lambda instance: garble_a_page(log_file(instance)),
}
"""As a crash leaves it, most of the journal is in its write-ahead log."""
DAMAGES_OF_THE_WHOLE: dict[str, Callable[[Path], object]] = {
    "journal removed": lambda instance: main_file(instance).unlink(),
    "journal emptied": lambda instance: os.truncate(main_file(instance), 0),
    "journal halved": lambda instance: halve(main_file(instance)),
    "journal garbled": lambda instance: garble(main_file(instance)),
    "a page of it garbled": lambda instance: garble_a_page(main_file(instance)),
}
"""Its log taken in, the journal is one file."""


@pytest.mark.parametrize("damages", [DAMAGES, DAMAGES_OF_THE_WHOLE], ids=["log", "whole"])
def test_a_damaged_journal_is_held_and_said(
    oracle: AnyOracle, tmp_path: Path, damages: dict[str, Callable[[Path], object]]
) -> None:
    """All that was claimed stays where it is; with the journal back as it was, each line has landed once."""
    die_at(oracle, "insert.answered")
    [instance] = (oracle.spool / ".spoolhouse").iterdir()
    claimed = {path: path.read_bytes() for path in oracle.claimed()}
    assert claimed
    if damages is DAMAGES_OF_THE_WHOLE:
        with closing(sqlite3.connect(main_file(instance))) as journal:
            journal.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copytree(instance, tmp_path / "sound")
    for damage, inflict in damages.items():
        inflict(instance)
        code, daemon = once(oracle.store.native_url, oracle.spool, env=QUICK)
        assert code == 1, damage
        assert daemon.events("journal_held", instance=instance.name), f"{damage}: {daemon.told()}"
        assert {path: path.read_bytes() for path in oracle.claimed()} == claimed, damage
        oracle.check_rows_at_most_once(all_of_them=False)
        for path in (main_file(instance), log_file(instance)):
            path.unlink(missing_ok=True)
            if (sound := tmp_path / "sound" / path.name).exists():
                shutil.copy2(sound, path)
    recover(oracle)
    oracle.check()


def test_a_journal_of_an_earlier_time_is_held(oracle: AnyOracle, tmp_path: Path) -> None:
    """It is sound, but does not know of all that was sent: what it does not know would land a second time."""
    earlier = tmp_path / "earlier"
    here = tmp_path / "here"
    oracle.drop()
    env = armed("settle.recorded", f"wait:{here}")
    with Daemon(oracle.store.native_url, oracle.spool, env=env) as daemon:
        wait_until(here.exists)
        [instance] = (oracle.spool / ".spoolhouse").iterdir()
        shutil.copytree(instance, earlier)
        oracle.drop()
        here.unlink()
        daemon.wait_for("file_settled", count=2)
        oracle.drop()
        daemon.wait_for("file_settled", count=3)
        daemon.kill()
    for path in (main_file(instance), log_file(instance)):
        path.unlink()
        shutil.copy2(earlier / path.name, path)
    code, held = once(oracle.store.native_url, oracle.spool, env=QUICK)
    assert code == 1
    assert "earlier time" in str(held.events("journal_held")), held.told()
    oracle.check_rows_at_most_once(all_of_them=True)


@pytest.mark.parametrize("place", ["insert.answered", "claim.journalled"])
def test_declarations_have_changed_since(oracle: AnyOracle, place: str) -> None:
    """A shipment was planned by a version with another fingerprint: what is there of it is found by its id."""
    die_at(oracle, place)
    [instance] = (oracle.spool / ".spoolhouse").iterdir()
    with closing(sqlite3.connect(main_file(instance))) as journal:
        journal.execute("UPDATE shipment SET fingerprint = 'another'")
        journal.commit()
    recover(oracle)
    oracle.check()


def test_a_journal_of_a_later_version_is_held(oracle: AnyOracle) -> None:
    """After a downgrade: nothing is touched, and the message says which versions."""
    die_at(oracle, "insert.answered")
    [instance] = (oracle.spool / ".spoolhouse").iterdir()
    with closing(sqlite3.connect(main_file(instance))) as journal:
        [(version,)] = journal.execute("PRAGMA user_version")
        journal.execute(f"PRAGMA user_version = {version + 1}")
    with Daemon(oracle.store.native_url, oracle.spool, env=QUICK) as daemon:
        [record] = daemon.wait_for("journal_held")
        assert f"format {version + 1}" in str(record["error"])
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
    with closing(sqlite3.connect(main_file(instance))) as journal:
        journal.execute(f"PRAGMA user_version = {version}")
    recover(oracle)
    oracle.check()
