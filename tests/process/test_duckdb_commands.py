"""The commands that recover, delete and examine, on a DuckDB file that no daemon has."""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.process.daemon import Daemon, command, drop, lines, once
from tests.process.inputs import good
from tests.query.landed import PREFIX, feedback, log, score, span, trace

TABLES = ("traces", "spans", "logs", "scores", "feedback")


class Place:
    """A spool and a file, with two traces, each with one event of each kind, in files of their own and in common."""

    def __init__(self, folder: Path) -> None:
        self.spool, self.path = folder / "spool", folder / "events.db"
        self.url = f"duckdb://{self.path}"
        for number in (1, 2):
            events = [
                trace(number),
                span(number),
                log(number, traceId=f"t{number:03}"),
                score(number),
                feedback(number),
            ]
            for event in events:
                drop(self.spool, str(event["type"]), "shop", f"{number}.jsonl", lines([event]))
        code, daemon = once(self.url, self.spool)
        assert code == 0, daemon.told()

    def run(self, *arguments: str, code: int = 0, spool: bool = True) -> str:
        """Run a command, which must end with `code`; return what it printed."""
        where = ("--file-storage-path", str(self.spool), "--base-path", "") if spool else ()
        done = command(*arguments, *where, "--store-url", self.url)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def files(self) -> list[str]:
        return sorted(str(path) for path in self.spool.glob("*/*/processed/*.jsonl"))

    def verdicts(self, *, code: int = 0) -> Counter[str]:
        """Return how many rows `verify` has each verdict for."""
        found: Counter[str] = Counter()
        for one in map(json.loads, self.run("verify", *self.files(), "--json", code=code).splitlines()):
            found[one["verdict"]] += one["rows"]
        return found

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(self.path) as connection:
            return connection.execute(sql).fetchall()

    def left(self) -> dict[str, list[str]]:
        """Return the ids of the traces that each table has rows of."""
        found = {table: self.query(f"SELECT trace_id FROM {PREFIX}{table} ORDER BY 1") for table in TABLES}
        return {table: [one for (one,) in rows] for table, rows in found.items()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_lost_rows_are_found_and_restored_and_deleted_ones_stay_deleted(place: Place) -> None:
    assert place.verdicts() == {"there": 10}
    both = {table: ["t001", "t002"] for table in TABLES}
    for table in TABLES:
        place.query(f"TRUNCATE {PREFIX}{table}")
    place.query(f"INSERT INTO {PREFIX}scores (id, project_id, timestamp) VALUES ('other', 'shop', now())")
    assert place.verdicts(code=1) == {"missing": 10}
    assert "not found in" in place.run("replay", *place.files(), "--dry-run")
    for said in ("brought back to", "all there"):
        assert place.run("replay", *place.files()).count(said) == 10
        place.query(f"DELETE FROM {PREFIX}scores WHERE id = 'other'")
        assert place.left() == both
    assert place.verdicts() == {"there": 10}
    place.query(f"UPDATE {PREFIX}spans SET name = 'changed' WHERE trace_id = 't002'")
    place.query(f"UPDATE {PREFIX}logs SET recorded_at = recorded_at + INTERVAL 1 DAY WHERE trace_id = 't002'")
    assert place.verdicts(code=1) == {"there": 8, "different": 1, "superseded": 1}
    deleting = ("delete", "traces", "t001", "none", "--project", "shop", "--json")
    deleted = json.loads(place.run(*deleting, spool=False))
    assert deleted["rows"] == dict.fromkeys(TABLES, 1)
    assert {file.split("/")[0] for file in deleted["files"]} == {"trace", "span", "log", "score", "feedback"}
    again = json.loads(place.run(*deleting, spool=False))
    assert (again["rows"], again["files"]) == (dict.fromkeys(TABLES, 0), deleted["files"])
    for table in TABLES:
        place.query(f"TRUNCATE {PREFIX}{table}")
    assert place.run("replay", *place.files()).count("1 rows stay deleted") == len(TABLES)
    assert place.left() == {table: ["t002"] for table in TABLES}
    assert place.verdicts() == {"deleted": 5, "there": 5}


def test_a_daemon_that_has_the_file_is_named(place: Place) -> None:
    """What needs the file fails, and says who has it; the doctor finds nothing wrong."""
    with Daemon(place.url, place.spool) as daemon:
        daemon.wait_for("started")
        for arguments in (
            ("verify", "--since", "1h"),
            ("replay", "--rejected"),
            ("trace-file", "--batch", "b"),
            ("tables",),
        ):
            said = place.run(*arguments, code=69, spool=arguments != ("tables",))
            assert f"{place.path} is in use by process {daemon.pid}" in said
        assert f"in use by process {daemon.pid}" in place.run("check")
        target = place.path.with_name("target.db")
        done = command("copy", "--from", place.url, "--to", f"duckdb://{target}")
        assert (done.returncode, target.exists()) == (69, False), done.stderr
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()


def test_the_file_is_described_and_traced(place: Place) -> None:
    sizes = {one["table"]: one for one in json.loads(place.run("tables", "--json", "--check", spool=False))}
    assert (sizes[f"{PREFIX}spans"]["rows"], sizes[f"{PREFIX}spans_latest"]["engine"]) == (2, "view")
    assert sizes[f"{PREFIX}spans"]["bytes_on_disk"] > 0
    assert sizes[f"{PREFIX}metrics"]["oldest"] is None
    [file] = [path for path in place.files() if "span" in path and path.endswith("1.jsonl")]
    [entry] = json.loads(place.run("trace-file", file, "--json"))
    assert (entry["table"], entry["rows"], entry["file"]) == ("spans", 1, "span/shop/1.jsonl")
    assert entry in json.loads(place.run("trace-file", "--batch", entry["batch"], "--json"))
    assert "opens" in place.run("check")
    assert place.run("check", "--grants").startswith(f"-- No grants are needed: {place.path} is a file")
    place.query(f"ALTER TABLE {PREFIX}metrics DROP COLUMN extra")
    assert "changes are to be made" in place.run("check")
    place.path.write_bytes(b"precious\n")
    assert "no DuckDB database" in place.run("check", code=1)
    place.path.unlink()
    assert "does not exist yet" in place.run("check")
    for asked in (("tables",), ("traces", "--project", "shop")):
        assert f"{place.path}: no such file; check store.url" in place.run(*asked, code=69, spool=False)
    assert not place.path.exists()


def test_rejected_lines_and_failed_files_come_back(place: Place) -> None:
    """A line goes back to where it was dropped; a file that the ledger does not know is left alone."""
    drop(place.spool, "span", "shop", "bad.jsonl", b'{"type":"visit"}\n')
    drop(place.spool, "span", "shop", "broken.jsonl.gz", b"no archive")
    settings = {"SPOOLHOUSE_SPOOL__PROJECT": "trust"}
    assert once(place.url, place.spool, env=settings)[0] == 1
    [rejects] = (place.spool / "rejected").rglob("*.jsonl")
    assert "1 line, " in place.run("replay", "--rejected")
    assert not rejects.exists()
    failed = place.spool / "span" / "shop" / "failed"
    (failed / "broken.jsonl").write_bytes(good("shop", 2))
    (failed / "broken.jsonl.gz").unlink()
    said = place.run("retry", str(failed / "broken.jsonl"), code=1)
    assert "the ledger does not know it" in said


def test_a_shipment_whose_file_is_gone_is_given_up(place: Place) -> None:
    """What has landed of it stays; nothing waits for it any more."""
    drop(place.spool, "span", "shop", "gone.jsonl", good("shop", 3))
    with Daemon(place.url, place.spool, env={"SPOOLHOUSE_TEST_FAILPOINTS": "duckdb.committed=kill"}) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    [claimed] = place.spool.glob(".spoolhouse/*/claimed/span/shop/gone.jsonl")
    claimed.unlink()
    said = place.run("release", "--give-up", "--dry-run", code=1)
    assert "would give up shipment" in said
    assert "at least 3 rows of span/shop/gone.jsonl have landed" in place.run("release", "--give-up")
    code, daemon = once(place.url, place.spool)
    assert code == 0, daemon.told()
    assert place.query(f"SELECT count(*) FROM {PREFIX}spans") == [(5,)]
