"""Sample events: the same from the same seed, valid in every shape, and fitting together."""

import json
from collections import Counter
from datetime import datetime
from itertools import pairwise

import pytest

from spoolhouse.decode.line_decoder import LineDecoder, Origin
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.export.samples import AGENT_TYPES, PER_TRACE, SampleEvents, Shape

NOW = 1_767_225_600_000
NEVER = {name: {"tool_calls"} for name in AGENT_TYPES - {"prompt_call", "tool_call"}}
"""Tables that an event type may bring rows for, and a sample does not."""
SHAPES: tuple[Shape, ...] = ("flat", "enveloped", "mixed")


def events(sample: SampleEvents, event_type: str, count: int, project: str = "shop") -> list[dict[str, object]]:
    parsed = [json.loads(line) for line in sample.lines(event_type, project, 0, count)]
    return [event.get("data", event) for event in parsed]


def test_there_is_a_sample_of_each_type() -> None:
    assert set(PER_TRACE) == set(BUILT_IN)


@pytest.mark.parametrize("event_type", PER_TRACE)
def test_the_same_seed_gives_the_same_lines(event_type: str) -> None:
    def lines(seed: int) -> list[bytes]:
        return list(SampleEvents(seed=seed, now_ms=NOW).lines(event_type, "shop", 0, 50))

    assert lines(1) == lines(1)
    assert lines(1) != lines(2)


@pytest.mark.parametrize("event_type", PER_TRACE)
def test_a_part_is_a_part_of_the_whole(event_type: str) -> None:
    sample = SampleEvents(seed=3, now_ms=NOW)
    whole = list(sample.lines(event_type, "shop", 0, 60))
    for first, count in ((0, 1), (7, 13), (8, 8), (59, 1), (20, 0)):
        assert list(sample.lines(event_type, "shop", first, count)) == whole[first : first + count]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("event_type", PER_TRACE)
def test_every_line_is_a_valid_event_of_its_folder(event_type: str, shape: Shape) -> None:
    lines = list(SampleEvents(seed=4, now_ms=NOW, shape=shape).lines(event_type, "shop", 0, 400))
    assert len(set(lines)) == 400
    piece = Piece(data=b"\n".join(lines) + b"\n", offset=0)
    decoded = LineDecoder(BUILT_IN).decode(piece, Origin(project="shop", policy="reject", clock_ms=NOW))
    assert decoded.rejects == []
    assert decoded.lines == 400
    assert decoded.rows[BUILT_IN[event_type].table.name].count == 400
    assert set(decoded.rows) == {part.table.name for part in BUILT_IN[event_type].parts} - NEVER.get(event_type, set())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shape_is_the_one_that_was_asked_for(shape: Shape) -> None:
    parsed = [json.loads(line) for line in SampleEvents(seed=5, now_ms=NOW, shape=shape).lines("span", "shop", 0, 160)]
    enveloped = sum("data" in line for line in parsed)
    assert enveloped == {"flat": 0, "enveloped": 160, "mixed": 80}[shape]


def test_ids_fit_together() -> None:
    sample = SampleEvents(seed=6, now_ms=NOW)
    traces = {event["id"] for event in events(sample, "trace", 40)}
    spans = events(sample, "span", 40 * PER_TRACE["span"])
    ids = {span["id"]: span for span in spans}
    assert len(ids) == len(spans)
    assert Counter(span["traceId"] for span in spans) == dict.fromkeys(traces, PER_TRACE["span"])
    for span in spans:
        parent = span.get("parentSpanId")
        assert parent is None or ids[parent]["traceId"] == span["traceId"]
    for event_type in ("log", "score"):
        for event in events(sample, event_type, 40 * PER_TRACE[event_type]):
            assert ids[event["spanId"]]["traceId"] == event["traceId"]


def test_projects_differ() -> None:
    sample = SampleEvents(seed=7, now_ms=NOW)
    assert {e["id"] for e in events(sample, "trace", 20)}.isdisjoint(
        e["id"] for e in events(sample, "trace", 20, project="other")
    )


def test_times_lie_before_now_within_the_window_and_in_order() -> None:
    sample = SampleEvents(seed=8, now_ms=NOW, traces=100, window_ms=3_600_000)
    starts = []
    for trace in events(sample, "trace", 100):
        start, end = (datetime.fromisoformat(str(trace[key])).timestamp() * 1000 for key in ("startTime", "endTime"))
        assert NOW - 3_600_000 <= start <= end <= NOW
        assert round(end - start) == trace["durationMs"]
        starts.append(start)
    early = sum(later < earlier for earlier, later in pairwise(starts))
    assert early < 10, "traces come in the order of their start, give or take a long one"


def test_a_span_has_the_size_that_the_figures_are_for() -> None:
    sizes = [len(line) for line in SampleEvents(seed=9, now_ms=NOW).lines("span", "shop", 0, 2000)]
    assert 640 <= sum(sizes) / len(sizes) <= 690
