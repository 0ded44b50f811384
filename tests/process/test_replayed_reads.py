"""A shipment that has landed, a crash, and a file that can be read less far than before: nothing lands twice."""

import gzip
import json
import os
import random
import signal
from pathlib import Path

import pytest

from tests.engine import Database
from tests.faults.life import wait_until
from tests.process.daemon import Daemon, command, drop, once
from tests.process.inputs import good, span

SPANS = "mastra_admin_spans"
ROWS = 2000
QUICK = {
    "SPOOLHOUSE_RETRY__FIRST": "0.05",
    "SPOOLHOUSE_RETRY__CAP": "0.2",
    "SPOOLHOUSE_SPOOL__APPEND_WATCH": "0.2",
    "SPOOLHOUSE_SPOOL__MAX_LINE": "64KiB",
    "SPOOLHOUSE_SPOOL__READ_ERROR_WAIT": "0.3",
    "SPOOLHOUSE_ADOPT__INTERVAL": "0.2",
}
FAILPOINTS = "SPOOLHOUSE_TEST_FAILPOINTS"


def counts(database: Database) -> object:
    """Return how many rows there are, and how many different ones."""
    return database.query(f"SELECT count(), uniqExact(span_id) FROM {SPANS}")[0]


def packed() -> bytes:
    """Return an archive of many chunks."""
    values = random.Random(1)
    lines = (span("p", number, metadata={"x": values.randbytes(200).hex()}) for number in range(ROWS))
    return gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines), mtime=0)


def retry_all(database: Database, spool: Path) -> None:
    """Put back into the spool whatever is in `failed/`."""
    where = ("--file-storage-path", str(spool), "--base-path", "", "--clickhouse-url", database.http_url)
    done = command("retry", "--all", *where)
    assert done.returncode == 0, done.stdout + done.stderr


def claimed(spool: Path, name: str) -> Path:
    """Return the file of that name which an instance holds."""
    [path] = (spool / ".spoolhouse").glob(f"*/claimed/span/p/{name}")
    return path


def land_and_die(database: Database, spool: Path, name: str, content: bytes, env: dict[str, str]) -> None:
    """Let all of a file land, and the daemon die before it knows."""
    drop(spool, "span", "p", name, content)
    with Daemon(database.native_url, spool, env={**QUICK, **env, FAILPOINTS: "insert.answered=kill"}) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()


@pytest.mark.parametrize(
    ("name", "fault", "rounds"),
    [
        ("a.jsonl", "read.chunk@*=EIO", "one round"),
        ("a.jsonl", "truncated", "several rounds"),
        ("a.jsonl", "gone", "one round"),
        ("a.jsonl.gz", "read.chunk@+131072=EIO", "one round"),
        ("a.jsonl.gz", "truncated", "one round"),
    ],
)
def test_what_has_landed_is_held_until_it_can_be_read(
    name: str, fault: str, rounds: str, database: Database, tmp_path: Path
) -> None:
    """Shortened, its rows would count as never landed, and land a second time once somebody retries the file."""
    env = {} if rounds == "one round" else {"SPOOLHOUSE_BATCH__MAX_ROWS": "500"}
    content = packed() if name.endswith(".gz") else good("p", ROWS)
    land_and_die(database, tmp_path, name, content, env)
    landed, _ = database.query(f"SELECT count(), 0 FROM {SPANS}")[0]
    assert landed == ROWS if rounds == "one round" else 0 < landed < ROWS
    victim = claimed(tmp_path, name)
    traps = {}
    if fault == "truncated":
        os.truncate(victim, 40_000)
    elif fault == "gone":
        victim.rename(tmp_path.parent / f"{tmp_path.name}-{name}")
    else:
        traps = {FAILPOINTS: fault}
    drop(tmp_path, "span", "p", "b.jsonl", good("q", 5))
    code, daemon = once(database.native_url, tmp_path, env={**QUICK, **env, **traps})
    assert code == 1, daemon.told()
    assert daemon.events("file_settled", path="span/p/b.jsonl"), daemon.told()
    assert not daemon.events("file_settled", path=f"span/p/{name}"), daemon.told()
    held, *_ = daemon.events("shipment_held")
    assert name in str(held["error"])
    retry_all(database, tmp_path)
    if fault == "truncated":
        with victim.open("r+b") as file:
            file.write(content)
    elif fault == "gone":
        (tmp_path.parent / f"{tmp_path.name}-{name}").rename(victim)
    code, daemon = once(database.native_url, tmp_path, env={**QUICK, **env})
    assert code == 0, daemon.told()
    assert counts(database) == (ROWS + 5, ROWS + 5)


def test_a_daemon_goes_on_with_what_it_held(database: Database, tmp_path: Path) -> None:
    """As soon as the file can be read again, without a restart."""
    land_and_die(database, tmp_path, "a.jsonl", good("p", ROWS), {})
    traps = "read.chunk@1x12=EIO"
    with Daemon(database.native_url, tmp_path, env={**QUICK, FAILPOINTS: traps}, http="any port") as daemon:
        daemon.wait_for("shipment_held")
        daemon.wait_for("file_settled", path="span/p/a.jsonl")
        wait_until(lambda: daemon.get("/readyz").code == 200)
    assert counts(database) == (ROWS, ROWS)


@pytest.mark.parametrize("error", ["EIO", "ESTALE", "ENOMEM"])
def test_a_claimed_file_that_cannot_be_found_just_now_is_waited_for(
    error: str, database: Database, tmp_path: Path
) -> None:
    """Taken for one that nobody has journalled, it would be put back, and land a second time."""
    land_and_die(database, tmp_path, "a.jsonl", good("p", ROWS), {})
    with Daemon(database.native_url, tmp_path, env={**QUICK, FAILPOINTS: f"adopt.look@1x2={error}"}) as daemon:
        daemon.wait_for("journal_held")
        daemon.wait_for("file_settled", path="span/p/a.jsonl")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert counts(database) == (ROWS, ROWS)


def test_what_never_landed_is_shortened(database: Database, tmp_path: Path) -> None:
    """Nothing of it is there, so that its file goes to `failed/`, and comes back from there whole."""
    drop(tmp_path, "span", "p", "a.jsonl", good("p", ROWS))
    with Daemon(database.native_url, tmp_path, env={**QUICK, FAILPOINTS: "insert.before_send=kill"}) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    code, daemon = once(database.native_url, tmp_path, env={**QUICK, FAILPOINTS: "read.chunk@*=EIO"})
    assert code == 1, daemon.told()
    assert daemon.events("file_unreadable"), daemon.told()
    assert counts(database) == (0, 0)
    retry_all(database, tmp_path)
    code, daemon = once(database.native_url, tmp_path, env=QUICK)
    assert code == 0, daemon.told()
    assert counts(database) == (ROWS, ROWS)


def test_an_extent_is_not_overshot(database: Database, tmp_path: Path) -> None:
    """A file that was cut after its claim, and landed short, is whole again: no more of it counts as landed."""
    spool, here, whole = tmp_path / "spool", tmp_path / "here", packed()
    drop(spool, "span", "p", "a.jsonl.gz", whole)
    traps = f"read.chunk@2=wait:{here},insert.answered=kill"
    with Daemon(database.native_url, spool, env={**QUICK, FAILPOINTS: traps}) as daemon:
        wait_until(lambda: here.exists() or daemon.has_ended())
        status = claimed(spool, "a.jsonl.gz").stat()
        os.truncate(claimed(spool, "a.jsonl.gz"), 100_000)
        here.unlink()
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    landed, _ = database.query(f"SELECT count(), 0 FROM {SPANS}")[0]
    with claimed(spool, "a.jsonl.gz").open("r+b") as file:
        file.write(whole)
    os.utime(claimed(spool, "a.jsonl.gz"), ns=(status.st_atime_ns, status.st_mtime_ns))
    code, daemon = once(database.native_url, spool, env=QUICK)
    assert code == 1, daemon.told()
    [settled] = daemon.events("file_settled")
    assert settled["lines"] == landed
    assert settled["rows"] == {"spans": landed}
    copy = spool / "span/p/failed/.copy"
    copy.write_bytes(whole)
    copy.rename(spool / "span/p/failed/a.jsonl.gz")  # one that was written to is not retried
    retry_all(database, spool)
    code, daemon = once(database.native_url, spool, env=QUICK)
    assert code == 0, daemon.told()
    assert counts(database) == (ROWS, ROWS)
