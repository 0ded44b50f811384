"""`rejected/` stays in proportion to its input, and nothing is lost: what is not kept there is in the file itself."""

import gzip
import hashlib
import json
import signal
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import Daemon, command, drop, lines, once
from tests.process.inputs import good, span

SPANS = "mastra_admin_spans"
MIB = 1 << 20
SHORT_LINES = {"SPOOLHOUSE_SPOOL__MAX_LINE": "64KiB"}
HASTE = {"SPOOLHOUSE_RETRY__FIRST": "0.05", "SPOOLHOUSE_RETRY__CAP": "0.1"}


def replay(database: Database, spool: Path, *arguments: str, code: int = 0) -> str:
    """Run `replay --rejected`, which must end with `code`; return what it said."""
    where = ("--clickhouse-url", database.native_url, "--file-storage-path", str(spool), "--base-path", "")
    done = command("replay", "--rejected", *arguments, *where)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def records(spool: Path) -> list[dict[str, object]]:
    return [
        json.loads(line) for path in (spool / "rejected").glob("*/*.jsonl") for line in path.read_bytes().splitlines()
    ]


def size(spool: Path) -> int:
    """Return how many bytes there are in rejected/."""
    return sum(path.stat().st_size for path in (spool / "rejected").rglob("*") if path.is_file())


def lines_in(spool: Path) -> object:
    """Return how many rejected lines `spoolhouse status` counts."""
    done = command("status", "--json", "--file-storage-path", str(spool), "--base-path", "")
    return json.loads(done.stdout)["ends"]["rejected_lines"]


def rows(database: Database) -> object:
    return database.query(f"SELECT count(), uniqExact(span_id) FROM {SPANS}")[0]


def ingest(database: Database, spool: Path, env: dict[str, str] | None = None) -> Daemon:
    code, daemon = once(database.native_url, spool, env=env)
    assert code == 0, daemon.told()
    return daemon


def test_a_bomb_of_one_line_stays_small(database: Database, tmp_path: Path) -> None:
    content = bytes(256 * MIB)
    source = gzip.compress(good("p") + content + b"\n" + good("p", first=1), mtime=0)
    drop(tmp_path, "span", "p", "bomb.jsonl.gz", source)
    ingest(database, tmp_path)
    assert rows(database) == (2, 2)
    assert size(tmp_path) < 17 * MIB
    [record] = records(tmp_path)
    offset = len(good("p"))
    place = {"file": "span/p/bomb.jsonl.gz", "line": 2, "offset": offset, "reason": "too_long"}
    assert place.items() <= record.items()
    assert (record["length"], record["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert (tmp_path / "span/p/processed/bomb.jsonl.gz").read_bytes() == source


@pytest.mark.parametrize("packed", [True, False])
def test_a_long_line_comes_back_from_its_file(packed: bool, database: Database, tmp_path: Path) -> None:
    """Whole, although only a part of it was kept; another file under the same name is not taken for it."""
    name = "a.jsonl.gz" if packed else "a.jsonl"
    content = (
        good("p") + lines([span("p", 1, name="x" * 200_000), span("p", 2, name="y" * 300_000)]) + good("p", first=3)
    )
    drop(tmp_path, "span", "p", name, gzip.compress(good("p", 1, first=7)) if packed else good("p", 1, first=7))
    ingest(database, tmp_path)
    drop(tmp_path, "span", "p", name, gzip.compress(content) if packed else content)
    ingest(database, tmp_path, SHORT_LINES)
    assert rows(database) == (3, 3)
    assert size(tmp_path) < 2 * (64 << 10) + 2000
    assert lines_in(tmp_path) == 2
    assert "2 lines, too_long" in replay(database, tmp_path)
    ingest(database, tmp_path)
    assert rows(database) == (5, 5)
    assert database.query(f"SELECT length(name) FROM {SPANS} WHERE span_id IN ('p-1', 'p-2') ORDER BY 1") == [
        (200_000,), (300_000,),
    ]  # fmt: skip
    assert records(tmp_path) == []


@pytest.mark.parametrize("packed", [True, False])
def test_alternating_short_lines_stay_small_and_all_come_back(packed: bool, database: Database, tmp_path: Path) -> None:
    """A record of its own for each of them would take sixty times their bytes."""
    bad = (b"x\n[]\n" + good("p")) * 5_000 if packed else b"x\n[]\n" * 10_000
    source = gzip.compress(bad) if packed else bad
    name = "a.jsonl.gz" if packed else "a.jsonl"
    count = bad.count(b"x\n")
    drop(tmp_path, "span", "p", name, source)
    ingest(database, tmp_path)
    landed = rows(database)
    assert size(tmp_path) <= 17 * max(len(source), 4096)
    assert lines_in(tmp_path) == 2 * count
    assert f"{count:,} lines would go" in replay(database, tmp_path, "--reason", "invalid_json", "--dry-run")
    assert f"{count:,} lines, invalid_json" in replay(database, tmp_path, "--reason", "invalid_json")
    assert lines_in(tmp_path) == count
    assert f"{count:,} lines, not_an_object" in replay(database, tmp_path)
    assert lines_in(tmp_path) == 0
    again = Counter(line for path in (tmp_path / "span/p").glob("*.jsonl") for line in path.read_bytes().splitlines())
    assert again == {b"x": count, b"[]": count}
    ingest(database, tmp_path)
    assert lines_in(tmp_path) == 2 * count
    assert {record["file"] for record in records(tmp_path)} == {f"span/p/{name}"}, "the file that they came in first"
    assert sorted(bad.splitlines().index(str(r["raw"]).encode()) for r in records(tmp_path) if r["line"] in {1, 2}) == [
        0, 1,
    ]  # fmt: skip
    assert rows(database) == landed


def test_a_file_whose_lines_are_needed_is_not_deleted(database: Database, tmp_path: Path) -> None:
    drop(tmp_path, "span", "p", "long.jsonl", good("p") + b"x" * 100_000 + b"\n")
    drop(tmp_path, "span", "p", "short.jsonl", good("p", first=1) + b"x\n")
    ingest(database, tmp_path, {**SHORT_LINES, "SPOOLHOUSE_SPOOL__DELETE_AFTER_PROCESS": "true"})
    assert [path.name for path in (tmp_path / "span/p").rglob("*.jsonl")] == ["long.jsonl"]


def test_a_line_whose_file_is_gone_stays_and_keeps_no_other(database: Database, tmp_path: Path) -> None:
    drop(tmp_path, "span", "p", "a.jsonl", b"x" * 100_000 + b"\nshort\n")
    ingest(database, tmp_path, SHORT_LINES)
    kept = tmp_path / "span/p/processed/a.jsonl"
    kept.rename(tmp_path / "away")
    (tmp_path / "span/p/processed/a.jsonl").write_bytes(b"y" * 100_000 + b"\nshort\n")
    said = replay(database, tmp_path, code=1)
    assert "1 line, invalid_json" in said
    assert "span/p/a.jsonl" in said
    assert "put it back" in said
    assert lines_in(tmp_path) == 1
    (tmp_path / "away").rename(kept)
    assert "1 line, too_long" in replay(database, tmp_path)


def test_rejected_lines_wait_for_room_and_name_their_file(database: Database, tmp_path: Path) -> None:
    """What must stay free on the disk stays free, also of lines of a file that was claimed before."""
    spool, config, hang = tmp_path / "spool", tmp_path / "config.toml", tmp_path / "hang"
    config.write_text("[spool]\nmin_free = 0\n")
    env = {**HASTE, "SPOOLHOUSE_TEST_FAILPOINTS": f"instance.claims_synced=wait:{hang}"}
    with Daemon(database.native_url, spool, "--config", str(config), env=env) as daemon:
        daemon.wait_for("started")
        drop(spool, "span", "p", "a.jsonl", good("p", 3) + b"x\n")
        while not hang.exists():
            assert not daemon.has_ended(), daemon.told()
        config.write_text('[spool]\nmin_free = "1TiB"\n')
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("disk_unavailable", scope="free space")
        hang.unlink()
        (told, *_) = daemon.wait_for("disk_unavailable", scope=str(spool / "rejected"))
        assert "span/p/a.jsonl" in str(told["error"])
        assert "spool.min_free" in str(told["error"])
        assert not (spool / "rejected").exists() or size(spool) == 0
        config.write_text("[spool]\nmin_free = 0\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("file_settled", rejected=1)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert rows(database) == (3, 3)
    assert [record["raw"] for record in records(spool)] == ["x"]


def test_a_refusal_of_the_disk_names_the_file(database: Database, tmp_path: Path) -> None:
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 3) + b"x\n")
    daemon = ingest(database, tmp_path, {**HASTE, "SPOOLHOUSE_TEST_FAILPOINTS": "rejects.write=ENOSPC"})
    (told,) = daemon.events("disk_unavailable")
    assert "span/p/a.jsonl" in str(told["error"])


def test_a_line_that_fails_again_keeps_its_first_place_and_gets_a_time(database: Database, tmp_path: Path) -> None:
    """However often, and from several files and of several reasons at once."""
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 2) + b"{bad\n" + good("p", first=2) + b"[]\n{worse\n")
    drop(tmp_path, "span", "p", "b.jsonl", good("p", 1, first=4) + b"{bad too\n")
    drop(tmp_path, "span", "q", "a.jsonl", b"x\n" * 40)
    ingest(database, tmp_path)

    def places() -> list[tuple[object, ...]]:
        return sorted((r["file"], r["line"], r["offset"], r["reason"], r["raw"]) for r in records(tmp_path))

    first, length = places(), len(good("p", 2))
    assert ("span/p/a.jsonl", 3, length, "invalid_json", "{bad") in first
    for reasons in (["--reason", "invalid_json"], [], []):
        assert replay(database, tmp_path, *reasons)
        ingest(database, tmp_path)
        assert places() == first
        times = [datetime.fromisoformat(str(record["time"])) for record in records(tmp_path)]
        assert all(time.utcoffset() is not None for time in times)
    ours = ("--file", "span/p/b.jsonl")
    assert "1 line would go" in replay(database, tmp_path, *ours, "--dry-run")
    assert not list((tmp_path / "rejected").glob("*/*.tmp"))


def test_lines_that_were_replayed_are_left_alone_while_they_are_under_way(database: Database, tmp_path: Path) -> None:
    """A crash after they were rejected once more, and before their file was settled."""
    drop(tmp_path, "span", "p", "a.jsonl", b"{bad\n")
    ingest(database, tmp_path)
    replay(database, tmp_path)
    kill = {"SPOOLHOUSE_TEST_FAILPOINTS": "settle.complete=kill"}
    assert once(database.native_url, tmp_path, env=kill)[0] == -signal.SIGKILL
    assert "still under way" in replay(database, tmp_path, code=1)
    ingest(database, tmp_path)
    [record] = records(tmp_path)
    assert (record["file"], record["line"], record["raw"]) == ("span/p/a.jsonl", 1, "{bad")
