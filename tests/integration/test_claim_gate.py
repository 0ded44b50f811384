"""The gate before claiming: a flag beside the instances' folders, and room on the disk."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from spoolhouse.monitoring.health import SERVER, Health
from spoolhouse.pipeline.claim_gate import ClaimGate
from spoolhouse.pipeline.options import Current, Options
from spoolhouse.spool import layout, pause_flag
from spoolhouse.spool.disk_space import MinFree
from tests.integration.default_options import OPTIONS

NOTHING = MinFree(bytes=0, inodes=0)


def _free(least: MinFree) -> Current[Options]:
    """Return options that leave so much free."""
    return Current(replace(OPTIONS, disk=replace(OPTIONS.disk, min_free=least)))


def test_a_pause_is_a_flag_that_says_since_when_and_why(tmp_path: Path) -> None:
    assert pause_flag.paused(tmp_path) is None
    assert pause_flag.pause(tmp_path, "disk swap", "2026-01-01T00:00:00Z") is None
    assert pause_flag.paused(tmp_path) == "since 2026-01-01T00:00:00Z: disk swap"
    assert pause_flag.pause(tmp_path, "again", "2026-01-02T00:00:00Z") == "since 2026-01-01T00:00:00Z: disk swap"
    assert [path.name for path in layout.state_folder(tmp_path).iterdir()] == ["paused"]
    assert pause_flag.resume(tmp_path)
    assert pause_flag.paused(tmp_path) is None
    assert not pause_flag.resume(tmp_path)


def test_of_many_that_pause_one_is_the_first(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        told = list(pool.map(lambda number: pause_flag.pause(tmp_path, str(number), "now"), range(5)))
    assert told == [None, *["since now: 0"] * 4]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"since": 1}', b"\xff" * 10_000])
def test_any_file_of_that_name_is_a_pause(content: bytes, tmp_path: Path) -> None:
    layout.state_folder(tmp_path).mkdir()
    (layout.state_folder(tmp_path) / "paused").write_bytes(content)
    assert pause_flag.paused(tmp_path) == "by a file that was put there by hand"


@pytest.mark.parametrize("kind", ["FIFO", "dangling link", "folder"])
def test_what_is_no_file_is_a_pause_too_and_hangs_nobody(kind: str, tmp_path: Path) -> None:
    flag = layout.state_folder(tmp_path) / "paused"
    flag.parent.mkdir()
    if kind == "FIFO":
        os.mkfifo(flag)
    elif kind == "folder":
        flag.mkdir()
    else:
        flag.symlink_to("nowhere")
    assert pause_flag.paused(tmp_path) is not None


def test_a_spool_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pause_flag.pause(tmp_path / "none", "", "now")
    assert not (tmp_path / "none").exists()
    assert not pause_flag.resume(tmp_path / "none")


async def test_the_gate_follows_the_flag_and_says_each_change_once(tmp_path: Path) -> None:
    gate = ClaimGate(tmp_path, Health(), _free(NOTHING))
    with capture_logs() as logs:
        for paused in (False, False, True, True, False, False):
            if paused:
                pause_flag.pause(tmp_path, "why", "now")
            else:
                pause_flag.resume(tmp_path)
            await gate.check()
            assert gate.open.is_set() == (not paused)
    assert [entry["event"] for entry in logs] == ["paused", "resumed"]
    assert logs[0]["reason"] == "since now: why"


async def test_the_gate_shuts_before_the_disk_is_full(tmp_path: Path) -> None:
    """With the figures, once; what is claimed goes on."""
    health = Health()
    health.good(SERVER)
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    least = MinFree(bytes=2 * free, inodes=0)
    options = _free(least)
    gate = ClaimGate(tmp_path, health, options)
    with capture_logs() as logs:
        await gate.check()
        await gate.check()
        assert not gate.open.is_set()
        assert health.writable.is_set()
        assert list(health.troubles) == ["free space"]
        options.value = _free(NOTHING).value
        await gate.check()
        assert gate.open.is_set()
    assert [entry["event"] for entry in logs] == ["disk_unavailable", "disk_available"]
    assert "spool.min_free is" in logs[0]["error"]
    assert health.troubles == {}


async def test_looking_goes_on_until_the_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spoolhouse.pipeline.claim_gate._PERIOD", 0.01)
    gate, stop = ClaimGate(tmp_path, Health(), _free(NOTHING)), asyncio.Event()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(gate.run(stop))
        await gate.open.wait()
        pause_flag.pause(tmp_path, "", "now")
        while gate.open.is_set():  # noqa: ASYNC110  # an event tells that it is set, not that it is cleared
            await asyncio.sleep(0.01)
        stop.set()
