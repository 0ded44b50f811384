"""The agent family end to end: one line brings rows for several tables, each once."""

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from spoolhouse.events.agent import AGENT_TYPES
from spoolhouse.export import SpoolWriter
from spoolhouse.export.samples import SampleEvents
from tests.engine import Database
from tests.integration.test_flow import (
    PREFIX,
    Event,
    anything,
    as_json,
    double,
    ingest,
    int64,
    name,
    objects,
    optional,
    read_back,
    stored,
    text,
    times,
)

NOW = datetime.now(UTC).replace(microsecond=250_000)
STORED = f"{NOW:%Y-%m-%d %H:%M:%S}.250"
HEAD = {"event_id": "e1", "project_id": "p", "run_id": "r1", "timestamp": NOW.isoformat()}


def drop(spool: Path, folder: str, *events: dict[str, Any]) -> None:
    place = spool / folder / "p"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{len(list(place.iterdir()))}.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


def found(database: Database, table: str, *columns: str, order: str = "event_id") -> list[tuple[Any, ...]]:
    listed = ", ".join(f"`{column}`" for column in columns)
    return database.query(f"SELECT {listed} FROM {PREFIX}{table} FINAL ORDER BY {order}")


@pytest.mark.parametrize("driver", ["native_url", "http_url"])
def test_a_prompt_with_tool_calls(database: Database, tmp_path: Path, driver: str) -> None:
    error = {"message": "m", "type": "t", "code": 429, "stack_trace": "s", "context": {"a": [1.50]}}
    calls = [
        {"tool_name": "search", "tool_id": "c1", "input": {"q": "x"}, "output": None, "latency_ms": 0},
        {"tool_name": "send", "input": "text", "output": [1], "status": "timeout", "error": {"message": "late"}},
    ]
    event = HEAD | {
        "event_type": "prompt_call", "tags": ["a", "ü"], "env": "staging", "client": {"hostname": "h", "platform": "l"},
        "prompt": [{"role": "user", "content": "hi"}], "model": "m1", "tokens_input": 2**40, "cost_estimate_usd": 0.5,
        "response": "", "response_metadata": {"n": 12345678901234567890123}, "status": "error", "error": error,
        "tool_calls": calls,
    }  # fmt: skip
    drop(tmp_path, "prompt_call", event)
    assert ingest(getattr(database, driver), tmp_path) == 0
    assert found(
        database, "events", "event_id", "project_id", "run_id", "timestamp", "user_id", "tags", "env",
        "client_hostname", "client_sdk_version", "client_platform", "event_type", "prompt", "model", "tokens_input",
        "cost_estimate_usd", "response", "response_metadata", "latency_ms", "status", "error_message", "error_type",
        "error_code", "error_stack", "error_context", "step_number", "hallucination_recommendations", "context",
    ) == [(
        "e1", "p", "r1", STORED, None, ["a", "ü"], "staging",
        "h", None, "l", "prompt_call", '[{"role": "user", "content": "hi"}]', "m1", 2**40,
        0.5, "", '{"n": 12345678901234567890123}', None, "error", "m", "t",
        "429", "s", '{"a": [1.5]}', None, [], None,
    )]  # fmt: skip
    columns = "event_id project_id timestamp position tool_name tool_id tool_input tool_output latency_ms status "
    columns += "error_message error_code"
    assert found(database, "tool_calls", *columns.split(), order="position") == [
        ("e1", "p", STORED, 1, "search", "c1", '{"q": "x"}', "", 0, None, None, None),
        ("e1", "p", STORED, 2, "send", None, '"text"', "[1]", None, "timeout", "late", None),
    ]
    ids = database.query(
        f"SELECT DISTINCT batch_id FROM {PREFIX}events UNION ALL SELECT DISTINCT batch_id FROM {PREFIX}tool_calls"
    )
    assert {row[0].partition(":")[2] for row in ids} == {"events", "tool_calls"}
    assert len({row[0].partition(":")[0] for row in ids}) == 1, "one line, one shipment"


def test_a_tool_call_is_one_itself(database: Database, tmp_path: Path) -> None:
    own = {"event_type": "tool_call", "tool_name": "own", "tool_input": {}, "tool_output": 0, "latency_ms": 7}
    drop(
        tmp_path,
        "tool_call",
        HEAD | own,
        HEAD | own | {"event_id": "e2", "tool_calls": [{"tool_name": "inner"}]},
        HEAD | {"event_type": "tool_call", "event_id": "e3", "tool_calls": [{"tool_name": "only"}]},
        HEAD | {"event_type": "tool_call", "event_id": "e4"},
        HEAD | {"event_type": "tool_call", "event_id": "e5", "tool_calls": [{"tool_name": "x"}, {"input": "no name"}]},
    )
    assert ingest(database.native_url, tmp_path) == 0
    assert found(
        database, "tool_calls", "event_id", "position", "tool_name", "tool_output", order="event_id, position"
    ) == [
        ("e1", 0, "own", "0"),
        ("e2", 0, "own", "0"),
        ("e2", 1, "inner", ""),
        ("e3", 1, "only", ""),
    ]
    assert found(database, "events", "event_id") == [("e1",), ("e2",), ("e3",)]
    [rejected] = tmp_path.glob("rejected/*/*.jsonl")
    reasons = [json.loads(line) for line in rejected.read_text().splitlines()]
    assert [(reject["reason"], reject["field"]) for reject in reasons] == [
        ("missing_field", "tool_name"),
        ("missing_field", "tool_calls[1].tool_name"),
    ]


@pytest.mark.parametrize("prefix", ["step_", ""])
def test_a_step_is_written_in_two_ways(database: Database, tmp_path: Path, prefix: str) -> None:
    step: dict[str, Any] = {"number": 3, "name": "plan", "type": "reasoning", "input_data": {"a": 1}, "reasoning": "r"}
    written = {f"step_{key}": value for key, value in step.items()} if prefix else {"step": step}
    drop(tmp_path, "agent_step", HEAD | {"event_type": "agent_step", "status": "success"} | written)
    assert ingest(database.native_url, tmp_path) == 0
    names = ("number", "name", "type", "input_data", "output_data", "reasoning")
    assert found(database, "agent_steps", "run_id", *(f"step_{name}" for name in names[:3]), *names[3:], "context") == [
        ("r1", 3, "plan", "reasoning", '{"a": 1}', "", "r", None)
    ]
    assert found(database, "events", *(f"step_{name}" for name in names)) == [
        (3, "plan", "reasoning", '{"a": 1}', None, "r")
    ]


def test_samples_of_the_whole_family_land(database: Database, tmp_path: Path) -> None:
    """Each type from its own folder, in both shapes; rows are as many as the samples say."""
    sample = SampleEvents(seed=1, now_ms=int(NOW.timestamp() * 1000), shape="mixed")
    events: list[dict[str, Any]] = []
    with SpoolWriter(tmp_path) as spool:
        for name in AGENT_TYPES:
            lines = list(sample.lines(name, "p", 0, 60))
            spool.write(name, "p", lines)
            events += [line.get("data", line) | {"event_type": name} for line in map(json.loads, lines)]
    assert ingest(database.native_url, tmp_path) == 0
    assert not (tmp_path / "rejected").exists()
    assert found(database, "events", "event_id", "event_type") == sorted(
        (event["event_id"], event["event_type"]) for event in events
    )
    calls = sum(len(event.get("tool_calls", ())) + ("tool_name" in event) for event in events)
    assert calls > 100
    assert database.query(f"SELECT count(), uniqExact(event_id, position) FROM {PREFIX}tool_calls") == [(calls, calls)]
    assert database.query(f"SELECT count() FROM {PREFIX}agent_steps") == [(60,)]
    assert database.query(f"SELECT sum(request_count) FROM {PREFIX}hourly_metrics") == [(60,)]


int32 = st.integers(-(2**31), 2**31 - 1)
exact = st.integers(-(2**53), 2**53)
texts = st.lists(text, max_size=3)
json_or_text = text | objects | st.lists(anything, max_size=2) | st.booleans() | int64
statuses = st.sampled_from(["success", "error", "timeout", "assertion_failed", "warning"])
NULLABLE: dict[str, st.SearchStrategy[Any]] = {
    "user_id": text, "release": text, "model": text, "tokens_input": int64, "cost_estimate_usd": double,
    "latency_ms": exact, "status": statuses, "hallucination_confidence_score": double, "alert_window_minutes": int32,
    "assertion_severity": st.sampled_from(["low", "critical"]),
    "alert_type": st.sampled_from(["cost_spike", "token_limit"]),
}  # fmt: skip
AS_JSON: dict[str, st.SearchStrategy[Any]] = {"response_metadata": objects, "context": anything.filter(bool)}
AS_TEXT = ("prompt", "response", "assertion_expected", "assertion_actual")
ERROR: dict[str, st.SearchStrategy[Any]] = {"message": text, "type": text, "code": text | int64 | double}


def text_of(value: object) -> str | None:
    """Return what is stored of a value that may be text or any JSON."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@st.composite
def agent_events(draw: st.DrawFn) -> tuple[Event, dict[str, object], list[tuple[object, ...]]]:
    """Return an event of an agent, the row that it should be, and the rows of its calls."""
    written, moment = draw(times())
    kind = draw(st.sampled_from([kind for kind in AGENT_TYPES if kind not in {"tool_call", "agent_step"}]))
    event: Event = {"event_type": kind, "event_id": str(draw(st.uuids())), "timestamp": written, "project_id": "p"}
    row: dict[str, object] = {"event_id": event["event_id"], "timestamp": stored(moment), "event_type": kind}
    event["run_id"] = row["run_id"] = draw(name)
    for column, values in NULLABLE.items():
        row[column] = optional(draw, event, column, values)
    for column, values in AS_JSON.items():
        value = optional(draw, event, column, values)
        row[column] = None if value is None else as_json(value, "")
    for column in AS_TEXT:
        row[column] = text_of(optional(draw, event, column, json_or_text))
    row["tags"] = optional(draw, event, "tags", texts) or []
    row["env"] = optional(draw, event, "env", st.sampled_from(["staging", "development"])) or "production"
    error: Event = {}
    for key, values in ERROR.items():
        row[f"error_{key}"] = text_of(optional(draw, error, key, values))
    event["error"] = error
    calls: list[tuple[object, ...]] = []
    for position in range(1, draw(st.integers(1, 3))):
        call: Event = {"tool_name": draw(name)}
        output = optional(draw, call, "output", anything)
        status = optional(draw, call, "status", statuses)
        calls.append((event["event_id"], position, call["tool_name"], as_json(output, ""), status))
        event.setdefault("tool_calls", []).append(call)
    event["unknown"] = draw(anything)
    return event, row, calls


class Drawn(list[tuple[Event, dict[str, object], list[Any]]]):
    """Events and their rows; too long to be shown whole."""

    def __repr__(self) -> str:
        return f"{len(self)} events"


@pytest.mark.parametrize("driver", ["native_url", "http_url"])
@settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Each example is a run of the daemon: shrinking would take minutes and say little more.
    phases=[Phase.generate],
)
@given(drawn=st.lists(agent_events(), min_size=20, max_size=50, unique_by=lambda one: one[0]["event_id"]).map(Drawn))
def test_rows_are_what_was_written(database: Database, tmp_path: Path, driver: str, drawn: Drawn) -> None:
    for table in ("events", "tool_calls"):
        database.query(f"TRUNCATE TABLE IF EXISTS {PREFIX}{table}")
    place = tmp_path / "prompt_call" / "p"
    place.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(event, ensure_ascii=False) for event, _, _ in drawn]
    (place / f"{uuid.uuid4()}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    assert ingest(getattr(database, driver), tmp_path) == 0
    assert not (tmp_path / "rejected").exists()
    rows = {row["event_id"]: row for _, row, _ in drawn}
    assert read_back(database, f"{PREFIX}events", "event_id", rows) == rows
    calls = found(database, "tool_calls", "event_id", "position", "tool_name", "tool_output", "status")
    assert sorted(calls) == sorted(call for _, _, some in drawn for call in some)
