"""Retention on disk: nothing but settled files goes, whatever else lies there, and whoever else is at work."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal_files import FileState, JournalledFile
from spoolhouse.spool.layout import Place
from spoolhouse.spool.shipment import FileStats
from tests.integration import build

DAY = 24 * 3600.0
LATER = 30 * DAY


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with build.instance(tmp_path) as instance:
        yield instance


def _put(spool: Path, path: str, size: int = 10, *, written: float = -100.0) -> Path:
    """Put a file somewhere, as a move does: last written to so many seconds from now."""
    (spool / path).parent.mkdir(parents=True, exist_ok=True)
    (spool / path).write_bytes(b"x" * size)
    at = time.time() + written
    os.utime(spool / path, (at, at))
    return spool / path


def _files(spool: Path) -> set[str]:
    found = {str(path.relative_to(spool)) for path in spool.rglob("*") if not path.is_dir() or path.is_symlink()}
    return {path for path in found if not path.startswith(".spoolhouse")}


async def test_old_files_go_and_nothing_else_is_touched(tmp_path: Path, instance: Instance) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    _put(outside, "kept.jsonl")
    for path in ("span/p/processed/a.jsonl", "span/p/processed/b.jsonl.gz", "log/q/processed/deep/er/c.jsonl.zst"):
        _put(tmp_path, path)
    kept = {
        "span/p/pending.jsonl",
        "span/p/failed/a.jsonl",
        "span/p/failed/a.jsonl.reason.txt",
        "rejected/2026-01-01/s.jsonl",
        "rejected/p/processed/a.jsonl",
        "span/p/processed/notes.txt",
        "span/p/processed/.own.1.copy",
        "span/p/processed/a.jsonl.tmp",
        "span/processed/a.jsonl",
        "processed/a.jsonl",
    }
    for path in kept:
        _put(tmp_path, path)
    (tmp_path / "span/p/processed/link.jsonl").symlink_to(outside / "kept.jsonl")
    (tmp_path / "span/p/processed/folder").symlink_to(outside)
    (tmp_path / "span/linked").symlink_to(tmp_path / "span/p")
    os.mkfifo(tmp_path / "span/p/processed/pipe.jsonl")
    strange = {f"span/p/processed/{name}" for name in ("link.jsonl", "folder", "pipe.jsonl")} | {"span/linked"}
    with capture_logs() as logs:
        await build.retention(instance).delete(time.time() + LATER)
    assert _files(tmp_path) == kept | strange
    assert not (tmp_path / "log/q/processed/deep").exists()
    assert (tmp_path / "log/q/processed").exists()
    assert (outside / "kept.jsonl").exists()
    assert [(entry["event"], entry["files"], entry["bytes"]) for entry in logs] == [("archive_shortened", 3, 30)]


async def test_beyond_a_size_the_oldest_go_first(tmp_path: Path, instance: Instance) -> None:
    for number in range(6):
        _put(tmp_path, f"span/p{number % 2}/processed/{number}.jsonl", 100, written=float(number + 1))
    await build.retention(instance, max_age=None, max_bytes=350).delete(time.time() + LATER)
    assert {path.rpartition("/")[2] for path in _files(tmp_path)} == {"3.jsonl", "4.jsonl", "5.jsonl"}


async def test_what_is_young_or_watched_stays(tmp_path: Path, instance: Instance) -> None:
    path = _put(tmp_path, "span/p/processed/a.jsonl")
    await build.retention(instance, max_age=1.0).delete(time.time() + 119.0)
    assert path.exists(), "its writer may still go on"
    instance.files[1] = JournalledFile(
        number=1,
        place=Place(type="span", project="p", name="a.jsonl"),
        device=0,
        inode=path.stat().st_ino,
        planned_to=10,
        claimed_ms=0,
        state=FileState.FINAL,
        target="span/p/processed/a.jsonl",
        stats=FileStats(),
    )
    await build.retention(instance).delete(time.time() + LATER)
    assert path.exists(), "the journal knows it"
    del instance.files[1]
    await build.retention(instance).delete(time.time() + LATER)
    assert not path.exists()


async def test_what_was_appended_to_stays_while_another_instance_may_have_it_under_way(
    tmp_path: Path, instance: Instance
) -> None:
    appended = _put(tmp_path, "span/p/processed/appended.jsonl", written=0.0)
    moved = _put(tmp_path, "span/p/processed/moved.jsonl")
    with build.instance(tmp_path, "other"):
        await build.retention(instance).delete(time.time() + LATER)
        assert (appended.exists(), moved.exists()) == (True, False)
    Instance.adopt(tmp_path, "other").remove()  # type: ignore[union-attr]  # it is there
    await build.retention(instance).delete(time.time() + LATER)
    assert not appended.exists()


async def test_a_file_that_cannot_be_deleted_is_said_ever_less_often(
    tmp_path: Path, instance: Instance, arm: Callable[[str], None]
) -> None:
    path = _put(tmp_path, "span/p/processed/a.jsonl")
    retention = build.retention(instance)
    arm("archive.delete@*=EROFS")
    with capture_logs() as logs:
        for _ in range(5):
            await retention.delete(time.time() + LATER)
    assert [entry["event"] for entry in logs] == ["archive_not_shortened"] * 3
    assert path.exists()


async def test_a_large_archive_is_shortened_in_turns(
    tmp_path: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(45):
        _put(tmp_path, f"span/p/processed/{number}.jsonl")
    retention, turns = build.retention(instance), 1
    retention.at_once = 10
    while await retention.delete(time.time() + LATER):
        turns += 1
    assert turns == 5
    assert _files(tmp_path) == set()
