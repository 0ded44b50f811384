"""A batch of more months than the server lets one insert have: it is cut up, and lands once all the same."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.engine import Config, Database, LocalServer, User, find_engine
from tests.integration import build

EXAMPLE = Path(__file__).parents[2] / "config" / "events" / "deployment.toml"
TABLE = "mastra_admin_deployments"
NAME = "max_partitions_per_insert_block"
NARROW = Config(
    users=(
        User(name="narrow", password="secret", profile="narrow"),
        User(name="low", password="secret", profile="low"),
    ),
    profiles={"narrow": {NAME: 5, f"constraints/{NAME}/readonly": ""}, "low": {NAME: 5}},
)
MONTHS = 24


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(find_engine(), tmp_path_factory.mktemp("narrow"), NARROW) as local:
        yield local


@pytest.mark.parametrize("kind", ["clickhouse", "http"])
@pytest.mark.parametrize(("user", "is_cut"), [("narrow", True), ("low", False)])
def test_it_is_cut_where_the_limit_cannot_be_raised(
    narrow: LocalServer, tmp_path: Path, kind: str, user: str, *, is_cut: bool
) -> None:
    database = Database(name=f"{user}_{kind}", server=narrow)
    database.create()
    folder = tmp_path / "deployment" / "shop"
    folder.mkdir(parents=True)
    now = datetime.now(UTC)
    event = {"type": "deployment", "projectId": "shop", "service": "cart", "durationMs": 2}
    # Months in turn, as hardly any producer writes them: each half of the rows has all of them for long.
    lines = [
        event | {"id": str(number), "finishedAt": (now - timedelta(days=30 * (number % MONTHS))).isoformat()}
        for number in range(96)
    ]
    (folder / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    types = tmp_path / "types"
    types.mkdir()
    kept = EXAMPLE.read_text().replace("ttl_days = 180", "ttl_days = 2000").replace("ttl_days = 730", "ttl_days = 2000")
    (types / "deployment.toml").write_text(kept)
    endpoint = narrow.endpoint
    url = endpoint.url(kind, database.name, user=user, password="secret")
    assert build.ingest(build.settings(url, tmp_path, events={"folder": types})) == 0
    assert not (tmp_path / "rejected").exists()
    assert database.query(f"SELECT count(), uniqExact(id) FROM {TABLE}") == [(96, 96)]
    assert database.query(f"SELECT sum(count), sum(total_duration_ms) FROM {TABLE}_hourly_stats") == [(96, 192)]
    months = f"SELECT uniqExact(toYYYYMM(finished_at)) AS months FROM {TABLE} GROUP BY batch_id"
    [[batches, widest]] = database.query(f"SELECT count(), max(months) FROM ({months})")
    assert (batches > 1, widest <= 5) == (is_cut, is_cut)
