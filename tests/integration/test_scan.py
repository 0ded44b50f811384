"""What a scan sees, what it calls strange, and where it does not look."""

import asyncio
import ctypes
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from spoolhouse.file_names import FileNames
from spoolhouse.monitoring.progress import Silent
from spoolhouse.pipeline import arrivals as arrivals_stage
from spoolhouse.pipeline.arrivals import InFlightFiles, arrivals
from spoolhouse.pipeline.channel import channel
from spoolhouse.pipeline.options import Current, ScanOptions
from spoolhouse.pipeline.scan import Ignored, Seen, has_other_than, scan
from spoolhouse.pipeline.watch import watch
from spoolhouse.spool.layout import Place
from tests.integration.default_options import OPTIONS

NOBODY = 65534
TYPES = ("span", "log")
QUIET = 0.05
ENOUGH = 20.0


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty spool by a relative path: another user may not pass through the folders above it."""
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    Path("spool").mkdir()
    return Path("spool")


def _drop(spool: Path, path: str, content: bytes = b"{}\n", *, old: bool = True) -> Path:
    file = spool / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    if old:
        os.utime(file, (1, 1))
    return file


def _scan(spool: Path, project_id: str | None = None) -> tuple[set[str], dict[str, str]]:
    """Return the paths that are seen, and the strange ones with their reasons."""
    found = list(scan(spool, TYPES, project_id))
    seen = [str(item.place) for item in found if isinstance(item, Seen)]
    assert len(set(seen)) == len(seen)
    strange = [item for item in found if isinstance(item, Ignored)]
    return set(seen), {os.path.relpath(item.path, spool): item.reason for item in strange}


@contextmanager
def _as_nobody(folder: Path) -> Iterator[None]:
    """Meet the disk as the owner of `folder` and without privileges: root could read everything in it."""
    if os.geteuid() != 0:
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    libc = ctypes.CDLL(None)
    libc.setfsuid(NOBODY)
    try:
        yield
    finally:
        libc.setfsuid(0)


def test_files_are_seen_at_their_place_with_size_and_time(spool: Path) -> None:
    file = _drop(spool, "span/p/a.jsonl", b"12345")
    place = Place(type="span", project="p", name="a.jsonl")
    assert list(scan(spool, TYPES, None)) == [Seen(place=place, size=5, mtime_ns=file.stat().st_mtime_ns)]


def test_all_packings_and_all_names_are_seen(spool: Path) -> None:
    names = [
        f"a{number}.{name}{packed}"
        for number, (name, packed) in enumerate(
            product(("jsonl", "ndjson", "json", "log", "JSON"), ("", ".gz", ".zst", ".bz2", ".xz", ".GZ"))
        )
    ]
    names += ["a.jsonl", "a.json", "a b\n.jsonl", os.fsdecode(b"\xff.jsonl"), "-rf.jsonl"]
    for name in names:
        _drop(spool, f"log/q/{name}")
    found = [item.place.name for item in scan(spool, TYPES, None) if isinstance(item, Seen)]
    assert sorted(found) == sorted(names)


def test_an_empty_or_missing_spool_has_nothing(spool: Path) -> None:
    assert list(scan(spool, TYPES, None)) == []
    assert list(scan(spool / "missing", TYPES, None)) == []


def test_hidden_and_temporary_files_are_passed_over_in_silence(spool: Path) -> None:
    for name in (".a.jsonl", "a.jsonl.tmp", "a.jsonl.part", "a.jsonl~", "a.jsonl.swp", ".a.jsonl.x7Hq"):
        _drop(spool, f"span/p/{name}")
    _drop(spool, "span/.hidden/a.jsonl")
    _drop(spool, ".hidden/p/a.jsonl")
    _drop(spool, ".DS_Store")
    assert _scan(spool) == (set(), {})


def test_our_own_folders_are_not_looked_into(spool: Path) -> None:
    for folder in (".spoolhouse/i/claimed/span", "rejected/2024-01-01", "span/p/processed", "span/p/failed"):
        _drop(spool, f"{folder}/a.jsonl")
    assert _scan(spool) == (set(), {})


def test_archives_are_not_even_opened(spool: Path) -> None:
    """They hold years of files; each look at them would cost more than the one before."""
    _drop(spool, "span/p/a.jsonl")
    for archive in ("span/p/processed", "span/p/failed", "rejected", ".spoolhouse"):
        (spool / archive).mkdir(parents=True)
        (spool / archive).chmod(0)
    with _as_nobody(spool), capture_logs() as logs:
        assert _scan(spool) == ({"span/p/a.jsonl"}, {})
    assert logs == []


@pytest.mark.parametrize("project", ["processed", "failed", "rejected", "claimed", "span", " ", "\N{SNOWMAN}"])
def test_a_project_may_have_any_name(project: str, spool: Path) -> None:
    _drop(spool, f"span/{project}/a.jsonl")
    _drop(spool, f"span/{project}/processed/b.jsonl")
    assert _scan(spool) == ({f"span/{project}/a.jsonl"}, {})


def test_only_the_asked_for_project_is_seen(spool: Path) -> None:
    for project in ("p", "P", "q"):
        _drop(spool, f"span/{project}/a.jsonl")
    assert _scan(spool, "p") == ({"span/p/a.jsonl"}, {})


def test_what_lies_in_the_wrong_place_is_strange(spool: Path) -> None:
    for path in ("a.jsonl", "span/a.jsonl", "span/p/deep/a.jsonl", "nonsense/p/a.jsonl", "Span/p/a.jsonl"):
        _drop(spool, path)
    depth, unknown = "not at {type}/{project}/", "no such event type"
    assert _scan(spool) == (
        set(),
        {"a.jsonl": depth, "span/a.jsonl": depth, "span/p/deep": depth, "nonsense": unknown, "Span": unknown},
    )


def test_what_is_no_regular_file_is_strange(spool: Path) -> None:
    secret = _drop(spool.parent, "secret.jsonl")
    folder = _drop(spool, "span/p/a.jsonl").parent
    (folder / "link.jsonl").symlink_to(secret.absolute())
    (folder / "dangling.jsonl").symlink_to("nowhere")
    (folder / "folder.jsonl").mkdir()
    os.mkfifo(folder / "fifo.jsonl")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket.jsonl"))
        seen, strange = _scan(spool)
    assert seen == {"span/p/a.jsonl"}
    names = ("link", "dangling", "folder", "fifo", "socket")
    assert strange == {f"span/p/{name}.jsonl": "not a regular file" for name in names}


@pytest.mark.parametrize("place", ["span", "span/p"])
def test_no_link_to_a_folder_is_followed(place: str, spool: Path) -> None:
    _drop(spool.parent, "outside/p/a.jsonl")
    _drop(spool.parent, "outside/a.jsonl")
    (spool / place).parent.mkdir(exist_ok=True)
    (spool / place).symlink_to((spool.parent / "outside").absolute())
    assert _scan(spool) == (set(), {place: "not at {type}/{project}/"})


def test_a_file_that_goes_away_during_the_scan_is_passed_over(spool: Path) -> None:
    for number in range(3):
        _drop(spool, f"span/p/{number}.jsonl")
    found = scan(spool, TYPES, None)
    first = next(found)
    assert isinstance(first, Seen)
    for path in (spool / "span/p").iterdir():
        path.unlink()
    assert list(found) == []


def test_a_folder_that_goes_away_during_the_scan_is_passed_over(spool: Path) -> None:
    for project in ("p", "q"):
        _drop(spool, f"span/{project}/a.jsonl")
    found = scan(spool, TYPES, None)
    first = next(found)
    assert isinstance(first, Seen)
    (other,) = {"p", "q"} - {first.place.project}
    (spool / "span" / other / "a.jsonl").unlink()
    (spool / "span" / other).rmdir()
    assert list(found) == []


def test_a_folder_that_becomes_a_file_during_the_scan_is_passed_over(spool: Path) -> None:
    for project in ("p", "q"):
        _drop(spool, f"span/{project}/a.jsonl")
    found = scan(spool, TYPES, None)
    first = next(found)
    assert isinstance(first, Seen)
    (other,) = {"p", "q"} - {first.place.project}
    (spool / "span" / other / "a.jsonl").unlink()
    (spool / "span" / other).rmdir()
    (spool / "span" / other).touch()
    assert [item for item in found if isinstance(item, Seen)] == []


def test_a_folder_that_cannot_be_read_hides_no_other(spool: Path) -> None:
    _drop(spool, "span/p/a.jsonl")
    _drop(spool, "span/q/a.jsonl").parent.chmod(0)
    with _as_nobody(spool):
        seen = _scan(spool)[0]
    (spool / "span/q").chmod(0o755)
    assert seen == {"span/p/a.jsonl"}


def test_a_folder_that_can_be_listed_but_not_entered_hides_no_other(spool: Path) -> None:
    _drop(spool, "span/p/a.jsonl")
    _drop(spool, "span/q/a.jsonl").parent.chmod(0o444)
    with _as_nobody(spool):
        seen = _scan(spool)[0]
    (spool / "span/q").chmod(0o755)
    assert seen == {"span/p/a.jsonl"}


class _Stage:
    """The running arrivals stage, and what it has passed on."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self.in_flight = InFlightFiles()
        self.wake, self.stop = asyncio.Event(), asyncio.Event()
        self.out, self.places = channel(100, Place)

    async def run(self) -> None:
        await arrivals(
            self.out,
            spool=self.spool,
            types=TYPES,
            options=Current(
                replace(
                    OPTIONS, scan=ScanOptions(project_id=None, names=FileNames(), quiet=QUIET, poll_interval=ENOUGH)
                )
            ),
            in_flight=self.in_flight,
            wake=self.wake,
            stop=self.stop,
            progress=Silent(),
        )

    async def next(self, count: int = 1) -> list[str]:
        """Return what is passed on next."""
        return [str(await self.places.receive()) for _ in range(count)]

    async def rest(self) -> list[str]:
        """Return what was passed on, once the stage has ended."""
        return [str(place) async for place in self.places]

    def end(self) -> None:
        self.stop.set()
        self.wake.set()


async def test_a_file_is_passed_on_once_while_it_is_under_way(spool: Path) -> None:
    _drop(spool, "span/p/a.jsonl")
    stage = _Stage(spool)
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
    stage = _Stage(spool)
    stage.in_flight.refused[Place(type="span", project="p", name="a.jsonl")] = time.monotonic()
    async with asyncio.timeout(ENOUGH), asyncio.TaskGroup() as group:
        group.create_task(stage.run())
        assert await stage.next() == ["span/p/b.jsonl"]
        stage.end()
    assert await stage.rest() == []


def test_whether_anything_but_what_was_refused_is_pending(spool: Path) -> None:
    refused = Place(type="span", project="p", name="a.jsonl")
    assert not has_other_than({refused}, spool, TYPES, None)
    _drop(spool, "span/p/a.jsonl")
    _drop(spool, "nonsense/p/a.jsonl")
    assert has_other_than((), spool, TYPES, None)
    assert not has_other_than({refused}, spool, TYPES, None)
    _drop(spool, "span/q/a.jsonl")
    assert has_other_than({refused}, spool, TYPES, None)
    assert not has_other_than({refused}, spool, TYPES, "p")


async def test_what_is_strange_is_told_once(spool: Path) -> None:
    _drop(spool, "nonsense/p/a.jsonl")
    stage = _Stage(spool)
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
    stage = _Stage(spool)
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
    monkeypatch.setattr(arrivals_stage, "_FRESH", seconds)
    monkeypatch.setattr(arrivals_stage, "_SCAN_SHARE", 0)
    for number in range(60):
        _drop(spool, f"span/many/{number}.jsonl")
    stage = _Stage(spool)
    stage.out, stage.places = channel(1, Place)
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

    def refuse(folder: Path) -> object:
        if folder == broken:
            raise PermissionError(13, "Permission denied") if kind == "no permission" else OSError(5, "I/O error")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    stage = _Stage(spool)
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
    wake, stop = asyncio.Event(), asyncio.Event()
    (spool / "span" / "p").mkdir(parents=True)
    async with asyncio.timeout(ENOUGH), asyncio.TaskGroup() as group:
        group.create_task(watch(spool, wake, stop))
        number = 0
        while not wake.is_set():  # it says nothing of when it has begun to listen
            number += 1
            _drop(spool, f"span/p/{number}.jsonl")
            await asyncio.sleep(0.02)
        stop.set()
