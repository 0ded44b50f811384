"""A disk that is full, fails, or is another one: the daemon waits, says so, and goes on; nothing is lost or doubled."""

import json
import resource
import signal
from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import Daemon, command, drop, once
from tests.process.inputs import good

SPANS = "mastra_admin_spans"
HASTE = {
    "SPOOLHOUSE_HTTP__LISTEN": "off",
    "SPOOLHOUSE_RETRY__FIRST": "0.05",
    "SPOOLHOUSE_RETRY__CAP": "0.1",
    "SPOOLHOUSE_SPOOL__APPEND_WATCH": "0.2",
}
BAD = b"no event\n"
FAILPOINTS = "SPOOLHOUSE_TEST_FAILPOINTS"


def counts(database: Database) -> tuple[object, ...]:
    """Return how many rows there are, and how many different ones."""
    return database.query(f"SELECT count(), uniqExact(span_id) FROM {SPANS}")[0]


def rejected(spool: Path) -> list[str]:
    """Return the rejected lines that are kept."""
    return [
        json.loads(line)["raw"]
        for path in (spool / "rejected").rglob("*.jsonl")
        for line in path.read_text().splitlines()
    ]


def files(spool: Path) -> list[str]:
    """Return all files of the spool but those of the instances' own: names and copies that nobody should see, too."""
    found = sorted(str(path.relative_to(spool)) for path in spool.rglob("*") if path.is_file())
    return [path for path in found if not path.startswith((".spoolhouse", "rejected/"))]


def in_flight(spool: Path) -> list[Path]:
    """Return the files that instances still hold."""
    state = spool / ".spoolhouse"
    return [path for folder in ("claimed", "leaving") for path in state.glob(f"*/{folder}/**/*") if path.is_file()]


def test_a_disk_that_takes_no_byte_is_waited_for(database: Database, tmp_path: Path) -> None:
    """As one that is full: no file can grow. Each shipment is journalled, sent and settled once it can."""
    with Daemon(database.native_url, tmp_path, env=HASTE) as daemon:
        drop(tmp_path, "span", "p", "first.jsonl", good("p", 5))
        daemon.wait_for("file_settled")
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        drop(tmp_path, "span", "p", "second.jsonl", good("p", 5, first=5) + BAD)
        (told, *_) = daemon.wait_for("disk_unavailable", attempts=4)
        assert "journal.sqlite" in str(told["error"])
        assert "make room" in str(told["hint"])
        assert counts(database) == (5, 5)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        daemon.wait_for("disk_available")
        daemon.wait_for("file_settled", path="span/p/second.jsonl", rejected=1)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert counts(database) == (10, 10)
    assert rejected(tmp_path) == ["no event"]
    assert files(tmp_path) == ["span/p/processed/first.jsonl", "span/p/processed/second.jsonl"]


@pytest.mark.parametrize(
    "place",
    [
        "instance.claims_synced",
        "journal.plan",
        "rejects.write",
        "rejects.rename",
        "journal.acknowledge",
        "journal.moving",
        "journal.moved",
        "journal.recorded",
    ],
)
def test_a_stop_does_not_wait_for_a_disk_that_refuses(place: str, database: Database, tmp_path: Path) -> None:
    """All is recoverable: what could not be journalled was not sent, the journal has the rest for the next start."""
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 5) + BAD)
    env = {**HASTE, FAILPOINTS: f"{place}@*=ENOSPC", "SPOOLHOUSE_SHUTDOWN__GRACE": "600"}
    with Daemon(database.native_url, tmp_path, env=env) as daemon:
        daemon.wait_for("disk_unavailable", attempts=2)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
        assert not daemon.events("stage_failed")
    code, daemon = once(database.native_url, tmp_path, env=HASTE)
    assert code == 0, daemon.told()
    assert counts(database) == (5, 5)
    assert rejected(tmp_path) == ["no event"]
    assert files(tmp_path) == ["span/p/processed/a.jsonl"]


@pytest.mark.parametrize("inside", ["file", "dangling link"])
def test_what_stands_in_the_place_of_rejected_is_waited_out(inside: str, database: Database, tmp_path: Path) -> None:
    obstacle = tmp_path / "rejected"
    if inside == "file":
        obstacle.write_bytes(b"in the way")
    else:
        obstacle.symlink_to(tmp_path / "nowhere")
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 5) + BAD)
    with Daemon(database.native_url, tmp_path, env=HASTE) as daemon:
        daemon.wait_for("disk_unavailable", scope=str(obstacle))
        obstacle.unlink()
        daemon.wait_for("file_settled", rejected=1)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert counts(database) == (5, 5)
    assert rejected(tmp_path) == ["no event"]


def test_a_run_with_an_end_waits_for_a_while_and_exits_1(database: Database, tmp_path: Path) -> None:
    (tmp_path / "rejected").write_bytes(b"in the way")
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 5) + BAD)
    code, daemon = once(database.native_url, tmp_path, env={**HASTE, "SPOOLHOUSE_SHUTDOWN__GRACE": "1"})
    assert code == 1, daemon.told()
    assert daemon.events("disk_unavailable")
    (tmp_path / "rejected").unlink()
    code, daemon = once(database.native_url, tmp_path, env=HASTE)
    assert code == 0, daemon.told()
    assert counts(database) == (5, 5)
    assert rejected(tmp_path) == ["no event"]
    assert files(tmp_path) == ["span/p/processed/a.jsonl"]


PLACES = [
    "instance.locked",
    "instance.journal_made",
    "instance.before_claim",
    "instance.claims_synced",
    "journal.plan",
    "journal.acknowledge",
    "journal.moving",
    "journal.moved",
    "journal.forget",
    "rejects.write",
    "rejects.sync",
    "rejects.rename",
    "files.make_opened",
    "files.sync_folder",
    "files.move",
]


@pytest.mark.parametrize("place", PLACES)
def test_wherever_the_disk_refuses_once_all_goes_on(place: str, database: Database, tmp_path: Path) -> None:
    """Also at the second arrival, which is another file, another folder, or the same one again."""
    for number in range(3):
        drop(tmp_path, "span", f"p{number}", "a.jsonl", good(f"p{number}", 5) + BAD)
    env = {**HASTE, FAILPOINTS: f"{place}@2=ENOSPC", "SPOOLHOUSE_BATCH__MAX_FILES": "1"}
    with Daemon(database.native_url, tmp_path, env=env) as daemon:
        daemon.wait_for("file_settled", count=3)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
        assert not daemon.events("stage_failed")
    assert counts(database) == (15, 15)
    assert rejected(tmp_path) == ["no event"] * 3
    assert files(tmp_path) == [f"span/p{number}/processed/a.jsonl" for number in range(3)]


def test_a_processed_folder_on_another_disk_keeps_the_file_claimed(database: Database, tmp_path: Path) -> None:
    """The log and the status say why, other files settle, and a kill changes nothing: the next one moves it."""
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 5))
    env = {**HASTE, "SPOOLHOUSE_HTTP__LISTEN": "127.0.0.1:0", FAILPOINTS: "files.move@1x1000=EXDEV"}
    with Daemon(database.native_url, tmp_path, env=env) as daemon:
        [said, *_] = daemon.wait_for("file_not_moved")
        assert said["error"] == "span/p/processed is on another disk than the spool"
        assert said["hint"] == "move processed/ to the spool's file system"
        backlog = json.loads(daemon.get("/status").body)["backlog"]
        assert (backlog["unmovable_files"], backlog["unmovable_reason"]) == (1, said["error"])
        shown = command("status", "--file-storage-path", str(tmp_path), "--base-path", "")
        assert "is on another disk than the spool" in shown.stdout
        daemon.kill()
    assert [path.read_bytes() for path in in_flight(tmp_path)] == [good("p", 5)]
    code, daemon = once(database.native_url, tmp_path, env=HASTE)
    assert code == 0, daemon.told()
    assert files(tmp_path) == ["span/p/processed/a.jsonl"]
    assert counts(database) == (5, 5)


@pytest.mark.parametrize("place", ["settle.before_move", "settle.before_deletion", "settle.deleted", "settle.synced"])
def test_a_kill_while_a_file_is_deleted_deletes_it_once(place: str, database: Database, tmp_path: Path) -> None:
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 5))
    traps = {FAILPOINTS: f"{place}=kill"}
    code, daemon = once(database.native_url, tmp_path, "--delete-after-process", env={**HASTE, **traps})
    assert code == -signal.SIGKILL, daemon.told()
    code, daemon = once(database.native_url, tmp_path, "--delete-after-process", env=HASTE)
    assert code == 0, daemon.told()
    assert files(tmp_path) == []
    assert not in_flight(tmp_path)
    assert counts(database) == (5, 5)
