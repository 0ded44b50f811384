"""What may come in, and what it becomes: values, context, unknown fields, foreign shapes."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from spoolhouse.decode.line_decoder import Decoded, LineDecoder, Origin, UnknownPolicy
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.reject import Reason
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.shapes.shape import Fields, Shape, ShapedEvent, ShapeError

DECODER = LineDecoder(BUILT_IN)
CLOCK_MS = 1_795_262_400_000
TIME = "2026-11-21T12:00:00Z"
LINES: dict[str, dict[str, Any]] = {
    "trace": {"id": "t", "projectId": "p", "name": "n", "startTime": TIME},
    "span": {"id": "s", "traceId": "t", "projectId": "p", "name": "n", "startTime": TIME},
    "log": {"id": "l", "projectId": "p", "level": "info", "message": "m", "timestamp": TIME},
    "metric": {"id": "m", "projectId": "p", "name": "n", "value": 1, "timestamp": TIME},
    "score": {"id": "c", "projectId": "p", "name": "n", "value": 1, "timestamp": TIME},
    "feedback": {"id": "f", "projectId": "p", "source": "s", "feedbackType": "t", "value": 1, "timestamp": TIME},
    "prompt_call": {"event_id": "e", "project_id": "p", "run_id": "r", "timestamp": TIME},
}


def line(kind: str, /, **changes: Any) -> bytes:
    """A valid line of an event type, but for the changes; `...` takes a key away."""
    fields = {"type": kind} | LINES[kind] | changes
    return json.dumps({key: value for key, value in fields.items() if value is not ...}).encode() + b"\n"


def origin(kind: str, unknown: UnknownPolicy = "keep", file: str = "a.jsonl") -> Origin:
    return Origin(project="p", policy="warn", clock_ms=CLOCK_MS, type=kind, file=f"{kind}/p/{file}", unknown=unknown)


def decode(data: bytes, kind: str, *, decoder: LineDecoder | None = None, offset: int = 0, **how: Any) -> Decoded:
    return (decoder or DECODER).decode(Piece(offset=offset, data=data), origin(kind, **how))


def rows(decoded: Decoded, table: str = "") -> list[dict[str, Any]]:
    """The rows of a table by column."""
    assert decoded.rejects == []
    table = table or next(iter(decoded.rows))
    columns = next(
        [column.name for column in part.columns]
        for event in BUILT_IN.values()
        for part in event.parts
        if part.table.name == table
    )
    return [dict(zip(columns, json.loads(row), strict=True)) for row in decoded.rows[table].data.splitlines()]


def row(data: bytes, kind: str, **how: Any) -> dict[str, Any]:
    """The row of a line: the same among clean lines, alone, and among odd ones."""
    alone = rows(decode(data, kind, **how))
    good = line(kind)
    assert rows(decode(good + data + good, kind, **how))[1] | {"id": 0} == alone[0] | {"id": 0}
    assert rows(decode(data * 100, kind, **how))[0] == alone[0]
    return alone[0]


# Context


@pytest.mark.parametrize("kind", LINES)
def test_an_absent_type_and_project_are_those_of_the_folder(kind: str) -> None:
    project = "project_id" if kind == "prompt_call" else "projectId"
    assert row(line(kind, type=..., **{project: ...}), kind) == row(line(kind), kind)


def test_without_a_folder_of_a_type_the_type_is_required() -> None:
    [reject] = decode(line("span", type=...), "").rejects
    assert (reject.reason, reject.field) == (Reason.MISSING_FIELD, "type")


@pytest.mark.parametrize(
    ("kind", "type_", "column"), [("span", "agent_run", "span_type"), ("metric", "counter", "type")]
)
def test_a_type_that_is_none_of_ours_is_the_events_own(kind: str, type_: str, column: str) -> None:
    assert row(line(kind, type=type_), kind)[column] == type_
    assert row(line(kind, type=type_, loss=math.nan), kind)[column] == type_
    enveloped = json.dumps({"type": kind, "data": LINES[kind] | {"type": type_}}).encode() + b"\n"
    assert row(enveloped, kind)[column] == type_


def test_a_type_that_no_column_takes_is_kept() -> None:
    assert json.loads(row(line("score", type="accuracy"), "score")["extra"]) == {"type": "accuracy"}


def test_what_neither_its_type_nor_its_folder_explains_is_of_an_unknown_type() -> None:
    [reject] = decode(line("span", type="spam", traceId=...), "span").rejects
    assert (reject.reason, reject.field) == (Reason.UNKNOWN_TYPE, "type")
    assert "spam" in reject.detail
    assert "traceId" in reject.detail


@pytest.mark.parametrize("kind", ["log", "metric", "score", "feedback", "prompt_call"])
def test_an_absent_id_is_derived_from_the_file_and_the_offset(kind: str) -> None:
    key = "event_id" if kind == "prompt_call" else "id"
    data = line(kind, **{key: ...})

    def ids(**how: Any) -> list[str]:
        return [one[key] for one in rows(decode(data * 3, kind, **how), "events" if kind == "prompt_call" else "")]

    found = ids(offset=100)
    assert len(set(found)) == 3
    assert ids(offset=100) == found
    assert ids(offset=100 + len(data))[:2] == found[1:]
    assert set(ids(offset=100, file="b.jsonl")).isdisjoint(found)
    assert [rows(decode(data, kind, offset=100 + len(data)))[0][key]] == found[1:2]
    long = [one[key] for one in rows(decode(data * 200 + b"\n" + data, kind))]
    assert long[-1] == rows(decode(data, kind, offset=200 * len(data) + 1))[0][key]


@pytest.mark.parametrize("kind", ["trace", "span"])
def test_an_id_that_others_refer_to_is_required(kind: str) -> None:
    assert [reject.reason for reject in decode(line(kind, id=...), kind).rejects] == [Reason.MISSING_FIELD]


def enveloped(kind: str, /, **changes: Any) -> bytes:
    return json.dumps({"type": kind, "data": LINES[kind] | changes}).encode() + b"\n"


ODD: list[dict[str, object]] = [{}, {"own": 1}, {"type": ...}, {"type": ..., "own": 1}]
"""For the strict readers, the open ones and the wide ones: what a line has besides."""


@pytest.mark.parametrize("kind", ["log", "metric", "score", "feedback", "prompt_call"])
@pytest.mark.parametrize("more", ODD)
def test_an_empty_id_is_absent_to_all_readers(kind: str, more: dict[str, object]) -> None:
    """Rows with the same id would replace one another."""
    key = "event_id" if kind == "prompt_call" else "id"
    if "type" in more and kind == "log":
        more = {"event_type": kind, **more}  # without a type it would be a JSON log of another library
    empty, absent = line(kind, **more | {key: ""}), line(kind, **more | {key: ...})
    derived = rows(decode(absent, kind))[0]
    for data in (
        empty,
        empty + line(kind),
        empty * 99,
        enveloped(kind, **{key: ""}),
        enveloped(kind, **{key: ""}) * 99,
    ):
        found = rows(decode(data, kind), "events" if kind == "prompt_call" else "")
        assert (found[0] | {"extra": ""}, len({one[key] for one in found})) == (derived | {"extra": ""}, len(found))
    assert [one["extra"] for one in rows(decode(empty * 99, kind))] == [derived["extra"]] * 99
    assert decode(empty, kind).converted == {}


@pytest.mark.parametrize("more", ODD)
@pytest.mark.parametrize(
    ("kind", "ids", "missing"),
    [
        ("trace", {"id": ""}, "id"), ("trace", {"id": "", "traceId": ""}, "id"), ("span", {"id": ""}, "id"),
        ("span", {"id": "", "spanId": "", "span_id": None}, "id"), ("span", {"traceId": ""}, "traceId"),
        ("span", {"traceId": "", "trace_id": ""}, "traceId"),
    ],
)  # fmt: skip
def test_an_empty_id_that_others_refer_to_is_missing(
    kind: str, ids: dict[str, object], missing: str, more: dict[str, object]
) -> None:
    bad, good = line(kind, **ids | more), line(kind)
    inner = enveloped(kind, **ids)
    for data in (bad, good + bad + good, bad * 99, inner, inner * 99):
        assert {(one.reason, one.field) for one in decode(data, kind).rejects} == {(Reason.MISSING_FIELD, missing)}


@pytest.mark.parametrize("more", ODD)
@pytest.mark.parametrize(
    ("kind", "ids", "column", "value"),
    [
        ("trace", {"id": "", "traceId": "u"}, "trace_id", "u"), ("trace", {"traceId": ""}, "trace_id", "t"),
        ("trace", {"id": 0, "traceId": ""}, "trace_id", "0"), ("span", {"id": "", "span_id": "u"}, "span_id", "u"),
        ("span", {"id": " "}, "span_id", " "),
    ],
)  # fmt: skip
def test_an_empty_id_beside_another_says_nothing(
    kind: str, ids: dict[str, object], column: str, value: str, more: dict[str, object]
) -> None:
    data = line(kind, **ids | more)
    for some in (data, data + line(kind), data * 99):
        found = rows(decode(some, kind))[0]
        assert (found[column], json.loads(found["extra"])) == (value, {"own": 1} if "own" in more else {})


@pytest.mark.parametrize("kind", ["log", "metric"])
def test_a_time_is_never_guessed(kind: str) -> None:
    assert [reject.field for reject in decode(line(kind, timestamp=...), kind).rejects] == ["timestamp"]


@pytest.mark.parametrize(
    ("end", "duration"), [("2026-11-21T12:00:01.250Z", 1250), (1795262400.5, 500), (None, None), (TIME, 0)]
)
def test_a_duration_is_end_minus_start(end: object, duration: float | None) -> None:
    assert row(line("span", endTime=end), "span")["duration_ms"] == duration
    assert row(line("span", endTime=end, durationMs=7), "span")["duration_ms"] == 7


# Values


@pytest.mark.parametrize("kind", LINES)
def test_keys_may_be_in_snake_case_or_in_camel_case(kind: str) -> None:
    def other(key: str) -> str:
        first, *words = key.split("_")
        if words:
            return first + "".join(map(str.capitalize, words))
        return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in key)

    data = json.dumps({"type": kind} | {other(key): value for key, value in LINES[kind].items()}).encode() + b"\n"
    assert row(data, kind) == row(line(kind), kind)


@pytest.mark.parametrize(
    ("kind", "fields", "column", "value"),
    [
        ("span", {"durationMs": 12.5}, "duration_ms", 12.5),
        ("span", {"durationMs": "12.5"}, "duration_ms", 12.5),
        ("span", {"durationMs": 2**53}, "duration_ms", 2**53),
        ("span", {"durationMs": 2**60}, "duration_ms", float(2**60)),
        ("span", {"inputTokens": 12.0}, "input_tokens", 12),
        ("span", {"input_tokens": "12"}, "input_tokens", 12),
        ("span", {"input_tokens": "12.0"}, "input_tokens", 12),
        ("span", {"traceId": 12}, "trace_id", "12"),
        ("span", {"traceId": 1.5}, "trace_id", "1.5"),
        ("metric", {"value": "1e3"}, "value", 1000),
        ("metric", {"bucketBoundaries": ["1", 2]}, "bucket_boundaries", [1, 2]),
        ("metric", {"bucketCounts": ["1", 2.0]}, "bucket_counts", [1, 2]),
        ("log", {"timestamp": "1795262400"}, "timestamp", TIME),
        ("log", {"timestamp": "1795262400000"}, "timestamp", TIME),
        ("log", {"timestamp": "1795262400000000"}, "timestamp", TIME),
        ("log", {"timestamp": "1795262400000000000"}, "timestamp", TIME),
        ("log", {"timestamp": 1795262400}, "timestamp", TIME),
        ("log", {"level": "WARN"}, "level", "warn"),
        ("log", {"level": "Warning"}, "level", "warn"),
        ("span", {"kind": "SPAN_KIND_SERVER"}, "kind", "server"),
        ("span", {"kind": "SpanKind.CLIENT"}, "kind", "client"),
        ("span", {"status": "STATUS_CODE_ERROR"}, "status", "error"),
        ("span", {"status": "StatusCode.ERROR"}, "status", "error"),
        ("span", {"status": "success"}, "status", "ok"),
        ("prompt_call", {"status": "OK"}, "status", "success"),
        ("prompt_call", {"latency_ms": 0.5}, "latency_ms", 0.5),
        ("feedback", {"value": 5}, "value_number", 5),
        ("feedback", {"value": "5"}, "value_number", None),
    ],
)
def test_what_loses_nothing_leaves_nothing_in_extra(
    kind: str, fields: dict[str, object], column: str, value: object
) -> None:
    found = row(line(kind, **fields), kind)
    assert (found[column], found["extra"]) == (value, "{}")


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("span", "inputTokens", 12.5),
        ("span", "output_tokens", "12.5"),
        ("prompt_call", "tokens_input", 0.5),
        ("metric", "bucketCounts", [1, 2.5]),
    ],
)
def test_a_count_with_a_fraction_is_rejected(kind: str, field: str, value: object) -> None:
    [reject] = decode(line(kind, **{field: value}), kind).rejects
    assert (reject.reason, reject.field) == (Reason.WRONG_TYPE, field)


@pytest.mark.parametrize(
    ("kind", "fields", "column", "value"),
    [
        ("log", {"level": "notice"}, "level", "info"),
        ("log", {"level": "CRITICAL"}, "level", "fatal"),
        ("log", {"level": "trace"}, "level", "debug"),
        ("log", {"level": 30}, "level", "info"),
        ("log", {"level": 9}, "level", "info"),
        ("log", {"level": 50}, "level", "error"),
        ("log", {"level": 17}, "level", "error"),
        ("span", {"kind": 2}, "kind", "server"),
        ("span", {"status": 2}, "status", "error"),
        ("span", {"status": "cancelled"}, "status", "error"),
        ("span", {"status": {"code": "STATUS_CODE_ERROR", "message": "m"}}, "status", "error"),
        ("span", {"status": {"code": 1}}, "status", "ok"),
        ("span", {"status": {"status_code": "ERROR", "description": "m"}}, "status", "error"),
        ("span", {"error": {"message": "m"}}, "status", "error"),
        ("span", {"errorInfo": {"message": "m"}}, "status", "error"),
        ("span", {"exception": {}}, "status", "error"),
        ("span", {"status": "ok", "error": {}}, "status", "ok"),
        ("span", {"error": None}, "status", "unset"),
    ],
)
def test_what_a_column_cannot_express_is_kept(kind: str, fields: dict[str, object], column: str, value: object) -> None:
    found = row(line(kind, **fields), kind)
    kept = {key: one for key, one in fields.items() if (key, one) != ("status", "ok")}
    assert (found[column], json.loads(found["extra"])) == (value, kept)


# Nothing is dropped


@pytest.mark.parametrize("kind", LINES)
def test_unknown_fields_are_kept_and_counted(kind: str) -> None:
    more = {"color": "r\u00e9d", "big": 2**70, "deep": {"a": [1, {"b": None}]}, "null": None}
    data = line(kind, **more)
    assert json.loads(row(data, kind)["extra"]) == more
    decoded = decode(data + line(kind) + line(kind, color=1), kind)
    assert (decoded.unknown_lines, decoded.unknown["color"], decoded.unknown["deep"]) == (2, 2, 1)


def test_unknown_fields_of_nested_objects_are_kept_where_they_were() -> None:
    call = {"tool_name": "t", "cost": 1, "error": {"message": "m", "retry": 2}}
    decoded = decode(line("prompt_call", client={"hostname": "h", "os": "x"}, tool_calls=[call]), "prompt_call")
    [event], [made] = rows(decoded, "events"), rows(decoded, "tool_calls")
    assert json.loads(event["extra"]) == {"client": {"os": "x"}}
    assert json.loads(made["extra"]) == {"cost": 1, "error": {"retry": 2}}
    assert decoded.unknown == {"client.os": 1, "tool_calls.cost": 1, "tool_calls.error.retry": 1}


def test_a_policy_drops_unknown_fields_but_no_originals() -> None:
    data = line("log", level="notice", color="red")
    dropped = decode(data, "log", unknown="drop")
    assert (json.loads(rows(dropped)[0]["extra"]), dropped.unknown) == ({"level": "notice"}, {"color": 1})


@pytest.mark.parametrize("more", [{"color": "red"}, {"client": {"os": "x"}}])
def test_a_policy_rejects_unknown_fields(more: dict[str, object]) -> None:
    good = line("prompt_call", env="PROD")
    decoded = decode(good + line("prompt_call", **more) + good, "prompt_call", unknown="reject")
    assert [(reject.reason, reject.line) for reject in decoded.rejects] == [(Reason.UNKNOWN_FIELD, 2)]
    assert decoded.rows["events"].count == 2


def test_counts_by_name_are_bounded() -> None:
    data = b"".join(line("log", **{f"key{number}": 1}) for number in range(200))
    decoded = decode(data, "log")
    assert (decoded.unknown_lines, len(decoded.unknown), sum(decoded.unknown.values())) == (200, 65, 200)


def test_conversions_are_counted() -> None:
    decoded = decode(line("span", durationMs="1", traceId=3) + line("span") + line("span", traceId=3), "span")
    assert (decoded.converted_lines, decoded.converted) == (2, {"durationMs": 1, "traceId": 2})
    many = decode(line("span", durationMs="1", traceId=3) * 100, "span")
    assert (many.converted_lines, many.converted) == (100, {"durationMs": 100, "traceId": 100})


# Model calls

OTEL = {
    "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt",
    "gen_ai.response.model": "gpt-1", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 6,
}  # fmt: skip
MASTRA = {
    "model": "m", "provider": "a", "usage": {"inputTokens": 5, "outputTokens": 6},
    "costContext": {"estimatedCost": 0.5},
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"attributes": OTEL}, ("chat", "gpt-1", "openai", 5, 6, None)),
        ({"attributes": OTEL | {"gen_ai.usage.input_tokens": "x"}}, ("chat", "gpt-1", "openai", None, 6, None)),
        (
            {
                "attributes": {
                    "openinference.span.kind": "LLM", "llm.model_name": "m", "llm.token_count.prompt": 5,
                    "llm.token_count.completion": 6, "llm.cost.total": 0.5, "llm.provider": "a",
                }
            },
            ("LLM", "m", "a", 5, 6, 0.5),
        ),
        ({"attributes": MASTRA, "type": "model_generation"}, ("model_generation", "m", "a", 5, 6, 0.5)),
        ({"attributes": MASTRA, "type": "model_step"}, ("model_step", "", "", None, None, None)),
        ({"attributes": {"a model": 1}}, ("", "", "", None, None, None)),
        ({"attributes": [OTEL]}, ("", "", "", None, None, None)),
        ({"attributes": OTEL, "model": "own", "costUsd": 1}, ("chat", "own", "openai", 5, 6, 1)),
        ({"spanType": "x"}, ("x", "", "", None, None, None)),
    ],
)  # fmt: skip
def test_a_span_of_a_model_call_says_so_in_columns(fields: dict[str, object], expected: tuple[object, ...]) -> None:
    found = row(line("span", **fields), "span")
    names = ("span_type", "model", "provider", "input_tokens", "output_tokens", "cost_usd")
    assert tuple(found[name] for name in names) == expected
    assert found["extra"] == "{}"


# Foreign shapes


def _matches(fields: Fields) -> bool:
    return "note" in fields and "value" not in fields


def _read(fields: Fields) -> Iterator[ShapedEvent]:
    """A note: {"note": text, "at": time, "sizes": [number, …]} is a log, and a metric for each size."""
    known = {"note", "at", "sizes"}
    yield ShapedEvent(
        "log",
        {"message": fields["note"], "level": "notice", "timestamp": fields.get("at")},
        {key: value for key, value in fields.items() if key not in known},
    )
    raw = fields.get("sizes", [])
    sizes = msgspec.json.decode(raw) if isinstance(raw, msgspec.Raw) else raw
    if not isinstance(sizes, list):
        raise ShapeError("sizes", "not an array")
    for size in sizes:
        yield ShapedEvent("metric", {"name": "note.size", "value": size, "timestamp": fields.get("at")})


NOTE = Shape(name="note", keys=frozenset({"note"}), matches=_matches, read=_read)
NOTES = LineDecoder(BUILT_IN, [NOTE])


def note(**fields: object) -> bytes:
    return json.dumps({"note": "hello", "at": TIME} | fields).encode() + b"\n"


def test_a_shape_makes_rows_of_several_tables_of_a_line() -> None:
    data = line("log") + note(sizes=[1, "2.5"], color="red") + note() + line("log")
    decoded = decode(data, "log", decoder=NOTES)
    logs, metrics = rows(decoded, "logs"), rows(decoded, "metrics")
    assert [one["message"] for one in logs] == ["m", "hello", "hello", "m"]
    assert (logs[1]["level"], json.loads(logs[1]["extra"])) == ("info", {"color": "red", "level": "notice"})
    assert [(one["name"], one["value"], one["project_id"]) for one in metrics] == [
        ("note.size", 1, "p"), ("note.size", 2.5, "p")
    ]  # fmt: skip
    ids = [one["id"] for one in (*logs[1:3], *metrics)]
    assert len(set(ids)) == 4
    assert [one["id"] for one in metrics] == [f"{logs[1]['id']}.1", f"{logs[1]['id']}.2"]
    assert (decoded.shapes, decoded.lines, decoded.unknown) == ({"note": 2}, 4, {"color": 1})


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"sizes": [1, "x"]}, "value"), ({"at": None, "sizes": []}, "timestamp"), ({"sizes": 3}, "sizes")],
)
def test_of_a_line_that_is_refused_in_part_nothing_lands(fields: dict[str, object], field: str) -> None:
    decoded = decode(note() + note(**fields) + note(), "log", decoder=NOTES)
    assert [(reject.line, reject.field) for reject in decoded.rejects] == [(2, field)]
    assert {table: some.count for table, some in decoded.rows.items()} == {"logs": 2}


def test_a_policy_rejects_all_events_of_a_line_or_none() -> None:
    def read(fields: Fields) -> Iterator[ShapedEvent]:
        for project in ("p", "q"):
            yield ShapedEvent(
                "log", {"message": fields["note"], "level": "info", "timestamp": TIME, "projectId": project}
            )

    decoder = LineDecoder(BUILT_IN, [Shape(name="note", keys=frozenset({"note"}), matches=_matches, read=read)])
    piece = Piece(offset=0, data=note())
    warned = decoder.decode(piece, origin("log"))
    assert (warned.mismatched, warned.rows["logs"].count) == (1, 2)
    strict = Origin(project="p", policy="reject", clock_ms=CLOCK_MS, type="log", file="log/p/a")
    decoded = decoder.decode(piece, strict)
    assert (decoded.rows, [one.reason for one in decoded.rejects]) == ({}, [Reason.PROJECT_MISMATCH])


def test_the_rows_of_a_line_lead_back_to_it() -> None:
    data = line("metric") + note(sizes=[1, 2]) + line("metric")
    piece = Piece(offset=50, data=data)
    where = origin("log")
    found = list(NOTES.lines_of(piece, where, "metrics", [1, 2, 3]))
    assert [(one.line, one.offset, one.row) for one in found] == [
        (2, 50 + len(line("metric")), 1),
        (2, 50 + len(line("metric")), 2),
        (3, 50 + len(data) - len(line("metric")), 3),
    ]
    assert NOTES.decode(piece, where).may_share_lines
    assert not NOTES.decode(Piece(offset=0, data=line("metric") * 2), where).may_share_lines


def test_a_shape_that_does_not_match_a_line_leaves_it_alone() -> None:
    [reject] = decode(note(value=1), "metric", decoder=NOTES).rejects
    assert reject.reason is Reason.MISSING_FIELD


def test_a_shape_comes_before_a_type_of_the_same_name() -> None:
    """Lines of others may have a `type` that is one of ours."""

    def read(fields: Fields) -> Iterator[ShapedEvent]:
        raw = fields["log"]
        assert isinstance(raw, msgspec.Raw)
        inner = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        yield ShapedEvent("log", {"message": inner["text"], "level": "info", "timestamp": inner["at"]})

    def matches(fields: Mapping[str, object]) -> bool:
        return "log" in fields

    decoder = LineDecoder(BUILT_IN, [Shape(name="bus", keys=frozenset({"log"}), matches=matches, read=read)])
    data = json.dumps({"type": "log", "log": {"text": "x", "at": TIME}}).encode() + b"\n"
    assert [one["message"] for one in rows(decode(data, "log", decoder=decoder))] == ["x"]


# All ways agree

HOSTILE = [
    "9" * 400, "9" * 5000, f'"{"9" * 350}"', "1e400", "-0", "-0.0", "NaN", '"NaN"', '"1e400"', "[]", "{}", "true",
    "null", "[1,[2]]", '"\\ud800"', '{"code":null}', '{"code":{"a":1}}', "1.0e0", "1e16", "12345678901234567890",
    '"11111111111"', '""', '" "', '{"code":1e400}', "[1e400]", '["1","x"]', "[null]", '{"a":1e400}',
    '"2026-13-01"', "-1", "1e-320",
    '"\u0663\u0663\u0663\u0663\u0663\u0663\u0663\u0663\u0663\u0663"', '"\u00b2\u00b3\u00b2\u00b3"', '"x', "{",
    '{"b":{"c":1}}', '[{"tool_name":"x"}]', '[{"tool_name":"x","status":"notice","z":1}]',
]  # fmt: skip
KEYS = [
    "value", "durationMs", "inputTokens", "startTime", "end_time", "status", "kind", "level", "traceId", "bucketCounts",
    "bucketBoundaries", "costUsd", "attributes", "name", "timestamp", "type", "event_type", "data", "extra", "error",
    "step", "model", "spanType", "tool_calls", "toolCalls", "client", "note", "id", "span_id",
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "folder"),
    [
        ("span", "span"),
        ("metric", ""),
        ("feedback", "feedback"),
        ("log", "metric"),
        ("prompt_call", ""),
        ("spam", "span"),
    ],
)
def test_whatever_a_value_is_all_readers_agree_on_the_line(kind: str, folder: str) -> None:
    """Alone, beside a bad line, and many of it: never a crash, and the same rows."""
    fields = json.dumps({"type": kind} | LINES.get(kind, {}))[:-1]
    decoder = LineDecoder(BUILT_IN, [NOTE])
    decoder.few_bytes = 0
    for key in KEYS:
        for value in HOSTILE:
            flat = f'{fields},"{key}":{value}}}'.encode()
            for data in (flat + b"\n", b'{"type":"%b","data":%b}\n' % (kind.encode(), flat)):
                alone = decode(data, folder, decoder=decoder)
                beside = decode(data + b"{}\n", folder, decoder=decoder)
                assert (beside.rows, beside.rejects[:-1]) == (alone.rows, alone.rejects), data
                twice = decode(data * 2, folder, decoder=decoder)
                assert len(twice.rejects) == 2 * len(alone.rejects), data
                for table, some in alone.rows.items():
                    assert without_ids(twice.rows[table].data) == without_ids(some.data) * 2, data


def without_ids(data: bytes) -> list[list[object]]:
    return [json.loads(row)[1:] for row in data.splitlines()]


@pytest.mark.parametrize("key", ["inputTokens", "input_tokens", "durationMs", "duration_ms"])
@pytest.mark.parametrize("extra", [{}, {"own": 1}], ids=["known", "unknown"])
def test_a_field_is_called_as_the_line_calls_it(key: str, extra: dict[str, object]) -> None:
    """By all readers, in rejects and in counts."""
    for value in ("x", 1.5, True) if "okens" in key else ("x", True):
        bad = line("span", **{key: value}, **extra)
        for data in (bad, line("span") + bad, bad * 50, bad * 50 + line("log")):
            assert {reject.field for reject in decode(data, "span").rejects} == {key}
    odd = line("span", **{key: "12"}, **extra)
    for data in (odd, line("span") + odd, odd * 50, odd * 50 + line("log")):
        assert decode(data, "span").converted == {key: data.count(odd)}


def test_an_original_is_kept_under_the_key_of_the_line() -> None:
    for key in ("metricType", "metric_type"):
        assert json.loads(row(line("metric", **{key: "summary"}), "metric")["extra"]) == {key: "summary"}
