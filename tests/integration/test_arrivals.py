"""The arrivals stage: each file that is found is passed on once, in turns; what is strange is told once."""

import asyncio
import os
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from spoolhouse.spool.layout import Place
from tests.integration import build

QUIET = 0.05
ENOUGH = 20.0


def _drop(spool: Path, path: str, content: bytes = b"{}\n", *, old: bool = True) -> Path:
    file = spool / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    if old:
        os.utime(file, (1, 1))
    return file


def _stage(spool: Path, capacity: int = 100) -> build.ArrivalsStage:
    return build.ArrivalsStage(spool, quiet=QUIET, poll_interval=ENOUGH, capacity=capacity)


async def test_a_file_is_passed_on_once_while_it_is_under_way(spool: Path) -> None:
    _drop(spool, "span/p/a.jsonl")
    stage = _stage(spool)
    async with asyncio.timeout(ENOUGH), asyncio.TaskGroup() as group:
        group.create_task(stage.run())
        assert await stage.next() == ["span/p/a.jsonl"]
        _drop(spool, "span/p/b.jsonl")
        stage.wake.set()
        assert await stage.next() == ["span/p/b.jsonl"]
        stage.end()
    assert await stage.rest() == []


async def test_what_could_not_be_claimed_is_left_alone_for_a_while(spool: Path) -> None:
    _drop(spool, "span/p/a.jsonl")
    _drop(spool, "span/p/b.jsonl")
    stage = _stage(spool)
    stage.in_flight.refused[Place(type="span", project="p", name="a.jsonl")] = time.monotonic()
    async with asyncio.timeout(ENOUGH), asyncio.TaskGroup() as group:
        group.create_task(stage.run())
        assert await stage.next() == ["span/p/b.jsonl"]
        stage.end()
    assert await stage.rest() == []


async def test_what_is_strange_is_told_once(spool: Path) -> None:
    _drop(spool, "nonsense/p/a.jsonl")
    stage = _stage(spool)
    with capture_logs() as logs:
        async with asyncio.timeout(ENOUGH), asyncio.TaskGroup() as group:
            group.create_task(stage.run())
            for number in range(3):
                _drop(spool, f"span/p/{number}.jsonl")
                stage.wake.set()
                await stage.next()
            stage.end()
    assert [entry["event"] for entry in logs] == ["not_taken"]


async def test_projects_and_types_take_turns(spool: Path) -> None:
    """A project with many files delays another one's only file, or its own of another type, by one turn at most."""
    for number in range(60):
        _drop(spool, f"span/many/{number}.jsonl")
    for only in ("span/one/a.jsonl", "log/many/a.jsonl", "log/other/a.jsonl"):
        _drop(spool, only)
    stage = _stage(spool)
    async with asyncio.timeout(ENOUGH), asyncio.TaskGroup() as group:
        group.create_task(stage.run())
        first = await stage.next(63)
        stage.end()
    assert {"span/one/a.jsonl", "log/many/a.jsonl", "log/other/a.jsonl"} < set(first[:23])
    assert len(set(first)) == 63


@pytest.mark.parametrize("seconds", [0.0, 3600.0])
async def test_who_comes_while_a_backlog_is_passed_on_gets_a_turn(
    seconds: float, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once what the last scan found is no longer fresh, there is another one, before all of it is through."""
    build.pass_on_for(monkeypatch, seconds)
    for number in range(60):
        _drop(spool, f"span/many/{number}.jsonl")
    stage = _stage(spool, capacity=1)
    async with asyncio.timeout(ENOUGH), asyncio.TaskGroup() as group:
        group.create_task(stage.run())
        await stage.next(5)
        _drop(spool, "span/one/a.jsonl")
        stage.wake.set()
        rest = await stage.next(55)
        assert ("span/one/a.jsonl" in rest) == (seconds == 0.0)
        await stage.next()
        stage.end()


@pytest.mark.parametrize("kind", ["no permission", "an error of the disk"])
async def test_a_folder_that_cannot_be_listed_is_told_ever_less_often(
    kind: str, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = spool / "span/broken"
    broken.mkdir(parents=True)
    scandir = os.scandir

    def refuse(folder: str) -> object:
        if folder == str(broken):
            raise PermissionError(13, "Permission denied") if kind == "no permission" else OSError(5, "I/O error")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    stage = _stage(spool)
    with capture_logs() as logs:
        async with asyncio.timeout(ENOUGH), asyncio.TaskGroup() as group:
            group.create_task(stage.run())
            for number in range(9):
                _drop(spool, f"span/p/{number}.jsonl")
                stage.wake.set()
                await stage.next()
            stage.end()
    assert 3 <= len(logs) <= 5
    assert all(entry["reason"].startswith("cannot be listed") and entry["hint"] for entry in logs)


async def test_a_watcher_hears_of_a_dropped_file_and_ends_with_the_stop(spool: Path) -> None:
    stage = _stage(spool)
    (spool / "span" / "p").mkdir(parents=True)
    async with asyncio.timeout(ENOUGH), asyncio.TaskGroup() as group:
        group.create_task(stage.watch())
        number = 0
        while not stage.wake.is_set():  # it says nothing of when it has begun to listen
            number += 1
            _drop(spool, f"span/p/{number}.jsonl")
            await asyncio.sleep(0.02)
        stage.stop.set()
