"""An event type that a file declares, end to end: the shipped example against a real ClickHouse."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from spoolhouse.errors import BadSettingError
from spoolhouse.export import SpoolWriter
from spoolhouse.export.samples import SampleEvents
from spoolhouse.export.samples.declared import template_of
from spoolhouse.settings import Settings
from tests.engine import Database
from tests.integration import build

EXAMPLES = Path(__file__).parents[2] / "config" / "events"
TABLE = "mastra_admin_deployments"
NOW = 1_795_262_400_000


def settings(url: str, spool: Path, folder: Path | None = EXAMPLES) -> Settings:
    return build.settings(url, spool, events={"folder": folder})


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
    assert build.ingest(used) == 0
    columns = "id, environment, status, finished_at, duration_ms, commit_sha, commit_files, automatic, details"
    assert database.query(f"SELECT {columns} FROM {TABLE} ORDER BY id") == [
        ("d1", "staging", "ok", "2026-11-21 12:00:00.250", 7, "4f1c", ["a.py", "ü"], True, '{"n": [1]}'),
        ("d2", "production", "running", "2026-11-21 12:00:00.250", None, None, [], False, "{}"),
    ]
    [rejected] = tmp_path.glob("rejected/*/*.jsonl")
    assert [json.loads(line)["field"] for line in rejected.read_text().splitlines()] == ["service", "status"]
    assert database.query(f"SELECT sum(count), sum(total_duration_ms) FROM {TABLE}_hourly_stats") == [(2, 7)]


def test_samples_land_and_nothing_differs_afterwards(database: Database, tmp_path: Path) -> None:
    used = settings(database.native_url, tmp_path)
    sample = SampleEvents(
        seed=1,
        now_ms=NOW,
        shape="mixed",
        declared={"deployment": template_of(build.event_types(EXAMPLES)["deployment"])},
    )
    with SpoolWriter(tmp_path) as spool:
        spool.write("deployment", "shop", sample.lines("deployment", "shop", 0, 500))
    assert build.ingest(used) == 0
    assert not (tmp_path / "rejected").exists()
    assert database.query(f"SELECT count(), uniqExact(id) FROM {TABLE}") == [(500, 500)]
    assert asyncio.run(build.differences(used)) == []
    database.query(f"ALTER TABLE {TABLE} DROP COLUMN details")
    assert len(asyncio.run(build.differences(used))) == 1


def test_columns_may_have_any_name(database: Database, tmp_path: Path) -> None:
    """Those that our own statements give to something else, too: as a key, as the measure, as any column."""
    spool, folder = tmp_path / "spool", tmp_path / "events"
    folder.mkdir()
    key = ["project_id", "version", "expired", "part"]
    names = "content contents count day hour known last_ingested_at later latest line lines object ours own piece q row"
    names += " t there verdict written"
    columns = {
        **dict.fromkeys(("project_id", "expired", "part", *names.split()), "String"),
        "version": "Int64", "size": "Nullable(Int64)", "size_count": "Int64", "at": "DateTime64(3)",
    }  # fmt: skip
    needed = {*key, "at"}
    text = f'type = "odd"\ntable = "odds"\ntime = "at"\nttl_days = 90\nkey = {json.dumps(key)}\n'
    for name, kind in columns.items():
        text += f'[[columns]]\nname = "{name}"\ntype = "{kind}"\n' + "required = true\n" * (name in needed)
    text += '[rollup]\nname = "odds_hourly_stats"\nkeys = ["project_id"]\nmeasure = "size"\n'
    (folder / "odd.toml").write_text(text)
    used = settings(database.native_url, spool, folder)
    path = spool / "odd" / "shop" / "a.jsonl"
    path.parent.mkdir(parents=True)
    event = dict.fromkeys(names.split(), "x") | {"type": "odd", "project_id": "shop", "expired": "no", "part": "1"}
    event["at"] = datetime.now(UTC).isoformat()
    lines = [event | {"version": number, "size": 10 * number, "size_count": 1} for number in (1, 2, 3)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert build.ingest(used) == 0
    settled = path.parent / "processed" / path.name
    shown = "SELECT sum(count), sum(total_size), max(max_size) FROM mastra_admin_odds_hourly_stats"
    assert database.query(shown) == [(3, 60, 30)]
    assert asyncio.run(build.verdicts(used, settled)) == {"there": 3}
    database.query("TRUNCATE TABLE mastra_admin_odds SYNC")
    assert asyncio.run(build.verdicts(used, settled)) == {"missing": 3}
    assert asyncio.run(build.replayed(used, settled)) == ["mastra_admin_odds"]
    assert asyncio.run(build.verdicts(used, settled)) == {"there": 3}
    database.query("DROP VIEW mastra_admin_odds_hourly_feed")
    database.query("DROP TABLE mastra_admin_odds_hourly SYNC")
    assert build.ingest(used) == 0
    assert database.query(shown) == [(3, 60, 30)]


def test_a_file_may_be_verified_by_several_at_once(database: Database, tmp_path: Path) -> None:
    used = settings(database.native_url, tmp_path)
    with SpoolWriter(tmp_path, max_age=None) as spool:
        sample = SampleEvents(seed=1, now_ms=NOW, shape="flat")
        spool.write("span", "shop", sample.lines("span", "shop", 0, 3000))
    assert build.ingest(used) == 0
    [path] = tmp_path.glob("span/shop/processed/*")

    async def several() -> list[dict[str, int]]:
        return await asyncio.gather(*(build.verdicts(used, path) for _ in range(4)))

    assert asyncio.run(several()) == [{"there": 3000}] * 4
    assert not database.query("SHOW TABLES LIKE '%staging%'")


def test_a_wrong_declaration_is_refused_before_anything_is_touched(database: Database, tmp_path: Path) -> None:
    wrong = tmp_path / "events"
    wrong.mkdir()
    (wrong / "x.toml").write_text((EXAMPLES / "deployment.toml").read_text().replace("Int64", "Int65"))
    spool = tmp_path / "spool"
    spool.mkdir()
    with pytest.raises(BadSettingError, match=r"x\.toml: columns\.duration_ms\.type: 'Nullable\(Int65\)' is none of"):
        build.ingest(settings(database.native_url, spool, wrong))
    assert list(spool.iterdir()) == []


def test_files_of_a_type_that_is_declared_no_more_stay(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "deployment" / "shop"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text("{}\n")
    assert build.ingest(settings(database.native_url, tmp_path, None)) == 0
    assert (folder / "a.jsonl").exists()


def test_a_shipment_of_a_type_that_is_declared_no_more_waits(database: Database, tmp_path: Path) -> None:
    """It may have landed: without its declaration all of its lines would be rejected, and be there twice in the end."""
    line = {"type": "deployment", "id": "1", "projectId": "p", "service": "s", "finishedAt": "2026-11-21T12:00:00Z"}
    with build.instance(tmp_path, "dead") as instance:
        claimed = build.claim(instance, content=json.dumps(line).encode() + b"\n", kind="deployment")
        build.plan(instance, "s", claimed, clock_ms=NOW)
    with capture_logs() as logs:
        assert build.ingest(settings(database.native_url, tmp_path, None)) == 1
    [held] = [entry for entry in logs if entry["event"] == "journal_held"]
    assert "no such event type any more: deployment (events.folder)" in held["error"]
    assert not (tmp_path / "rejected").exists()
    assert build.ingest(settings(database.native_url, tmp_path)) == 0
    assert database.query(f"SELECT id FROM {TABLE}") == [("1",)]
    assert (tmp_path / "deployment/p/processed/a.jsonl").exists()
