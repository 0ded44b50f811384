"""`spoolhouse retry`: what failed goes back once it is fixed, unless a line of it would land twice."""

import gzip
import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import zstandard

from tests.engine import Database
from tests.process.daemon import command, drop, once
from tests.process.inputs import good

SPANS = "mastra_admin_spans"
QUICK = {"SPOOLHOUSE_SPOOL__APPEND_WATCH": "0.1"}
NOTE = "a.jsonl.gz.reason.txt"


def retry(
    database: Database, spool: Path, *arguments: str | Path, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run the command; return its exit code, and what it said."""
    where = ("--file-storage-path", str(spool), "--base-path", "", "--clickhouse-url", database.native_url)
    done = command("retry", *map(str, arguments), *where, env=env)
    return done.returncode, done.stdout + done.stderr


def fail(database: Database, spool: Path, content: bytes = b"no archive", name: str = "a.jsonl.gz") -> Path:
    """Have a file end in failed/; return its path there."""
    drop(spool, "span", "p", name, content)
    # The file is still watched for appended bytes when the daemon ends.
    code, daemon = once(database.native_url, spool, env={**QUICK, "SPOOLHOUSE_SPOOL__APPEND_WATCH": "60"})
    assert code == 1, daemon.told()
    return spool / "span/p/failed" / name


def hint(path: Path, content: bytes) -> None:
    """Put a fixed copy in the place of a file."""
    path.with_name(".fixed").write_bytes(content)
    path.with_name(".fixed").replace(path)


def rows(database: Database) -> object:
    """Return how many rows there are, and how many different ones."""
    return database.query(f"SELECT count(), uniqExact(span_id) FROM {SPANS}")[0]


def test_a_fixed_file_goes_back_and_lands(database: Database, tmp_path: Path) -> None:
    path = fail(database, tmp_path)
    hint(path, gzip.compress(good("p", 5)))
    code, told = retry(database, tmp_path, "--all", "--dry-run")
    assert (code, told) == (0, "would go to span/p/a.jsonl.gz\n")
    assert sorted(os.listdir(path.parent)) == ["a.jsonl.gz", NOTE]  # noqa: PTH208  # names alone
    assert path.with_name(NOTE).read_text().endswith("; after a repair: spoolhouse retry\n")
    drop(tmp_path, "span", "p", "a.jsonl.gz", gzip.compress(good("p", 5, first=5)))
    code, told = retry(database, tmp_path, path)
    assert (code, told) == (0, "back to span/p/a.1.jsonl.gz\n")
    assert list(path.parent.iterdir()) == []
    code, daemon = once(database.native_url, tmp_path, env=QUICK)
    assert code == 0, daemon.told()
    assert rows(database) == (10, 10)
    assert retry(database, tmp_path, "--all") == (0, "Nothing to retry: there are no files in failed/.\n")


def test_a_kill_in_between_leaves_the_file_in_one_place(database: Database, tmp_path: Path) -> None:
    path = fail(database, tmp_path)
    hint(path, gzip.compress(good("p", 5)))
    killed = {"SPOOLHOUSE_TEST_FAILPOINTS": "replay.retried=kill"}
    assert retry(database, tmp_path, path, env=killed)[0] == -signal.SIGKILL
    assert not path.exists()
    assert retry(database, tmp_path, "--all") == (0, "Nothing to retry: there are no files in failed/.\n")
    code, daemon = once(database.native_url, tmp_path, env=QUICK)
    assert code == 0, daemon.told()
    assert rows(database) == (5, 5)


def test_a_file_that_is_as_it_was_goes_back_and_fails_again(database: Database, tmp_path: Path) -> None:
    """A disk that is well again needs no fix of the file: one that still cannot be read comes back with a new note."""
    path = fail(database, tmp_path)
    assert retry(database, tmp_path, path)[0] == 0
    code, daemon = once(database.native_url, tmp_path, env=QUICK)
    assert code == 1, daemon.told()
    assert sorted(os.listdir(path.parent)) == ["a.jsonl.gz", NOTE]  # noqa: PTH208  # names alone


def _cut(path: Path) -> str:
    del path
    return "the rest cannot be read"


def _foreign(path: Path) -> str:
    path.rename(path.with_name("unknown.jsonl.gz"))
    return "the ledger does not know it"


def _changed(path: Path) -> str:
    hint(path, gzip.compress(good("p", 20, first=1)))
    return "1 rows of spans in the first"


def _appended(path: Path) -> str:
    with path.open("ab") as writer:
        writer.write(b"more")
    return "a daemon may be shipping them"


@pytest.mark.parametrize("act", [_cut, _changed, _foreign, _appended])
def test_what_might_land_twice_is_left_alone(act: Callable[[Path], str], database: Database, tmp_path: Path) -> None:
    archive = gzip.compress(good("p", 5)) + gzip.compress(good("p", 1, first=5))[:-8]
    path = fail(database, tmp_path, archive if act in {_cut, _changed} else b"no archive")
    reason = act(path)
    before = sorted(os.listdir(path.parent))  # noqa: PTH208  # names alone
    code, told = retry(database, tmp_path, "--all")
    assert code == 1
    assert told.startswith("left alone: ")
    assert reason in told
    assert sorted(os.listdir(path.parent)) == before  # noqa: PTH208  # names alone
    assert list(path.parents[1].glob("*.*")) == []
    assert rows(database) == ((6, 6) if act in {_cut, _changed} else (0, 0))


def test_a_file_that_was_read_to_its_end_is_left_alone(database: Database, tmp_path: Path) -> None:
    """A person has moved it."""
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 3))
    code, daemon = once(database.native_url, tmp_path, env=QUICK)
    assert code == 0, daemon.told()
    path = tmp_path / "span/p/failed/a.jsonl"
    path.parent.mkdir()
    (tmp_path / "span/p/processed/a.jsonl").rename(path)
    code, told = retry(database, tmp_path, "--all")
    assert code == 1
    assert "not known" in told
    assert path.exists()


def rejected(spool: Path) -> object:
    """Return how many rejected lines are kept."""
    done = command("status", "--json", "--file-storage-path", str(spool), "--base-path", "")
    return json.loads(done.stdout)["ends"]["rejected_lines"]


@pytest.mark.parametrize("bad_lines", ["none", "before the damage", "alone before the damage"])
@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_the_rest_of_a_fixed_archive_lands(bad_lines: str, suffix: str, database: Database, tmp_path: Path) -> None:
    """From its damage on, and nothing of it twice: neither rows, nor rejected lines, more of them than a piece has."""
    landed = 0 if bad_lines.startswith("alone") else 5
    bad = 0 if bad_lines == "none" else 20_000
    head = good("p", landed) + b"x\n" * bad
    whole = head + good("p", 900, first=5) + b"{\n"
    pack = gzip.compress if suffix == "gz" else zstandard.ZstdCompressor().compress
    # Of zstd, the last bytes before the damage give nothing: let it be in a frame of its own.
    broken = pack(head) + pack(good("p", 900, first=5) + b"{\n")[: 300 if suffix == "zst" else 4_000]
    path = fail(database, tmp_path, broken, name=f"a.jsonl.{suffix}")
    before = rows(database)
    assert isinstance(before, tuple)
    assert landed <= before[0] < 900 + landed
    assert rejected(tmp_path) == bad
    hint(path, gzip.compress(whole, 1) if suffix == "gz" else pack(whole))
    code, told = retry(database, tmp_path, "--all", "--dry-run")
    assert (code, list(path.parents[1].glob("*.jsonl"))) == (0, [])
    assert told.startswith("would go to span/p/a.rest-")
    code, told = retry(database, tmp_path, path)
    assert code == 0
    assert told.startswith("back to span/p/a.rest-")
    assert told.endswith(f".jsonl: the lines of span/p/processed/a.jsonl.{suffix} that had not landed\n")
    assert list(path.parent.iterdir()) == []
    code, daemon = once(database.native_url, tmp_path, env=QUICK)
    assert code == 0, daemon.told()
    assert rows(database) == (900 + landed, 900 + landed)
    assert rejected(tmp_path) == bad + 1
    where = ("--clickhouse-url", database.native_url, "--file-storage-path", str(tmp_path), "--base-path", "")
    verified = command("verify", *map(str, path.parents[1].glob("processed/*")), *where)
    assert (verified.returncode, verified.stdout) == (0, f"rows: {900 + landed} there\n")


UNREADABLE = {
    **QUICK,
    "SPOOLHOUSE_RETRY__FIRST": "0.05",
    "SPOOLHOUSE_RETRY__CAP": "0.1",
    "SPOOLHOUSE_SPOOL__READ_ERROR_WAIT": "0.3",
    "SPOOLHOUSE_SPOOL__MAX_LINE": "64KiB",
    "SPOOLHOUSE_TEST_FAILPOINTS": "read.chunk@+131072=EIO",
}
"""No file can be read beyond its first two pieces."""


@pytest.mark.parametrize("landed", [0, 5])
def test_the_rest_of_a_plain_file_lands(landed: int, database: Database, tmp_path: Path) -> None:
    """A disk that is well again: nothing that was read before lands, or is rejected, a second time."""
    content = good("p", landed) + b"no event\n" * 20_000 + good("p", 50, first=5)
    drop(tmp_path, "span", "p", "a.jsonl", content)
    code, daemon = once(database.native_url, tmp_path, env=UNREADABLE)
    assert code == 1, daemon.told()
    path = tmp_path / "span/p/failed/a.jsonl"
    assert rows(database) == (landed, landed)
    assert 14_000 < int(str(rejected(tmp_path))) < 15_000
    code, told = retry(database, tmp_path, path)
    assert code == 0, told
    assert told.endswith(".jsonl: the lines of span/p/processed/a.jsonl that had not landed\n")
    code, daemon = once(database.native_url, tmp_path, env=QUICK)
    assert code == 0, daemon.told()
    assert rows(database) == (landed + 50, landed + 50)
    assert rejected(tmp_path) == 20_000
    where = ("--clickhouse-url", database.native_url, "--file-storage-path", str(tmp_path), "--base-path", "")
    verified = command("verify", *map(str, tmp_path.glob("span/p/processed/*")), *where)
    assert (verified.returncode, verified.stdout) == (0, f"rows: {landed + 50} there\n")


def test_a_plain_file_of_which_nothing_was_read_goes_back(database: Database, tmp_path: Path) -> None:
    """Under its own name, also if it was cut into several shipments."""
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 2000))
    env = {**UNREADABLE, "SPOOLHOUSE_TEST_FAILPOINTS": "read.chunk@*=EIO", "SPOOLHOUSE_BATCH__MAX_BYTES": "128KiB"}
    code, daemon = once(database.native_url, tmp_path, env=env)
    assert code == 1, daemon.told()
    assert rows(database) == (0, 0)
    assert retry(database, tmp_path, "--all") == (0, "back to span/p/a.jsonl\n")
    code, daemon = once(database.native_url, tmp_path, env=QUICK)
    assert code == 0, daemon.told()
    assert rows(database) == (2000, 2000)


def test_a_file_in_several_shipments_is_left_alone(database: Database, tmp_path: Path) -> None:
    """The first one was read: behind a damage in its middle, others may have been, too."""
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 2000))
    code, daemon = once(database.native_url, tmp_path, env={**UNREADABLE, "SPOOLHOUSE_BATCH__MAX_BYTES": "128KiB"})
    assert code == 1, daemon.told()
    before = rows(database)
    assert before != (0, 0)
    code, told = retry(database, tmp_path, "--all")
    assert (code, "not known" in told) == (1, True)
    assert (tmp_path / "span/p/failed/a.jsonl").exists()
    assert rows(database) == before


@pytest.mark.parametrize("is_ingested", [False, True])
def test_the_rest_is_dropped_once(is_ingested: bool, database: Database, tmp_path: Path) -> None:
    """A kill before the archive is moved; then it is on its way, or in the ledger, and its file may be gone."""
    path = fail(database, tmp_path, gzip.compress(good("p", 5)) + gzip.compress(good("p", 900, first=5))[:4_000])
    hint(path, gzip.compress(good("p", 905)))
    killed = {"SPOOLHOUSE_TEST_FAILPOINTS": "replay.rest_dropped=kill"}
    assert retry(database, tmp_path, path, env=killed)[0] == -signal.SIGKILL
    assert path.exists()
    if is_ingested:
        code, daemon = once(database.native_url, tmp_path, env=QUICK)
        assert code == 0, daemon.told()
        (rest,) = (tmp_path / "span/p/processed").glob("*.rest-*")
        rest.unlink()
    code, told = retry(database, tmp_path, path)
    assert (code, told) == (0, "back to span/p/processed/a.jsonl.gz: all of it has landed, or is on its way\n")
    code, daemon = once(database.native_url, tmp_path, env=QUICK)
    assert code == 0, daemon.told()
    assert rows(database) == (905, 905)


def test_a_copy_of_a_name_that_was_dropped_twice_is_left_alone(database: Database, tmp_path: Path) -> None:
    """The ledger knows two files of this name, and the copy is neither."""
    drop(tmp_path, "span", "p", "a.jsonl.gz", gzip.compress(good("p", 5)))
    code, daemon = once(database.native_url, tmp_path, env=QUICK)
    assert code == 0, daemon.told()
    path = fail(database, tmp_path)
    content = path.read_bytes()
    hint(path, gzip.compress(good("p", 5, first=5)))
    code, told = retry(database, tmp_path, path)
    assert code == 1
    assert "not known which" in told
    assert content == b"no archive"


@pytest.mark.parametrize(
    "place", ["span/p/a.jsonl", "span/p/processed/a.jsonl", "span/p/failed/none.jsonl", "../x.jsonl"]
)
def test_only_what_failed_can_be_tried_again(place: str, database: Database, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    for path in ("span/p/a.jsonl", "span/p/processed/a.jsonl", "../x.jsonl"):
        (spool / path).parent.mkdir(parents=True, exist_ok=True)
        (spool / path).write_bytes(good("p"))
    code, told = retry(database, spool, spool / place)
    assert code == 1, told
    assert told.startswith("left alone: ")


def test_it_needs_to_know_which(database: Database, tmp_path: Path) -> None:
    assert retry(database, tmp_path)[0] == 2
    assert retry(database, tmp_path, "--all", "a.jsonl")[0] == 2
