"""A claimed file that cannot be read for a while: it is waited for, whoever reads it, and nothing of it is lost."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import Daemon, drop, once
from tests.process.inputs import good

SPANS = "mastra_admin_spans"
ROWS = 3000
QUICK = {
    "SPOOLHOUSE_RETRY__FIRST": "0.05",
    "SPOOLHOUSE_RETRY__CAP": "0.2",
    "SPOOLHOUSE_SPOOL__APPEND_WATCH": "0.2",
    "SPOOLHOUSE_SPOOL__MAX_LINE": "64KiB",
}
"""A long file is read in several pieces."""
FAILPOINTS = "SPOOLHOUSE_TEST_FAILPOINTS"
BAD = b"no event\n"


def counts(database: Database) -> object:
    """Return how many rows there are, and how many different ones."""
    return database.query(f"SELECT count(), uniqExact(span_id) FROM {SPANS}")[0]


@pytest.mark.parametrize(
    "traps",
    [
        "read.chunk@3x5=EIO",
        "read.chunk@3x5=ESTALE",
        "read.chunk@2x5=EMFILE",
        "read.chunk@2x5=ENOMEM",
        "read.chunk@2x5=EINTR",
        "read.open@1x3=EMFILE",
        "read.small@1x2=EIO,read.open@1x2=ENFILE",
        "read.count@1x3=EIO",
        "claim.check_end=EMFILE,claim.find_lines@1x3=EMFILE",
        "claim.check_end=EIO,claim.find_lines@1x3=EIO",
    ],
)
def test_what_passes_is_waited_for(traps: str, database: Database, tmp_path: Path) -> None:
    """At each read: of the end of a file, of its pieces, and of what stands before a rejected line."""
    drop(tmp_path, "span", "p", "a.jsonl", good("p", ROWS) + BAD)
    drop(tmp_path, "span", "p", "b.jsonl", good("p", 5, first=ROWS) + BAD)
    with Daemon(database.native_url, tmp_path, env={**QUICK, FAILPOINTS: traps}) as daemon:
        daemon.wait_for("file_settled", count=2)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
        assert daemon.events("file_delayed" if traps.startswith("claim") else "disk_unavailable"), daemon.told()
        assert not daemon.events("file_unreadable"), daemon.told()
    assert counts(database) == (ROWS + 5, ROWS + 5)
    assert sorted(os.listdir(tmp_path / "span/p")) == ["processed"]  # noqa: PTH208  # names alone


def test_it_is_said_which_file_and_over_when_it_is(database: Database, tmp_path: Path) -> None:
    """Only that file waits: what else is dropped lands."""
    drop(tmp_path, "span", "p", "a.jsonl", good("p", ROWS))
    env = {**QUICK, FAILPOINTS: "read.chunk@+131072=EIO", "SPOOLHOUSE_SPOOL__READ_ERROR_WAIT": "3600"}
    with Daemon(database.native_url, tmp_path, env=env, http="any port") as daemon:
        (record, *_) = daemon.wait_for("disk_unavailable", attempts=4)
        assert str(record["scope"]).endswith("/claimed/span/p/a.jsonl")
        assert "kernel" in str(record["hint"])
        assert "a.jsonl" in json.dumps(json.loads(daemon.get("/status").body)["readiness"]["reasons"])
        assert daemon.get("/readyz").code == 200, "no type waits for it"
        assert b'spoolhouse_table_held{table="mastra_admin_spans"} 0.0' in daemon.get("/metrics").body
        drop(tmp_path, "span", "p", "b.jsonl", good("p", 5, first=ROWS))
        daemon.wait_for("file_settled", path="span/p/b.jsonl")


def test_files_that_cannot_be_read_keep_no_decoder(database: Database, tmp_path: Path) -> None:
    """However many there are: each is put aside, and what else is dropped lands."""
    several = 4
    for number in range(several):
        drop(tmp_path, "span", "p", f"bad{number}.jsonl", good("p", 1500, first=1500 * number))
    env = {
        **QUICK,
        FAILPOINTS: "read.chunk@+131072=EIO",
        "SPOOLHOUSE_SPOOL__READ_ERROR_WAIT": "3600",
        "SPOOLHOUSE_BATCH__MAX_FILES": "1",
    }
    with Daemon(database.native_url, tmp_path, env=env) as daemon:
        daemon.wait_for("disk_unavailable", count=several, attempts=1)
        drop(tmp_path, "span", "p", "good.jsonl", good("p", 5, first=10_000))
        daemon.wait_for("file_settled", path="span/p/good.jsonl")
        daemon.kill()
    assert counts(database) == (5, 5)
    assert once(database.native_url, tmp_path, env=QUICK)[0] == 0
    assert counts(database) == (1500 * several + 5, 1500 * several + 5)


def test_a_stop_does_not_wait_for_a_read(database: Database, tmp_path: Path) -> None:
    """The shipment stays in the journal, and the next run goes on with it."""
    drop(tmp_path, "span", "p", "a.jsonl", good("p", ROWS))
    env = {**QUICK, FAILPOINTS: "read.chunk@+131072=EIO", "SPOOLHOUSE_SHUTDOWN__GRACE": "600"}
    with Daemon(database.native_url, tmp_path, env=env) as daemon:
        daemon.wait_for("disk_unavailable")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    code, daemon = once(database.native_url, tmp_path, env=QUICK)
    assert code == 0, daemon.told()
    assert counts(database) == (ROWS, ROWS)


def test_a_stop_does_not_wait_for_a_read_of_what_was_refused(database: Database, tmp_path: Path) -> None:
    """Decode has read all of it, and the attempt after a refusal cannot."""
    assert once(database.native_url, tmp_path, env=QUICK)[0] == 0
    database.query(f"SYSTEM STOP MERGES {SPANS}")
    drop(tmp_path, "span", "p", "first.jsonl", good("p", 5))
    assert once(database.native_url, tmp_path, env=QUICK)[0] == 0
    database.query(f"ALTER TABLE {SPANS} MODIFY SETTING parts_to_throw_insert = 1")
    drop(tmp_path, "span", "p", "a.jsonl", good("p", ROWS, first=5))
    reads = -(-len(good("p", ROWS, first=5)) // 65536)
    env = {**QUICK, FAILPOINTS: f"read.chunk@{reads + 1}x10000=EIO", "SPOOLHOUSE_SHUTDOWN__GRACE": "600"}
    with Daemon(database.native_url, tmp_path, env=env) as daemon:
        daemon.wait_for("clickhouse_unavailable", code=252)
        daemon.wait_for("disk_unavailable", attempts=2)
        database.query(f"ALTER TABLE {SPANS} RESET SETTING parts_to_throw_insert")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert once(database.native_url, tmp_path, env=QUICK)[0] == 0
    assert counts(database) == (ROWS + 5, ROWS + 5)


def test_what_was_refused_and_cannot_be_read_again_is_held_and_said(database: Database, tmp_path: Path) -> None:
    """Decode has read all of it, and its disk has failed for too long since: half of it does not pass for all."""
    assert once(database.native_url, tmp_path, env=QUICK)[0] == 0
    database.query(f"SYSTEM STOP MERGES {SPANS}")
    drop(tmp_path, "span", "p", "first.jsonl", good("p", 5))
    assert once(database.native_url, tmp_path, env=QUICK)[0] == 0
    database.query(f"ALTER TABLE {SPANS} MODIFY SETTING parts_to_throw_insert = 1")
    content = good("p", ROWS, first=5)
    drop(tmp_path, "span", "p", "a.jsonl", content)
    traps = f"read.chunk@{-(-len(content) // 65536) + 1}x10000=EIO"
    env = {
        **QUICK, FAILPOINTS: traps, "SPOOLHOUSE_SPOOL__READ_ERROR_WAIT": "0.3", "SPOOLHOUSE_SHUTDOWN__GRACE": "600"
    }  # fmt: skip
    with Daemon(database.native_url, tmp_path, env=env) as daemon:
        [held, *_] = daemon.wait_for("table_held", code=None)
        assert "a.jsonl could be read before" in str(held["error"])
        database.query(f"ALTER TABLE {SPANS} RESET SETTING parts_to_throw_insert")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert once(database.native_url, tmp_path, env=QUICK)[0] == 0
    assert counts(database) == (ROWS + 5, ROWS + 5)


@pytest.mark.parametrize("lasts", [False, True])
def test_a_refused_insert_besides_holds_nothing(lasts: bool, database: Database, tmp_path: Path) -> None:
    """The rows are read again for the next attempt, and are as many as before: to where the file could be read."""
    with Daemon(database.native_url, tmp_path, "--once", env=QUICK) as daemon:
        assert daemon.wait() == 0, daemon.told()
    database.query(f"SYSTEM STOP MERGES {SPANS}")
    drop(tmp_path, "span", "p", "first.jsonl", good("p", 5))
    assert once(database.native_url, tmp_path, env=QUICK)[0] == 0
    database.query(f"ALTER TABLE {SPANS} MODIFY SETTING parts_to_throw_insert = 1")
    content = good("p", ROWS, first=5)
    reads = -(-len(content) // 65536)
    # The first attempt breaks off at the third read, the second one at its first; the third reads all of it.
    passing = f"read.chunk@3x2=EIO,read.chunk@{4 + reads + 2}x3=EIO"
    traps = "read.chunk@+131072=EIO" if lasts else passing
    env = {**QUICK, FAILPOINTS: traps, "SPOOLHOUSE_SPOOL__READ_ERROR_WAIT": "0.5" if lasts else "60"}
    drop(tmp_path, "span", "p", "a.jsonl", content)
    with Daemon(database.native_url, tmp_path, env=env) as daemon:
        daemon.wait_for("clickhouse_unavailable", code=252)
        if lasts:
            daemon.wait_for("file_unreadable")
        else:
            daemon.wait_for("disk_available", count=2)
        database.query(f"ALTER TABLE {SPANS} RESET SETTING parts_to_throw_insert")
        daemon.wait_for("file_settled")
        # 216: the server has not noticed yet that an attempt was broken off.
        assert {record["code"] for record in daemon.events("clickhouse_unavailable")} <= {252, 216}, daemon.told()
        assert not daemon.events("table_held"), daemon.told()
    rows = content.count(b"\n", 0, 131072) if lasts else ROWS
    assert counts(database) == (rows + 5, rows + 5)
    assert (tmp_path / "span/p/failed/a.jsonl").exists() == lasts
