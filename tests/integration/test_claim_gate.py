"""The gate before claiming: a flag beside the instances' folders, and room on the disk."""

import asyncio
import os
from pathlib import Path

from structlog.testing import capture_logs

from spoolhouse.monitoring.health import SERVER, Health
from spoolhouse.spool import pause_flag
from tests.integration import build


async def test_the_gate_follows_the_flag_and_says_each_change_once(tmp_path: Path) -> None:
    gate = build.claim_gate(tmp_path)
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
    options = build.keeping_free(2 * free)
    gate = build.claim_gate(tmp_path, health, options)
    with capture_logs() as logs:
        await gate.check()
        await gate.check()
        assert not gate.open.is_set()
        assert health.writable.is_set()
        assert list(health.troubles) == ["free space"]
        options.value = build.keeping_free(0).value
        await gate.check()
        assert gate.open.is_set()
    assert [entry["event"] for entry in logs] == ["disk_unavailable", "disk_available"]
    assert "spool.min_free is" in logs[0]["error"]
    assert health.troubles == {}


async def test_looking_goes_on_until_the_stop(tmp_path: Path) -> None:
    gate, stop = build.claim_gate(tmp_path), asyncio.Event()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(gate.run(stop))
        await gate.open.wait()
        pause_flag.pause(tmp_path, "", "now")
        while gate.open.is_set():  # noqa: ASYNC110  # an event tells that it is set, not that it is cleared
            await asyncio.sleep(0.01)
        stop.set()
