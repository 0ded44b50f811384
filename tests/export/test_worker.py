"""The daemon from code: its results, its status, its end."""

import asyncio
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from spoolhouse.errors import BadSettingError, StoreError
from spoolhouse.events import registry
from spoolhouse.export import LocalFileStorage, SpoolWriter, Worker

LOG = {"level": "info", "message": "a", "timestamp": datetime.now(UTC).isoformat()}
HASTE = {"spool.quiet": 0.01, "shutdown.grace": 30}
AWAY = "clickhouse://user:secret@127.0.0.1:9"


def drop(tmp_path: Path, *events: Mapping[str, object], event_type: str = "log") -> None:
    with SpoolWriter(tmp_path / "observability", max_age=None) as spool:
        spool.write(event_type, "shop", events)


def make(tmp_path: Path) -> Worker:
    return Worker(LocalFileStorage(tmp_path), f"duckdb://{tmp_path}/events.db", poll_interval_ms=20, settings=HASTE)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # what another thread does
        await asyncio.sleep(0.01)


def landed(tmp_path: Path) -> int:
    with duckdb.connect(str(tmp_path / "events.db"), read_only=True) as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM mastra_admin_logs").fetchall()
    return int(count)


async def test_what_is_pending_lands_at_once(tmp_path: Path) -> None:
    worker = make(tmp_path)
    assert (await worker.process_once()).files_processed == 0
    drop(tmp_path, LOG, LOG)
    drop(tmp_path, {"traceId": "t", "name": "n", "value": 1, "timestamp": LOG["timestamp"]}, event_type="score")
    broken = tmp_path / "observability" / "log" / "shop" / "broken.jsonl.gz"
    broken.write_bytes(b"no gzip")
    result = await worker.process_once()
    assert (result.files_processed, result.events_ingested) == (2, 3)
    assert result.events_by_type == {"log": 2, "score": 1}
    [error] = result.errors
    assert error.file_path == "log/shop/broken.jsonl.gz"
    assert error.message == str(error.error) != ""
    assert result.duration_ms > 0

    drop(tmp_path, LOG)
    await worker.process_once()
    status = worker.get_status()
    assert (status.is_running, status.is_processing, status.current_errors) == (False, False, [])
    assert (status.total_files_processed, status.total_events_ingested) == (3, 4)
    assert status.total_events_by_type == {"log": 3, "score": 1}
    assert status.last_processed_at is not None
    assert landed(tmp_path) == 3


async def test_a_started_worker_lands_files_as_they_come(tmp_path: Path) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    own = logging.getLogger().handlers.copy()
    worker = make(tmp_path)
    await worker.init()
    async with worker:
        await worker.start()
        assert worker.get_status().is_running
        drop(tmp_path, LOG)
        await until(lambda: worker.get_status().total_files_processed == 1)
        assert (await worker.process_once()).files_processed == 0
        assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == handlers
        assert logging.getLogger().handlers == own
    status = worker.get_status()
    assert (status.is_running, status.current_errors) == (False, [])
    assert status.started_at is not None
    await worker.stop()
    assert landed(tmp_path) == 1


async def test_a_stop_before_anything_has_begun(tmp_path: Path) -> None:
    worker = make(tmp_path)
    await worker.start()
    await worker.stop()
    assert not worker.get_status().is_running


async def test_a_store_that_is_away_is_said_and_the_files_stay(tmp_path: Path) -> None:
    drop(tmp_path, LOG)
    worker = Worker(tmp_path, AWAY, settings={**HASTE, "shutdown.grace": 0.1})
    with pytest.raises(StoreError):
        await worker.init()
    [error] = (await worker.process_once()).errors
    assert error.file_path == ""
    assert error.message
    assert "secret" not in error.message
    assert len(list((tmp_path / "observability" / "log" / "shop").glob("*.jsonl"))) == 1
    async with worker:
        await until(lambda: any(error.retry_count > 1 for error in worker.get_status().current_errors))


async def test_how_often_a_file_was_read_again_is_said(tmp_path: Path, arm: Callable[[str], None]) -> None:
    drop(tmp_path, *[LOG] * 10)
    worker = Worker(
        tmp_path,
        f"duckdb://{tmp_path}/events.db",
        settings={**HASTE, "spool.read_error_wait": 1, "retry.first": 0.05, "retry.cap": 0.1},
    )
    arm("read.small@*=EIO,read.chunk@*=EIO")
    [error] = (await worker.process_once()).errors
    assert error.file_path.startswith("log/shop/")
    assert error.retry_count > 0


def test_the_logs_of_the_program_are_left_alone(tmp_path: Path) -> None:
    """Without a configuration of structlog, its own events are printed as before, and those of the worker are not."""
    program = """
import asyncio, logging, sys, structlog
from spoolhouse.export import Worker
class Handler(logging.Handler):
    def emit(self, record):
        assert record.levelno >= logging.WARNING
        print(record.name, "says", record.getMessage().split()[0])
logging.getLogger("spoolhouse").addHandler(Handler())
program = structlog.get_logger("program")
program.info("before")
worker = Worker(sys.argv[1], "clickhouse://user:secret@127.0.0.1:9", settings={"shutdown.grace": 0.1})
asyncio.run(worker.process_once())
program.info("after")
assert not structlog.is_configured()
structlog.configure(processors=[structlog.processors.JSONRenderer()])
program.info("configured")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    first, *ours, after, configured = done.stdout.splitlines()
    assert re.fullmatch(r"\S+ \S+ \[info *\] before *", first), done.stdout
    assert after.replace("after", "before").split()[2:] == first.split()[2:]
    assert configured == '{"event": "configured"}'
    assert "spoolhouse says event='clickhouse_unavailable'" in ours
    assert all(line.startswith("spoolhouse says") for line in ours), done.stdout
    assert "secret" not in done.stdout + done.stderr


def test_a_wrong_setting_is_named_without_its_secret(tmp_path: Path) -> None:
    with pytest.raises(BadSettingError, match=r"spool\.quick") as raised:
        Worker(tmp_path, AWAY, settings={"spool.quick": 1})
    assert "secret" not in str(raised.value)


async def test_whatever_ends_a_run_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_settings: object) -> None:
        raise LookupError

    worker = make(tmp_path)
    monkeypatch.setattr(registry, "load", fail)
    [error] = (await worker.process_once()).errors
    assert isinstance(error.error, LookupError)
    assert error.message == "LookupError()"


async def test_what_stops_a_run_at_its_start_is_in_the_status(tmp_path: Path) -> None:
    (tmp_path / "observability").write_text("no folder")
    [error] = (await make(tmp_path).process_once()).errors
    assert "observability" in error.message
