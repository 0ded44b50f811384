"""What real packages of Mastra printed, in ClickHouse."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.engine import Database
from tests.process.daemon import drop, once

SAMPLES = Path(__file__).parents[1] / "producers" / "samples"
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%d").encode()
FILES = {
    path.stem: path.read_bytes().replace(b"2026-03-14", YESTERDAY) for path in sorted(SAMPLES.glob("mastra_*.jsonl"))
}
"""By name, the samples as if they were of yesterday: tables expire."""
FOLDERS = ("span", "log", "metric", "feedback")
TABLES = ("traces", "spans", "logs", "metrics", "scores", "feedback")
PREFIX = "mastra_admin_"

Event = dict[str, Any]


def payloads(content: bytes) -> list[tuple[str, Event]]:
    """The table that each line is for, and its payload."""
    found = []
    for line in content.splitlines():
        event = json.loads(line)
        kind = event.pop("type")
        [payload] = event.values()
        table = "spans" if kind.startswith("span_") else kind if kind == "feedback" else f"{kind}s"
        found.append((table, payload))
        if payload.get("isRootSpan"):
            found.append(("traces", payload))
    return found


@pytest.mark.parametrize("is_reversed", [False, True])
def test_every_line_lands_from_any_folder(database: Database, tmp_path: Path, is_reversed: bool) -> None:
    """In any order, too: of a span that ended the end stays, and it is counted once."""
    expected: Counter[tuple[str, str]] = Counter()
    ends: set[tuple[str, str, str]] = set()
    assert len(FILES) == len(FOLDERS)
    for folder, (project, content) in zip(FOLDERS, FILES.items(), strict=True):
        lines = content.splitlines(keepends=True)
        drop(tmp_path, folder, project, "a.jsonl", b"".join(reversed(lines) if is_reversed else lines))
        for table, payload in payloads(content):
            expected[table, project] += 1
            if "endTime" in payload:
                ends.add((table, project, payload["id"] if table == "spans" else payload["traceId"]))
    code, daemon = once(database.native_url, tmp_path)
    assert code == 0, daemon.told()
    assert not list((tmp_path / "rejected").rglob("*.jsonl"))
    found: Counter[tuple[str, str]] = Counter()
    for table in TABLES:
        for project, count in database.query(f"SELECT project_id, count() FROM {PREFIX}{table} GROUP BY 1"):
            found[table, str(project)] = int(str(count))
    assert found == expected
    for table, key in (("spans", "span_id"), ("traces", "trace_id")):
        sql = f"SELECT project_id, {key} FROM {PREFIX}{table} FINAL WHERE end_time IS NOT NULL AND status != 'unset'"
        assert {(table, *row) for row in database.query(sql)} == {end for end in ends if end[0] == table}
        distinct, rows = database.query(f"SELECT uniqExact(project_id, {key}), count() FROM {PREFIX}{table} FINAL")[0]
        assert distinct == rows
        [(counted,)] = database.query(f"SELECT sum(count) FROM {PREFIX}{table}_hourly_stats")
        assert counted == sum(end[0] == table for end in ends)


def test_the_end_stays_whichever_file_lands_last(database: Database, tmp_path: Path) -> None:
    started, ended = (
        b"".join(line for line in FILES["mastra_signals"].splitlines(keepends=True) if line.startswith(head))
        for head in (b'{"type":"span_started"', b'{"type":"span_ended"')
    )
    for name, content in (("a.jsonl", ended), ("b.jsonl", started)):
        drop(tmp_path, "span", "p", name, content)
        code, daemon = once(database.native_url, tmp_path)
        assert code == 0, daemon.told()
    [(count,)] = database.query(f"SELECT count() FROM {PREFIX}spans FINAL WHERE end_time IS NULL")
    events = sum(b'"isEvent":true' in line for line in ended.splitlines())
    assert count == events == 1
    assert database.query(f"SELECT status, end_time IS NULL FROM {PREFIX}traces FINAL") == [("ok", 0)]
    sql = f"SELECT sum(input_tokens), sum(output_tokens), round(sum(cost_usd), 6) FROM {PREFIX}spans FINAL"
    assert database.query(sql) == [(1264, 80, 0.00315)]
