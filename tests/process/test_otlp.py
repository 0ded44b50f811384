"""OTLP/JSON as a user drops it: real producers' lines in any folder become rows of four tables."""

import time
from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import drop, once
from tests.process.inputs import good

SAMPLES = Path(__file__).parents[1] / "producers" / "samples"
ROWS = {"otel_collector": (4, 2, 2, 3), "otel_js": (2, 1, 3, 4), "otel_logs": (0, 0, 13, 0),
        "otel_metrics": (0, 0, 0, 32), "otel_traces": (11, 6, 0, 0)}  # fmt: skip
"""By sample, the rows of spans, traces, logs and metrics."""
TABLES = ("spans", "traces", "logs", "metrics")


def sample(name: str) -> bytes:
    """A sample as if it had been printed within the last hour: old rows would expire."""
    recent = str(int(time.time()) - 1000)[:7]
    return (SAMPLES / f"{name}.jsonl").read_bytes().replace(b"1773480", recent.encode())


@pytest.mark.parametrize("scheme", ["native", "http"])
def test_samples_land_from_any_folder(database: Database, tmp_path: Path, scheme: str) -> None:
    """Each is dropped into three folders, and one sample between lines of ours."""
    for folder in ("span", "log", "metric"):
        for name in ROWS:
            drop(tmp_path, folder, name, "a.jsonl", sample(name))
    drop(tmp_path, "span", "mixed", "a.jsonl", good("mixed", 3) + sample("otel_traces") + good("mixed", 3, first=3))
    url = database.native_url if scheme == "native" else database.http_url
    code, daemon = once(url, tmp_path)
    assert code == 0, daemon.told()
    for place, table in enumerate(TABLES):
        found = dict(database.query(f"SELECT project_id, count() FROM mastra_admin_{table} GROUP BY project_id"))
        expected = {name: 3 * rows[place] for name, rows in ROWS.items() if rows[place]}
        mixed = {"spans": {"mixed": 17}, "traces": {"mixed": 6}}.get(table, {})
        assert found == expected | mixed, table
    assert list(tmp_path.glob("*/*/rejected/*")) == []


def test_values_arrive_as_they_were_written(database: Database, tmp_path: Path) -> None:
    drop(tmp_path, "span", "p", "a.jsonl", sample("otel_traces") + sample("otel_metrics") + sample("otel_logs"))
    code, daemon = once(database.native_url, tmp_path)
    assert code == 0, daemon.told()
    assert database.query(
        "SELECT model, provider, input_tokens, output_tokens, cost_usd, duration_ms,"
        " JSONExtractString(attributes, 'resource', 'service.name'), JSONExtractInt(extra, 'flags')"
        " FROM mastra_admin_spans WHERE model != '' ORDER BY model"
    ) == [
        ("claude-sonnet-4-5", "anthropic", 1200, 80, 0.00315, 1500.0, "shop", 256),
        ("gpt-4o-mini-2024-07-18", "openai", 412, 37, None, 800.0, "shop", 256),
    ]
    assert database.query(
        "SELECT value, bucket_boundaries, bucket_counts, JSONExtractInt(extra, 'count') FROM mastra_admin_metrics"
        " WHERE name = 'http.server.request.duration' LIMIT 1"
    ) == [(2.304, [0.01, 0.1, 1.0], [1, 1, 1, 1], 4)]
    assert database.query("SELECT level, count() FROM mastra_admin_logs GROUP BY level ORDER BY level") == [
        ("debug", 2), ("info", 8), ("warn", 1), ("error", 1), ("fatal", 1),
    ]  # fmt: skip
