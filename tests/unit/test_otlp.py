"""OTLP/JSON: samples of real producers by value, odd input, what is rejected, and batches of any size."""

import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from spoolhouse.decode.line_decoder import Decoded, LineDecoder, Origin
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.reject import Reason
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.shapes.otlp.values import texts

SAMPLES = sorted((Path(__file__).parents[1] / "producers" / "samples").glob("otel_*.jsonl"))
COLUMNS = {event.table.name: [column.name for column in event.table.columns] for event in BUILT_IN.values()}
DECODER = LineDecoder(BUILT_IN)
CLOCK_MS = 1_795_262_400_000
TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
NS = 1_773_480_413_589_793_001
ISO = "2026-03-14T09:26:53.589Z"
Json = dict[str, Any]


def origin(folder: str, **how: Any) -> Origin:
    return Origin(project="p", clock_ms=CLOCK_MS, type=folder, file=f"{folder}/p/a.jsonl", **{"policy": "warn"} | how)


def decode(data: bytes, folder: str = "span", **how: Any) -> Decoded:
    return DECODER.decode(Piece(offset=0, data=data), origin(folder, **how))


def rows(decoded: Decoded, table: str) -> list[Json]:
    """The rows of a table by column; columns of JSON as values, times to the millisecond."""
    assert decoded.rejects == []
    if table not in decoded.rows:
        return []
    found = [dict(zip(COLUMNS[table], json.loads(row), strict=True)) for row in decoded.rows[table].data.splitlines()]
    for row in found:
        for name, value in row.items():
            if name in {"attributes", "labels", "metadata", "extra", "events", "input", "output"} and value:
                row[name] = json.loads(value)
            elif name in {"start_time", "end_time", "timestamp", "recorded_at"} and value:
                row[name] = datetime.fromisoformat(value)
    return found


def line(document: Json, **dumping: Any) -> bytes:
    return json.dumps(document, **dumping).encode() + b"\n"


def spans(*some: Json, **group: Any) -> Json:
    return {"resourceSpans": [{"scopeSpans": [{"spans": some}], **group}]}


def span(**fields: Any) -> Json:
    return {"traceId": TRACE, "spanId": SPAN, "name": "n", "startTimeUnixNano": str(NS), **fields}


def log(**fields: Any) -> Json:
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": str(NS), **fields}]}]}]}


def metric(**fields: Any) -> Json:
    return {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", **fields}]}]}]}


def gauge(**fields: Any) -> Json:
    return metric(gauge={"dataPoints": [{"timeUnixNano": str(NS), **fields}]})


def one(document: Json, table: str) -> Json:
    """The only row of a table that a line gives: the same by the fast way and by the tolerant one."""
    [found] = rows(decode(line(document)), table)
    [slow] = rows(decode(b" " + line(document)), table)
    assert slow == found
    return found


# What was written, by the simplest means


def time(ns: object) -> datetime | None:
    return datetime.fromtimestamp(int(str(ns)) // 10**6 / 1000, UTC) if int(str(ns or 0)) else None


def plain(value: Json) -> Any:
    inner: Any
    [(kind, inner)] = value.items() or [("nothing", None)]
    match kind:
        case "arrayValue":
            return [plain(each) for each in inner.get("values", ())]
        case "kvlistValue":
            return attributes(inner.get("values", ()))
        case "intValue":
            return int(inner)
    return inner


def attributes(pairs: Any) -> Json:
    return {pair["key"]: plain(pair["value"]) for pair in pairs}


def written(sample: Path, signal: str, scoped: str, records: str) -> Iterator[tuple[Json, Json]]:
    """Yield each record of a sample in camelCase, with what its attributes have of the resource and the scope."""
    for text in sample.read_text().splitlines():
        if text.startswith('{"resource_'):
            continue
        for group in json.loads(text).get(signal, ()):
            for inner in group[scoped]:
                shared: Json = {"resource": attributes(group["resource"].get("attributes", ()))}
                scope = inner["scope"]
                shared["scope"] = {
                    **{key: scope[key] for key in ("name", "version") if scope.get(key)},
                    **({"attributes": attributes(scope["attributes"])} if scope.get("attributes") else {}),
                }
                for record in inner[records]:
                    yield record, {key: value for key, value in shared.items() if value}


KINDS = ["internal", "internal", "server", "client", "producer", "consumer"]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_the_spans_of_samples_land_as_they_were_written(sample: Path) -> None:
    decoded = decode(sample.read_bytes())
    found = rows(decoded, "spans")
    traces = {row["trace_id"]: row for row in rows(decoded, "traces")}
    expected = list(written(sample, "resourceSpans", "scopeSpans", "spans"))
    assert len(found) == len(expected) + ("collector" in sample.stem)
    for row, (given, shared) in zip(found, expected, strict=False):
        end = int(given.get("endTimeUnixNano", 0))
        status = given.get("status", {})
        assert (row["span_id"], row["trace_id"], row["name"]) == (given["spanId"], given["traceId"], given["name"])
        assert row["parent_span_id"] == (given.get("parentSpanId") or None)
        assert row["kind"] == KINDS[given.get("kind", 0)]
        assert row["status"] == ["unset", "ok", "error"][status.get("code", 0)]
        assert (row["start_time"], row["end_time"]) == (time(given["startTimeUnixNano"]), time(end))
        assert row["duration_ms"] == ((end - int(given["startTimeUnixNano"])) / 1e6 if end else None)
        assert row["attributes"] == attributes(given.get("attributes", ())) | shared
        assert [(each["name"], each["timeUnixNano"], each.get("attributes", {})) for each in row["events"]] == [
            (each["name"], int(each["timeUnixNano"]), attributes(each.get("attributes", ())))
            for each in given.get("events", ())
        ]
        for key in ("flags", "traceState", "droppedAttributesCount", "droppedEventsCount", "droppedLinksCount"):
            assert row["extra"].get(key) == (given.get(key) or None)
        assert [attributes(each.get("attributes", ())) for each in given.get("links", ())] == [
            each["attributes"] for each in row["extra"].get("links", ())
        ]
        assert row["extra"].get("status", {}).get("message") == status.get("message")
        if not given.get("parentSpanId"):
            trace = traces.pop(given["traceId"])
            for name in ("name", "status", "start_time", "end_time", "duration_ms"):
                assert trace[name] == row[name]
            assert trace["metadata"] == shared
    assert traces == {}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_the_logs_of_samples_land_as_they_were_written(sample: Path) -> None:
    found = rows(decode(sample.read_bytes(), "log"), "logs")
    expected = list(written(sample, "resourceLogs", "scopeLogs", "logRecords"))
    assert len(found) == len(expected)
    assert len({row["id"] for row in found}) == len(found)
    for row, (given, shared) in zip(found, expected, strict=True):
        number, text = given.get("severityNumber", 0), given.get("severityText", "")
        body = plain(given.get("body") or {})
        assert row["level"] == ["debug", "debug", "info", "warn", "error", "fatal"][((number or 9) - 1) // 4]
        assert row["extra"].get("severityNumber") == (None if number in {0, 5, 9, 13, 17, 21} else number)
        assert row["extra"].get("severityText") == (None if text.lower() in {"", row["level"]} else text)
        assert (row["trace_id"], row["span_id"]) == (given.get("traceId") or None, given.get("spanId") or None)
        assert row["timestamp"] == time(given.get("timeUnixNano") or given["observedTimeUnixNano"])
        if observed := given.get("observedTimeUnixNano"):
            assert row["recorded_at"] == time(observed)
        assert row["attributes"] == attributes(given.get("attributes", ())) | shared
        assert row["extra"].get("eventName") == given.get("eventName")
        if isinstance(body, str):
            assert row["message"] == body
        elif body is None:
            assert row["message"] == given.get("eventName", "")
        else:
            assert (json.loads(row["message"]), row["extra"]["body"]) == (body, body)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_the_metrics_of_samples_land_as_they_were_written(sample: Path) -> None:
    found = rows(decode(sample.read_bytes(), "metric"), "metrics")
    expected = [
        (given, kind, given[kind], point, shared)
        for given, shared in written(sample, "resourceMetrics", "scopeMetrics", "metrics")
        for kind in ("gauge", "sum", "histogram", "exponentialHistogram", "summary")
        for point in given.get(kind, {}).get("dataPoints", ())
        if point.get("flags") != 1 and not isinstance(point.get("asDouble"), str)
    ]
    assert len(found) == len(expected)
    assert len({row["id"] for row in found}) == len(found)
    for row, (given, kind, data, point, shared) in zip(found, expected, strict=True):
        extra = row["extra"]
        value = point.get("asDouble", point.get("asInt", point.get("sum", point.get("count"))))
        assert row["value"] == float(value)
        assert int(value) == extra.get("value", row["value"]) or not isinstance(value, str)
        assert (row["name"], row["unit"]) == (given["name"], given.get("unit") or None)
        assert (row["type"], extra.get("metricType")) == {
            "gauge": ("gauge", None),
            "sum": ("counter", None) if data.get("isMonotonic") else ("gauge", "up_down_counter"),
            "histogram": ("histogram", None),
            "exponentialHistogram": ("histogram", "exponential_histogram"),
            "summary": ("histogram", "summary"),
        }[kind]
        assert row["timestamp"] == time(point["timeUnixNano"])
        assert row["labels"] == attributes(point.get("attributes", ())) | shared
        assert row["bucket_boundaries"] == point.get("explicitBounds", [])
        assert row["bucket_counts"] == [int(count) for count in point.get("bucketCounts", ())]
        assert (
            extra.get("aggregationTemporality") == [None, "delta", "cumulative"][data.get("aggregationTemporality", 0)]
        )
        assert extra.get("startTimeUnixNano") == (int(point.get("startTimeUnixNano", 0)) or None)
        assert extra.get("description") == (given.get("description") or None)
        assert extra.get("metadata", {}) == attributes(given.get("metadata", ()))
        for key in ("count", "sum", "min", "max", "zeroCount"):
            assert extra.get(key) == (float(point[key]) if key in point else None)
        assert len(extra.get("exemplars", ())) == len(point.get("exemplars", ()))
        for side in ("positive", "negative"):
            if side in point:
                assert extra[side]["bucketCounts"] == [int(count) for count in point[side]["bucketCounts"]]
        for quantile, theirs in zip(extra.get("quantileValues", ()), point.get("quantileValues", ()), strict=True):
            assert (quantile["quantile"], quantile["value"]) == (theirs.get("quantile", 0), theirs.get("value", 0))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_the_tolerant_reader_agrees_with_the_fast_one(sample: Path) -> None:
    """A blank before the line, and each of its fields in snake_case, make it a line for the tolerant one."""
    for text in sample.read_bytes().splitlines(keepends=True):
        fast = decode(text)
        assert decode(b" " + text).rows == fast.rows
        for table in fast.rows:
            # The names within extra are the protocol's, however the line spells them.
            assert rows(decode(line(snaked(json.loads(text)))), table) == rows(fast, table)


def snaked(value: Any) -> Any:
    """A document with the keys of the .proto files."""
    if isinstance(value, list):
        return [snaked(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        "".join(f"_{each.lower()}" if each.isupper() else each for each in key): snaked(inner)
        for key, inner in value.items()
    }


# Odd input


@pytest.mark.parametrize("start", [NS, str(NS), NS // 1000, str(NS // 10**6), float(NS // 10**9)])
def test_a_time_may_be_a_number_or_text_of_any_unit(start: object) -> None:
    row = one(spans(span(startTimeUnixNano=start)), "spans")
    assert row["start_time"].replace(microsecond=0) == datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)


@pytest.mark.parametrize("parent", ["", None, "0000000000000000", ...])
def test_a_root_span_creates_its_trace(parent: object) -> None:
    fields = {} if parent is ... else {"parentSpanId": parent}
    decoded = decode(line(spans(span(spanId="b" * 16, parentSpanId=SPAN), span(**fields))))
    assert [row["parent_span_id"] for row in rows(decoded, "spans")] == [SPAN, None]
    [trace] = rows(decoded, "traces")
    assert (trace["trace_id"], trace["name"]) == (TRACE, "n")


def test_a_trace_has_the_input_and_the_output_of_its_root_span() -> None:
    pairs = [{"key": f"{key}.value", "value": {"stringValue": key}} for key in ("input", "output")]
    trace = one(spans(span(attributes=pairs)), "traces")
    assert (trace["input"], trace["output"]) == ("input", "output")


@pytest.mark.parametrize(
    ("written_as", "read_as"),
    [(TRACE.upper(), TRACE), ("W47/95gDgQPSabYzgT/GDA==", TRACE), ("not hex", "not hex"), ("A" * 24, "A" * 24)],
)
def test_ids_are_hex_in_lower_case(written_as: str, read_as: str) -> None:
    assert one(spans(span(traceId=written_as)), "spans")["trace_id"] == read_as


def test_ids_of_spans_may_be_base64() -> None:
    row = one(spans(span(spanId="7uGbfsPBsXQ=", parentSpanId="7uGbfsPBsXU=")), "spans")
    assert (row["span_id"], row["parent_span_id"]) == (SPAN, "eee19b7ec3c1b175")


@pytest.mark.parametrize(
    ("fields", "kind", "status", "extra"),
    [
        ({}, "internal", "unset", {}),
        ({"kind": 0, "status": {"code": 0, "message": ""}}, "internal", "unset", {}),
        ({"kind": "SPAN_KIND_CLIENT", "status": {"code": "STATUS_CODE_OK"}}, "client", "ok", {}),
        ({"kind": "5", "status": {"code": "2"}}, "consumer", "error", {}),
        ({"kind": 9, "status": {"code": 7}}, "internal", "unset", {"kind": 9, "status": {"code": 7}}),
        ({"status": {"code": 2, "message": "m"}}, "internal", "error", {"status": {"code": 2, "message": "m"}}),
        ({"status": None, "kind": None, "events": None, "links": None, "attributes": None}, "internal", "unset", {}),
    ],
)
def test_kind_and_status_are_numbers_or_names(fields: Json, kind: str, status: str, extra: Json) -> None:
    row = one(spans(span(**fields)), "spans")
    assert (row["kind"], row["status"], row["extra"]) == (kind, status, extra)


def test_an_attribute_may_be_any_value() -> None:
    values: Json = {
        "text": {"stringValue": ""}, "whole": {"intValue": "-9223372036854775808"}, "flag": {"boolValue": False},
        "zero": {"intValue": 0}, "nan": {"doubleValue": "NaN"}, "low": {"doubleValue": "-Infinity"},
        "nothing": {}, "bytes": {"bytesValue": "AP8="}, "list": {"arrayValue": {}}, "object": {"kvlistValue": {}},
        "deep": {"kvlistValue": {"values": [{"key": "a", "value": {"arrayValue": {"values": [{"intValue": 1}, {}]}}}]}},
    }  # fmt: skip
    pairs = [{"key": key, "value": value} for key, value in values.items()]
    row = one(spans(span(attributes=[*pairs, {"key": "bare"}])), "spans")
    assert row["attributes"] == {
        "text": "", "whole": -(2**63), "flag": False, "zero": 0, "nan": "NaN", "low": "-Infinity", "nothing": None,
        "bytes": "AP8=", "list": [], "object": {}, "deep": {"a": [1, None]}, "bare": None,
    }  # fmt: skip


def test_values_of_a_key_that_comes_twice_become_an_array() -> None:
    pairs = [{"key": "a", "value": {"intValue": 1}}, {"key": "a", "value": {"intValue": 2}}]
    assert one(spans(span(attributes=pairs)), "spans")["attributes"] == {"a": [1, 2]}


def test_what_resource_and_scope_have_besides_is_kept() -> None:
    group: Json = {
        "resource": {"attributes": [{"key": "a", "value": {"intValue": 1}}], "droppedAttributesCount": 3},
        "schemaUrl": "r",
        "scopeSpans": [{"scope": {"name": "x", "droppedAttributesCount": 2}, "schemaUrl": "s", "spans": [span()]}],
    }
    row = one({"resourceSpans": [group]}, "spans")
    assert row["attributes"] == {"resource": {"a": 1}, "scope": {"name": "x"}}
    assert row["extra"] == {
        "resource": {"droppedAttributesCount": 3, "schemaUrl": "r"},
        "scope": {"droppedAttributesCount": 2, "schemaUrl": "s"},
    }
    group["scopeSpans"][0]["spans"][0]["attributes"] = [{"key": "resource", "value": {"stringValue": "mine"}}]
    row = one({"resourceSpans": [group]}, "spans")
    assert row["attributes"] == {"resource": "mine"}
    assert row["extra"]["resource"] == {"attributes": {"a": 1}, "droppedAttributesCount": 3, "schemaUrl": "r"}
    assert row["extra"]["scope"] == {"name": "x", "droppedAttributesCount": 2, "schemaUrl": "s"}


@pytest.mark.parametrize(
    ("signal", "scoped", "records", "keys", "columns"),
    [
        ("resourceSpans", "scopeSpans", "spans", ("startTimeUnixNano", "endTimeUnixNano"), ("start_time", "end_time")),
        ("resourceLogs", "scopeLogs", "logRecords", ("timeUnixNano", "observedTimeUnixNano"),
         ("timestamp", "recorded_at")),
    ],
)  # fmt: skip
def test_an_empty_scope_changes_nothing_of_the_others(
    signal: str, scoped: str, records: str, keys: tuple[str, str], columns: tuple[str, str]
) -> None:
    ids = {"traceId": TRACE, "spanId": SPAN}
    given = {name: [ids | dict.fromkeys(keys, NS + int(one) * 10**9) for one in name] for name in ("12", "", "3", "0")}
    scopes = [{"scope": {"name": name}, records: some} for name, some in given.items()]
    found = rows(
        decode(line({signal: [{}, {scoped: scopes}, {"resource": {}}]})), signal.removeprefix("resource").lower()
    )
    assert [row["attributes"]["scope"]["name"] for row in found] == ["12", "12", "3", "0"]
    for column in columns:
        assert [row[column] for row in found] == [time(NS + number * 10**9) for number in (1, 2, 3, 0)]


def test_lines_with_nearly_the_same_resource_differ_by_it() -> None:
    """A resource and a scope that lines before had are not read again."""
    named = {"attributes": [{"key": "a", "value": {"intValue": 1}}]}
    groups: list[Json] = [
        {"resource": named}, {"resource": named, "schemaUrl": "u"}, {"resource": named | {"color": "red"}},
        {"resource": named | {"droppedAttributesCount": 2}}, {"resource": named, "color": "blue"}, {}, {"resource": {}},
        {"resource": None}, {"resource": {"attributes": [{"key": "a", "value": {"intValue": "1"}}]}},
    ]  # fmt: skip
    wanted = [
        ({"a": 1}, {}), ({"a": 1}, {"resource": {"schemaUrl": "u"}}), ({"a": 1}, {"resource.color": "red"}),
        ({"a": 1}, {"resource": {"droppedAttributesCount": 2}}), ({"a": 1}, {"resource.color": "blue"}), (None, {}),
        (None, {}), (None, {}), ({"a": 1}, {}),
    ]  # fmt: skip
    for _ in range(2):
        for group, (resource, extra) in zip(groups, wanted, strict=True):
            row = one(spans(span(), **group), "spans")
            assert (row["attributes"].get("resource"), row["extra"]) == (resource, extra)


def test_what_is_remembered_of_producers_is_bounded() -> None:
    pairs = [{"key": "text", "value": {"stringValue": "x" * 2000}}]
    documents = [
        line(spans(span(flags=number), resource={"attributes": [*pairs, {"key": str(number), "value": {}}]}))
        for number in range(5000)
    ]
    same = b"".join(line(spans(span(flags=number))) for number in range(5000))
    tracemalloc.start()
    try:
        for document in documents:
            assert not decode(document).rejects
        decode(same)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1 << 24, kept


@pytest.mark.parametrize(
    ("fields", "level", "extra"),
    [
        ({}, "info", {}),
        ({"severityNumber": 24}, "fatal", {"severityNumber": 24}),
        ({"severityNumber": "SEVERITY_NUMBER_WARN2", "severityText": "W"}, "warn",
         {"severityNumber": "SEVERITY_NUMBER_WARN2", "severityText": "W"}),
        ({"severityText": "Critical"}, "fatal", {"severityText": "Critical"}),
        ({"severityNumber": 0, "severityText": "warn"}, "warn", {}),
        ({"severityNumber": 99}, "info", {"severityNumber": 99}),
    ],
)  # fmt: skip
def test_a_severity_is_a_level(fields: Json, level: str, extra: Json) -> None:
    row = one(log(**fields), "logs")
    assert (row["level"], row["extra"]) == (level, extra)


def test_a_log_may_have_a_time_of_observation_alone() -> None:
    row = one(log(timeUnixNano=None, observedTimeUnixNano=NS, body={"stringValue": "b"}), "logs")
    assert (row["timestamp"], row["recorded_at"], row["message"]) == (time(NS), time(NS), "b")


@pytest.mark.parametrize(
    ("point", "counted"),
    [
        ({"flags": 1}, "dataPoints without a value"),
        ({"flags": 1, "asDouble": 0, "timeUnixNano": None}, "dataPoints without a value"),
        ({}, "dataPoints without a value"),
        ({"asDouble": "NaN"}, "dataPoints that are not finite"),
        ({"asDouble": "-Infinity"}, "dataPoints that are not finite"),
    ],
)
def test_a_data_point_without_a_value_is_counted_and_gives_no_row(point: Json, counted: str) -> None:
    decoded = decode(line(gauge(**point)))
    assert (decoded.rows, decoded.rejects, decoded.lines) == ({}, [], 1)
    assert decoded.converted == {counted: 1}


def test_a_whole_number_beyond_a_double_is_kept() -> None:
    row = one(gauge(asInt=str(2**53 + 1)), "metrics")
    assert (row["value"], row["extra"]) == (2.0**53, {"value": 2**53 + 1})


def test_a_histogram_without_a_sum_has_its_count_as_value() -> None:
    point = {"timeUnixNano": NS, "count": "4", "bucketCounts": ["1", 3], "explicitBounds": ["Infinity"]}
    row = one(
        metric(histogram={"dataPoints": [point], "aggregationTemporality": "AGGREGATION_TEMPORALITY_DELTA"}), "metrics"
    )
    assert (row["value"], row["bucket_boundaries"], row["bucket_counts"]) == (4, [], [])
    assert row["extra"] == {
        "aggregationTemporality": "delta", "count": 4, "explicitBounds": ["Infinity"], "bucketCounts": [1, 3],
    }  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [
        {"resourceSpans": []}, {"resourceSpans": None}, {"resourceLogs": [{}]}, {"resourceMetrics": [{"resource": {}}]},
        spans(), {"resourceSpans": [], "resourceLogs": [], "resourceMetrics": []}, {"resource_spans": []},
    ],
)  # fmt: skip
def test_a_line_without_records_is_accepted(document: Json) -> None:
    decoded = decode(line(document))
    assert (decoded.rows, decoded.rejects, decoded.lines, decoded.shapes) == ({}, [], 1, {"otlp": 1})


def test_a_line_may_have_several_signals() -> None:
    decoded = decode(line(spans(span()) | log(body={"stringValue": "b"}) | gauge(asInt=1)))
    assert {table: some.count for table, some in decoded.rows.items()} == {
        "spans": 1, "traces": 1, "logs": 1, "metrics": 1,
    }  # fmt: skip
    [own_log], [own_metric] = rows(decoded, "logs"), rows(decoded, "metrics")
    assert own_log["id"].removesuffix(".2") == own_metric["id"].removesuffix(".3")


def test_unknown_fields_are_kept_where_they_were_and_counted() -> None:
    given = span(color="red", status={"code": 1, "mood": 2}, events=[{"name": "e"}, {"name": "f", "x": 1}])
    document = spans(given, span(), resource={"color": "blue"}) | {"top": True}
    decoded = decode(line(document))
    first, second = rows(decoded, "spans")
    assert first["extra"] == {
        "color": "red", "status": {"mood": 2}, "events": {"1": {"x": 1}}, "resource.color": "blue", "top": True,
    }  # fmt: skip
    assert second["extra"] == {"resource.color": "blue"}
    assert decoded.unknown == dict.fromkeys(("color", "status", "events", "resource.color", "top"), 1)
    assert rows(decode(line(document), unknown="drop"), "spans")[0]["extra"] == {}
    [reject] = decode(line(document), unknown="reject").rejects
    assert reject.reason is Reason.UNKNOWN_FIELD


OLD_NAMES = {
    "scopeSpans": "instrumentationLibrarySpans", "scopeLogs": "instrumentationLibraryLogs",
    "scopeMetrics": "instrumentationLibraryMetrics", "scope": "instrumentationLibrary", "logRecords": "logs",
}  # fmt: skip


def renamed(value: Any) -> Any:
    """A document with the names that the protocol had before 2022."""
    if isinstance(value, list):
        return [renamed(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {OLD_NAMES.get(key, key): renamed(inner) for key, inner in value.items()}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_old_names_are_read_as_those_of_today(sample: Path) -> None:
    for text in sample.read_bytes().splitlines(keepends=True):
        today = decode(text)
        if not text.startswith(b'{"resource_'):
            old = renamed(json.loads(text))
            for _ in range(2):
                assert (decode(line(old)).rows, decode(line(old)).unknown) == (today.rows, today.unknown)
            assert decode(line(snaked(old))).rows.keys() == today.rows.keys()


def test_an_old_name_beside_that_of_today_is_unknown_unless_that_is_empty() -> None:
    group = {"scopeSpans": [{"spans": [span()]}], "instrumentationLibrarySpans": [{"color": "red"}]}
    assert one({"resourceSpans": [group]}, "spans")["extra"] == {
        "resource.instrumentationLibrarySpans": [{"color": "red"}]
    }
    group = {"scopeSpans": [], "instrumentationLibrarySpans": [{"spans": [span()]}]}
    assert one({"resourceSpans": [group]}, "spans")["extra"] == {}


def test_a_field_by_its_name_in_the_other_case_is_known() -> None:
    """The fast reader must not learn it as an unknown one."""
    for _ in range(2):
        row = one(spans(span(end_time_unix_nano=NS + 10**6)), "spans")
        assert (row["duration_ms"], row["extra"]) == (1, {})


@pytest.mark.parametrize(
    ("document", "counted"),
    [
        ({"resourceSpans": [{"color": 1}]}, {"resource.color"}),
        ({"resourceLogs": [{"resource": {"color": 1}, "scopeLogs": [{"shape": 2, "scope": {"size": 3}}]}]},
         {"resource.color", "scope.shape", "scope.size"}),
        (spans(resource={"color": 1}), {"resource.color"}),
        (metric(intGauge={"dataPoints": [{"value": 3}]}), {"intGauge"}),
        (metric(gauge={"dataPoints": []}, color=1), {"color"}),
        (metric(gauge={"points": [1]}), {"gauge"}),
        ({"resourceMetrics": [{"color": 1, **gauge(flags=1, shape=2)["resourceMetrics"][0]}]},
         {"resource.color", "shape"}),
    ],
)  # fmt: skip
def test_unknown_fields_without_a_row_are_counted(document: Json, counted: set[str]) -> None:
    data = line(document)
    for text in (data, data, b" " + data, line(snaked(document))):
        decoded = decode(text)
        assert (decoded.rows, decoded.rejects, decoded.lines, decoded.unknown_lines) == ({}, [], 1, 1)
        names = snaked(dict.fromkeys(counted)) if text.startswith(b'{"resource_') else counted
        assert decoded.unknown == dict.fromkeys(names, 1)
    [reject] = decode(data, unknown="reject").rejects
    assert reject.reason is Reason.UNKNOWN_FIELD


def test_an_unknown_field_of_a_resource_is_counted_once_though_one_of_its_scopes_has_no_row() -> None:
    decoded = decode(line({"resourceSpans": [{"color": 1, "scopeSpans": [{"spans": [span()]}, {}]}, {"size": 2}]}))
    assert decoded.unknown == {"resource.color": 1, "resource.size": 1}
    assert [row["extra"] for row in rows(decoded, "spans")] == [{"resource.color": 1}]


def test_fields_that_were_learned_are_read_as_unknown_ones_are() -> None:
    """One decoder for all lines: the n-th one with the same fields gives what the first one gave, and a fresh one."""
    some = [
        spans(span(color="red"), span(shape=[1], color=None, flags=1)),
        log(color={"a": 1}, body={"stringValue": "b"}),
        gauge(color=1.5, asInt=1, kept=True),
        spans(span(zebra=1, apple=2), span(shape=1, color=2)),
        spans(span(scope="mine"), resource={"color": "blue"}),
        spans(span(**{f"field{number}": number for number in range(100)})),
        spans(span(**{"x" * 100: 1})),
        spans(span(events=[{"color": "red"}])),
    ]
    data = b"".join(map(line, some))
    first = LineDecoder(BUILT_IN).decode(Piece(offset=0, data=data), origin("span"))
    assert first.rejects == []
    snake = line(snaked(spans(span(others={"a": 1}, parent_span_id=SPAN))))
    for _ in range(3):
        again = decode(data)
        assert [row["extra"] for row in rows(decode(snake), "spans")] == [{"others": {"a": 1}}]
        assert (again.rows, sorted(again.unknown)) == (first.rows, sorted(first.unknown))
    tolerant = decode(b"".join(b" " + line(document) for document in some))
    assert sorted(tolerant.unknown) == sorted(first.unknown)
    for table in first.rows:
        assert [{**row, "id": ""} for row in rows(tolerant, table)] == [{**row, "id": ""} for row in rows(first, table)]


VALUES = [
    {"stringValue": "a"},
    {"intValue": "7"},
    {"boolValue": True},
    {"doubleValue": "NaN"},
    {},
    {"bytesValue": "AP8="},
]
PAIRS: list[Any] = [
    [{"key": "a", "value": value} for value in VALUES[:2]], [{"key": "resource", "value": VALUES[0]}], [], {"a": 1},
    *([{"key": f"key{number}", "value": value}] for number, value in enumerate(VALUES)),
]  # fmt: skip
TIMES = [str(NS), NS, 0, "", "x", 10**18, str(NS // 1000)]
NUMBERS = [0, 1, "3", -1, 2**60, "1.5", "x", True]
DOUBLES = [0, 1.5, "2.5", "Infinity", "x", 2**70]
TEXTS = ["", "text", 3, TRACE, "W47/95gDgQPSabYzgT/GDA=="]
EVENT = {"timeUnixNano": TIMES, "name": TEXTS, "attributes": PAIRS, "droppedAttributesCount": NUMBERS}
LINK = {"traceId": TEXTS, "spanId": TEXTS, "traceState": TEXTS, "attributes": PAIRS, "flags": NUMBERS}
FIELDS: dict[str, dict[str, Any]] = {
    "span": {
        "traceId": [TRACE, *TEXTS], "spanId": [SPAN, *TEXTS], "parentSpanId": TEXTS, "name": TEXTS, "kind": NUMBERS,
        "startTimeUnixNano": TIMES, "endTimeUnixNano": TIMES, "attributes": PAIRS, "events": [EVENT], "links": [LINK],
        "flags": NUMBERS, "status": {"code": NUMBERS, "message": TEXTS}, "droppedLinksCount": NUMBERS,
        "color": ["red", {"a": [None]}], "flag_s": [1],
    },
    "log": {
        "timeUnixNano": TIMES, "observedTimeUnixNano": TIMES, "severityNumber": [*NUMBERS, 13], "severityText": TEXTS,
        "body": [*VALUES, "text"], "attributes": PAIRS, "traceId": TEXTS, "flags": NUMBERS, "eventName": TEXTS,
        "color": ["red"],
    },
    "gauge": {
        "timeUnixNano": TIMES, "startTimeUnixNano": TIMES, "attributes": PAIRS, "asInt": NUMBERS, "asDouble": DOUBLES,
        "flags": NUMBERS, "exemplars": [{"asDouble": DOUBLES, "traceId": TEXTS, "filteredAttributes": PAIRS}],
    },
    "histogram": {
        "timeUnixNano": TIMES, "count": NUMBERS, "sum": DOUBLES, "min": DOUBLES, "bucketCounts": [[1, "2"], [-1]],
        "explicitBounds": [[1.5], ["Infinity"], ["2"]], "color": ["red"],
    },
    "exponentialHistogram": {
        "timeUnixNano": TIMES, "count": NUMBERS, "scale": NUMBERS, "zeroThreshold": DOUBLES,
        "positive": {"offset": NUMBERS, "bucketCounts": [["1"], []]},
    },
}  # fmt: skip


def anything(fields: dict[str, Any], random: Random, *, odd: float) -> Json:
    """A record of which each field is absent, null, as expected (the first value), or odd."""
    found: Json = {}
    for name, values in fields.items():
        match values:
            case dict():
                value: Any = anything(values, random, odd=odd)
            case [dict() as inner] if "color" not in inner and name in {"events", "links", "exemplars"}:
                value = [anything(inner, random, odd=odd) for _ in range(random.randrange(3))]
            case _:
                value = random.choice(values) if random.random() < odd else values[0]
        if (chance := random.random()) > 0.2:
            found[name] = value
        elif chance < 0.05:
            found[name] = None
    return found


def document(kind: str, records: list[Json]) -> Json:
    match kind:
        case "span":
            return spans(*records)
        case "log":
            return {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    return metric(**{kind: {"dataPoints": records}})


@pytest.mark.parametrize("kind", FIELDS)
def test_all_readers_agree_on_any_record(kind: str) -> None:
    """The fast one, the tolerant one, the one for snake_case, and of a batch of good ones as of each alone."""
    random, good = Random(5), []
    for number in range(600):
        record = anything(FIELDS[kind], random, odd=random.choice([0.0, 0.1, 0.4]))
        data = line(document(kind, [record]))
        fast, tolerant, snake = decode(data), decode(b" " + data), decode(line(snaked(document(kind, [record]))))
        assert fast.lines == 1
        assert fast.rows == tolerant.rows == snake.rows, data
        assert (
            (fast.unknown, fast.converted) == (tolerant.unknown, tolerant.converted) == (snake.unknown, snake.converted)
        )
        assert [(one.reason, one.field) for one in fast.rejects] == [
            (one.reason, one.field) for one in tolerant.rejects
        ]
        assert len(fast.rejects) == len(snake.rejects)
        if fast.rows:
            good.append((record, fast))
        assert number < 300 or good, fast.rejects
    whole = decode(line(document(kind, [record for record, _ in good])))
    for table, some in whole.rows.items():
        alone = [row for _, one in good for row in rows(one, table)]
        assert len(rows(whole, table)) == some.count == len(alone)
        assert [{**row, "id": ""} for row in rows(whole, table)] == [{**row, "id": ""} for row in alone]


def test_what_a_model_call_took_is_in_columns() -> None:
    pairs = [
        {"key": "gen_ai.request.model", "value": {"stringValue": "m"}},
        {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "7"}},
    ]
    row = one(spans(span(attributes=pairs)), "spans")
    assert (row["model"], row["input_tokens"], row["output_tokens"]) == ("m", 7, None)


# What is rejected


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"resourceSpans": {}}, "resourceSpans"),
        ({"resourceSpans": [{"resource": 3}]}, "resourceSpans[0].resource"),
        ({"resourceLogs": [{"resource": {"attributes": [{"key": 1}]}, "scopeLogs": [{}]}]},
         "resourceLogs[0].resource.attributes[0].key"),
        ({"resourceSpans": [1]}, "resourceSpans[0]"),
        ({"resourceSpans": [{"scopeSpans": {}}]}, "resourceSpans[0].scopeSpans"),
        (spans(span(), span(name=3)), "resourceSpans[0].scopeSpans[0].spans[1].name"),
        (spans(span(traceId="")), "resourceSpans[0].scopeSpans[0].spans[0].traceId"),
        (spans(span(spanId=None)), "resourceSpans[0].scopeSpans[0].spans[0].spanId"),
        (spans(span(startTimeUnixNano="x")), "resourceSpans[0].scopeSpans[0].spans[0].startTimeUnixNano"),
        (spans(span(), span(startTimeUnixNano=0)), "resourceSpans[0].scopeSpans[0].spans[1].startTimeUnixNano"),
        (spans(span(endTimeUnixNano=5 * 10**18)), "resourceSpans[0].scopeSpans[0].spans[0].endTimeUnixNano"),
        (spans(span(startTimeUnixNano=-1)), "resourceSpans[0].scopeSpans[0].spans[0].startTimeUnixNano"),
        (spans(span(attributes={"a": 1})), "resourceSpans[0].scopeSpans[0].spans[0].attributes"),
        (spans(span(attributes=[{"key": "a", "value": {"intValue": "x"}}])),
         "resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value.intValue"),
        (spans(span(events=[{}, {"timeUnixNano": []}])),
         "resourceSpans[0].scopeSpans[0].spans[0].events[1].timeUnixNano"),
        (log(timeUnixNano=0), "resourceLogs[0].scopeLogs[0].logRecords[0].timeUnixNano"),
        (log(body="text"), "resourceLogs[0].scopeLogs[0].logRecords[0].body"),
        (gauge(asInt="1.5"), "resourceMetrics[0].scopeMetrics[0].metrics[0].gauge.dataPoints[0].asInt"),
        (gauge(asInt=2**64), "resourceMetrics[0].scopeMetrics[0].metrics[0].gauge.dataPoints[0].asInt"),
        (gauge(asInt=1, timeUnixNano=None),
         "resourceMetrics[0].scopeMetrics[0].metrics[0].gauge.dataPoints[0].timeUnixNano"),
        (metric(histogram={"dataPoints": [{"timeUnixNano": NS, "count": 1, "bucketCounts": [-1]}]}),
         "resourceMetrics[0].scopeMetrics[0].metrics[0].histogram.dataPoints[0].bucketCounts"),
    ],
)  # fmt: skip
def test_one_rejection_names_the_path(document: Json, field: str) -> None:
    good = line(spans(span()))
    decoded = decode(good + line(document) + good)
    assert [(reject.line, reject.field) for reject in decoded.rejects] == [(2, field)]
    assert decoded.rows["spans"].count == 2


def test_of_a_line_that_a_policy_rejects_nothing_lands() -> None:
    old, now = span(startTimeUnixNano=10**18), span(startTimeUnixNano=CLOCK_MS * 10**6)
    decoded = decode(line(spans(now, now)) + line(spans(now, old)), expired="reject")
    assert [(reject.line, reject.reason) for reject in decoded.rejects] == [(2, Reason.EXPIRED)]
    assert decoded.rows["spans"].count == 2
    warned = decode(line(spans(old, old)), expired="warn")
    assert (warned.expired, warned.rows["spans"].count) == (1, 2)


def test_nesting_beyond_measure_is_rejected() -> None:
    deep = b'{"arrayValue":{"values":[' * 5000 + b"{}" + b"]}}" * 5000
    data = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":' + deep + b"}]}]}]}\n"
    assert [reject.reason for reject in decode(data).rejects] == [Reason.TOO_DEEP]


# Many


def test_lines_of_ours_may_stand_between() -> None:
    own = line({"type": "span", "id": "own", "traceId": "t", "projectId": "p", "name": "n", "startTime": ISO})
    many = line(spans(span(spanId="a" * 16), span(spanId="b" * 16)))
    decoded = decode((own + many) * 3)
    assert [row["span_id"] for row in rows(decoded, "spans")] == ["own", "a" * 16, "b" * 16] * 3
    assert (decoded.lines, decoded.shapes) == (6, {"otlp": 3})
    piece = Piece(offset=7, data=own + many + own)
    found = list(DECODER.lines_of(piece, origin("span"), "spans", [0, 1, 2, 3]))
    assert [one_line.line for one_line in found] == [1, 2, 2, 3]


def test_ten_thousand_spans_of_a_line_stay_within_memory() -> None:
    pairs = [{"key": f"key{number}", "value": {"stringValue": "v" * 20}} for number in range(10)]
    data = line(spans(*(span(spanId=f"{number:016x}", attributes=pairs) for number in range(10_000))))
    tracemalloc.start()
    try:
        decoded = decode(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert decoded.rows["spans"].count == 10_000
    assert peak < 10 * len(data), peak / len(data)


def test_one_character_does_not_multiply_the_memory_of_all_rows() -> None:
    """Python holds a text with an emoji in four bytes a character: not the text of all rows at once."""
    some = ["x" * 1000] * 20_000 + ["😀"]
    tracemalloc.start()
    try:
        found = texts(some)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == [f'"{one}"' for one in some]
    assert peak < 3 * sum(map(len, found)), peak


@pytest.mark.parametrize(
    ("document", "detail"),
    [
        (spans(*[span()] * 20_000, resource={"attributes": [{"key": "a", "value": {"stringValue": "x" * 4000}}]}),
         "is too long"),
        (metric(description="x" * 1000, sum={"dataPoints": [{"asInt": 1, "timeUnixNano": NS}] * 80_000}),
         "is too long"),
        (spans(*[span()] * 1000, resource={"attributes": [{"key": "a", "value": {"stringValue": "x" * 15_000}}]}),
         "is too long"),
        (spans(*[{}] * 600_000), "more than 500000 objects"),
        (spans(*[span()] * 100_001), "more than 100000 records"),
    ],
    ids=["a long resource", "a long one for its line", "a long description", "many objects", "many records"],
)  # fmt: skip
def test_a_line_does_not_become_gigabytes_of_rows(document: Json, detail: str) -> None:
    [reject] = decode(line(document)).rejects
    assert detail in reject.detail


def test_extra_does_not_depend_on_the_lines_before() -> None:
    """A process that has read other lines must make the same rows of a line, in a replay above all."""
    names = ("zulu", "alfa", "mike", "a,b")
    for first in names:
        decode(line(spans(span(**{first: 1}))))
        found = rows(decode(line(spans(span(**dict.fromkeys(names, 1))))), "spans")
        assert [list(row["extra"]) for row in found] == [sorted(names)]
