"""An event type that a file declares, end to end: the shipped example against a real ClickHouse."""

import asyncio
import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from spoolhouse import declarations, life
from spoolhouse.core.shipment import Limits, Segment, Shipment
from spoolhouse.errors import BadSettingError
from spoolhouse.export import SpoolWriter
from spoolhouse.export.declared_sample import maker
from spoolhouse.export.sample import Sample
from spoolhouse.schema.migrate import check
from spoolhouse.settings import Settings
from spoolhouse.settings.clickhouse import ClickHouseSettings
from spoolhouse.settings.events import EventsSettings
from spoolhouse.settings.spool import SpoolSettings
from spoolhouse.spool.home import Claim, Home
from spoolhouse.spool.layout import Place
from spoolhouse.startup import open_driver, schema_of
from tests.engine import Database

EXAMPLES = Path(__file__).parents[2] / "config" / "events"
TABLE = "mastra_admin_deployments"
NOW = 1_795_262_400_000


def settings(url: str, spool: Path, folder: Path | None = EXAMPLES) -> Settings:
    return Settings(
        clickhouse=ClickHouseSettings(url=url),
        spool=SpoolSettings(storage_path=spool, base_path="", quiet=0.01),
        events=EventsSettings(folder=folder),
    )


@pytest.mark.parametrize("driver", ["native_url", "http_url"])
def test_the_example_lands(database: Database, tmp_path: Path, driver: str) -> None:
    used = settings(getattr(database, driver), tmp_path)
    folder = tmp_path / "deployment" / "shop"
    folder.mkdir(parents=True)
    required = {"projectId": "shop", "service": "cart", "finishedAt": "2026-11-21T12:00:00.250Z"}
    full = required | {
        "id": "d1", "env": "staging", "status": "ok", "durationMs": 7, "automatic": True, "details": {"n": [1]},
        "commit": {"sha": "4f1c", "files": ["a.py", "ü"]},
    }  # fmt: skip
    lines = [{"type": "deployment"} | full, {"type": "deployment", "data": required | {"id": "d2"}}]
    bad = [{"type": "deployment", "id": "d3"}, {"type": "deployment", "id": "d4"} | required | {"status": "lost"}]
    (folder / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines + bad))
    assert asyncio.run(life.run(used, once=True)) == 0
    columns = "id, environment, status, finished_at, duration_ms, commit_sha, commit_files, automatic, details"
    assert database.query(f"SELECT {columns} FROM {TABLE} ORDER BY id") == [
        ("d1", "staging", "ok", "2026-11-21 12:00:00.250", 7, "4f1c", ["a.py", "ü"], True, '{"n": [1]}'),
        ("d2", "production", "running", "2026-11-21 12:00:00.250", None, None, [], False, "{}"),
    ]
    [rejected] = tmp_path.glob("rejected/*/*.jsonl")
    assert [json.loads(line)["field"] for line in rejected.read_text().splitlines()] == ["projectId", "status"]
    assert database.query(f"SELECT sum(count), sum(total_duration_ms) FROM {TABLE}_hourly_stats") == [(2, 7)]


def test_samples_land_and_nothing_differs_afterwards(database: Database, tmp_path: Path) -> None:
    used = settings(database.native_url, tmp_path)
    events = declarations.load(EXAMPLES)
    sample = Sample(seed=1, now_ms=NOW, shape="mixed", declared={"deployment": maker(events["deployment"])})
    with SpoolWriter(tmp_path) as spool:
        spool.write("deployment", "shop", sample.lines("deployment", "shop", 0, 500))
    assert asyncio.run(life.run(used, once=True)) == 0
    assert not (tmp_path / "rejected").exists()
    assert database.query(f"SELECT count(), uniqExact(id) FROM {TABLE}") == [(500, 500)]
    assert asyncio.run(_differences(used)) == []
    database.query(f"ALTER TABLE {TABLE} DROP COLUMN details")
    assert len(asyncio.run(_differences(used))) == 1


async def _differences(used: Settings) -> list[str]:
    driver = open_driver(used)
    try:
        plan = await check(schema_of(used, declarations.load(used.events.folder)), driver)
        return [str(item) for item in (*plan.statements, *plan.refusals)]
    finally:
        await driver.close()


def test_a_wrong_declaration_is_refused_before_anything_is_touched(database: Database, tmp_path: Path) -> None:
    wrong = tmp_path / "events"
    wrong.mkdir()
    (wrong / "x.toml").write_text((EXAMPLES / "deployment.toml").read_text().replace("Int64", "Int65"))
    spool = tmp_path / "spool"
    spool.mkdir()
    with pytest.raises(BadSettingError, match=r"x\.toml: columns\.duration_ms\.type: 'Nullable\(Int65\)' is none of"):
        asyncio.run(life.run(settings(database.native_url, spool, wrong), once=True))
    assert list(spool.iterdir()) == []


def test_files_of_a_type_that_is_declared_no_more_stay(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "deployment" / "shop"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text("{}\n")
    assert asyncio.run(life.run(settings(database.native_url, tmp_path, None), once=True)) == 0
    assert (folder / "a.jsonl").exists()


def test_a_shipment_of_a_type_that_is_declared_no_more_waits(database: Database, tmp_path: Path) -> None:
    """It may have landed: without its declaration all of its lines would be rejected, and be there twice in the end."""
    place = Place(type="deployment", project="shop", name="a.jsonl")
    path = tmp_path / place.relative
    path.parent.mkdir(parents=True)
    line = {"type": "deployment", "id": "1", "projectId": "shop", "service": "s", "finishedAt": "2026-11-21T12:00:00Z"}
    path.write_text(json.dumps(line) + "\n")
    home = Home.create(tmp_path, "dead")
    [(_, claimed)] = home.claim([place])
    assert isinstance(claimed, Claim)
    file = home.add(claimed, NOW)
    file.planned_to = claimed.size
    segments = (Segment(file=file.number, start=0, end=claimed.size),)
    limits = Limits(max_rows=1000, max_insert_bytes=1 << 20, side_bytes=1 << 20, max_line=1000, project="trust")
    shipment = Shipment(
        id="s", instance="dead", type="deployment", segments=segments, clock_ms=NOW, fingerprint="f", limits=limits
    )
    home.journal.plan([file], [shipment])
    home.close()
    with capture_logs() as logs:
        assert asyncio.run(life.run(settings(database.native_url, tmp_path, None), once=True)) == 1
    [held] = [entry for entry in logs if entry["event"] == "journal_held"]
    assert "no such event type any more: deployment (events.folder)" in held["error"]
    assert not (tmp_path / "rejected").exists()
    assert asyncio.run(life.run(settings(database.native_url, tmp_path), once=True)) == 0
    assert database.query(f"SELECT id FROM {TABLE}") == [("1",)]
    assert (path.parent / "processed" / "a.jsonl").exists()
