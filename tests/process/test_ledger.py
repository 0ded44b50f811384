"""The ledger refuses: events of all types land and their files settle all the same, and its entries follow later."""

import json
import signal
from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import Daemon, command, drop, lines, once
from tests.process.inputs import NOW, good

PREFIX = "mastra_admin_"
LEDGER = f"{PREFIX}ledger"
LOG = {"type": "log", "projectId": "p", "level": "info", "message": "m", "timestamp": NOW.isoformat()}
QUICK = {
    "SPOOLHOUSE_CLICKHOUSE__MIGRATE": "false",
    "SPOOLHOUSE_ADOPT__INTERVAL": "0.2",
    "SPOOLHOUSE_SPOOL__APPEND_WATCH": "0.001",
    "SPOOLHOUSE_RETRY__FIRST": "0.05",
    "SPOOLHOUSE_RETRY__CAP": "0.5",
    "SPOOLHOUSE_SHUTDOWN__GRACE": "30",
}
ONCE = {**QUICK, "SPOOLHOUSE_SHUTDOWN__GRACE": "2"}
AWAY = {
    "read-only": (
        f"ALTER TABLE {LEDGER} MODIFY SETTING table_readonly = 1",
        f"ALTER TABLE {LEDGER} MODIFY SETTING table_readonly = 0",
    ),
    "gone": (f"RENAME TABLE {LEDGER} TO aside", f"RENAME TABLE aside TO {LEDGER}"),
    "too many parts": (
        f"ALTER TABLE {LEDGER} MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 1",
        f"ALTER TABLE {LEDGER} RESET SETTING parts_to_throw_insert, parts_to_delay_insert",
    ),
}
"""How the ledger refuses, and what ends it. The last one passes by itself, as ClickHouse has it."""


def prepare(database: Database, spool: Path) -> None:
    """Make the tables, with one entry in the ledger."""
    drop(spool, "span", "p", "first.jsonl", good("p", 1, first=100))
    code, daemon = once(database.native_url, spool, env={**ONCE, "SPOOLHOUSE_CLICKHOUSE__MIGRATE": "true"})
    assert code == 0, daemon.told()
    database.query(f"SYSTEM STOP MERGES {LEDGER}")


def feed(spool: Path, number: int) -> None:
    """Drop a file of spans and one of logs, five events each."""
    drop(spool, "span", "p", f"{number}.jsonl", good("p", 5, first=5 * number))
    log = [{**LOG, "id": f"{number}-{line}"} for line in range(5)]
    drop(spool, "log", "p", f"{number}.jsonl", lines(log))


def settled(spool: Path) -> set[str]:
    """Return what is in `processed/`."""
    return {f"{path.parts[-4]}/{path.name}" for path in spool.glob("*/p/processed/*.jsonl")}


def files(count: int) -> set[str]:
    """Return what `count` feeds leave in `processed/`."""
    fed = {f"{kind}/{number}.jsonl" for number in range(count) for kind in ("span", "log")}
    return {"span/first.jsonl", *fed}


def expect_entries(database: Database, feeds: int) -> None:
    """See that each file is in the ledger once, and each row in its table once."""
    found = database.query(f"SELECT file, sum(row_count), count() FROM {LEDGER} FINAL GROUP BY file ORDER BY file")
    names = sorted(f"{kind}/p/{number}.jsonl" for number in range(feeds) for kind in ("span", "log"))
    assert sorted(found) == sorted([("span/p/first.jsonl", 1, 1), *((name, 5, 1) for name in names)])
    rows = 5 * feeds
    assert database.query(f"SELECT count(), uniqExact(id) FROM {PREFIX}logs") == [(rows, rows)]
    assert database.query(f"SELECT count(), uniqExact(span_id) FROM {PREFIX}spans") == [(rows + 1, rows + 1)]


@pytest.mark.parametrize("how", AWAY)
@pytest.mark.parametrize("end", ["live", "stop", "kill"])
def test_a_ledger_that_refuses_stops_nothing(how: str, end: str, database: Database, tmp_path: Path) -> None:
    """Whether it comes back to this daemon or to the next one, its entries are there, each once."""
    prepare(database, tmp_path)
    refuse, restore = AWAY[how]
    database.query(refuse)
    patient = {**QUICK, "SPOOLHOUSE_SHUTDOWN__GRACE": "600"}
    with Daemon(database.native_url, tmp_path, env=patient, http="any port") as daemon:
        daemon.wait_for("started")
        for number in range(3):
            feed(tmp_path, number)
            daemon.wait_for("file_settled", count=2 * number + 2)
            daemon.wait_for("ledger_behind", scope=LEDGER)
        assert settled(tmp_path) == files(3)
        assert daemon.get("/readyz").code == 200
        status = json.loads(daemon.get("/status").body)
        [reason] = status["readiness"]["reasons"]
        assert (reason["scope"], reason["types"]) == (LEDGER, [])
        assert not any(one["held"] for one in status["types"])
        assert status["backlog"]["ledger_entries"] == 6
        if end == "live":
            database.query(restore)
            daemon.wait_for("ledger_caught_up", scope=LEDGER)
            assert json.loads(daemon.get("/status").body)["readiness"]["reasons"] == []
        if end == "kill":
            daemon.kill()
        else:
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0, daemon.told()
    assert list((tmp_path / ".spoolhouse").glob("*/journal.sqlite")) != [] or end == "live"
    if end != "live":
        database.query(restore)
    code, heir = once(database.native_url, tmp_path, env=ONCE)
    assert code == 0, heir.told()
    expect_entries(database, 3)
    assert list((tmp_path / ".spoolhouse").glob("*/journal.sqlite")) == []


def test_a_run_with_an_end_says_that_entries_are_left(database: Database, tmp_path: Path) -> None:
    """After the grace, and with all files settled: also where they are those of a dead instance."""
    prepare(database, tmp_path)
    refuse, restore = AWAY["gone"]
    database.query(refuse)
    feed(tmp_path, 0)
    for _ in range(2):
        code, daemon = once(database.native_url, tmp_path, env=ONCE)
        assert code == 1, daemon.told()
        assert daemon.events("ledger_left", entries=2)
        assert settled(tmp_path) == files(1)
    database.query(restore)
    code, daemon = once(database.native_url, tmp_path, env=ONCE)
    assert code == 0, daemon.told()
    expect_entries(database, 1)


PLACES = [
    "journal.acknowledge",
    "settle.acknowledged",
    "ledger.before_write",
    "ledger.written",
    "journal.recorded",
    "ledger.recorded",
]


@pytest.mark.parametrize("place", PLACES)
def test_a_kill_between_journal_and_ledger_loses_no_entry(place: str, database: Database, tmp_path: Path) -> None:
    """Twice: the next one dies there as well, with what the first one left."""
    prepare(database, tmp_path)
    for number in range(2):
        feed(tmp_path, number)
        with Daemon(
            database.native_url, tmp_path, env={**QUICK, "SPOOLHOUSE_TEST_FAILPOINTS": f"{place}=kill"}
        ) as daemon:
            assert daemon.wait() == -signal.SIGKILL, daemon.told()
    code, heir = once(database.native_url, tmp_path, env=ONCE)
    assert code == 0, heir.told()
    expect_entries(database, 2)


@pytest.mark.parametrize("words", [("replay",), ("verify",)], ids=["replay", "verify"])
def test_who_reads_the_ledger_hears_that_it_is_behind(
    words: tuple[str, ...], database: Database, tmp_path: Path
) -> None:
    """A file whose entries are still in a journal is not called unknown."""
    prepare(database, tmp_path)
    feed(tmp_path, 0)
    with Daemon(
        database.native_url, tmp_path, env={**QUICK, "SPOOLHOUSE_TEST_FAILPOINTS": "ledger.before_write=kill"}
    ) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    flags = ("--clickhouse-url", database.native_url, "--file-storage-path", str(tmp_path), "--base-path", "")
    path = str(tmp_path / "span" / "p" / "processed" / "first.jsonl")
    refused = command(*words, path, *flags)
    assert refused.returncode != 0
    assert "the ledger is behind" in refused.stdout + refused.stderr, refused.stderr
    code, heir = once(database.native_url, tmp_path, env=ONCE)
    assert code == 0, heir.told()
    done = command(*words, path, *flags)
    assert done.returncode == 0, done.stderr
