"""JSON logs of any library, in a `log/` folder: samples of real producers, each key, and what is no such log."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from spoolhouse.decode.lenient import At
from spoolhouse.decode.line_decoder import Decoded, LineDecoder, Origin
from spoolhouse.decode.line_reader import LineReader
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.log_lines import COLUMNS as QUICK_COLUMNS
from spoolhouse.decode.reject import Reason, RejectedLineError
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.shapes import SHAPES
from spoolhouse.events.shapes.json_log import INNER, LEVELS, MESSAGES, SPAN_IDS, TIMES, TRACE_IDS

SAMPLES = Path(__file__).parents[1] / "producers" / "samples"
TIME = "2026-03-14T09:26:53.589Z"
COLUMNS = [column.name for column in BUILT_IN["log"].table.columns]
SIX = ["debug", "info", "warn", "error", "fatal", "info"]
"""What the Python producers log: the last one has the level 25, which is between info and warning."""


class Sample(NamedTuple):
    """What the lines of one producer are."""

    message: str
    time: str
    levels: Sequence[str | None]
    """By line; None: rejected."""
    ours: frozenset[int] = frozenset()
    """Lines that have no other keys than ours, so that they are read as ours."""


SAMPLES_READ = {
    "structlog_json": Sample(
        "event|message", "timestamp", ["debug", "info", "warn", "error", "error", "fatal", "info", "info", "error"],
        ours=frozenset({7}),
    ),
    "python_json_logger": Sample("message", "asctime|timestamp|created", [*SIX, *SIX, None, "info", "info"]),
    "logging_json": Sample("message|msg", "asctime|timestamp", [*SIX, *SIX]),
    "json_log_formatter_forms": Sample("message", "time", ["info"] * 6 + SIX + ["info"] * 6),
    "loguru_serialize": Sample(
        "record.message", "record.time.timestamp",
        ["debug", "debug", "info", "info", "warn", "error", "error", "fatal", "info"],
    ),
    "pino": Sample(
        "msg|message", "time",
        ["debug", "debug", "info", "warn", "error", "fatal", "info", "info", "info", "error", "info"],
    ),
    "bunyan": Sample("msg", "time", ["debug", "debug", "info", "warn", "error", "fatal", "info", "info"]),
    "winston": Sample(
        "message", "timestamp",
        ["error", "warn", "info", "info", "debug", "debug", "debug", "error", "info", "info", "fatal", "fatal", "fatal",
         "info", None],
        ours=frozenset({9, 10, 11, 12, 13}),
    ),
    "zap": Sample("msg|M|message", "ts|T|timestamp", ["info", "warn", "error", "fatal", None, "debug", "error"]),
    "slog": Sample("msg", "time", ["info", "warn", "error", "debug", "info", "debug", "error", None]),
    "zerolog": Sample(
        "message|m", "time|t", ["info", "debug", "error", "warn", "debug", "fatal", "fatal", "info", None, "info"]
    ),
    "logrus": Sample(
        "msg|@message", "time|@timestamp", ["info", "warn", "error", "fatal", "fatal", "info", "debug", "debug"]
    ),
    "ecs_logging_forms": Sample("message", "@timestamp", [*SIX, "error", "info", "error"]),
    "google_cloud": Sample("message", "time", [None] * 10),
    "google_cloud_structured": Sample(
        "message|textPayload|jsonPayload.message", "time|timestamp|timestampSeconds",
        ["error", "info", "fatal", "info", "fatal", None],
    ),
}  # fmt: skip


def decode(data: bytes, folder: str = "log") -> Decoded:
    where = Origin(project="p", policy="warn", clock_ms=1_795_262_400_000, type=folder, file=f"{folder}/p/a.jsonl")
    return LineDecoder(BUILT_IN).decode(Piece(offset=0, data=data), where)


def rows(decoded: Decoded) -> list[dict[str, Any]]:
    assert decoded.rejects == []
    data = decoded.rows["logs"].data if decoded.rows else b""
    found = [dict(zip(COLUMNS, json.loads(row), strict=True)) for row in data.splitlines()]
    for row in found:
        row["attributes"], row["extra"] = json.loads(row["attributes"]), json.loads(row["extra"])
    return found


def log(fields: dict[str, Any]) -> dict[str, Any]:
    """The row of a line that is read as a JSON log."""
    decoded = decode(json.dumps(fields).encode() + b"\n")
    [row] = rows(decoded)
    assert (decoded.shapes, row["extra"], decoded.unknown) == ({"json_log": 1}, {}, {})
    return row


def at(fields: dict[str, Any], path: str) -> Any:
    """The value at one of some paths."""
    for one in path.split("|"):
        value: Any = fields
        for step in one.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, object]]:
    """All values of an object by their paths; empty objects are values."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}{key}\0")
    else:
        yield path.removesuffix("\0"), value


def seconds(value: Any) -> float:
    if isinstance(value, dict):
        return float(value["seconds"] + value["nanos"] / 1e9)
    if isinstance(value, str) and not value.isdigit():
        time = datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    number = float(value)
    while number > 1e11:
        number /= 1000
    return number


@pytest.mark.parametrize("name", SAMPLES_READ)
def test_each_line_of_a_producer_is_read_and_nothing_of_it_is_lost(name: str) -> None:
    sample = SAMPLES_READ[name]
    lines = (SAMPLES / f"{name}.jsonl").read_bytes().splitlines(keepends=True)
    together = decode(b"".join(lines))
    assert [reject.line - 1 for reject in together.rejects] == [
        number for number, level in enumerate(sample.levels) if level is None
    ]
    assert together.shapes.get("json_log", 0) == len(lines) - len(together.rejects) - len(sample.ours)
    together.rejects.clear()
    found = iter(rows(together))
    for number, (line, level) in enumerate(zip(lines, sample.levels, strict=True)):
        if level is None:
            continue
        row, fields = next(found), json.loads(line)
        [alone] = rows(decode(line))
        assert alone | {"id": ""} == row | {"id": ""}
        assert (row["level"], row["message"]) == (level, at(fields, sample.message) or ""), line
        taken = seconds(at(fields, sample.time))
        taken += int(fields.get("timestampNanos", 0)) / 1e9
        assert abs(datetime.fromisoformat(row["timestamp"]).timestamp() - taken) < 0.0006, line
        kept = dict(leaves(row["extra" if number in sample.ours else "attributes"]))
        columns = {row["message"], row["trace_id"], row["span_id"]}
        for path, value in leaves(fields):
            if path not in kept:
                is_level = path.lower() in {"level", "severity", "levelname", "log.level", "l", "@level"}
                is_time = any(path.startswith(one.replace(".", "\0")) for one in sample.time.split("|"))
                is_time |= path in {"timestampNanos", "timestamp\0seconds", "timestamp\0nanos"}
                path_of = path.endswith("/trace") and str(value).endswith(f"/{row['trace_id']}")
                assert value in columns or is_level or is_time or path_of, (path, line)
                if is_level:
                    assert str(value).lower() in {level, level + "ing"}, line
            else:
                assert kept[path] == value, line
        assert kept.keys() - {""} <= dict(leaves(fields)).keys()


# Lines of which a plan is known, lines without one and lines that the line reader reads give the same

HOSTILE = [
    "null", "true", "0", "-1", "1.5", "1e3", "1e400", "9" * 400, '""', '"0"', '" "', '"x"', '"a\\u0062"', '"\\ud800"',
    "{}", "[]", '{"id":"i"}', '{"level":"warn"}', '{"name":"error","no":40}', '{"seconds":1773480413}',
    '{"message":"inner"}', "30", '"30"', '"INFO+2"', '"gold"', '"Level 35"', '"projects/p/traces/1f"', '"/traces/"',
    '"a/traces/b/traces/c"', "1773480413", "1773480413589", "1773480413589793238", '"1773480413"',
    '"2026-03-14 09:26:53,589"', '"2026-03-14T09:26:53+0000"', '"2026-03-14T09:26:53.589793838Z"', '"20260314"',
    '"1969-12-31T00:00:00Z"', '"9999-01-01,00"', '"log"', '"http"', '"\\u0000"',
]  # fmt: skip
PLAIN: list[dict[str, Any]] = [
    {"level": "info", "time": TIME, "msg": "m", "trace_id": "a", "span_id": "b", "n": 1},
    {"level": 30, "time": 1773480413589, "pid": 1, "hostname": "h", "msg": "m"},
    {"severity": "NOTICE", "message": "m", "timestamp": TIME, "logging.googleapis.com/trace": "projects/p/traces/1f"},
    {"levelname": "INFO", "asctime": "2026-03-14 09:26:53,589", "message": "m", "name": "x", "log": {"a": 1}},
    {"@timestamp": TIME, "log.level": "info", "message": "m", "trace": {"id": "a"}, "event": {"kind": "x"}},
    {"text": "t", "record": {"message": "m", "time": {"timestamp": 1773480413.5}, "extra": {"trace_id": "a"}}},
    {"level": "info", "message": "m", "timestamp": TIME, "service": "s"},
    {"msg": "m", "ts": 1773480413.5, "id": 5, "body": 1},
    {"level": "info", "message": "m", "timestamp": TIME, "projectId": "p", "color": "red"},
    {"level": "info", "message": "m", "timestamp": TIME, "attributes": {"a": 1}},
    {"record": {"level": {"name": "INFO", "no": 20}, "message": "m", "time": {"timestamp": 1773480413.5}}},
    {"severity": "INFO", "jsonPayload": {"message": "m", "spanId": "b"}, "timestamp": TIME, "trace": "p/traces/1f"},
    {"message": "m", "severity": "DEFAULT", "timestampSeconds": "1773480413", "timestampNanos": 589793238},
    {"message": "m", "severity": "INFO", "time": {"seconds": 1773480413, "nanos": 589793238}},
    {"instant": {"epochSecond": 1773480413, "nanoOfSecond": 589793238}, "level": "INFO", "message": "m"},
    {"level_name": "NOTICE", "level": 250, "message": "m", "datetime": TIME},
    {"__REALTIME_TIMESTAMP": "1773480413589793", "PRIORITY": "4", "MESSAGE": "m"},
    {"level": "info", "time": 1773480413, "error": "e"},
    {"timestamp": TIME, "level": "INFO", "fields": {"message": "m", "n": 1}, "target": "a", "span": {"name": "s"}},
]
MORE = [
    "type",
    "event_type",
    "data",
    "attributes",
    "projectId",
    "levelno",
    "dd",
    "trace",
    "span",
    "v",
    "logger",
    "created",
]


READER = LineReader(BUILT_IN, SHAPES)


def reader_row(line: bytes) -> object:
    """What the line reader makes of a line alone: its row and its shape, or why it is rejected."""
    where = Origin(project="p", policy="warn", clock_ms=1_795_262_400_000, type="log", file="log/p/a.jsonl")
    try:
        read = READER.read(line, where, At(where.clock, "p", "id"))
    except RejectedLineError as error:
        return error.reason, error.field, error.detail[:200]
    [(name, [[row]])] = read.events
    return name, json.loads(msgspec.json.encode(row))[1:], read.shape


def with_value(fields: dict[str, Any], path: str, value: str) -> bytes:
    """Return a line of fields with a JSON text at a path."""
    key, _, rest = path.partition("\0")
    texts = {name: json.dumps(one).encode() for name, one in fields.items()}
    texts[key] = with_value(fields[key], rest, value) if rest else value.encode()
    return b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), one) for name, one in texts.items())


@pytest.mark.parametrize("plain", PLAIN, ids=lambda plain: next(iter(plain)) + str(len(plain)))
def test_all_ways_to_read_a_log_agree(plain: dict[str, Any]) -> None:
    decoder = LineDecoder(BUILT_IN)
    where = Origin(project="p", policy="warn", clock_ms=1_795_262_400_000, type="log", file="log/p/a.jsonl")
    good = json.dumps(plain).encode() + b"\n"
    is_foreign = LineDecoder(BUILT_IN).decode(Piece(offset=0, data=good), where).shapes == {"json_log": 1}
    inner = {f"{name}\0{key}" for name in plain.keys() & INNER for key in (*plain[name], *TIMES[:2], "extra", "log")}
    for key in (*plain, *MORE, *sorted(inner)):
        for value in HOSTILE:
            line = with_value(plain, key, value) + b"\n"
            expected = reader_row(line)
            for data, place in ((line, 0), (good * 9 + line + good, 9), (line * 6, 0)):
                decoded = decoder.decode(Piece(offset=0, data=data), where)
                if decoded.rejects:
                    [reject, *_] = decoded.rejects
                    assert (reject.reason, reject.field, reject.detail) == expected, line
                    assert (reject.line, reject.raw) == (place + 1, line[:-1])
                    continue
                [(table, made)] = decoded.rows.items()
                found = json.loads(made.data.splitlines()[place])[1:]
                assert (table, found) == (f"{expected[0]}s", expected[1]), line  # type: ignore[index]  # a row
                same = data.count(line)
                others = (data.count(b"\n") - same) * is_foreign
                assert decoded.shapes.get("json_log", 0) == others + same * bool(expected[2]), line  # type: ignore[index]  # a row


def test_the_columns_of_a_quick_row_are_those_of_the_table() -> None:
    assert tuple(COLUMNS) == QUICK_COLUMNS


@pytest.mark.parametrize("key", MESSAGES)
def test_the_message_is_under_one_of_many_keys(key: str) -> None:
    row = log({key: "hello", "ts": TIME, "n": 1})
    assert (row["message"], row["attributes"], row["level"]) == ("hello", {"n": 1}, "info")


@pytest.mark.parametrize("key", TIMES)
def test_the_time_is_under_one_of_many_keys(key: str) -> None:
    row = log({"msg": "hello", key: TIME, "n": 1})
    assert (row["timestamp"], row["attributes"]) == ("2026-03-14T09:26:53.589000Z", {"n": 1})


@pytest.mark.parametrize("key", LEVELS)
@pytest.mark.parametrize("name", ["WARN", "warning", "Warn"])
def test_the_level_is_under_one_of_many_keys(key: str, name: str) -> None:
    row = log({"msg": "hello", "ts": TIME, key: name})
    assert (row["level"], row["attributes"]) == ("warn", {})


@pytest.mark.parametrize("key", [*TRACE_IDS, *SPAN_IDS])
def test_ids_are_under_one_of_many_keys(key: str) -> None:
    column = "trace_id" if key in TRACE_IDS else "span_id"
    row = log({"msg": "hello", "ts": TIME, key: "a1"})
    assert (row[column], row["attributes"]) == ("a1", {})
    assert log({"msg": "hello", "ts": TIME, key: "x"})[column] == "x"
    name, dot, last = key.partition(".")
    if dot and "/" not in key:
        row = log({"msg": "hello", "ts": TIME, name: {last: "a1", "more": 1}})
        assert (row[column], row["attributes"]) == ("a1", {name: {"more": 1}})


@pytest.mark.parametrize("value", ["0", "0" * 32, "0x0000", 0, "", None, {}, [], True])
def test_an_id_of_zeros_or_of_another_kind_is_none_and_is_kept(value: object) -> None:
    row = log({"msg": "hello", "ts": TIME, "otelTraceID": value})
    assert (row["trace_id"], row["attributes"]) == (None, {"otelTraceID": value})


@pytest.mark.parametrize(
    ("more", "level"),
    [
        ({"level": 30, "pid": 1, "hostname": "h"}, "info"),
        ({"level": 30, "v": 0}, "info"),
        ({"level": 30}, "info"),
        ({"level": 15, "pid": 1}, "debug"),
        ({"level": 30, "logger": "x"}, "warn"),
        ({"level": 50, "funcName": "x"}, "fatal"),
        ({"levelno": 40}, "error"),
        ({"levelname": "Level 35", "levelno": 35}, "warn"),
        ({"severityNumber": 10}, "info"),
        ({"severity_number": 20}, "error"),
        ({"SeverityNumber": 13}, "warn"),
        ({"PRIORITY": "4"}, "warn"),
        ({"PRIORITY": 7}, "debug"),
        ({"level": 3, "short_message": "of Graylog"}, "error"),
        ({"level": 2, "short_message": "of Graylog"}, "fatal"),
        ({"level": 50, "short_message": "beside a longer one"}, "error"),
        ({"level": 300, "level_name": "NOTICE"}, "info"),
        ({"level": 13}, "warn"),
        ({"level": 13, "lineno": 1}, "warn"),
        ({"level": "30", "pid": 1}, "info"),
        ({"level": "ERROR+4"}, "error"),
        ({"level": "gold"}, "info"),
        ({"level": "gold", "severity": "NOTICE"}, "info"),
        ({"level": "gold", "severity": "CRITICAL"}, "fatal"),
        ({"level": {"a": 1}}, "info"),
        ({"level": None}, "info"),
        ({"level": -1}, "debug"),
        ({"level": 1e300}, "fatal"),
        ({"level": ""}, "info"),
    ],
)
def test_a_level_is_what_its_library_means_and_its_original_is_kept(more: dict[str, Any], level: str) -> None:
    row = log({"msg": "hello", "ts": TIME} | more)
    assert (row["level"], row["attributes"]) == (level, more)


@pytest.mark.parametrize(
    ("fields", "message", "attributes"),
    [
        ({"message": "a", "event": "b"}, "a", {"event": "b"}),
        ({"log": {"level": "error"}, "event": "b"}, "b", {}),
        ({"message": None, "msg": "b"}, "b", {"message": None}),
        ({"message": {"a": [1, 2.0]}}, '{"a": [1, 2.0]}', {}),
        ({"msg": 42}, "42", {}),
        ({"msg": "", "id": 17, "data": {"a": 1}}, "", {"id": 17, "data": {"a": 1}}),
        ({"msg": "a", "attributes": {"b": 1}, "c": 2}, "a", {"b": 1, "c": 2}),
        ({"msg": "a", "attributes": {"b": 1}, "b": 2}, "a", {"attributes": {"b": 1}, "b": 2}),
        ({"msg": "a", "attributes": "text"}, "a", {"attributes": "text"}),
        ({"msg": "a", "big": 2**70}, "a", {"big": 2**70}),
        ({"msg": "a", "projectId": "q", "recordedAt": 1}, "a", {"projectId": "q", "recordedAt": 1}),
        ({"msg": "a", "record": {"message": "b"}}, "a", {"record": {"message": "b"}}),
        ({"level": "info", "error": "of zerolog's Send"}, "", {"error": "of zerolog's Send"}),
        ({"level": 30, "msg": None}, "", {"level": 30, "msg": None}),
        (
            {"level": "info", "fields": {"message": "of tracing", "n": 1}, "target": "a"},
            "of tracing",
            {"fields": {"n": 1}, "target": "a"},
        ),
        ({"level": "info", "msg": "a", "fields": {"message": "b"}}, "a", {"fields": {"message": "b"}}),
        ({"severity": "info", "jsonPayload": {"a": 1}}, "", {"jsonPayload": {"a": 1}}),
        ({"PRIORITY": 3, "MESSAGE": [104, 105]}, "", {"PRIORITY": 3, "MESSAGE": [104, 105]}),
    ],
)
def test_what_the_message_is_and_what_is_not(fields: dict[str, Any], message: str, attributes: dict[str, Any]) -> None:
    row = log({"ts": TIME} | fields)
    assert (row["message"], row["attributes"]) == (message, attributes)
    assert row["project_id"] == "p"


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-03-14 09:26:53,589", "2026-03-14T09:26:53.589000Z"),
        ("2026-03-14T09:26:53+0000", "2026-03-14T09:26:53Z"),
        (1773480413.589, "2026-03-14T09:26:53.589000Z"),
        ("1773480413589", "2026-03-14T09:26:53.589000Z"),
        ({"seconds": 1773480413, "nanos": 589793238}, "2026-03-14T09:26:53.589793Z"),
        ({"seconds": "1773480413", "nanos": "5000"}, "2026-03-14T09:26:53.000005Z"),
        ({"seconds": 1773480413}, "2026-03-14T09:26:53Z"),
        ({"epochSecond": 1773480413, "nanoOfSecond": 5000}, "2026-03-14T09:26:53.000005Z"),
        ("2026-03-14 09:26:53.589 UTC", "2026-03-14T09:26:53.589000Z"),
    ],
)
def test_a_time_may_be_written_in_many_ways(time: object, expected: str) -> None:
    assert log({"msg": "a", "timestamp": time, "n": 1})["timestamp"] == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"message": "m", "levelname": "INFO", "created": 1773480413.589},
        {"message": "m", "timestampSeconds": 1773480413, "timestampNanos": 589000000},
        {"record": {"message": "m", "time": TIME}},
        {"message": "m", "time": TIME},
    ],
)
def test_a_date_is_the_time_only_of_a_log_without_another_one(fields: dict[str, Any]) -> None:
    lines = [json.dumps(fields | {"date": date}).encode() + b"\n" for date in ("2020-01-01", "of the booking")] * 3
    for row in (*rows(decode(b"".join(lines))), *rows(decode(lines[0]))):
        assert row["timestamp"] == "2026-03-14T09:26:53.589000Z"
        assert row["attributes"]["date"] in {"2020-01-01", "of the booking"}
    assert log({"message": "m", "date": TIME})["timestamp"] == "2026-03-14T09:26:53.589000Z"


@pytest.mark.parametrize(
    ("fields", "reason", "field", "keys"),
    [
        ({"msg": "a"}, Reason.MISSING_FIELD, "timestamp", TIMES[:7]),
        ({"msg": "a", "ts": ""}, Reason.MISSING_FIELD, "timestamp", TIMES[:7]),
        ({"msg": "a", "ts": {"seconds": 1.5}}, Reason.MISSING_FIELD, "timestamp", TIMES[:7]),
        ({"msg": "a", "created": 1773480413.5}, Reason.MISSING_FIELD, "timestamp", TIMES[:7]),
        ({"ts": TIME}, Reason.MISSING_FIELD, "message", MESSAGES[:5]),
        ({"ts": TIME, "level": None}, Reason.MISSING_FIELD, "message", MESSAGES[:5]),
        ({"level": "info"}, Reason.MISSING_FIELD, "timestamp", TIMES[:7]),
        ({"level": None}, Reason.MISSING_FIELD, "message", MESSAGES[:5]),
        ({"ts": TIME, "log": {"a": 1}}, Reason.MISSING_FIELD, "message", MESSAGES[:5]),
        ({"ts": "noon", "msg": "a"}, Reason.BAD_TIME, "timestamp", ()),
    ],
)
def test_what_nobody_can_interpret_is_rejected(
    fields: dict[str, Any], reason: Reason, field: str, keys: tuple[str, ...]
) -> None:
    [reject] = decode(json.dumps(fields).encode() + b"\n").rejects
    assert (reject.reason, reject.field) == (reason, field)
    assert all(key in reject.detail for key in keys)
    among = decode(b"".join(json.dumps(one).encode() + b"\n" for one in [dict.fromkeys(fields, "info"), fields] * 4))
    assert (reject.field, reject.detail) in [(one.field, one.detail) for one in among.rejects]


OURS = {"id": "l", "projectId": "p", "level": "info", "message": "m", "timestamp": TIME}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"color": "red"},
        {"level": "notice"},
        {"level": 30},
        {"trace_id": "t", "attributes": {"a": 1}, "color": "red"},
        {"projectId": ..., "deploymentId": "d", "color": "red"},
        {"projectId": ..., "attributes": {"a": 1}, "msg": "x"},
        {"type": "log", "projectId": ..., "color": "red", "msg": "x"},
        {"event_type": "log", "projectId": ..., "time": 5},
        {"projectId": ...},
        {"projectId": ..., "id": ...},
    ],
)
def test_a_log_of_ours_stays_one_without_its_type(more: dict[str, Any]) -> None:
    fields = {key: value for key, value in (OURS | more).items() if value is not ...}
    data = json.dumps(fields).encode() + b"\n"
    decoded = decode(data)
    [row] = rows(decoded)
    unknown = {key: fields[key] for key in ("color", "msg", "time") if key in fields}
    near = {"level": fields["level"]} if fields["level"] != "info" else {}
    assert (row["message"], row["attributes"], row["extra"]) == ("m", fields.get("attributes", {}), unknown | near)
    assert decoded.shapes == {}
    if "id" in fields:
        assert row["id"] == "l"
    many = rows(decode(data * 100))
    assert [one | {"id": ""} for one in many] == [row | {"id": ""}] * 100


def test_an_envelope_without_a_type_is_ours() -> None:
    [row] = rows(decode(json.dumps({"data": OURS, "level": "warn"}).encode() + b"\n"))
    assert (row["id"], row["level"]) == ("l", "info")


def test_other_types_and_other_folders_are_left_alone() -> None:
    span = {"type": "span", "id": "s", "traceId": "t", "name": "n", "startTime": TIME, "msg": "a", "time": TIME}
    decoded = decode(json.dumps(span).encode() + b"\n")
    assert (list(decoded.rows), decoded.shapes) == (["spans"], {})
    [reject] = decode(json.dumps({"msg": "a", "time": TIME}).encode() + b"\n", "span").rejects
    assert reject.reason is Reason.MISSING_FIELD


def test_a_foreign_type_is_an_attribute() -> None:
    assert log({"type": "http", "message": "a", "timestamp": TIME, "level": "info"})["attributes"] == {"type": "http"}


@pytest.mark.parametrize("tag", ["type", "event_type"])
@pytest.mark.parametrize(
    "fields",
    [
        {"type": "error", "message": "m", "timestamp": TIME, "level": "warn"},
        {"type": "error", "message": "m", "error": "text", "time": TIME, "level": "warn"},
        {"type": "log", "msg": "m", "time": TIME, "level": "warn"},
        {"type": "log", "message": "m", "timestamp": TIME, "severity": "warn"},
        {"type": "trace", "msg": "m", "time": TIME, "level": "warn", "id": 7},
        {"type": "metric", "msg": "m", "time": TIME, "level": "warn", "name": "web", "value": "seven"},
    ],
)
def test_a_log_may_have_a_type_that_is_called_as_one_of_ours(fields: dict[str, Any], tag: str) -> None:
    fields = {tag if key == "type" else key: value for key, value in fields.items()}
    row = log(fields)
    taken = {"message", "msg", "time", "timestamp", "level", "severity"}
    assert (row["message"], row["level"], row["project_id"]) == ("m", "warn", "p")
    assert row["attributes"] == {key: value for key, value in fields.items() if key not in taken}
    line = json.dumps(fields).encode() + b"\n"
    assert decode(line * 9).shapes == {"json_log": 9}
    assert [reject.reason for reject in decode(line, "span").rejects] != []
    ours = json.dumps(fields | {"projectId": "q"}).encode() + b"\n"
    assert decode(ours).rejects, "its project is not lost in the attributes"


def test_nan_in_a_log_with_a_type_of_ours_is_counted_as_converted() -> None:
    decoded = decode(b'{"type":"span","msg":"m","time":"%s","level":"info","x":NaN}\n' % TIME.encode())
    assert (decoded.shapes, decoded.converted, decoded.unknown) == ({"json_log": 1}, {"x": 1}, {})


def test_logs_of_several_libraries_and_ours_may_share_a_file() -> None:
    ours = json.dumps({"type": "log"} | OURS).encode() + b"\n"
    samples = {name: (SAMPLES / f"{name}.jsonl").read_bytes().splitlines(keepends=True)[0] for name in ("pino", "zap")}
    lines = [ours, samples["pino"], b"{}\n", ours, samples["zap"], b"x\n"] * 50
    decoded = decode(b"".join(lines))
    assert [reject.line for reject in decoded.rejects] == [line for line in range(1, 301) if line % 3 == 0]
    assert (decoded.lines, decoded.shapes) == (300, {"json_log": 100})
    decoded.rejects.clear()
    assert [row["message"] for row in rows(decoded)] == ["m", "Looked up", "m", "ordered"] * 50
    assert len({row["id"] for row in rows(decoded)}) == 101
