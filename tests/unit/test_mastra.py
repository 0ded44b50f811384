"""Mastra's bus: every line that real packages printed, and odd ones."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from spoolhouse.decode.line_decoder import Decoded, LineDecoder, Origin, UnknownPolicy
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.reject import Reason
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.shapes.mastra import MASTRA

SAMPLES = Path(__file__).parents[1] / "producers" / "samples"
LINES = [line for path in sorted(SAMPLES.glob("mastra_*.jsonl")) for line in path.read_bytes().splitlines()]
CLOCK = "2026-11-21T12:00:00Z"
CLOCK_MS = 1_795_262_400_000
FOLDERS = ("trace", "span", "log", "metric", "score", "feedback", "prompt_call")
DECODER = LineDecoder(BUILT_IN)

Row = dict[str, Any]
Found = dict[str, list[Row]]


def decode(data: bytes, folder: str = "span", *, unknown: UnknownPolicy = "keep", offset: int = 0) -> Decoded:
    origin = Origin(
        project="p", policy="warn", clock_ms=CLOCK_MS, type=folder, file=f"{folder}/p/a.jsonl", unknown=unknown
    )
    return DECODER.decode(Piece(offset=offset, data=data), origin)


def rows(decoded: Decoded) -> Found:
    """All rows by table and column; a column of JSON is decoded."""
    assert decoded.rejects == []
    found: Found = {}
    for event in BUILT_IN.values():
        table = event.table
        if table.name in decoded.rows:
            names = [column.name for column in table.columns]
            found[table.name] = [
                {
                    name: json.loads(value) if name in JSON and value else value
                    for name, value in zip(names, json.loads(row), strict=True)
                }
                for row in decoded.rows[table.name].data.splitlines()
            ]
    return found


JSON = {"attributes", "events", "labels", "metadata", "input", "output", "extra"}


def line(event: object) -> bytes:
    return json.dumps(event).encode() + b"\n"


def row(event: object, table: str, **how: Any) -> Row:
    """The only row of an event in a table: the same alone, among others, and beside lines of ours."""
    alone = rows(decode(line(event), **how))
    assert len(alone[table]) == 1
    own = line({"type": "log", "projectId": "p", "level": "info", "message": "m", "timestamp": CLOCK})
    beside = rows(decode(own + line(event) + own, **how))[table]
    assert beside[table == "logs"] | {"id": 0} == alone[table][0] | {"id": 0}
    assert rows(decode(line(event) * 9, **how))[table][0] == alone[table][0]
    return alone[table][0]


# What a line is expected to become, by the words of the documentation alone

KEPT = (
    "entityId", "entityName", "entityType", "errorInfo", "input", "isEvent", "isInternal", "isRootSpan", "metadata",
    "output", "requestContext", "tags",
)  # fmt: skip


def time(text: str | None, ms: int = 0) -> str | None:
    """A time as a row has it."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text).astimezone(UTC) + timedelta(milliseconds=ms)
    return moment.isoformat().replace("+00:00", "Z")


def some(payload: Row, *keys: str) -> Row:
    return {key: payload[key] for key in keys if key in payload}


def span_rows(kind: str, span: Row) -> Iterator[tuple[str, Row]]:
    end = span.get("endTime")
    attributes = span.get("attributes", {})
    failed = "errorInfo" in span or (end is not None and attributes.get("finishReason") == "error")
    recorded = {"span_started": time(span["startTime"]), "span_updated": time(span["startTime"], 1)}.get(
        kind, max(time(end or span["startTime"]) or "", time(span["startTime"], 2) or "")
    )
    elapsed = None
    if end is not None:
        elapsed = (datetime.fromisoformat(end) - datetime.fromisoformat(span["startTime"])) / timedelta(milliseconds=1)
    call = attributes if span["type"] in {"model_generation", "rag_embedding"} else {}
    both = {
        "trace_id": span["traceId"], "project_id": "p", "deployment_id": "", "name": span["name"],
        "status": "error" if failed else "ok" if end else "unset", "start_time": time(span["startTime"]),
        "end_time": time(end), "duration_ms": elapsed, "recorded_at": recorded,
    }  # fmt: skip
    yield (
        "spans",
        both | {
            "span_id": span["id"], "parent_span_id": span.get("parentSpanId"), "kind": "internal", "events": [],
            "attributes": attributes, "span_type": span["type"], "model": call.get("model", ""),
            "provider": call.get("provider", ""), "input_tokens": call.get("usage", {}).get("inputTokens"),
            "output_tokens": call.get("usage", {}).get("outputTokens"),
            "cost_usd": call.get("costContext", {}).get("estimatedCost"), "extra": some(span, *KEPT),
        },
    )  # fmt: skip
    if span["isRootSpan"]:
        yield (
            "traces",
            both | {
                "input": span.get("input", ""), "output": span.get("output", ""), "metadata": span.get("metadata", {}),
                "extra": some(span, "entityId", "entityName", "entityType", "tags"), "uncounted": None,
            },
        )  # fmt: skip


def log_rows(_kind: str, log: Row) -> Iterator[tuple[str, Row]]:
    context = log.get("correlationContext", {})
    yield (
        "logs",
        {
            "id": log["logId"], "project_id": "p", "deployment_id": "", "level": log["level"],
            "trace_id": log.get("traceId", context.get("traceId")), "span_id": log.get("spanId", context.get("spanId")),
            "message": log["message"], "timestamp": time(log["timestamp"]), "attributes": log.get("data", {}),
            "recorded_at": CLOCK, "extra": some(log, "correlationContext", "metadata", "tags"),
        },
    )  # fmt: skip


def metric_rows(_kind: str, metric: Row) -> Iterator[tuple[str, Row]]:
    context = metric.get("correlationContext", {})
    yield (
        "metrics",
        {
            "id": metric["metricId"], "project_id": "p", "deployment_id": "", "name": metric["name"], "type": "gauge",
            "value": metric["value"], "unit": None, "timestamp": time(metric["timestamp"]), "labels": metric["labels"],
            "organization_id": context.get("organizationId", ""), "environment": context.get("environment", ""),
            "service_name": context.get("serviceName", ""), "bucket_boundaries": [], "bucket_counts": [],
            "recorded_at": CLOCK,
            "extra": some(metric, "correlationContext", "costContext", "metadata", "spanId", "traceId"),
        },
    )  # fmt: skip


def about(payload: Row) -> Row:
    context = payload.get("correlationContext", {})
    return {
        "project_id": "p", "deployment_id": "", "trace_id": payload.get("traceId", context.get("traceId")),
        "span_id": payload.get("spanId", context.get("spanId")),
        "experiment": payload.get("experimentId", context.get("experimentId", "")),
        "organization_id": context.get("organizationId", ""), "user_id": context.get("userId", ""),
        "environment": context.get("environment", ""), "service_name": context.get("serviceName", ""),
        "timestamp": time(payload["timestamp"]), "metadata": payload.get("metadata", {}), "recorded_at": CLOCK,
    }  # fmt: skip


def score_rows(_kind: str, score: Row) -> Iterator[tuple[str, Row]]:
    yield (
        "scores",
        about(score) | {
            "id": score["scoreId"], "name": score.get("scorerName", score["scorerId"]), "value": score["score"],
            "normalized_value": None, "comment": score.get("reason"),
            "extra": some(
                score, "correlationContext", "scoreSource", "scorerId", "scorerVersion", "source", "targetEntityType"
            ),
        },
    )  # fmt: skip


def feedback_rows(_kind: str, feedback: Row) -> Iterator[tuple[str, Row]]:
    value = feedback["value"]
    user = feedback.get("feedbackUserId", feedback.get("userId"))
    yield (
        "feedback",
        about(feedback) | ({"user_id": user} if user else {}) | {
            "id": feedback["feedbackId"], "source": feedback.get("feedbackSource", feedback.get("source", "")),
            "feedback_type": feedback["feedbackType"], "value": str(value), "comment": feedback.get("comment"),
            "value_number": value if isinstance(value, int | float) else None,
            "extra": some(feedback, "correlationContext", "source", "sourceId", "userId"),
        },
    )  # fmt: skip


READ = {
    "span_started": span_rows, "span_updated": span_rows, "span_ended": span_rows, "log": log_rows,
    "metric": metric_rows, "score": score_rows, "feedback": feedback_rows,
}  # fmt: skip


def expected(lines: list[bytes]) -> Found:
    found: Found = {}
    for text in lines:
        event = json.loads(text)
        kind = event.pop("type")
        [payload] = event.values()
        for table, one in READ[kind](kind, payload):
            found.setdefault(table, []).append(one)
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_sample_lands_whatever_the_folder_is(folder: str) -> None:
    decoded = decode(b"\n".join(LINES) + b"\n", folder)
    assert rows(decoded) == expected(LINES)
    assert (decoded.lines, decoded.shapes) == (len(LINES), {"mastra": len(LINES)})
    assert (decoded.unknown, decoded.converted, decoded.mismatched) == ({}, {}, 0)


@pytest.mark.parametrize("number", range(len(LINES)))
def test_a_sample_gives_the_same_rows_alone(number: int) -> None:
    assert rows(decode(LINES[number])) == expected([LINES[number]])


def test_the_samples_have_all_kinds_of_lines() -> None:
    kinds = Counter(json.loads(text)["type"] for text in LINES)
    assert kinds.keys() == READ.keys()


def test_a_model_call_is_counted_once() -> None:
    """Its tokens stand in its steps and inferences, too."""
    found = rows(decode(b"\n".join(LINES) + b"\n"))["spans"]
    ended = [one for one in found if one["input_tokens"] is not None]
    assert {one["span_type"] for one in ended} == {"model_generation", "rag_embedding"}
    assert len({one["span_id"] for one in ended}) == len(ended)
    [call] = [one for one in ended if one["model"] == "claude-sonnet-4-5"]
    assert (call["provider"], call["input_tokens"], call["output_tokens"]) == ("anthropic", 1200, 80)
    assert call["cost_usd"] == pytest.approx(0.00315)


# Which row of a span stays

SPAN: Row = {
    "id": "303ff9ca957e0a7e", "traceId": "a50e6f9856ae4c15d0a7add98e7a268f", "name": "n", "type": "generic",
    "startTime": "2026-03-14T09:26:53.590Z", "isEvent": False, "isRootSpan": False,
}  # fmt: skip
ROOT = SPAN | {"isRootSpan": True}


def span(kind: str = "span_started", /, **changes: object) -> Row:
    """A line of a span; `...` takes a key away."""
    return {"type": kind, "exportedSpan": {key: one for key, one in (SPAN | changes).items() if one is not ...}}


@pytest.mark.parametrize("end", ["2026-03-14T09:26:53.590Z", "2026-03-14T09:26:53.591Z", "2026-03-14T09:26:54.590Z"])
def test_the_end_of_a_span_replaces_its_updates_and_these_its_start(end: str) -> None:
    """Even if it began and ended in the same millisecond, and whichever line lands last."""
    started, updated, ended = (
        row(span(kind, isRootSpan=True, **more), "spans")["recorded_at"]
        for kind, more in (("span_started", {}), ("span_updated", {}), ("span_ended", {"endTime": end}))
    )
    assert started < updated < ended
    root = span("span_ended", isRootSpan=True, endTime=end)
    assert row(root, "traces")["recorded_at"] == row(root, "spans")["recorded_at"] == ended


# Odd lines


def test_an_ended_span_without_its_end_has_none() -> None:
    found = row(span("span_ended"), "spans")
    assert (found["end_time"], found["duration_ms"], found["status"]) == (None, None, "unset")
    assert "traces" not in rows(decode(line(span("span_ended"))))


def test_nulls_are_absent_and_what_is_kept_is_kept_as_it_is() -> None:
    nulls: Row = dict.fromkeys(
        ("parentSpanId", "endTime", "attributes", "errorInfo", "input", "output", "metadata", "tags", "type")
    )
    found = row(span("span_ended", **nulls), "spans")
    plain = row(span("span_ended", type=...), "spans")
    kept = {key: None for key in nulls if key in KEPT}
    assert found["extra"] == plain["extra"] | kept
    assert found | {"extra": 0} == plain | {"extra": 0}
    root = row(span("span_ended", isRootSpan=True, **nulls), "traces")
    assert (root["input"], root["metadata"], root["status"]) == ("", {}, "unset")


@pytest.mark.parametrize(
    ("parent", "is_root", "traces"), [(..., None, 1), (..., ..., 1), ("x", ..., 0), ("x", True, 1), (..., False, 0)]
)
def test_a_span_that_is_the_root_is_a_trace(parent: object, is_root: object, traces: int) -> None:
    found = rows(decode(line(span(parentSpanId=parent, isRootSpan=is_root))))
    assert len(found.get("traces", [])) == traces


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"errorInfo": {"message": "m"}}, "error"),
        ({"errorInfo": {}}, "error"),
        ({"errorInfo": None}, "ok"),
        ({"type": "model_generation", "attributes": {"finishReason": "error"}}, "error"),
        ({"type": "model_generation", "attributes": {"finishReason": "stop"}}, "ok"),
        ({"type": "model_generation", "attributes": {"finishReason": 1}}, "ok"),
        ({"type": "model_generation", "attributes": {"a": {"finishReason": "error"}}}, "ok"),
        ({"type": "tool_call", "attributes": {"finishReason": "error"}}, "ok"),
        ({"type": "tool_call", "attributes": {"finishReason": "error"}, "id": 7}, "ok"),
    ],
)
def test_status(changes: Row, status: str) -> None:
    assert row(span("span_ended", endTime="2026-03-14T09:26:53.600Z", **changes), "spans")["status"] == status
    assert row(span(**changes), "spans")["status"] == ("error" if changes.get("errorInfo") is not None else "unset")


@pytest.mark.parametrize(
    ("changes", "column", "value"),
    [
        ({"id": 7}, "span_id", "7"),
        ({"startTime": 1773480413590}, "start_time", "2026-03-14T09:26:53.590000Z"),
        ({"startTime": "1773480413590"}, "start_time", "2026-03-14T09:26:53.590000Z"),
        ({"startTime": "2026-03-14T10:26:53.590+01:00"}, "start_time", "2026-03-14T10:26:53.590000+01:00"),
        ({"startTime": "2026-03-14T09:26:53.590"}, "start_time", "2026-03-14T09:26:53.590000Z"),
        ({"attributes": [1]}, "attributes", [1]),
    ],
)
def test_values_of_other_kinds_are_converted(changes: Row, column: str, value: object) -> None:
    found = row(span(**changes), "spans")
    assert found[column] == value
    assert found["extra"] == {"isEvent": False, "isRootSpan": False}


def test_times_of_other_kinds_order_the_rows_of_a_span_too() -> None:
    kinds: tuple[Row, ...] = ({}, {"endTime": 1773480413600})
    started, ended = (row(span("span_ended", startTime=1773480413590, **more), "spans") for more in kinds)
    assert ended["recorded_at"] > started["recorded_at"]
    assert ended["duration_ms"] == 10


LOG: Row = {"logId": "l", "timestamp": "2026-03-14T09:26:53.590Z", "level": "info", "message": "m"}
METRIC: Row = {"metricId": "m", "timestamp": LOG["timestamp"], "name": "n", "value": 1, "labels": {}}
SCORE: Row = {"scoreId": "s", "timestamp": LOG["timestamp"], "scorerId": "i", "score": 1}
FEEDBACK: Row = {"feedbackId": "f", "timestamp": LOG["timestamp"], "feedbackType": "t", "value": "up"}
PAYLOADS = {"log": LOG, "metric": METRIC, "score": SCORE, "feedback": FEEDBACK}
TABLES = {"log": "logs", "metric": "metrics", "score": "scores", "feedback": "feedback"}


def signal(kind: str, /, **changes: object) -> Row:
    fields = PAYLOADS[kind] | changes
    return {"type": kind, kind: {key: one for key, one in fields.items() if one is not ...}}


@pytest.mark.parametrize("kind", PAYLOADS)
def test_the_ids_of_the_line_win_over_those_of_its_context(kind: str) -> None:
    context = {"traceId": "c", "spanId": 7, "userId": "u", "environment": None, "tags": ["a"]}
    found = row(signal(kind, correlationContext=context, traceId=...), TABLES[kind])
    assert found["extra"]["correlationContext"] == context
    if kind != "metric":
        assert (found["trace_id"], found["span_id"]) == ("c", None)
        found = row(signal(kind, correlationContext=context, traceId="t", spanId="s"), TABLES[kind])
        assert (found["trace_id"], found["span_id"]) == ("t", "s")


@pytest.mark.parametrize("context", [None, 7, "x", [], {}])
@pytest.mark.parametrize("kind", PAYLOADS)
def test_a_context_that_is_none_is_kept(kind: str, context: object) -> None:
    assert row(signal(kind, correlationContext=context), TABLES[kind])["extra"]["correlationContext"] == context


def test_feedback_by_its_old_names() -> None:
    old = row(signal("feedback", source="qa", userId="u", value=4.5), "feedback")
    new = row(signal("feedback", feedbackSource="qa", feedbackUserId="u", value=4.5), "feedback")
    assert old | {"extra": 0} == new | {"extra": 0}
    assert (old["extra"], new["extra"]) == ({"source": "qa", "userId": "u"}, {})
    assert (new["source"], new["user_id"], new["value"], new["value_number"]) == ("qa", "u", "4.5", 4.5)
    both = row(signal("feedback", source="a", feedbackSource="b", userId="c", feedbackUserId="d"), "feedback")
    assert (both["source"], both["user_id"], both["extra"]) == ("b", "d", {"source": "a", "userId": "c"})


def test_a_score_is_called_as_its_scorer() -> None:
    found = row(signal("score", scorerName="N", experimentId="e", reason="r", score="0.5"), "scores")
    assert [found[name] for name in ("name", "experiment", "comment", "value")] == ["N", "e", "r", 0.5]
    assert row(signal("score", scorerName=None), "scores")["name"] == "i"
    context = {"experimentId": "c", "organizationId": "o", "userId": "u", "environment": "e", "serviceName": "s"}
    found = row(signal("score", correlationContext=context), "scores")
    names = ("experiment", "organization_id", "user_id", "environment", "service_name")
    assert [found[name] for name in names] == ["c", "o", "u", "e", "s"]


@pytest.mark.parametrize("kind", PAYLOADS)
def test_an_absent_id_is_derived(kind: str) -> None:
    key = f"{kind}Id"
    data = line(signal(kind, **{key: ...})) * 3
    found = [one["id"] for one in rows(decode(data, offset=100))[TABLES[kind]]]
    assert len(set(found)) == 3
    assert [one["id"] for one in rows(decode(data[: len(data) // 3], offset=100))[TABLES[kind]]] == found[:1]


@pytest.mark.parametrize(
    ("event", "reason", "field"),
    [
        (span(id=...), Reason.MISSING_FIELD, "id"),
        (span(id={}), Reason.WRONG_TYPE, "id"),
        (span(traceId=...), Reason.MISSING_FIELD, "traceId"),
        (span(name=None), Reason.MISSING_FIELD, "name"),
        (span(name=[]), Reason.WRONG_TYPE, "name"),
        (span(startTime=...), Reason.MISSING_FIELD, "startTime"),
        (span(startTime="yesterday"), Reason.BAD_TIME, "startTime"),
        (span(startTime="1969-01-01T00:00:00Z"), Reason.ABSURD_TIME, "startTime"),
        (span("span_ended", endTime="9999-12-31T23:59:59.999Z"), Reason.ABSURD_TIME, "endTime"),
        (span("span_ended", startTime="9999-12-31T23:59:59.999999Z"), Reason.ABSURD_TIME, "startTime"),
        (span("span_updated", startTime="9999-12-31T23:59:59.999999Z"), Reason.ABSURD_TIME, "startTime"),
        (span("span_ended", endTime=True), Reason.WRONG_TYPE, "endTime"),
        (span(parentSpanId={}), Reason.WRONG_TYPE, "parentSpanId"),
        (span(type=[]), Reason.WRONG_TYPE, "type"),
        (span(isRootSpan="yes"), Reason.WRONG_TYPE, "isRootSpan"),
        ({"type": "span_ended", "exportedSpan": 7}, Reason.WRONG_TYPE, "exportedSpan"),
        ({"type": "span_ended", "exportedSpan": None}, Reason.WRONG_TYPE, "exportedSpan"),
        (signal("log", logId=[]), Reason.WRONG_TYPE, "logId"),
        (signal("log", timestamp=...), Reason.MISSING_FIELD, "timestamp"),
        (signal("log", level=None), Reason.MISSING_FIELD, "level"),
        (signal("log", level="loud"), Reason.BAD_CHOICE, "level"),
        (signal("log", message={}), Reason.WRONG_TYPE, "message"),
        (signal("log", traceId=[]), Reason.WRONG_TYPE, "traceId"),
        (signal("metric", value="many"), Reason.WRONG_TYPE, "value"),
        (signal("metric", value=...), Reason.MISSING_FIELD, "value"),
        (signal("metric", name=...), Reason.MISSING_FIELD, "name"),
        (signal("score", score=...), Reason.MISSING_FIELD, "score"),
        (signal("score", score={}), Reason.WRONG_TYPE, "score"),
        (signal("score", scorerId=...), Reason.MISSING_FIELD, "scorerName"),
        (signal("score", reason=[]), Reason.WRONG_TYPE, "reason"),
        (signal("score", experimentId=[]), Reason.WRONG_TYPE, "experimentId"),
        (signal("feedback", feedbackType=...), Reason.MISSING_FIELD, "feedbackType"),
        (signal("feedback", value=...), Reason.MISSING_FIELD, "value"),
        (signal("feedback", value=[]), Reason.WRONG_TYPE, "value"),
        (signal("feedback", feedbackSource=[]), Reason.WRONG_TYPE, "feedbackSource"),
        (signal("feedback", source=[]), Reason.WRONG_TYPE, "feedbackSource"),
        (signal("feedback", userId=[]), Reason.WRONG_TYPE, "feedbackUserId"),
    ],
)
def test_a_line_that_nobody_can_read_is_rejected_by_its_own_field(event: Row, reason: Reason, field: str) -> None:
    good = line(span(isRootSpan=True))
    for data, number in ((line(event), 1), (good + line(event) + good, 2), (good * 50 + line(event) + good, 51)):
        decoded = decode(data)
        assert [(one.line, one.reason, one.field) for one in decoded.rejects] == [(number, reason, field)]
        others = data.count(b"\n") - 1
        assert {table: some.count for table, some in decoded.rows.items()} == (
            {"spans": others, "traces": others} if others else {}
        )


# Fields that are not known


def test_unknown_fields_are_kept_and_counted_but_those_without_a_column_are_known() -> None:
    event = span(isRootSpan=True, color="red", shape=None, tags=["a"])
    decoded = decode(line(event) * 3)
    assert (decoded.unknown_lines, decoded.unknown) == (3, {"color": 3, "shape": 3})
    found = rows(decoded)
    assert found["spans"][0]["extra"] == some(event["exportedSpan"], *KEPT, "color", "shape")
    assert found["traces"][0]["extra"] == {"tags": ["a"]}
    assert rows(decode(line(event), unknown="drop"))["spans"][0]["extra"] == some(event["exportedSpan"], *KEPT)
    strict = decode(line(event) + line(span(tags=["a"])), unknown="reject")
    assert [(one.line, one.reason, one.field) for one in strict.rejects] == [(1, Reason.UNKNOWN_FIELD, "color")]


def test_what_stands_beside_a_payload_is_kept() -> None:
    found = row(span() | {"host": "h", "source": None}, "spans")
    assert found["extra"]["envelope"] == {"host": "h", "source": None}


def test_any_number_of_unknown_fields_is_kept() -> None:
    events = [span(**{f"key{number}": number, f"x{number}" * 40: 1}) for number in range(100)]
    found = rows(decode(b"".join(map(line, events))))["spans"]
    assert [one["extra"] for one in found] == [
        {key: value for key, value in event["exportedSpan"].items() if key in KEPT or key[:3] == "key" or key[0] == "x"}
        for event in events
    ]


def test_both_readers_give_the_same_bytes() -> None:
    """The quick one learns unknown fields, up to a number of them: nothing may depend on what it has learned."""
    slow = LineDecoder(BUILT_IN, [replace(MASTRA, quick=None, heads=frozenset())])
    more = [span(isRootSpan=True, zeta=1, alpha={"b": 1, "a": 2}, tags=["a"]), signal("score", a=1, scorerName="n")]
    each = [text + b"\n" for text in LINES] + [line(event) for event in more]
    many = [line(span(**{f"field{number}": 1})) for number in range(100)]
    spaced = [json.dumps(json.loads(text), ensure_ascii=False).encode() + b"\n" for text in each]
    origin = Origin(project="p", policy="warn", clock_ms=CLOCK_MS, type="span", file="span/p/a.jsonl")
    for data in (*each, *many, *each, *spaced):
        assert decode(data).rows == slow.decode(Piece(offset=0, data=data), origin).rows
        dropped = slow.decode(Piece(offset=0, data=data), replace(origin, unknown="drop"))
        assert decode(data, unknown="drop").rows == dropped.rows
        assert decode(data, unknown="drop").unknown == dropped.unknown


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_the_quick_reader_reads_every_sample(separators: tuple[str, str]) -> None:
    """One that it does not read costs ten times as much."""
    quick: Any = MASTRA.quick
    for event in map(json.loads, LINES):
        text = json.dumps(event, separators=separators).encode()
        assert text[: text.index(b":", text.index(b":") + 1)] in MASTRA.heads
        assert quick.events(quick.decode(text))


# Beside lines of ours


@pytest.mark.parametrize(
    ("event", "table"),
    [
        ({"type": "score", "projectId": "p", "name": "n", "score": 0.5, "timestamp": CLOCK}, "scores"),
        ({"type": "log", "level": "info", "message": "m", "timestamp": CLOCK, "log": {"file": "a"}}, "logs"),
        (
            {"type": "log", "level": "info", "message": "m", "timestamp": CLOCK, "log": {"timestamp": CLOCK}},
            "logs",
        ),
        ({"type": "metric", "data": {"name": "n", "value": 1, "timestamp": CLOCK}}, "metrics"),
    ],
)
def test_a_line_of_ours_is_not_of_the_bus(event: Row, table: str) -> None:
    decoded = decode(line(event) * 2)
    assert (decoded.shapes, list(rows(decoded))) == ({}, [table])


def test_lines_of_the_bus_and_of_ours_mix() -> None:
    """20 000 lines, in an order by chance: as if each had come alone."""
    own = [
        {"type": "span", "id": "s", "traceId": "t", "projectId": "p", "name": "n", "startTime": CLOCK},
        {"type": "log", "id": "l", "projectId": "p", "level": "info", "message": "m", "timestamp": CLOCK},
        {"type": "metric", "data": {"id": "m", "name": "n", "value": 1, "timestamp": CLOCK, "color": "red"}},
        {"type": "metric", "name": "n"},
    ]
    chance = random.Random(11)  # for a test
    each = [text + b"\n" for text in LINES] + [line(event) for event in own] * 10
    alone = {text: decode(text) for text in dict.fromkeys(each)}
    texts = chance.choices(each, k=20_000)
    decoded = decode(b"".join(texts))
    assert decoded.lines == 20_000
    assert decoded.shapes == {"mastra": sum(alone[text].shapes.get("mastra", 0) for text in texts)}
    assert [one.line for one in decoded.rejects] == [
        number for number, text in enumerate(texts, 1) if alone[text].rejects
    ]
    for table, some_rows in decoded.rows.items():
        assert some_rows.data == b"".join(alone[text].rows[table].data for text in texts if table in alone[text].rows)
