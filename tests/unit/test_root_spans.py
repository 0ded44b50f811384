"""With `events.traces_from_root_spans`, lines give the same rows as without, and traces for root spans besides."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings

from spoolhouse.decode.line_decoder import Decoded, LineDecoder, Origin
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.events.builtin import BUILT_IN, SPANS, TRACES
from spoolhouse.events.declaration import EventType
from spoolhouse.events.root_spans import with_traces
from tests.unit.test_truth import CLOCK, PHASES
from tests.unit.written import Line, lines
from tests.unit.written_mastra import MastraLine, mastra_lines

Row = dict[str, Any]

OFF, ON = (LineDecoder(events) for events in (BUILT_IN, with_traces(BUILT_IN)))
OFF.few_bytes = ON.few_bytes = 0  # also short pieces are read in bulk
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SAME = (
    "trace_id", "project_id", "deployment_id", "name", "status", "start_time", "end_time", "duration_ms",
)  # fmt: skip
SPAN = {"type": "span", "id": "s", "traceId": "t", "projectId": "p", "name": "n", "startTime": "2026-11-21T12:00:00Z"}


def decode(decoder: LineDecoder, data: bytes, folder: str = "span") -> Decoded:
    clock_ms = int(CLOCK.timestamp() * 1000)
    origin = Origin(project="p", policy="warn", clock_ms=clock_ms, type=folder, file=f"{folder}/p/a.jsonl")
    return decoder.decode(Piece(offset=0, data=data), origin)


def rows(decoded: Decoded, event: EventType) -> list[Row]:
    names = [column.name for column in event.table.columns]
    found = decoded.rows.get(event.table.name)
    return [dict(zip(names, json.loads(row), strict=True)) for row in found.data.splitlines()] if found else []


def time(text: object) -> datetime:
    return datetime.fromisoformat(str(text))


def trace_of(span: Row) -> Row:
    """Return the trace that a root span is."""
    recorded = max(time(span["recorded_at"]) - time(span["start_time"]), timedelta())
    return {
        **{name: span[name] for name in SAME}, "input": "", "output": "", "metadata": "{}", "extra": "{}",
        "recorded_at": EPOCH + recorded, "uncounted": None,
    }  # fmt: skip


@given(lines(names=("span", "span", "trace")))
@settings(max_examples=100, phases=PHASES)
def test_lines_of_ours(line: Line) -> None:
    for data in (line.data, line.data * 3):
        off, on = decode(OFF, data, line.type), decode(ON, data, line.type)
        spans, traces = rows(on, BUILT_IN["span"]), rows(on, BUILT_IN["trace"])
        assert spans == rows(off, BUILT_IN["span"])
        if line.type == "trace":
            assert traces == [{**one, "uncounted": True} for one in rows(off, BUILT_IN["trace"])]
        else:
            made = [{**one, "recorded_at": time(one["recorded_at"])} for one in traces]
            assert made == [trace_of(span) for span in spans if not span["parent_span_id"]]
        assert on.rejects == off.rejects
        assert (on.lines, on.unknown, on.converted) == (off.lines, off.unknown, off.converted)
        assert (on.unknown_lines, on.converted_lines) == (off.unknown_lines, off.converted_lines)


@given(mastra_lines())
@settings(max_examples=100, phases=PHASES)
def test_lines_of_mastras_bus_are_what_they_were(line: MastraLine) -> None:
    for data in (line.data, line.data * 3):
        assert decode(ON, data) == decode(OFF, data)


@pytest.mark.parametrize("parent", ["absent", None, ""])
def test_a_parent_without_a_name_is_none(parent: object) -> None:
    span = SPAN if parent == "absent" else {**SPAN, "parentSpanId": parent}
    for line in (span, {**span, "color": 1}, {"type": "span", "data": span}, {**span, "status": "SUCCESS"}):
        [trace] = rows(decode(ON, json.dumps(line).encode()), BUILT_IN["trace"])
        assert (trace["trace_id"], time(trace["recorded_at"])) == ("t", EPOCH)
    assert not rows(decode(ON, json.dumps({**SPAN, "parentSpanId": "x"}).encode()), BUILT_IN["trace"])


def test_the_schema_does_not_depend_on_it() -> None:
    assert {name: event.table for name, event in with_traces(BUILT_IN).items()} == {
        name: event.table for name, event in BUILT_IN.items()
    }
    assert with_traces(BUILT_IN)["span"].tables == (SPANS.name, TRACES.name)
