"""Events that ClickHouse would drop at once: said, or rejected, end to end."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from structlog.testing import capture_logs

from tests.engine import Database
from tests.integration import build

NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("policy", "landed", "level"), [("trust", 3, "info"), ("warn", 3, "warning"), ("reject", 1, "warning")]
)
def test_it_is_said_once_a_file(
    database: Database, tmp_path: Path, policy: Literal["trust", "warn", "reject"], landed: int, level: str
) -> None:
    folder = tmp_path / "log" / "p"
    folder.mkdir(parents=True)
    event: dict[str, Any] = {"type": "log", "projectId": "p", "level": "info", "message": "m"}
    days = {"now": 0, "old": -31, "ahead": 2}
    lines = [event | {"id": key, "timestamp": (NOW + timedelta(days=shift)).isoformat()} for key, shift in days.items()]
    (folder / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    used = build.settings(database.native_url, tmp_path, spool={"expired": policy, "future": policy})
    with capture_logs() as logs:
        assert build.ingest(used) == 0
    [settled] = [entry for entry in logs if entry["event"] == "file_settled"]
    odd = 1 if policy == "warn" else 0
    assert (settled["rows"], settled["expired"], settled["future"]) == ({"logs": landed}, odd, odd)
    assert (settled["rejected"], settled["log_level"]) == (3 - landed, level)
    reasons = [json.loads(line) for path in tmp_path.glob("rejected/*/*") for line in path.read_text().splitlines()]
    expected = [("expired", "timestamp"), ("future", "timestamp")] if policy == "reject" else []
    assert [(reject["reason"], reject["field"]) for reject in reasons] == expected
    ahead = database.query("SELECT count() FROM mastra_admin_logs WHERE id = 'ahead'")
    assert ahead == [(0 if policy == "reject" else 1,)]
