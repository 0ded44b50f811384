"""What comes out can go in again: each command's --json, ingested into an empty database, gives the same rows."""

import json
from pathlib import Path

import pytest

from spoolhouse.events.agent import AGENT_STEPS, TOOL_CALLS
from spoolhouse.export import SpoolWriter
from spoolhouse.query import connect_sync
from spoolhouse.query.signals import LISTS
from tests.engine import Database, Pool
from tests.integration.test_flow import ingest
from tests.process.daemon import command
from tests.query.landed import Event, at, feedback, land, log, metric, prompt, rows, score, span, step, trace

ODD = "dots ü 漢 \u202e \u2028 \\ \" ' \t"
EVENTS: dict[str, list[Event]] = {
    "traces": [
        trace(1, input={"a": [1.50, 12345678901234567890123]}, output="text", metadata={}, recordedAt=at(0)),
        trace(2, input=0, output=False, metadata={"k": None, "o": ODD}, name=ODD, deploymentId="d", unknown={"x": [1]}),
        trace(3, status="failed", endTime=None, metadata=[1], traceId="beaten"),
    ],
    "spans": [
        span(1, attributes={"gen_ai.request.model": "m1", "gen_ai.usage.input_tokens": 3}, events=[{"name": "e"}]),
        span(2, parentSpanId="", kind="SPAN_KIND_CLIENT", status={"code": 2, "message": "late"}, durationMs=0.125),
        span(3, parentSpanId="s001", kind=0, model="own", costUsd=1e-9, data=1),
        {"type": "span", "data": {**span(4), "type": "agent_run"}},
    ],
    "logs": [
        log(1, level="critical", attributes={"a.b": {"c": 1}}), log(2, message=ODD, traceId="t", spanId="s"),
        log(3, level=30, attributes="text", logger="app"),
    ],
    "metrics": [
        metric(1, metricType="sum", unit="ms", bucketBoundaries=[0.1, 1], bucketCounts=[1, 2, 2**63 - 1]),
        {"type": "metric", "data": {**metric(2), "type": "updowncounter"}}, metric(3, value=1e300),
    ],
    "scores": [score(1, normalizedValue=0, reason="why", experiment="x", metadata={"k": 1}), score(2, spanId="s")],
    "feedback": [feedback(1), feedback(2), feedback(3, value=1e3), feedback(4, value="", comment=ODD, userId="u")],
    "events": [
        prompt(1, prompt=[{"role": "user"}], response="5", tags=["a", ODD], client={"hostname": "h", "os": "linux"},
               error={"message": "m", "code": 429, "more": 1},
               tool_calls=[{"tool_name": "search", "input": {"q": ODD}, "output": None, "extra_field": 1},
                           {"tool_name": "send", "error": {"message": "late"}, "status": "failed", "latency_ms": 0}]),
        prompt(2, env="dev", response_metadata={"n": 1}, prompt="[1", context={}),
        step(3, input_data="flat", unknown=None), step(4, step={"number": 4, "name": "n", "type": "output", "x": 1}),
        {"event_type": "tool_call", "event_id": "g1", "project_id": "shop", "run_id": "r", "timestamp": at(5),
         "tool_name": "own", "tool_input": {"a": 1}, "tool_output": "x", "tool_calls": [{"tool_name": "inner"}]},
        {"event_type": "performance_alert", "event_id": "g2", "project_id": "shop", "run_id": "r", "timestamp": at(6),
         "alert_type": "cost_spike", "alert_affected_models": ["a", "b"], "alert_window_minutes": 5},
    ],
}  # fmt: skip
TABLES = {
    **{name: (signal.table,) for name, signal in LISTS.items()},
    "events": (LISTS["events"].table, TOOL_CALLS, AGENT_STEPS),
}


def parsed(text: str) -> list[Event]:
    """Return the objects of lines; not `splitlines`, which would split inside a text."""
    return [json.loads(line) for line in text.split("\n") if line]


@pytest.mark.parametrize("name", EVENTS)
def test_what_a_list_prints_gives_the_same_rows(name: str, database: Database, prepared: Pool, tmp_path: Path) -> None:
    land(database, tmp_path / "in", EVENTS[name])
    done = command(name, "--project", "shop", "--json", "--clickhouse-url", database.native_url)
    assert (done.returncode, done.stderr) == (0, "")
    lines = parsed(done.stdout)
    assert len(lines) == len(EVENTS[name])
    other = prepared.take()
    try:
        land(other, tmp_path / "out", lines)
        for table in TABLES[name]:
            columns = [column.name for column in table.columns]
            assert rows(other, table.name, columns) == rows(database, table.name, columns)
        assert command(name, "--project", "shop", "--json", "--clickhouse-url", other.http_url).stdout == done.stdout
    finally:
        prepared.give_back(other)


def test_what_a_trace_prints_gives_the_same_rows(database: Database, prepared: Pool, tmp_path: Path) -> None:
    parts = [trace(1), span(1), span(11), log(1, traceId="t001"), score(1), feedback(1)]
    land(database, tmp_path / "in", [*parts, span(2), log(2)])
    done = command("trace", "t001", "--project", "shop", "--json", "--clickhouse-url", database.native_url)
    assert (done.returncode, done.stderr) == (0, "")
    lines = parsed(done.stdout)
    assert sorted(line["id"] for line in lines) == sorted(part["id"] for part in parts)
    other = prepared.take()
    try:
        land(other, tmp_path / "out", lines)
        again = command("trace", "t001", "--project", "shop", "--json", "--clickhouse-url", other.native_url)
        assert again.stdout == done.stdout
    finally:
        prepared.give_back(other)


def test_a_line_is_flat_and_has_the_producers_keys(database: Database, tmp_path: Path) -> None:
    land(database, tmp_path, [span(1, attributes={"a": [1.50]}, other=1), prompt(1)])
    done = command("spans", "--project", "shop", "--json", "--clickhouse-url", database.native_url)
    line = json.loads(done.stdout)
    assert {
        "type": "span",
        "id": "s001",
        "traceId": "t001",
        "attributes": {"a": [1.5]},
        "other": 1,
    }.items() <= line.items()
    assert line["startTime"].endswith(".000Z")
    done = command("events", "--project", "shop", "--json", "--clickhouse-url", database.native_url)
    line = json.loads(done.stdout)
    assert {"event_type": "prompt_call", "event_id": "e001", "run_id": "r1", "tokens_input": 1}.items() <= line.items()


def test_a_score_and_feedback_that_are_written_one_by_one_come_back(database: Database, tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, max_lines=2) as spool:
        made = [
            spool.create_score("shop", score(1)),
            spool.create_feedback("shop", feedback(2, value=5)),
            spool.create_feedback("shop", feedback(3, value="5")),
        ]
        assert all(path.read_bytes().count(b"\n") == 1 for path in made), "visible when the method returns"
        spool.write("feedback", "shop", [feedback(4)])
        assert spool.create_feedback("shop", feedback(5)).read_bytes().count(b"\n") == 2, "with what was written before"
    assert ingest(database.native_url, tmp_path) == 0
    with connect_sync(database.native_url) as q:
        assert [one.value for one in q.scores(project="shop")] == [0.1]
        assert [one.value for one in q.feedback(project="shop", id=["f002", "f003"], order="-time")] == [5, "5"]
        assert len(list(q.feedback(project="shop"))) == 4
