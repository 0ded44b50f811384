"""Pieces of lines: what is rejected and why, what stands beside it, and what ends a line."""

import json
import math
from bisect import bisect_left
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from spoolhouse.decode.line_decoder import Decoded, LineDecoder, Origin, ProjectPolicy, is_whole_object
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.reject import Reason
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.declaration import Column, EventType, Kind, Table

DECODER = LineDecoder(BUILT_IN)
GOOD = b'{"type":"log","id":"1","projectId":"p1","level":"info","message":"m","timestamp":1700000000}'
GOOD_ROW = ["1", "p1", "", None, None, "info", "m", "2023-11-14T22:13:20Z", "{}", "2026-02-03T04:05:06.789000Z", "{}"]
CLOCK_MS = 1770091506789
ORIGIN = Origin(project="p1", policy="warn", clock_ms=CLOCK_MS)


def decode(data: bytes, *, offset: int = 0, policy: ProjectPolicy = "warn", project: str = "p1") -> Decoded:
    return DECODER.decode(Piece(offset=offset, data=data), Origin(project=project, policy=policy, clock_ms=CLOCK_MS))


def rows(decoded: Decoded) -> dict[str, list[Any]]:
    return {name: [json.loads(line) for line in some.data.splitlines()] for name, some in decoded.rows.items()}


SHARDS = [
    b'{"type":"span"',
    b'"data":',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"\\",
    b"\\ud800",
    b"\xff",
    b"\0",
    b"\n",
]


@given(st.binary(max_size=60) | st.lists(st.sampled_from(SHARDS), max_size=9).map(b"".join))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_only_input(data: bytes) -> None:
    decoded = decode(data)
    assert decoded.rows == {}
    assert decoded.lines == len(decoded.rejects)
    assert b"\n".join(line.strip() for line in data.split(b"\n") if line.strip(b" \t\r")) == b"\n".join(
        reject.raw.strip() for reject in decoded.rejects
    )
    assert all(data[reject.offset :].startswith(reject.raw) for reject in decoded.rejects)


def test_every_second_line_is_bad() -> None:
    """A bad line harms no other line, and says where it stands."""
    bad = b'{"type":"log"}'
    data = b"".join(GOOD + b"\n" + bad + b"\r\n" for _ in range(100))
    decoded = decode(data, offset=1000)
    assert rows(decoded) == {"logs": [GOOD_ROW] * 100}
    assert decoded.lines == 200
    assert [reject.line for reject in decoded.rejects] == list(range(2, 201, 2))
    for reject in decoded.rejects:
        assert reject.raw == bad
        assert data[reject.offset - 1000 :].startswith(bad)


@pytest.mark.parametrize("data", [b"", b"\n", b" \n\t\r\n\r\n", b" "])
def test_blank_lines_are_no_lines(data: bytes) -> None:
    assert decode(data) == Decoded()
    around = decode(data + GOOD + b"\n" + data)
    assert (around.lines, around.rejects, rows(around)) == (1, [], {"logs": [GOOD_ROW]})


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"", b"\r", b" \t\r\n\n"])
def test_a_line_may_end_in_many_ways(end: bytes) -> None:
    assert rows(decode(GOOD + b"\r\n" + GOOD + end)) == {"logs": [GOOD_ROW] * 2}


@pytest.mark.parametrize("cut", range(1, len(GOOD)))
def test_a_last_line_that_stops_in_the_middle_is_torn(cut: int) -> None:
    decoded = decode(GOOD + b"\n" + GOOD[:cut])
    assert rows(decoded) == {"logs": [GOOD_ROW]}
    assert [(reject.reason, reject.raw) for reject in decoded.rejects] == [(Reason.TORN, GOOD[:cut])]
    assert not is_whole_object(GOOD[:cut])
    ended = decode(GOOD[:cut] + b"\n")
    assert [reject.reason for reject in ended.rejects] == [Reason.INVALID_JSON]


def test_a_last_line_that_is_whole_but_bad_is_not_torn() -> None:
    assert is_whole_object(b'{"type":"log"}')
    assert [reject.reason for reject in decode(b'{"type":"log"}').rejects] == [Reason.MISSING_FIELD]


@pytest.mark.parametrize(
    "line", [b"{}", b' {"a":[{}]} \r', b'{"a":[NaN,-Infinity]}', b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"]
)
def test_a_whole_object_is_told_by_its_form_alone(line: bytes) -> None:
    assert is_whole_object(line)


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"3", b"{}{}", b'{"a":1', b'{"a":"\xff', b'{"a":01}', b"null", b'{"a":NaN', b"{NaN:1}"]
)
def test_what_is_no_whole_object(line: bytes) -> None:
    assert not is_whole_object(line)


HALF = GOOD.index(b',"level"')


@pytest.mark.parametrize(
    "bad",
    [
        GOOD + GOOD,
        GOOD + b" \t" + GOOD,
        GOOD[:HALF] + b"\n" + GOOD[HALF:],
        # As many objects as lines.
        GOOD + GOOD + b"\n" + GOOD[:HALF] + b"\n" + GOOD[HALF:],
        GOOD[:-1] + b',"attributes":\n{}}\n' + GOOD + GOOD,
        GOOD + GOOD + b"\n" + GOOD[:-1] + b',"attributes":{}\n}',
    ],
)
def test_an_object_has_a_line_and_a_line_has_an_object(bad: bytes) -> None:
    decoded = decode(GOOD + b"\n" + bad + b"\n" + GOOD + b"\n")
    assert rows(decoded) == {"logs": [GOOD_ROW] * 2}
    assert [reject.raw for reject in decoded.rejects] == bad.split(b"\n")
    assert {reject.reason for reject in decoded.rejects} == {Reason.INVALID_JSON}


AGENT = (
    b'{"event_type":"agent_step","event_id":"e","project_id":"p1","run_id":"r","timestamp":"2026-02-01T00:00:00Z",'
    b'"step":{"number":1,"name":"n","type":"output"'
)


@pytest.mark.parametrize(
    "frame",
    [
        GOOD[:-1] + b',"x":%s}\n',
        b'{"type":"log","data":' + GOOD[:-1] + b',"x":%s}}\n',
        AGENT + b',"input_data":%s}}\n',
        AGENT + b'},"tool_calls":[{"tool_name":"t","input":%s}]}\n',
        AGENT + b'},"tool_calls":[{"tool_name":"t","error":{"x":%s}}]}\n',
    ],
)
def test_how_deep_a_line_may_be_does_not_depend_on_its_company(frame: bytes) -> None:
    def line(depth: int) -> bytes:
        return frame % (b"[" * depth + b"]" * depth)

    limit = bisect_left(range(50_000), 1, key=lambda depth: len(decode(line(depth)).rejects))
    for depth in range(limit - 10, limit + 10):
        alone, beside = decode(line(depth)), decode(line(depth) + b"{}\n")
        assert alone.rejects == beside.rejects[:-1]
        assert {reject.reason for reject in alone.rejects} <= {Reason.TOO_DEEP}


def test_an_absurdly_deep_line_is_too_deep() -> None:
    decoded = decode(GOOD + b"\n" + GOOD[:-1] + b',"x":' + b'{"a":[' * 200_000 + b"\n" + GOOD)
    assert rows(decoded) == {"logs": [GOOD_ROW] * 2}
    assert [reject.reason for reject in decoded.rejects] == [Reason.TOO_DEEP]


@pytest.mark.parametrize(
    ("policy", "landed", "mismatched", "rejected"), [("trust", 3, 0, 0), ("warn", 3, 1, 0), ("reject", 2, 0, 1)]
)
@pytest.mark.parametrize("time", [b"1700000000", b'"2023-11-14T22:13:20Z"', b'"2023-11-14T22:13:20+0000"'])
def test_another_project_is_what_the_policy_says(
    policy: ProjectPolicy, landed: int, mismatched: int, rejected: int, time: bytes
) -> None:
    good = GOOD.replace(b"1700000000", time)
    other = good.replace(b"p1", b"p2")
    decoded = decode(good + b"\n" + other + b"\n" + good + b"\n", policy=policy)
    assert (decoded.rows["logs"].count, decoded.mismatched, len(decoded.rejects)) == (landed, mismatched, rejected)
    assert decoded.lines == 3
    for reject in decoded.rejects:
        assert (reject.reason, reject.field, reject.line) == (Reason.PROJECT_MISMATCH, "projectId", 2)


def test_strangers_are_counted_beside_bad_lines_too() -> None:
    lines = [GOOD.replace(b"p1", b"p2")] * 100
    decoded = decode(b"\n".join([*lines, b"{}", GOOD]))
    assert (decoded.mismatched, decoded.lines, decoded.rows["logs"].count) == (100, 102, 101)


@pytest.mark.parametrize("second", [b'"projectId"', b'"project\\u0049d"', b'"\\u0070rojectId"'])
def test_a_project_cannot_be_spoofed_past_the_policy(second: bytes) -> None:
    """The project that lands is the one that is looked at, however often and in whatever spelling it is written."""
    line = GOOD[:-1] + b"," + second + b':"p2"}\n'
    assert [row[1] for row in rows(decode(line))["logs"]] == ["p2"]
    assert [reject.reason for reject in decode(line, policy="reject").rejects] == [Reason.PROJECT_MISMATCH]
    assert [reject.reason for reject in decode(line, policy="reject", project="p2").rejects] == []


REQUIRED: dict[str, dict[str, object]] = {
    "span": {"id": "1", "traceId": "t", "projectId": "p1", "name": "n", "startTime": 1700000000},
    "metric": {"id": "1", "projectId": "p1", "name": "n", "value": 1, "timestamp": 1700000000},
}


def line(event: str, **changes: object) -> bytes:
    """A valid line of an event type, but for the changes; `...` takes a key away."""
    fields = {"type": event, **REQUIRED[event], **changes}
    return json.dumps({key: value for key, value in fields.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("data", "reason", "field", "detail"),
    [
        (b"{bad", Reason.INVALID_JSON, "", "malformed"),
        (b'{"a":1}{"a":2}', Reason.INVALID_JSON, "", "malformed"),
        (b'{"a":"\x01"}', Reason.INVALID_JSON, "", "malformed"),
        (b'{"type":"span","name":"\\x"}', Reason.INVALID_JSON, "", "malformed"),
        (b'{"a":"\\ud800"}', Reason.INVALID_UNICODE, "", "surrogate"),
        (b'{"type":"span","\\udfff":1}', Reason.INVALID_UNICODE, "", "surrogate"),
        (line("span")[:-1] + b',"kind":"\xff"}', Reason.INVALID_UNICODE, "kind", "invalid start byte"),
        (line("span")[:-1] + b',"attributes":"\xff"}', Reason.INVALID_UNICODE, "attributes", "invalid start byte"),
        (b"[]", Reason.NOT_AN_OBJECT, "", "got `array`"),
        (b"3", Reason.NOT_AN_OBJECT, "", "got `int`"),
        (b"null", Reason.NOT_AN_OBJECT, "", "got `null`"),
        (line("span")[:-1] + b',"x":' + b"[" * 99_999, Reason.TOO_DEEP, "", "nested"),
        (b"{}", Reason.MISSING_FIELD, "type", "required"),
        (b'{"type":null}', Reason.MISSING_FIELD, "type", "required"),
        (b'{"type":"x"}', Reason.UNKNOWN_TYPE, "type", "'x'"),
        (b'{"event_type":"x"}', Reason.UNKNOWN_TYPE, "event_type", "'x'"),
        (b'{"type":3}', Reason.UNKNOWN_TYPE, "type", "not text"),
        (b'{"type":"\xff"}', Reason.UNKNOWN_TYPE, "type", "not text"),
        (line("span", id=...), Reason.MISSING_FIELD, "id", "required"),
        (line("span", name=None), Reason.MISSING_FIELD, "name", "required"),
        (b'{"type":"span","data":{"id":"1"}}', Reason.MISSING_FIELD, "traceId", "required"),
        (line("span", data={"name": "n"}, name=...), Reason.MISSING_FIELD, "name", "required"),
        (b'{"type":"log","projectId":"p1","data":' + GOOD + b"}", Reason.MISSING_FIELD, "level", "required"),
        (line("span", name=[]), Reason.WRONG_TYPE, "name", "got `array`"),
        (line("span", id=...)[:-1] + b',"spanId":{}}', Reason.WRONG_TYPE, "spanId", "got `object`"),
        (line("span", inputTokens=1.5), Reason.WRONG_TYPE, "inputTokens", "whole"),
        (line("span", durationMs="1 s"), Reason.WRONG_TYPE, "durationMs", "no number"),
        (line("span", durationMs=math.nan), Reason.WRONG_TYPE, "durationMs", "no number"),
        (line("metric", value=-math.inf), Reason.WRONG_TYPE, "value", "no number"),
        (line("span", attributes=math.nan)[:-1], Reason.INVALID_JSON, "", "malformed"),
        (line("span")[:-1] + b',"a":nan}', Reason.INVALID_JSON, "", "malformed"),
        (line("span", inputTokens="1.5"), Reason.WRONG_TYPE, "inputTokens", "whole"),
        (line("span", inputTokens="x"), Reason.WRONG_TYPE, "inputTokens", "no number"),
        (line("span")[:-1] + b',"inputTokens":9007199254740992.5}', Reason.WRONG_TYPE, "inputTokens", "whole"),
        (line("metric", value="one"), Reason.WRONG_TYPE, "value", "no number"),
        (line("metric", value=True), Reason.WRONG_TYPE, "value", "got `bool`"),
        (line("metric", bucketBoundaries=[1, None]), Reason.WRONG_TYPE, "bucketBoundaries", "got `null`"),
        (line("metric", bucketCounts=[0.5]), Reason.WRONG_TYPE, "bucketCounts", "whole"),
        (line("metric", bucketCounts=3), Reason.WRONG_TYPE, "bucketCounts", "got `int`"),
        (line("span", startTime=[]), Reason.WRONG_TYPE, "startTime", "neither text nor a number"),
        (line("span", endTime=True), Reason.WRONG_TYPE, "endTime", "neither text nor a number"),
        (line("span", kind="boss"), Reason.BAD_CHOICE, "kind", "internal, server, client"),
        (line("span", status="odd"), Reason.BAD_CHOICE, "status", "unset, ok, error"),
        (line("span", startTime="yesterday"), Reason.BAD_TIME, "startTime", "ISO-8601"),
        (line("span", startTime=""), Reason.BAD_TIME, "startTime", "ISO-8601"),
        (line("span", startTime="2026-02-30T00:00:00Z"), Reason.BAD_TIME, "startTime", "ISO-8601"),
        (line("span", startTime="2100-01-01T00:00:00Z"), Reason.ABSURD_TIME, "startTime", "2099"),
        (line("span", startTime="1970-01-01T00:00:00+00:01"), Reason.ABSURD_TIME, "startTime", "1970"),
        (line("span", startTime="0001-01-01T00:00:00+23:59"), Reason.ABSURD_TIME, "startTime", "1970"),
        (line("span", startTime="00010101T000000+2359"), Reason.ABSURD_TIME, "startTime", "1970"),
        (line("span", startTime=-1), Reason.ABSURD_TIME, "startTime", "1970"),
        (line("span", startTime=2**70), Reason.ABSURD_TIME, "startTime", "1970"),
        (line("span")[:-1] + b',"startTime":1e999}', Reason.ABSURD_TIME, "startTime", "out of range"),
        (line("span")[:-1] + b',"startTime":' + b"9" * 5000 + b"}", Reason.ABSURD_TIME, "startTime", "out of range"),
        (line("span", inputTokens=2**63), Reason.OUT_OF_RANGE, "inputTokens", "64 bits"),
        (line("span")[:-1] + b',"durationMs":1e400}', Reason.OUT_OF_RANGE, "durationMs", "out of range"),
        (line("span")[:-1] + b',"inputTokens":1e300}', Reason.OUT_OF_RANGE, "inputTokens", "64 bits"),
        (line("metric")[:-1] + b',"value":-1e400}', Reason.OUT_OF_RANGE, "value", "out of range"),
        (line("metric")[:-1] + b',"value":' + b"9" * 400 + b"}", Reason.OUT_OF_RANGE, "value", "a double"),
        (line("metric")[:-1] + b',"value":"' + b"9" * 400 + b'"}', Reason.WRONG_TYPE, "value", "no number"),
        (line("span")[:-1] + b',"inputTokens":' + b"9" * 400 + b"}", Reason.OUT_OF_RANGE, "inputTokens", "64 bits"),
        (line("metric", bucketCounts=[-1]), Reason.OUT_OF_RANGE, "bucketCounts", "negative"),
        (line("metric", bucketCounts=[2**63]), Reason.OUT_OF_RANGE, "bucketCounts", "64 bits"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, reason: Reason, field: str, detail: str) -> None:
    decoded = decode(GOOD + b"\n" + data + b"\n" + GOOD + b"\n")
    assert rows(decoded) == {"logs": [GOOD_ROW] * 2}
    (reject,) = decoded.rejects
    assert (reject.reason, reject.field, reject.raw) == (reason, field, data)
    assert detail in reject.detail
    assert len(reject.detail) <= 200
    assert (reject.line, reject.offset) == (2, len(GOOD) + 1)
    (alone,) = decode(data + b"\n").rejects
    assert alone == replace(reject, line=1, offset=0)


@pytest.mark.parametrize("company", [b"", line("span") + b"\n"])
@pytest.mark.parametrize("frame", [b"%b", b'{"type":"span","data":%b}'])
def test_nan_and_infinity_become_text(company: bytes, frame: bytes) -> None:
    numbers = {"a": [math.nan, {"b": -math.inf}], "c": 'of "NaN, \\', "d": math.inf}
    decoded = decode(company + frame % line("span", attributes=numbers, loss=math.nan, note="Infinity") + b"\n")
    assert decoded.rejects == []
    columns = [column.name for column in BUILT_IN["span"].table.columns]
    row = dict(zip(columns, rows(decoded)["spans"][-1], strict=True))
    written = {"a": ["NaN", {"b": "-Infinity"}], "c": 'of "NaN, \\', "d": "Infinity"}
    assert (json.loads(row["attributes"]), json.loads(row["extra"])) == (written, {"loss": "NaN", "note": "Infinity"})
    assert decoded.converted.keys() == ({"attributes", "loss"} if frame == b"%b" else {"data"})


@pytest.mark.parametrize("frame", [b"%b", b'{"type":"score","data":%b}', b'{"type":"score","a":NaN,"data":%b}'])
def test_nan_is_no_id_and_no_other_text(frame: bytes) -> None:
    """Programs have it in place of what is missing. As text, two scores of a time would have the same id."""
    empty = dict.fromkeys(("id", "traceId", "comment", "projectId"), math.nan)
    score = {"type": "score", "name": "n", "value": 1, "timestamp": "2026-11-21T11:00:00Z"}
    decoded = decode((frame % json.dumps(score | empty).encode() + b"\n") * 2)
    assert decoded.rejects == []
    columns = [column.name for column in BUILT_IN["score"].table.columns]
    one, other = (dict(zip(columns, row, strict=True)) for row in rows(decoded)["scores"])
    assert one | {"id": other["id"]} == other
    assert one["id"] != other["id"]
    assert (one["trace_id"], one["comment"], one["project_id"], decoded.mismatched) == (None, None, "p1", 0)


def test_nan_beside_a_text_without_an_end_costs_no_more_than_elsewhere() -> None:
    """Looked for from each of its quotes, the end of this one would take hours."""
    data = b'{"type":"span","a":NaN,"b":"' + b'\\"' * 1_000_000
    assert [reject.reason for reject in decode(data + b"\n").rejects] == [Reason.INVALID_JSON]
    assert [reject.reason for reject in decode(data).rejects] == [Reason.TORN]


TABLE = Table(
    name="notes",
    columns=(
        Column(name="body", kind=Kind.JSON, keys=("body", "text"), required=True),
        Column(name="extra", kind=Kind.JSON, keys=("extra", "more"), nullable=True),
        Column(name="owner", kind=Kind.TEXT, keys=("owner", "projectId"), required=True),
        Column(name="size", kind=Kind.INTEGER, keys=("size", "length"), default=-1),
        Column(name="at", kind=Kind.TIME, keys=("at", "time"), nullable=True),
    ),
    order_by=("owner",),
    time="at",
    ttl_days=1,
)
NOTES = LineDecoder({"note": EventType(name="note", table=TABLE, project="owner")})


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (b'"text":{},"owner":"p1"', ["{}", None, "p1", -1, None]),
        (b'"body":null,"text":[ 1 ],"extra":"","projectId":"p1","length":0', ["[ 1 ]", '""', "p1", 0, None]),
        (b'"body":0,"text":1,"more":2,"extra":null,"owner":"p1","size":5,"length":6', ["0", "2", "p1", 5, None]),
        (
            b'"body":0,"owner":"p1","projectId":"p2","time":"2026-01-01T00:00:00Z"',
            ["0", None, "p1", -1, "2026-01-01T00:00:00Z"],
        ),
        (
            b'"body":0,"owner":null,"projectId":"p1","at":1700000000,"time":1',
            ["0", None, "p1", -1, "2023-11-14T22:13:20Z"],
        ),
    ],
)
@pytest.mark.parametrize("frame", [b'{"type":"note",%s}', b'{"type":"note","data":{%s}}'])
def test_any_kind_may_have_other_keys(content: bytes, row: list[object], frame: bytes) -> None:
    line = frame % content
    piece = Piece(offset=0, data=line)
    alone = NOTES._encoded(NOTES._line_by_line(piece, ORIGIN), ORIGIN)
    assert (rows(alone), alone.mismatched) == ({"notes": [row]}, 0)
    found = NOTES._bulk(line, ORIGIN)
    assert found is None or NOTES._encoded(found, ORIGIN) == alone
    assert NOTES.decode(piece, ORIGIN) == alone


@pytest.mark.parametrize("project", [b'"owner":"p1"', b'"projectId":"p1"', b'"owner":null,"projectId":"p1"'])
@pytest.mark.parametrize("company", [b"", b"{}\n"])
def test_a_line_that_names_its_project_at_the_top_is_flat(project: bytes, company: bytes) -> None:
    line = b'{"type":"note","body":1,%s,"data":{"body":2,"owner":"p2"}}\n' % project
    assert rows(NOTES.decode(Piece(offset=0, data=line + company), ORIGIN)) == {"notes": [["1", None, "p1", -1, None]]}


@pytest.mark.parametrize("content", [b'"owner":"p1"', b'"body":null,"text":null,"owner":"p1"'])
def test_any_kind_may_be_required(content: bytes) -> None:
    line = b'{"type":"note",%s}' % content
    assert NOTES._bulk(line, ORIGIN) is None
    alone = NOTES.decode(Piece(offset=0, data=line), ORIGIN)
    assert [reject.reason for reject in alone.rejects] == [Reason.MISSING_FIELD]
