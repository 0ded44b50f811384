"""A disk that refuses: what has to be written is tried again until it is, and the trouble is said where it shows."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from spoolhouse.errors import DiskError, JournalError, LeftError
from spoolhouse.monitoring.health import SERVER, Health
from spoolhouse.monitoring.heartbeat import Heartbeat, beat
from spoolhouse.pipeline.disk_retry import DiskRetry, concerns_all, to_its_end
from tests.integration.build import retrying


@pytest.fixture
def health() -> Health:
    health = Health()
    health.good(SERVER)
    return health


def _fails(times: int, error: Exception, log: list[str]) -> Callable[[], str]:
    """Return work that raises `error` so many times before it succeeds."""
    left = [error] * times

    def work() -> str:
        log.append("tried")
        if left:
            raise left.pop()
        return "done"

    return work


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "error", [FULL, OSError(errno.EIO, "I/O error"), DiskError("journal: database or disk is full")]
)
async def test_what_the_disk_refuses_is_tried_until_it_is_taken(error: Exception, health: Health) -> None:
    tried: list[str] = []
    with capture_logs() as logs:
        result = await DiskRetry(health, retrying(0.001, 0.001), asyncio.Event()).persist(
            Path("/spool/rejected"), _fails(5, error, tried)
        )
    assert result == "done"
    assert len(tried) == 6
    assert [entry["event"] for entry in logs] == ["disk_unavailable"] * 3 + ["disk_available"]
    assert [entry["attempts"] for entry in logs] == [1, 2, 4, 5]
    assert health.troubles == {}
    assert health.writable.is_set()


async def test_nothing_is_claimed_while_the_disk_refuses_and_it_is_said_where_and_what_to_do(health: Health) -> None:
    seen: list[bool] = []

    def work() -> None:
        seen.append(health.writable.is_set())
        if len(seen) == 1:
            raise FULL

    with capture_logs() as logs:
        await DiskRetry(health, retrying(0.001, 0.001), asyncio.Event()).persist(Path("/spool/rejected"), work)
    assert seen == [True, False]
    assert (logs[0]["scope"], logs[0]["error"]) == ("/spool/rejected", "/spool/rejected: No space left on device")
    assert "make room" in logs[0]["hint"]


async def test_after_a_stop_nothing_is_waited_for(health: Health) -> None:
    """Neither a write nor a read."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    disk = DiskRetry(health, retrying(300, 300), stop)

    def work() -> None:
        loop.call_soon_threadsafe(stop.set)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def read() -> None:
        work()

    with pytest.raises(LeftError):
        await disk.persist(Path("/spool"), work)
    stop.clear()
    with pytest.raises(LeftError):
        await disk.read(Path("a.jsonl"), read)


async def test_a_run_with_an_end_gives_up(health: Health) -> None:
    disk = DiskRetry(health, retrying(0.001, 0.001, 0.0), asyncio.Event())
    with pytest.raises(DiskError, match="No space left"):
        await disk.persist(Path("/spool"), _fails(5, FULL, []))


@pytest.mark.parametrize("error", [FileNotFoundError(2, "gone"), FileExistsError(17, "taken"), JournalError("damaged")])
async def test_what_another_try_would_not_change_is_passed_on(error: Exception, health: Health) -> None:
    tried: list[str] = []
    with pytest.raises(type(error)):
        await DiskRetry(health, retrying(0.001, 0.001), asyncio.Event()).persist(
            Path("/spool"), _fails(5, error, tried)
        )
    assert tried == ["tried"]
    assert health.troubles == {}


def test_only_some_errors_concern_more_than_one_file() -> None:
    assert concerns_all(FULL)
    assert concerns_all(OSError(errno.EROFS, ""))
    assert not concerns_all(PermissionError(errno.EACCES, ""))


async def test_long_work_can_tell_that_it_gets_on() -> None:
    """In its worker thread it is still its stage that speaks."""
    clock = [0.0]
    heartbeat = Heartbeat(lambda: clock[0])

    def work() -> dict[str, float]:
        clock[0] += 1000.0
        before = heartbeat.stuck()
        beat()
        assert list(before) == ["stage"]
        return heartbeat.stuck()

    assert await heartbeat.follow("stage", to_its_end(work)) == {}


async def test_a_cancelled_step_is_finished_first() -> None:
    started, done = asyncio.Event(), []
    loop = asyncio.get_running_loop()
    proceed = asyncio.Event()

    def work() -> None:
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(proceed.wait(), loop).result()
        done.append("step")
        raise FULL  # what comes of it does not matter any more

    task = asyncio.ensure_future(to_its_end(work))
    await started.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    proceed.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["step"]


def test_a_read_that_is_cancelled_leaves_no_trouble_behind(health: Health) -> None:
    """Nobody else would end it, as nobody may ever read that file again; another reader of it keeps it."""
    disk = DiskRetry(health, retrying(300, 300), asyncio.Event())

    async def fails() -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def reads() -> None:
        readers = [asyncio.ensure_future(disk.read(Path("a.jsonl"), fails)) for _ in range(2)]
        await asyncio.sleep(0)
        assert list(health.troubles) == ["a.jsonl"]
        for reader, left in zip(readers, (["a.jsonl"], []), strict=True):
            reader.cancel()
            await asyncio.wait([reader])
            assert list(health.troubles) == left

    asyncio.run(reads())
