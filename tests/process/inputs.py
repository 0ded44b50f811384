"""What a file may hold, and what a person gets: the table that the bad-input tests are made from.

Every case is a file of spans in a project folder of its own (the case's name); all of them are dropped into one spool
and ingested by one `ingest --once`, so that each of them is a neighbour of all the others.
"""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import zstandard

NOW = datetime.now(UTC).replace(microsecond=123_000)
MIB = 1 << 20

Content = Callable[[str], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One file: its bytes (given its project), and what becomes of it."""

    name: str
    content: Content
    rows: int = 0
    """Rows in the table."""
    reasons: tuple[str, ...] = ()
    """The reasons of its rejected lines, in order."""
    folder: str = "processed"
    """Where the file ends."""
    failure: str = ""
    """What its log line and its reason file say, where it ends in `failed`."""
    level: str = "info"
    """The level of its `file_settled` line."""
    suffix: str = ".jsonl"
    columns: tuple[tuple[str, object], ...] = ()
    """Columns of its (only) row, with the values that must be there."""


def span(project: str, number: int = 0, **fields: object) -> dict[str, object]:
    """Return a valid span."""
    return {
        "type": "span",
        "id": f"{project}-{number}",
        "traceId": f"trace-{number}",
        "projectId": project,
        "name": "call",
        "startTime": (NOW - timedelta(minutes=number)).isoformat(),
        "endTime": NOW.isoformat(),
        "durationMs": number,
        **fields,
    }


def good(project: str, count: int = 1, first: int = 0) -> bytes:
    """Return valid lines."""
    return b"".join(json.dumps(span(project, first + n)).encode() + b"\n" for n in range(count))


def line(**fields: object) -> Content:
    """Return a file with one span with these fields, and valid lines around it."""
    return lambda p: good(p) + json.dumps(span(p, 1, **fields)).encode() + b"\n" + good(p, first=2)


def without(field: str) -> Content:
    """Return a file in which the middle line lacks a field."""

    def content(project: str) -> bytes:
        event = span(project, 1)
        del event[field]
        return good(project) + json.dumps(event).encode() + b"\n" + good(project, first=2)

    return content


def raw(middle: bytes) -> Content:
    """Return a file whose middle line is `middle`, with valid lines around it."""
    return lambda p: good(p) + middle + b"\n" + good(p, first=2)


def inside(more: bytes) -> Content:
    """Return a file with one valid span that has `more` before its closing brace."""
    return lambda p: json.dumps(span(p)).encode()[:-1] + b", " + more + b"}\n"


def only(**fields: object) -> Content:
    """Return a file with nothing but one span with these fields."""
    return lambda p: json.dumps(span(p, 0, **fields)).encode() + b"\n"


def accepted(name: str, content: Content, /, **columns: object) -> Case:
    """Return a case of one odd line that gives a row with these columns, without a warning."""
    return Case(name=name, content=content, rows=1, columns=tuple(columns.items()))


def rejected(name: str, content: Content, *reasons: str, rows: int = 2) -> Case:
    """Return a case whose bad lines are set aside."""
    return Case(name=name, content=content, rows=rows, reasons=reasons, level="warning")


CASES = [
    Case(name="good", content=lambda p: good(p, 3), rows=3),
    Case(name="empty", content=lambda _: b""),
    Case(name="blank_lines", content=lambda _: b"\n \n\t\n\r\n"),
    Case(name="blank_between", content=lambda p: good(p) + b"\n\n" + good(p, first=1), rows=2),
    Case(name="crlf", content=lambda p: good(p, 2).replace(b"\n", b"\r\n"), rows=2),
    Case(name="bom", content=lambda p: b"\xef\xbb\xbf" + good(p, 2), rows=2),
    Case(name="no_final_newline", content=lambda p: good(p, 2)[:-1], rows=2),
    rejected("torn_last_line", lambda p: good(p, 2) + good(p, first=3)[:-20], "torn"),
    rejected("invalid_json", raw(b"{bad"), "invalid_json"),
    rejected("trailing_garbage", raw(b"{} {}"), "invalid_json"),
    rejected("nan", line(durationMs=float("nan")), "wrong_type"),
    accepted("nan_nested", only(attributes={"loss": [float("nan")]}), attributes='{"loss": ["NaN"]}'),
    rejected("scalar", raw(b"3"), "not_an_object"),
    rejected("text", raw(b'"span"'), "not_an_object"),
    rejected("array", raw(b"[]"), "not_an_object"),
    rejected("null", raw(b"null"), "not_an_object"),
    rejected("no_type", raw(b"{}"), "missing_field"),
    rejected("unknown_type", line(type="spam", name=None), "unknown_type"),
    accepted("type_of_its_own", only(type="spam"), span_type="spam", extra="{}"),
    accepted("type_is_number", only(type=7), span_type="7"),
    rejected("type_is_no_text", line(type={"a": 1}), "wrong_type"),
    rejected("missing_field", without("startTime"), "missing_field"),
    rejected("null_field", line(name=None), "missing_field"),
    rejected("wrong_type", line(durationMs={"a": 1}), "wrong_type"),
    rejected("object_for_text", line(name={"a": 1}), "wrong_type"),
    accepted("number_for_text", only(name=7), name="7"),
    accepted("number_for_id", only(id=7), span_id="7"),
    accepted("number_as_text", only(durationMs="5"), duration_ms=5),
    accepted("count_as_text", only(inputTokens="5"), input_tokens=5),
    rejected("text_for_number", line(durationMs="five"), "wrong_type"),
    rejected("true_for_number", line(durationMs=True), "wrong_type"),
    accepted("fraction", only(durationMs=12.5), duration_ms=12.5),
    rejected("fraction_of_count", line(inputTokens=1.5), "wrong_type"),
    accepted("unknown_field", only(surprise=[1]), extra='{"surprise":[1]}'),
    rejected("bad_choice", line(kind="spam"), "bad_choice"),
    rejected("bad_time", line(startTime="yesterday"), "bad_time"),
    rejected("impossible_day", line(startTime="2026-02-30T00:00:00Z"), "bad_time"),
    rejected("time_is_true", line(startTime=True), "wrong_type"),
    rejected("year_1", line(startTime="0001-01-01T00:00:00Z"), "absurd_time"),
    rejected("year_9999", line(endTime="9999-12-31T23:59:59Z"), "absurd_time"),
    rejected("negative_epoch", line(startTime=-1), "absurd_time"),
    rejected("endless_epoch", line(startTime=1e300), "absurd_time"),
    rejected("invalid_utf8", raw(b'{"type":"span","id":"\xff"}'), "invalid_unicode"),
    rejected("invalid_utf8_nested", inside(b'"attributes": {"a": "\xff"}'), "invalid_unicode", rows=0),
    rejected("lone_surrogate", line(name="\ud800"), "invalid_unicode"),
    rejected("lone_surrogate_nested", line(attributes={"a": "\ud800"}), "invalid_unicode"),
    rejected("raw_nul", raw(b'{"type":"span","name":"\x00"}'), "invalid_json"),
    rejected("deep", inside(b'"extra": ' + b"[" * 10_000 + b"]" * 10_000), "too_deep", rows=0),
    rejected("huge_number", inside(b'"durationMs": 1e400'), "out_of_range", rows=0),
    accepted("large_number", only(durationMs=10**20), duration_ms=10**20),
    rejected("beyond_64_bits", line(inputTokens=2**64), "out_of_range"),
    rejected("two_bad_lines", lambda p: b"{bad\n" + good(p, 2) + b"[]\n", "invalid_json", "not_an_object"),
    rejected("only_bad_lines", lambda _: b"{bad\n[]\n", "invalid_json", "not_an_object", rows=0),
    rejected("long_line", lambda p: good(p) + b'{"a":"' + b"x" * (100 * MIB) + b'"}\n' + good(p, first=1), "too_long"),
    Case(name="nul_in_text", content=inside(b'"name": "a\\u0000b"'), rows=1, columns=(("name", "a\0b"),)),
    Case(
        name="huge_nested_integer",
        content=inside(b'"attributes": {"n": 123456789012345678901234567890}'),
        rows=1,
        columns=(("attributes", '{"n": 123456789012345678901234567890}'), ("duration_ms", 0)),
    ),
    Case(name="nested_1e400", content=inside(b'"attributes": [1e400]'), rows=1, columns=(("attributes", "[1e400]"),)),
    Case(name="last_key_wins", content=inside(b'"name": "second"'), rows=1, columns=(("name", "second"),)),
    Case(
        name="spoofed_project",
        content=inside(b'"projectId": "victim"'),
        rows=0,
        level="warning",
    ),
    Case(name="escaped_project", content=inside(b'"project\\u0049d": "victim"'), rows=0, level="warning"),
    Case(name="zero_and_empty", content=inside(b'"name": "", "durationMs": 0'), rows=1, columns=(("name", ""),)),
    Case(name="enveloped", content=lambda p: b'{"type":"span","data":' + good(p)[:-1] + b"}\n", rows=1),
    Case(name="gzip", content=lambda p: gzip.compress(good(p, 3), mtime=0), rows=3, suffix=".jsonl.gz"),
    Case(
        name="gzip_members",
        content=lambda p: gzip.compress(good(p, 2), mtime=0) + gzip.compress(good(p, first=2), mtime=0),
        rows=3,
        suffix=".jsonl.gz",
    ),
    Case(name="zstd", content=lambda p: zstandard.compress(good(p, 3)), rows=3, suffix=".jsonl.zst"),
    Case(
        name="gzip_that_is_none",
        content=lambda p: good(p, 3),
        folder="failed",
        failure="corrupt archive",
        level="error",
        suffix=".jsonl.gz",
    ),
]

CUT_OFF = [
    Case(
        name="gzip_cut_off",
        content=lambda p: gzip.compress(good(p, 5000), mtime=0)[:-50],
        folder="failed",
        failure="corrupt archive",
        level="error",
        suffix=".jsonl.gz",
    ),
    Case(
        name="zstd_cut_off",
        content=lambda p: zstandard.compress(good(p, 50_000))[:-50],
        folder="failed",
        failure="corrupt archive",
        level="error",
        suffix=".jsonl.zst",
    ),
]
"""Archives without their end: the lines that came whole land, so some rows do; how many is the codec's business."""
