"""The HTTP server over the real figures, in this process: what a healthy daemon cannot show."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from spoolhouse.errors import OperatorError
from spoolhouse.monitoring.health import SERVER
from spoolhouse.monitoring.status_model import Liveness, Readiness, RecentFile, Status
from spoolhouse.settings import Settings
from tests.integration import build


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {
            "spool": {"storage_path": tmp_path},
            "http": {"listen": "127.0.0.1:0"},
            "clickhouse": {"password": "s3cret"},
        }
    )


async def test_a_stage_that_hangs_is_named(settings: Settings) -> None:
    now = 0.0
    with build.reporter(settings, lambda: now) as reporter:
        heartbeat = reporter.shared.heartbeat
        hanging = asyncio.create_task(heartbeat.follow("settle", asyncio.Event().wait(), limit=10))
        await asyncio.sleep(0)
        async with build.served(reporter) as session:
            async with session.get("/livez") as answer:
                assert answer.status == 200
            now = 11.0
            async with session.get("/livez") as answer:
                assert answer.status == 503
                told = msgspec.json.decode(await answer.read(), type=Liveness)
                assert told == Liveness(alive=False, stuck={"settle": 11.0})
            async with session.get("/metrics") as answer:
                assert "\nspoolhouse_stuck_stages 1.0\n" in await answer.text()
    hanging.cancel()


async def test_a_daemon_that_stops_is_not_ready(settings: Settings) -> None:
    with build.reporter(settings) as reporter:
        reporter.shared.health.good(SERVER)
        async with build.served(reporter) as session:
            async with session.get("/readyz") as answer:
                assert answer.status == 200
            reporter.shared.stop.set()
            async with session.get("/readyz") as answer:
                assert answer.status == 503
                told = msgspec.json.decode(await answer.read(), type=Readiness)
                assert told == Readiness(ready=False, state="stopping", reasons=[])


async def test_a_secret_in_the_words_of_the_server_is_not_told(settings: Settings) -> None:
    with build.reporter(settings) as reporter:
        reporter.shared.health.bad(SERVER, OperatorError("no such password: s3cret", hint="not s3cret"))
        async with build.served(reporter) as session:
            for path in ("/readyz", "/status"):
                async with session.get(path) as answer:
                    body = await answer.text()
                    assert "no such password" in body
                    assert "s3cret" not in body


async def test_what_is_kept_of_the_past_is_bounded(settings: Settings) -> None:
    file = RecentFile(path="x", destination=None, at_ms=0, bytes=1, rows=1, rejected=0, seconds=0.1)
    with build.reporter(settings) as reporter:
        for _ in range(500):
            reporter.shared.recent.settled(file)
        async with build.served(reporter) as session, session.get("/status") as answer:
            told = msgspec.json.decode(await answer.read(), type=Status)
    assert len(told.recent_files) == 50


async def test_only_reading_is_allowed(settings: Settings) -> None:
    with build.reporter(settings) as reporter:
        async with build.served(reporter) as session:
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                async with session.request(method, "/status", data=b"x" * 100_000) as answer:
                    assert answer.status == 405
            async with session.head("/status") as answer:
                assert answer.status == 200
