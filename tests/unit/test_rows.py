"""Lines to rows: a row holds what was written, and every way to read a line gives the same row.

The expectations are written out here, from the table of events in the documentation, not taken from the declarations.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy, composite

from spoolhouse.core.events import BUILT_IN
from spoolhouse.core.jsonl import Decoded, LineDecoder, Origin, ProjectPolicy, _Found
from spoolhouse.core.lines import Piece
from spoolhouse.core.ports import Rows

CLOCK = datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
CLOCK_MS = 1770091506789
DECODER = LineDecoder(BUILT_IN)

# By event type, in the order of the row: kind and keys. `!` is required, `@` counts in an envelope only.
FIELDS = {
    "trace": "text! id traceId; text! projectId; text deploymentId; text! name; status status; time! startTime; "
    "time endTime; integer durationMs; json input; json output; object metadata; clock recordedAt",
    "span": "text! id spanId; text! traceId; null parentSpanId; text! projectId; text deploymentId; text! name; "
    "kind kind; status status; time! startTime; time endTime; integer durationMs; object attributes; array events; "
    "clock recordedAt",
    "log": "text! id; text! projectId; text deploymentId; null traceId; null spanId; level! level; text! message; "
    "time! timestamp; object attributes; clock recordedAt",
    "metric": "text! id; text! projectId; text deploymentId; text! name; metric metricType @type; number! value; "
    "null unit; time! timestamp; object labels; numbers bucketBoundaries; counts bucketCounts; clock recordedAt",
    "score": "text! id; text! projectId; text deploymentId; null traceId; null spanId; text! name scorerName; "
    "number! value score; number normalizedValue; null comment reason; text experiment; text organizationId; "
    "text userId; text environment; text serviceName; time! timestamp; object metadata; clock recordedAt",
    "feedback": "text! id; text! projectId; text deploymentId; null traceId; null spanId; text! source; "
    "text! feedbackType; scalar! value; null comment; text experiment; text organizationId; text userId; "
    "text environment; text serviceName; time! timestamp; object metadata; clock recordedAt",
}
TABLES = {
    "trace": "traces",
    "span": "spans",
    "log": "logs",
    "metric": "metrics",
    "score": "scores",
    "feedback": "feedback",
}
CHOICES = {
    "status": ("unset", "ok", "error"),
    "kind": ("internal", "server", "client", "producer", "consumer"),
    "level": ("debug", "info", "warn", "error", "fatal"),
    "metric": ("gauge", "counter", "histogram"),
}


class Written(NamedTuple):
    """A value as a producer writes it, and as the row must have it."""

    json: str
    value: object


class Line(NamedTuple):
    """A valid line, and the row that must come of it."""

    data: bytes
    event: str
    row: list[object]


def origin(policy: ProjectPolicy = "warn", project: str = "p1") -> Origin:
    return Origin(project=project, policy=policy, clock_ms=CLOCK_MS)


def decode(data: bytes, *, offset: int = 0, policy: ProjectPolicy = "warn", project: str = "p1") -> Decoded:
    return DECODER.decode(Piece(offset=offset, data=data), origin(policy, project))


def rows(decoded: Decoded) -> dict[str, list[Any]]:
    return {name: [json.loads(line) for line in some.data.splitlines()] for name, some in decoded.rows.items()}


# Values


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=len(text) % 2 == 0)


TEXT = st.text(st.characters(codec="utf-8"), max_size=8).map(lambda text: Written(quoted(text), text))
INTEGER = (st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, -(2**63), 2**63 - 1])).map(
    lambda number: Written(str(number), number)
)
WHOLE_FLOAT = st.integers(-(2**63), 2**63 - 1).map(lambda number: Written(f"{number}.0", number))
NUMBER = (st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)).map(
    lambda number: Written(json.dumps(number), float(number))
)
NUMBERS = st.lists(NUMBER, max_size=3).map(
    lambda some: Written("[" + ", ".join(one.json for one in some) + "]", [one.value for one in some])
)
COUNTS = st.lists(st.integers(0, 2**63 - 1), max_size=3).map(lambda some: Written(json.dumps(some), some))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**90), 2**90) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('abé\0"', max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@composite
def any_json(draw: DrawFn) -> Written:
    value = draw(ANY_JSON.filter(lambda value: value is not None))
    text = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=None, separators=draw(st.sampled_from(
        [(",", ":"), (" ,\t", " : ")]
    )))  # fmt: skip
    return Written(text, text)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
TIME_FORMS: dict[str, Callable[[datetime, int, int], str]] = {
    "Z": lambda time, digits, _: f'"{time:%Y-%m-%dT%H:%M:%S}{fraction(time, digits)}Z"',
    "none": lambda time, digits, _: f'"{time:%Y-%m-%dT%H:%M:%S}{fraction(time, digits)}"',
    "space": lambda time, digits, _: f'"{time:%Y-%m-%d %H:%M:%S}{fraction(time, digits)}+00:00"',
    "basic": lambda time, digits, _: f'"{time:%Y%m%dT%H%M%S}{fraction(time, digits)}Z"',
    "offset": lambda time, digits, minutes: offset_text(time, digits, timedelta(minutes=minutes)),
    "offset s": lambda time, digits, minutes: offset_text(time, digits, timedelta(seconds=minutes)),
    "s": lambda time, *_: f"{(time - EPOCH) // timedelta(seconds=1)}",
    "s float": lambda time, *_: repr((time - EPOCH) / timedelta(seconds=1)),
    "ms": lambda time, *_: f"{(time - EPOCH) // timedelta(milliseconds=1)}",
    "ms float": lambda time, *_: f"{(time - EPOCH) / timedelta(milliseconds=1)!r}",
    "µs": lambda time, *_: f"{(time - EPOCH) // MICROSECOND}",
    "ns": lambda time, *_: f"{(time - EPOCH) // MICROSECOND}999",
    "ns float": lambda time, *_: f"{(time - EPOCH) // MICROSECOND}000.0",
}
LOST = {"s": timedelta(seconds=1), "ms": timedelta(milliseconds=1)}
"""How much of the time a form cannot write."""


def fraction(time: datetime, digits: int) -> str:
    return f".{time.microsecond:06}999"[: digits + 1] if digits else ""


def offset_text(time: datetime, digits: int, offset: timedelta) -> str:
    there = time.astimezone(timezone(offset))
    text = there.isoformat(timespec="seconds")
    return f'"{text[:19]}{fraction(there, digits)}{text[19:]}"'


@composite
def times(draw: DrawFn, forms: Sequence[str]) -> Written:
    """A time in one of the forms; its value is the range that the row's time must be in."""
    # The earliest number of seconds is any, but one of the other units must be large enough to be told from it.
    time = draw(st.datetimes(datetime(1973, 3, 4), datetime(2099, 12, 31, 23, 59, 59))).replace(tzinfo=UTC)  # noqa: DTZ001
    form = draw(st.sampled_from(forms))
    digits = draw(st.sampled_from((3, 3, 0, 1, 2, 4, 5, 6, 7, 9)))
    lost = LOST.get(form, MICROSECOND)
    if form in {"Z", "none", "space", "basic", "offset", "offset s"}:
        lost = timedelta(seconds=10.0**-digits)
    return Written(TIME_FORMS[form](time, digits, draw(st.integers(-1439, 1439))), (time - lost, time + MICROSECOND))


def is_time(text: object, expected: object) -> bool:
    """Tell whether `text` is an RFC 3339 time in the range."""
    assert isinstance(expected, tuple)
    assert isinstance(text, str)
    time = datetime.fromisoformat(text)
    assert time.tzinfo is not None
    assert len(text.partition(".")[0]) in {19, 20, 25}
    return bool(expected[0] <= time <= expected[1])


VALUES: dict[str, SearchStrategy[Written]] = {
    "text": TEXT,
    "null": TEXT,
    "integer": INTEGER,
    "number": NUMBER,
    "scalar": TEXT
    | INTEGER.map(lambda one: one._replace(value=one.json))
    | NUMBER.map(lambda one: one._replace(value=one.json)),
    "numbers": NUMBERS,
    "counts": COUNTS,
    **dict.fromkeys(("json", "object", "array"), any_json()),
    **{kind: st.sampled_from([Written(quoted(one), one) for one in some]) for kind, some in CHOICES.items()},
}
ABSENT = {
    "text": "",
    "json": "",
    "object": "{}",
    "array": "[]",
    "numbers": [],
    "counts": [],
    "clock": (CLOCK, CLOCK),
} | {name: choices[0] for name, choices in CHOICES.items()}


class Style(NamedTuple):
    """How the producer of a file writes."""

    name: str
    values: dict[str, SearchStrategy[Written]]
    shapes: tuple[bool, ...]
    """Whether lines are enveloped."""


def style(name: str, shapes: tuple[bool, ...], forms: Sequence[str], **values: SearchStrategy[Written]) -> Style:
    time = times(forms)
    return Style(name, VALUES | {"time": time, "clock": time} | values, shapes)


CLEAN, LOOSE = ("Z", "Z", "offset", "space"), ("Z", "none", "s", "ms", "ms float", "s float", "µs", "ns")
IN_BULK = [
    style(f"{name} {'enveloped' if enveloped else 'flat'}", (enveloped,), forms)
    for name, forms in (("clean", CLEAN), ("loose", LOOSE))
    for enveloped in (False, True)
]
ODD = style("odd", (False, True), tuple(TIME_FORMS), integer=INTEGER | WHOLE_FLOAT)


# Lines


@composite
def key(draw: DrawFn, name: str) -> str:
    """A key, now and then with an escape in it."""
    place = draw(st.integers(0, 40))
    if place < len(name):
        return f'"{name[:place]}\\u{ord(name[place]):04x}{name[place + 1 :]}"'
    return f'"{name}"'


@composite
def members(
    draw: DrawFn, kind: str, keys: list[str], values: SearchStrategy[Written], *, required: bool
) -> tuple[list[tuple[str, str]], object]:
    """What a producer writes for one column, under one or more of its keys, and what the row must have."""
    value: object = None
    written: list[tuple[str, str]] = []
    present = draw(st.integers(0, len(keys) - 1 if required else len(keys)))
    for place, name in enumerate(keys):
        if place < present:
            if draw(st.booleans()):
                written.append((draw(key(name)), "null"))
        elif place == present or draw(st.booleans()):
            one = draw(values)
            if draw(st.integers(0, 15)) == 0:  # the last of two equal keys counts
                written.append((f'"{name}"', draw(values).json))
            written.append((draw(key(name)), one.json))
            value = one.value if place == present else value
    return written, ABSENT.get(kind) if present == len(keys) else value


@composite
def lines(draw: DrawFn, style: Style) -> Line:
    """A valid line of any type."""
    event = draw(st.sampled_from(sorted(FIELDS)))
    enveloped = draw(st.sampled_from(style.shapes))
    content: list[tuple[str, str]] = []
    row = []
    for field in FIELDS[event].split("; "):
        kind, *names = field.split()
        keys = [name.removeprefix("@") for name in names if enveloped or not name.startswith("@")]
        name = kind.rstrip("!")
        written, value = draw(members(name, keys, style.values[name], required=kind.endswith("!")))
        content += written
        row.append(value)
    content += draw(st.lists(st.tuples(st.just('"unknown"'), any_json().map(lambda one: one.json)), max_size=1))
    head = ('"type"', f'"{event}"')
    if enveloped:
        outer = [head, ('"data"', written_object(content, " "))]
        outer += draw(st.sampled_from([[], [('"projectId"', "null")], [('"id"', '"not this"'), ('"name"', "[1]")]]))
        return Line(written_object(outer, "").encode(), event, row)
    content.insert(draw(st.integers(0, len(content))), head)
    content += draw(st.sampled_from([[], [('"data"', '{"projectId":"not this"}')], [('"data"', "3")]]))
    return Line(written_object(content, draw(st.sampled_from(["", " ", "\t\r"]))).encode(), event, row)


def written_object(content: list[tuple[str, str]], space: str) -> str:
    return "{" + f"{space},{space}".join(f"{name}{space}:{space}{value}" for name, value in content) + space + "}"


PIECES = st.sampled_from([*IN_BULK, ODD]).flatmap(lambda style: st.lists(lines(style), min_size=1, max_size=5))


@given(PIECES)
@settings(max_examples=60, deadline=None)
def test_a_row_holds_what_was_written(written: list[Line]) -> None:
    decoded = decode(b"".join(line.data + b"\n" for line in written))
    assert decoded.rejects == []
    assert decoded.lines == len(written)
    found = rows(decoded)
    for line in written:
        row = found[TABLES[line.event]].pop(0)
        for place, (value, expected) in enumerate(zip(row, line.row, strict=True)):
            if isinstance(expected, tuple):
                assert is_time(value, expected), (place, line)
            else:
                assert value == expected, (place, line)
                assert type(value) is type(expected), (place, line)
    assert not any(found.values())


@pytest.mark.parametrize("style", IN_BULK, ids=lambda style: style.name)
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_lines_of_one_shape_are_read_in_bulk(style: Style, data: st.DataObject) -> None:
    written = data.draw(st.lists(lines(style), min_size=1, max_size=4))
    piece = b"".join(line.data + b"\n" for line in written)
    found = DECODER._bulk(piece, origin())
    assert found is not None
    assert {name: len(some) for name, some in found.rows.items()} == Counter(TABLES[line.event] for line in written)


def one_by_one(data: bytes, **how: Any) -> Decoded:
    """What each line comes to when it is decoded alone and never in bulk, in one."""
    whole = Decoded()
    offset = how.pop("offset", 0)
    encoded: dict[str, list[Rows]] = {}
    for number, line in enumerate(BytesIO(data)):
        found = _Found()
        DECODER._line_by_line(Piece(offset=offset, data=line), number + 1, origin(**how), found)
        alone = DECODER._encoded(found, origin(**how))
        assert same(alone, decode(line, offset=offset, **how), number)
        for name, some in alone.rows.items():
            encoded.setdefault(name, []).append(some)
        whole.rejects += alone.rejects
        whole.lines += alone.lines
        whole.mismatched += alone.mismatched
        offset += len(line)
    whole.rows = {
        name: Rows(data=b"".join(one.data for one in some), count=sum(one.count for one in some))
        for name, some in encoded.items()
    }
    return whole


def same(one: Decoded, other: Decoded, lines_before: int = 0) -> bool:
    """Tell whether all is equal, where `other` counts its lines from another one."""
    numbered = [replace(reject, line=reject.line + lines_before) for reject in other.rejects]
    return replace(other, rejects=numbered) == one


@composite
def damaged(draw: DrawFn) -> bytes:
    """Valid lines, and then some bytes of them changed, cut out or put in, line ends among them."""
    ends = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b" \n\t\n", b""])
    data = b"".join(line.data + draw(ends) for line in draw(PIECES))
    bits = st.sampled_from(DAMAGE) | st.binary(max_size=3)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(bits) + data[place + draw(st.sampled_from([0, 0, 1, 2, 9])) :]
    return data


DAMAGE = [
    b"\n",
    b"\r\n",
    b"{",
    b"}",
    b"}{",
    b"}\n{",
    b'"',
    b"\\",
    b"\\ud800",
    b"\xff",
    b"null",
    b",",
    b":",
    b"[",
    b"1e999",
    b"\0",
]


@given(damaged(), st.sampled_from(["trust", "warn", "reject"]), st.integers(0, 2**50))
@settings(max_examples=70, deadline=None)
def test_it_does_not_matter_in_which_company_a_line_comes(data: bytes, policy: ProjectPolicy, offset: int) -> None:
    assert decode(data, policy=policy, offset=offset, project="") == one_by_one(
        data, policy=policy, offset=offset, project=""
    )
