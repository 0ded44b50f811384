"""`spoolhouse replay` and `spoolhouse trace-file`: what was lost or rejected comes back, once, however often asked."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spoolhouse.cli.recovery import open_files
from spoolhouse.failpoints import VARIABLE
from spoolhouse.settings.sources import load
from tests.engine import Database
from tests.process.daemon import _OBEY_PERMISSIONS, SCRIPT, Daemon, command, drop, lines, once
from tests.process.inputs import span

PREFIX = "mastra_admin_"
NOW = datetime.now(UTC)
EARLIER = NOW - timedelta(days=40)
STRICT = {"SPOOLHOUSE_SPOOL__PROJECT": "reject"}


def replay(
    database: Database, spool: Path, *arguments: str | Path, env: Mapping[str, str] | None = None, code: int = 0
) -> str:
    """Run the command, which must end with `code`; return what it printed."""
    where = ("--clickhouse-url", database.native_url, "--file-storage-path", str(spool), "--base-path", "")
    done = command("replay", *map(str, arguments), *where, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def landed(database: Database) -> tuple[object, ...]:
    """Return rows, different rows, and lines that the rollup counts."""
    (found,) = database.query(f"SELECT count(), uniqExact(span_id, project_id) FROM {PREFIX}spans")
    ((counted,),) = database.query(f"SELECT sum(count) FROM {PREFIX}spans_hourly_stats")
    return (*found, counted)


def settled(spool: Path, project: str) -> Path:
    (path,) = (spool / "span" / project / "processed").iterdir()
    return path


def ingest_three(database: Database, spool: Path) -> None:
    """Land three files in one shipment, each with 2 rows of this month and 3 of an earlier one."""
    for project in ("a", "b", "c"):
        recent = [span(project, number, startTime=NOW.isoformat()) for number in range(2)]
        earlier = [span(project, number, startTime=EARLIER.isoformat()) for number in range(2, 5)]
        drop(spool, "span", project, "x.jsonl", lines([*recent, *earlier]))
    code, daemon = once(database.native_url, spool, env={"SPOOLHOUSE_SPOOL__PROJECT": "trust"})
    assert code == 0, daemon.told()
    assert landed(database) == (15, 15, 15)


def test_what_a_file_has_lost_comes_back_once(database: Database, tmp_path: Path) -> None:
    ingest_three(database, tmp_path)
    database.query(f"ALTER TABLE {PREFIX}spans DROP PARTITION {EARLIER:%Y%m}")
    database.query(f"ALTER TABLE {PREFIX}spans_hourly DROP PARTITION {NOW:%Y%m}")
    assert landed(database) == (6, 6, 9)
    one = settled(tmp_path, "b")
    said = replay(database, tmp_path, one, "--dry-run")
    assert f"5 rows of spans: not found in {PREFIX}spans {EARLIER:%Y%m}, {PREFIX}spans_hourly {NOW:%Y%m}" in said
    assert landed(database) == (6, 6, 9)
    assert "brought back to" in replay(database, tmp_path, one)
    assert landed(database) == (9, 9, 11)
    assert "all there" in replay(database, tmp_path, one)
    for _ in range(2):
        replay(database, tmp_path, *(settled(tmp_path, project) for project in ("a", "b", "c")))
        assert landed(database) == (15, 15, 15)


def test_a_file_that_was_changed_is_left_alone(database: Database, tmp_path: Path) -> None:
    ingest_three(database, tmp_path)
    changed = settled(tmp_path, "a")
    with changed.open("r+b") as file:
        file.write(b"[")
    database.query(f"TRUNCATE TABLE {PREFIX}spans")
    said = replay(database, tmp_path, changed, settled(tmp_path, "b"), code=1)
    assert "left alone" in said
    assert database.query(f"SELECT DISTINCT project_id FROM {PREFIX}spans") == [("b",)]


def test_a_file_that_the_ledger_does_not_know_is_left_alone(database: Database, tmp_path: Path) -> None:
    ingest_three(database, tmp_path)
    assert "does not know it" in replay(database, tmp_path, tmp_path / "span/a/processed/other.jsonl", code=1)
    assert "not in the spool" in replay(database, tmp_path, "/etc/hostname", code=1)
    replay(database, tmp_path, code=2)
    replay(database, tmp_path, "--reason", "torn", settled(tmp_path, "a"), code=2)


def reject_some(database: Database, spool: Path) -> Path:
    """Land a file of which some lines are of another project, and one is no JSON; return its file in rejected/."""
    content = lines([span("p", 1), span("q", 2), span("q", 3)]) + b"{bad\n" + lines([span("p", 4)])
    drop(spool, "span", "p", "x.jsonl", content)
    code, daemon = once(database.native_url, spool, env=STRICT)
    assert code == 0, daemon.told()
    assert landed(database) == (2, 2, 2)
    (path,) = (spool / "rejected").glob("*/*.jsonl")
    return path


def test_rejected_lines_are_dropped_again_once(database: Database, tmp_path: Path) -> None:
    rejects = reject_some(database, tmp_path)
    selected = ("--rejected", "--reason", "project_mismatch", "--file", "span/p/x.jsonl")
    assert "2 lines would go" in replay(database, tmp_path, *selected, "--dry-run")
    assert "2 lines, project_mismatch" in replay(database, tmp_path, *selected)
    assert replay(database, tmp_path, *selected) == "Nothing to replay: there are no such lines in rejected/.\n"
    assert [json.loads(line)["reason"] for line in rejects.read_text().splitlines()] == ["invalid_json"]
    code, daemon = once(database.native_url, tmp_path)
    assert code == 0, daemon.told()
    assert landed(database) == (4, 4, 4)
    replay(database, tmp_path, "--rejected")
    assert replay(database, tmp_path, "--rejected") == "Nothing to replay: there are no lines in rejected/.\n"


def test_a_file_without_a_valid_line_is_said_to_have_nothing_to_replay(database: Database, tmp_path: Path) -> None:
    drop(tmp_path, "span", "p", "x.jsonl", b"{bad\n")
    assert once(database.native_url, tmp_path)[0] == 0
    assert "nothing to replay: no row of it has landed" in replay(database, tmp_path, settled(tmp_path, "p"))


def test_lines_that_share_a_record_are_counted_one_by_one(database: Database, tmp_path: Path) -> None:
    """Wherever they are counted: in the status, before a replay, by the replay, and by the daemon that rejects them."""
    bad = b"x\n" * 3000
    drop(tmp_path, "span", "p", "x.jsonl", lines([span("p", 1)]) + bad + b"no JSON" * 20 + b"\n")
    code, daemon = once(database.native_url, tmp_path)
    assert code == 0, daemon.told()
    (rejects,) = (tmp_path / "rejected").glob("*/*.jsonl")
    assert rejects.read_bytes().count(b"\n") < 10
    assert seen_in_rejected(tmp_path) == 3001
    assert "3,001 lines would go" in replay(database, tmp_path, "--rejected", "--dry-run")
    assert "3,001 lines, invalid_json" in replay(database, tmp_path, "--rejected")
    assert seen_in_rejected(tmp_path) == 0
    code, daemon = once(database.native_url, tmp_path)
    assert daemon.events("file_settled")[0]["rejected"] == 3001
    assert seen_in_rejected(tmp_path) == 3001


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"\xff",
        b'{"file": "span/p/x", "reason": "torn"}',
        b'{"file": "x", "reason": "torn", "raw": "x"}',
        b'{"file": "span/p/x", "reason": "torn", "raw": "\\ud800"}',
        b'{"file": "span/p/x", "reason": "torn", "raw": "x", "lines": "many"}',
        b'{"file": "span/p/x", "reason": "torn", "raw_file": "../none"}',
        b'{"file": "span/../x", "reason": "torn", "raw": "x"}',
        b'{"file": "span/p/x", "reason": "refused", "raw": "x"}',
        b'{"file": "span/p/x", "reason": "refused", "raw": "x", "batch": "x:spans", "row": 1, "nth": 0}',
    ],
)
def test_rejects_that_are_not_ours_keep_no_others(content: bytes, database: Database, tmp_path: Path) -> None:
    rejects = reject_some(database, tmp_path)
    foreign = rejects.with_name(f"{rejects.stem}..jsonl")  # passes for the same shipment, and comes first
    foreign.write_bytes(content + b"\n")
    said = replay(database, tmp_path, "--rejected", code=1)
    assert "left alone" in said
    assert "2 lines, project_mismatch" in said
    assert foreign.read_bytes() == content + b"\n"
    assert seen_in_rejected(tmp_path) in {0, 1}


@pytest.mark.parametrize("folder", ["span/a/processed", "span/a/failed", "span", "rejected/2026-01-01"])
def test_what_may_not_be_listed_is_not_taken_for_nothing(folder: str, database: Database, tmp_path: Path) -> None:
    ingest_three(database, tmp_path)
    where = ("--clickhouse-url", database.native_url, "--file-storage-path", str(tmp_path), "--base-path", "")
    closed = tmp_path / folder
    closed.mkdir(parents=True, exist_ok=True)
    closed.chmod(0)
    if folder.startswith("rejected"):
        arguments = ["replay", "--rejected"]
    else:
        arguments = ["retry", "--all"] if folder.endswith("failed") else ["verify", "--since", "1h"]
    obeying = [sys.executable, "-c", _OBEY_PERMISSIONS, str(SCRIPT), *arguments, *where]
    done = subprocess.run(obeying, capture_output=True, text=True, check=False, timeout=60)
    closed.chmod(0o700)
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith(f"spoolhouse: {closed}")
    assert done.stderr.endswith(": Permission denied; run it as a user who has the right, such as the daemon's\n")


def seen_in_rejected(spool: Path) -> object:
    """Return how many rejected lines `spoolhouse status` sees."""
    done = command("status", "--json", "--file-storage-path", str(spool), "--base-path", "")
    return json.loads(done.stdout)["ends"]["rejected_lines"]


@pytest.mark.parametrize("place", ["before_commit", "committed", "dropped"])
def test_killed_while_lines_are_dropped_again(database: Database, tmp_path: Path, place: str) -> None:
    rejects = reject_some(database, tmp_path)
    replay(database, tmp_path, "--rejected", env={VARIABLE: f"replay.{place}=kill"}, code=-signal.SIGKILL)
    once(database.native_url, tmp_path)
    for _ in range(2):
        replay(database, tmp_path, "--rejected", "--reason", "project_mismatch")
        once(database.native_url, tmp_path)
    assert landed(database) == (4, 4, 4)
    left = [json.loads(line) for path in rejects.parent.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert [record["raw"] for record in left] == ["{bad"]
    assert not list((tmp_path / "rejected" / ".replay").glob("*"))


def test_lines_of_a_shipment_under_way_are_left_alone(database: Database, tmp_path: Path) -> None:
    """Its replay would write them once more."""
    rejects = reject_some(database, tmp_path)
    database.query(f"TRUNCATE TABLE {PREFIX}ledger")
    before = rejects.read_bytes()
    assert "still under way" in replay(database, tmp_path, "--rejected", code=1)
    assert rejects.read_bytes() == before


def test_refused_lines_come_back_after_the_hint(database: Database, tmp_path: Path) -> None:
    code, _ = once(database.native_url, tmp_path)  # makes the tables
    assert code == 0
    database.query(f"ALTER TABLE {PREFIX}spans ADD CONSTRAINT no CHECK NOT endsWith(span_id, '2')")
    drop(tmp_path, "span", "p", "x.jsonl", lines([span("p", number) for number in range(4)]))
    assert once(database.native_url, tmp_path)[0] == 0
    assert landed(database) == (3, 3, 3)
    assert "all there" in replay(database, tmp_path, settled(tmp_path, "p"))
    assert "1 line, refused" in replay(database, tmp_path, "--rejected")
    assert once(database.native_url, tmp_path)[0] == 0
    assert landed(database) == (3, 3, 3)
    (rejects,) = (tmp_path / "rejected").glob("*/*.jsonl")
    record = json.loads(rejects.read_text())
    assert (record["file"], record["line"], record["reason"]) == ("span/p/x.jsonl", 3, "refused")
    database.query(f"ALTER TABLE {PREFIX}spans DROP CONSTRAINT no")
    assert "1 line, refused" in replay(database, tmp_path, "--rejected")
    assert not rejects.exists()
    assert once(database.native_url, tmp_path)[0] == 0
    assert landed(database) == (4, 4, 4)


def test_a_line_that_is_dropped_again_has_the_id_of_its_first_place(database: Database, tmp_path: Path) -> None:
    """Where its id is derived, it is as if it had never been rejected; and so after it was rejected again."""

    def log(project: str, number: int) -> dict[str, object]:
        return {
            "type": "log",
            "projectId": project,
            "level": "info",
            "message": f"m{number}",
            "timestamp": NOW.isoformat(),
        }

    content = lines([log("p", 0), log("q", 1), log("q", 2), log("p", 3), log("q", 4), log("p", 5)])
    other = lines([log("q", 6), log("p", 7)])
    expected = tmp_path / "expected"
    for spool in (tmp_path / "spool", expected):
        drop(spool, "log", "p", "x.jsonl", content)
        drop(spool, "log", "p", "y.jsonl", other)
    spool = tmp_path / "spool"

    def landed_ids() -> list[tuple[Any, ...]]:
        return database.query(f"SELECT message, id FROM {PREFIX}logs ORDER BY message")

    assert once(database.native_url, expected)[0] == 0
    ids = landed_ids()
    assert len(dict(ids)) == len({name for _, name in ids}) == 8
    database.query(f"TRUNCATE TABLE {PREFIX}logs")
    for _ in range(2):
        assert once(database.native_url, spool, env=STRICT)[0] == 0
        assert len(landed_ids()) == 4
        replay(database, spool, "--rejected")
    assert once(database.native_url, spool)[0] == 0
    assert landed_ids() == ids
    replay(database, spool, "--rejected")  # forgets what it needs no more
    replayed = sorted((spool / "log/p/processed").glob("*.replayed.jsonl"), key=lambda path: path.stat().st_mtime)
    assert verify(database, spool, *replayed[-1:], code=0) == {"there": 4}
    database.query(f"TRUNCATE TABLE {PREFIX}logs")
    assert "brought back" in replay(database, spool, replayed[-1])
    assert landed_ids() == [row for row in ids if row[0] in {"m1", "m2", "m4", "m6"}]


def verify(database: Database, spool: Path, *arguments: str | Path, code: int) -> Counter[str]:
    """Run `verify --json`, which must end with `code`; return how many rows came to which verdict."""
    where = ("--clickhouse-url", database.native_url, "--file-storage-path", str(spool), "--base-path", "", "--json")
    done = command("verify", *map(str, arguments), *where)
    assert done.returncode == code, done.stdout + done.stderr
    verdicts: Counter[str] = Counter()
    for line in map(json.loads, done.stdout.splitlines()):
        verdicts[line["verdict"]] += line["rows"]
    return verdicts


def test_each_row_is_verified(database: Database, tmp_path: Path) -> None:
    ingest_three(database, tmp_path)
    everything = {"there": 15}
    assert verify(database, tmp_path, "--since", "1h", code=0) == everything
    assert verify(database, tmp_path, "--since", (NOW + timedelta(hours=1)).isoformat(), code=0) == {}
    mutation = "SETTINGS mutations_sync = 2"
    database.query(f"ALTER TABLE {PREFIX}spans DELETE WHERE project_id = 'a' AND span_id = 'a-1' {mutation}")
    database.query(f"ALTER TABLE {PREFIX}spans UPDATE name = 'x' WHERE span_id IN ('a-2', 'b-0') {mutation}")
    later = lines([span("b", 1, startTime=NOW.isoformat(), name="later")])
    database.query(f"ALTER TABLE {PREFIX}spans DELETE WHERE span_id = 'b-1' {mutation}")
    drop(tmp_path, "span", "b", "later.jsonl", later)
    assert once(database.native_url, tmp_path)[0] == 0
    found = {path.parts[-3]: verify(database, tmp_path, path, code=code) for path, code in [
        (settled(tmp_path, "a"), 1), (tmp_path / "span/b/processed/x.jsonl", 1), (settled(tmp_path, "c"), 0),
    ]}  # fmt: skip
    assert found == {
        "a": {"there": 3, "missing": 1, "different": 1},
        "b": {"there": 3, "superseded": 1, "different": 1},
        "c": {"there": 5},
    }
    assert not database.query("SHOW TABLES LIKE '%staging%'")
    verify(database, tmp_path, "--since", "yesterday", code=2)


def test_many_files_are_verified_together(database: Database, tmp_path: Path) -> None:
    """With few statements a file; what is wrong with one is said of that one, and a bar shows how far it is."""
    count = 120
    for number in range(count):
        drop(tmp_path, "span", "p", f"{number}.jsonl", lines([span("p", 2 * number), span("p", 2 * number + 1)]))
    code, daemon = once(database.native_url, tmp_path)
    assert code == 0, daemon.told()
    database.query(f"ALTER TABLE {PREFIX}spans DELETE WHERE span_id = 'p-14' SETTINGS mutations_sync = 2")
    (tmp_path / "span/p/processed/9.jsonl").write_bytes(b"[]\n")
    asked = "SELECT value FROM system.events WHERE event = 'Query'"
    ((before,),) = database.query(asked)
    where = ("--clickhouse-url", database.native_url, "--file-storage-path", str(tmp_path), "--base-path", "", "--json")
    ours, theirs = os.openpty()
    shown = b""
    with subprocess.Popen(
        [str(SCRIPT), "verify", "--since", "1h", *where], stdout=subprocess.PIPE, stderr=theirs
    ) as run:
        os.close(theirs)
        with contextlib.suppress(OSError):  # the terminal's end
            while more := os.read(ours, 1 << 16):
                shown += more
        os.close(ours)
        output, _ = run.communicate(timeout=60)
    ((after,),) = database.query(asked)
    assert run.returncode == 1
    told = [json.loads(line) for line in output.splitlines()]
    (missing,) = [one for one in told if one.get("verdict") == "missing"]
    assert (missing["file"], missing["rows"]) == (str(tmp_path / "span/p/processed/7.jsonl"), 1)
    (changed,) = [one for one in told if "error" in one]
    assert changed["file"] == str(tmp_path / "span/p/processed/9.jsonl")
    assert sum(one["rows"] for one in told if one.get("verdict") == "there") == 2 * (count - 1) - 1
    assert int(str(after)) - int(str(before)) < count // 2
    assert f"{count}/{count}".encode() in shown
    assert b"files verified" in shown
    assert not database.query("SHOW TABLES LIKE '%staging%'")


def test_the_table_of_a_killed_verification_is_dropped_once_it_is_old(database: Database, tmp_path: Path) -> None:
    drop(tmp_path, "span", "p", "a.jsonl", lines([span("p", 0)]))
    assert once(database.native_url, tmp_path)[0] == 0
    where = ("--clickhouse-url", database.native_url, "--file-storage-path", str(tmp_path), "--base-path", "")
    killed = command("verify", "--since", "1h", *where, env={VARIABLE: "native.all_sent=kill"})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ((left,),) = database.query("SHOW TABLES LIKE '%staging%'")
    at_once = "from spoolhouse.store.clickhouse.landing import abandoned; abandoned.AGE = 0"
    with Daemon(database.native_url, tmp_path, prelude=at_once) as daemon:
        daemon.wait_for("staging_dropped", table=left)
    assert not database.query("SHOW TABLES LIKE '%staging%'")


async def test_files_since_then_are_found_in_one_pass(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are, the first one first; what is gone, renamed, or another file by now, is left out."""
    for number in range(6):
        drop(tmp_path, "span", "p", f"{number}.jsonl", lines([span("p", number)]))
    drop(tmp_path, "span", "q", "broken.jsonl.gz", b"no archive")
    code, daemon = await asyncio.to_thread(once, database.native_url, tmp_path)
    assert code == 1, daemon.told()
    processed = tmp_path / "span/p/processed"
    (processed / "1.jsonl").unlink()
    (processed / "copy").write_bytes((processed / "2.jsonl").read_bytes())
    (processed / "copy").replace(processed / "2.jsonl")
    (processed / "3.jsonl").rename(processed / "3.kept")
    (processed / "4.jsonl").rename(processed / "4.1.jsonl")
    listed: Counter[str] = Counter()
    listing = os.scandir

    def counted(path: Path) -> Iterator[os.DirEntry[str]]:
        listed[str(path)] += 1
        return listing(path)

    monkeypatch.setattr(os, "scandir", counted)
    settings = load({"spool.storage_path": str(tmp_path), "spool.base_path": "", "clickhouse.url": database.native_url})
    async with open_files(settings) as files:
        found = [path async for path in files.claimed_since(0)]
    assert listed[str(processed)] == 1
    assert sorted(path.relative_to(tmp_path).as_posix() for path in found) == [
        "span/p/processed/0.jsonl", "span/p/processed/4.1.jsonl", "span/p/processed/5.jsonl",
        "span/q/failed/broken.jsonl.gz",
    ]  # fmt: skip


def test_the_way_from_a_file_to_its_rows_and_back(database: Database, tmp_path: Path) -> None:
    ingest_three(database, tmp_path)
    where = ("--clickhouse-url", database.native_url, "--file-storage-path", str(tmp_path), "--base-path", "", "--json")
    done = command("trace-file", str(settled(tmp_path, "b")), *where)
    assert done.returncode == 0, done.stderr
    (line,) = json.loads(done.stdout)
    assert (line["file"], line["table"], line["rows"], line["start"]) == ("span/b/x.jsonl", "spans", 5, 0)
    assert line["end"] == settled(tmp_path, "b").stat().st_size
    for batch in (line["batch"], line["batch"] + ":3-3"):
        done = command("trace-file", "--batch", batch, *where)
        assert sorted(line["file"] for line in json.loads(done.stdout)) == [
            f"span/{project}/x.jsonl" for project in ("a", "b", "c")
        ]
    settled(tmp_path, "b").unlink()
    assert command("trace-file", str(tmp_path / "span/b/processed/x.jsonl"), *where).returncode == 0
    done = command("trace-file", str(tmp_path / "span/b/processed/other.jsonl"), *where[:-1])
    assert (done.returncode, done.stdout) == (1, "")
