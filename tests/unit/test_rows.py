"""Lines to rows: a row holds what was written, and every way to read a line gives the same row.

The expectations are written out here, from the table of events in the documentation, not taken from the declarations.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from typing import Any, NamedTuple

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy, composite
from msgspec.structs import replace

from spoolhouse.decode.counts import add_counts
from spoolhouse.decode.decoded import Found
from spoolhouse.decode.line_by_line import LineByLine
from spoolhouse.decode.line_decoder import Decoded, LineDecoder, Origin, ProjectPolicy
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.rows import Rows
from spoolhouse.events.builtin import BUILT_IN

CLOCK = datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
CLOCK_MS = 1770091506789
DECODER = LineDecoder(BUILT_IN)
DECODER.few_bytes = 0  # also short pieces are read in bulk
PHASES = [phase for phase in Phase if phase is not Phase.explain]
"""To explain what is wrong with fifty columns takes minutes, and says little more than the line does."""

# By event type, in the order of the row: kind and keys. `!` is required, `@` counts in an envelope only.
FIELDS = {
    "trace": "id! id traceId; text! projectId; text deploymentId; text! name; status status; time! startTime; "
    "time endTime; elapsed durationMs; json input; json output; object metadata; clock recordedAt; extra;"
    " none",
    "span": "id! id spanId; id! traceId; null parentSpanId; text! projectId; text deploymentId; text! name; "
    "kind kind; status status; time! startTime; time endTime; elapsed durationMs; object attributes; array events; "
    "blank; blank; blank; none; none; none; clock recordedAt; extra",
    "log": "id! id; text! projectId; text deploymentId; null traceId; null spanId; level! level; text! message; "
    "time! timestamp; object attributes; clock recordedAt; extra",
    "metric": "id! id; text! projectId; text deploymentId; text! name; metric metricType @type; number! value; "
    "null unit; time! timestamp; object labels; text organizationId; text environment; text serviceName; "
    "numbers bucketBoundaries; counts bucketCounts; clock recordedAt; extra",
    "score": "id! id; text! projectId; text deploymentId; null traceId; null spanId; text! name scorerName; "
    "number! value score; number normalizedValue; null comment reason; text experiment; text organizationId; "
    "text userId; text environment; text serviceName; time! timestamp; object metadata; clock recordedAt; extra",
    "feedback": "id! id; text! projectId; text deploymentId; null traceId; null spanId; text! source; "
    "text! feedbackType; scalar! value; numeric; null comment; text experiment; text organizationId; text userId; "
    "text environment; text serviceName; time! timestamp; object metadata; clock recordedAt; extra",
}
AGENT = {
    "event_id": "id! event_id",
    "project_id": "text! project_id",
    "run_id": "text! run_id",
    "timestamp": "time! timestamp",
    "user_id": "null user_id",
    "tags": "texts tags",
    "release": "null release",
    "env": "env env",
    "client_hostname": "null client.hostname",
    "client_sdk_version": "null client.sdk_version",
    "client_platform": "null client.platform",
    "event_type": "",
    "prompt": "any prompt",
    "prompt_template_id": "null prompt_template_id",
    "model": "null model",
    "model_version": "null model_version",
    "tokens_input": "integer tokens_input",
    "tokens_output": "integer tokens_output",
    "cost_estimate_usd": "number cost_estimate_usd",
    "response": "any response",
    "response_metadata": "json? response_metadata",
    "latency_ms": "number latency_ms",
    "status": "outcome status",
    "error_message": "null error.message",
    "error_type": "null error.type",
    "error_code": "scalar error.code",
    "error_stack": "null error.stack error.stack_trace",
    "error_context": "json? error.context",
    "step_number": "integer32 step.number step_number",
    "step_name": "null step.name step_name",
    "step_type": "step step.type step_type",
    "step_input_data": "json? step.input_data step_input_data",
    "step_output_data": "json? step.output_data step_output_data",
    "step_reasoning": "null step.reasoning step_reasoning",
    "step_context": "json? step.context step_context",
    "assertion_name": "null assertion_name",
    "assertion_type": "assertion assertion_type",
    "assertion_expected": "any assertion_expected",
    "assertion_actual": "any assertion_actual",
    "assertion_severity": "severity assertion_severity",
    "hallucination_detection_method": "detection hallucination_detection_method",
    "hallucination_confidence_score": "number hallucination_confidence_score",
    "hallucination_flagged_content": "null hallucination_flagged_content",
    "hallucination_ground_truth": "null hallucination_ground_truth",
    "hallucination_recommendations": "texts hallucination_recommendations",
    "alert_type": "alert alert_type",
    "alert_threshold": "number alert_threshold",
    "alert_actual_value": "number alert_actual_value",
    "alert_window_minutes": "integer32 alert_window_minutes",
    "alert_affected_models": "texts alert_affected_models",
    "context": "json? context",
    "recorded_at": "clock recorded_at",
    "extra": "",
}
"""The columns of `events`, and what of an agent's event is in them."""
CALL = {
    "tool_name": "text! tool_name",
    "tool_id": "null tool_id",
    "tool_input": "json input tool_input",
    "tool_output": "json output tool_output",
}
ELEMENT = CALL | {name: AGENT[name] for name in ("latency_ms", "status", "error_message", "error_type", "error_code")}
CALL_ROW = (
    "event_id", "project_id", "timestamp", "position", "tool_name", "tool_id", "tool_input", "tool_output",
    "latency_ms", "status", "error_message", "error_type", "error_code", "recorded_at", "extra",
)  # fmt: skip
STEP_ROW = (
    "event_id", "project_id", "run_id", "timestamp", "step_number", "step_name", "step_type", "step_input_data",
    "step_output_data", "step_reasoning", "step_context", "latency_ms", "status", "error_message", "error_type",
    "recorded_at", "extra",
)  # fmt: skip
AGENT_TYPES = (
    "prompt_call", "tool_call", "agent_step", "error", "assertion_failed", "hallucination_detected",
    "cost_threshold_exceeded", "performance_alert",
)  # fmt: skip
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
    "env": ("production", "staging", "development"),
}
CHOICES_OR_NULL = {
    "outcome": ("success", "error", "timeout", "assertion_failed", "warning"),
    "step": ("reasoning", "tool_call", "validation", "output"),
    "assertion": ("response_format", "content_filter", "safety_check", "custom"),
    "severity": ("low", "medium", "high", "critical"),
    "detection": ("heuristic", "model_ensemble", "ground_truth_verification"),
    "alert": ("cost_spike", "latency_spike", "error_rate_spike", "token_limit"),
}


class Written(NamedTuple):
    """A value as a producer writes it, and as the row must have it."""

    json: str
    value: object


class Between(NamedTuple):
    """A number is expected that is one of these, or between them."""

    low: float
    high: float


class Line(NamedTuple):
    """A valid line, and the rows that must come of it."""

    data: bytes
    rows: list[tuple[str, list[object]]]
    """By table, the event's own first."""


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
ID = TEXT.filter(lambda written: written.value != "")
INTEGER = (st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, -(2**63), 2**63 - 1])).map(
    lambda number: Written(str(number), number)
)
WHOLE_FLOAT = st.integers(-(2**63), 2**63 - 1).map(lambda number: Written(f"{number}.0", number))
NUMBER = (st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)).map(
    lambda number: Written(json.dumps(number), float(number))
)
EXACT = (st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)).map(
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
    "s text": lambda time, *_: f'"{(time - EPOCH) // timedelta(seconds=1)}"',
    "ms text": lambda time, *_: f'"{(time - EPOCH) // timedelta(milliseconds=1)}"',
    "ns text": lambda time, *_: f'"{(time - EPOCH) // MICROSECOND}999"',
}
LOST = {
    "s": timedelta(seconds=1), "ms": timedelta(milliseconds=1),
    "s text": timedelta(seconds=1), "ms text": timedelta(milliseconds=1),
}  # fmt: skip
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
    time = draw(st.datetimes(datetime(1973, 3, 4), datetime(2099, 12, 31, 23, 59, 59))).replace(tzinfo=UTC)  # noqa: DTZ001  # st wants them bare
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


def is_value(value: object, wanted: object) -> bool:
    """Tell whether a row's value is what is expected, and of its type."""
    if isinstance(wanted, Between):
        return isinstance(value, int | float) and wanted.low <= value <= wanted.high
    if isinstance(wanted, tuple):
        return is_time(value, wanted)
    if isinstance(wanted, dict):
        return isinstance(value, str) and json.loads(value) == wanted
    if isinstance(wanted, float):
        return isinstance(value, int | float) and value == wanted
    return value == wanted and type(value) is type(wanted)


VALUES: dict[str, SearchStrategy[Written]] = {
    "text": TEXT,
    "id": ID,
    "null": TEXT,
    "integer": INTEGER,
    "number": NUMBER,
    "elapsed": NUMBER,
    "scalar": TEXT
    | INTEGER.map(lambda one: one._replace(value=one.json))
    | NUMBER.map(lambda one: one._replace(value=one.json)),
    "numbers": NUMBERS,
    "counts": COUNTS,
    **dict.fromkeys(("json", "object", "array"), any_json()),
    "json?": any_json(),
    "integer32": st.integers(-(2**31), 2**31 - 1).map(lambda number: Written(str(number), number)),
    "any": TEXT,
    "texts": st.lists(TEXT, max_size=3).map(
        lambda some: Written("[" + ",".join(one.json for one in some) + "]", [one.value for one in some])
    ),
    **{
        kind: st.sampled_from([Written(quoted(one), one) for one in some])
        for kind, some in (CHOICES | CHOICES_OR_NULL).items()
    },
}
ABSENT = {
    "text": "",
    "json": "",
    "object": "{}",
    "array": "[]",
    "numbers": [],
    "counts": [],
    "texts": [],
    "clock": (CLOCK, CLOCK),
} | {name: choices[0] for name, choices in CHOICES.items()}


class Style(NamedTuple):
    """How the producer of a file writes."""

    name: str
    values: dict[str, SearchStrategy[Written]]
    shapes: tuple[bool, ...]
    """Whether lines are enveloped."""
    tag: str


def style(
    name: str, shapes: tuple[bool, ...], tag: str, forms: Sequence[str], **values: SearchStrategy[Written]
) -> Style:
    time = times(forms)
    return Style(name, VALUES | {"time": time, "clock": time} | values, shapes, tag)


@composite
def text_or_json(draw: DrawFn) -> Written:
    written = draw(TEXT | any_json())
    value = json.loads(written.json)
    return Written(written.json, value if isinstance(value, str) else written.json)


CLEAN, LOOSE = ("Z", "Z", "offset", "space"), ("Z", "none", "s", "ms", "ms float", "s float", "µs", "ns")
IN_BULK = [
    style(f"clean {'enveloped' if enveloped else 'flat'} {tag}", (enveloped,), tag, CLEAN, number=EXACT, elapsed=EXACT)
    for enveloped in (False, True)
    for tag in ("type", "event_type")
]
AS_TEXT = st.sampled_from([Written('"12"', 12), Written('"-3"', -3)])
ODD = [
    *(style("loose", (False, True), tag, LOOSE, any=text_or_json()) for tag in ("type", "event_type")),
    *(
        style(
            "odd",
            (False, True),
            tag,
            tuple(TIME_FORMS),
            integer=INTEGER | WHOLE_FLOAT | AS_TEXT,
            number=NUMBER | st.just(Written('"12.5"', 12.5)),
            elapsed=NUMBER | st.just(Written('"12.5"', 12.5)),
            text=TEXT | INTEGER.map(lambda one: one._replace(value=one.json)),
            id=ID | INTEGER.map(lambda one: one._replace(value=one.json)),
            level=st.sampled_from([Written('"WARN"', "warn"), Written('"Warning"', "warn"), Written('"info"', "info")]),
            kind=st.sampled_from([Written('"SPAN_KIND_CLIENT"', "client"), Written('"Server"', "server")]),
            any=text_or_json(),
        )
        for tag in ("type", "event_type")
    ),
]


# Lines


@composite
def key(draw: DrawFn, name: str) -> str:
    """A key, now and then with an escape in it."""
    place = draw(st.integers(0, 40))
    if place < len(name):
        return f'"{name[:place]}\\u{ord(name[place]):04x}{name[place + 1 :]}"'
    return f'"{name}"'


Members = list[tuple[str, str]]
"""Keys as they are written, a dot between those of nested values, and JSON values."""


@composite
def path(draw: DrawFn, name: str) -> str:
    """A key, the nested ones in it as well."""
    return ".".join([draw(key(step)) for step in name.split(".")])


def nested(path: str, value: object) -> dict[str, Any]:
    """An object that has the value at a path."""
    first, _, rest = path.partition(".")
    return {first: nested(rest, value) if rest else value}


def merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


class Column(NamedTuple):
    """What a producer writes for one column."""

    members: Members
    """Under one or more of its keys."""
    value: object
    """What the row must have."""
    extra: dict[str, Any]
    """Values under other keys than the one that counts."""
    json: str = "null"
    """The value that counts, as it is written."""


@composite
def members(draw: DrawFn, kind: str, keys: list[str], values: SearchStrategy[Written], *, required: bool) -> Column:
    value: object = ABSENT.get(kind)
    written: Members = []
    extra: dict[str, Any] = {}
    counts = "null"
    present = draw(st.integers(0, len(keys) - 1 if required else len(keys)))
    for place, name in enumerate(keys):
        if place < present:
            if draw(st.booleans()):
                written.append((draw(path(name)), "null"))
        elif place == present or draw(st.integers(0, 3)) == 0:
            one = draw(values)
            # The last of two equal keys counts; an object that is there twice is another matter.
            if "." not in name and draw(st.integers(0, 15)) == 0:
                written.append((f'"{name}"', draw(values).json))
            written.append((draw(path(name)), one.json))
            if place == present:
                value, counts = one.value, one.json
            else:
                merge(extra, nested(name, json.loads(one.json)))
    return Column(written, value, extra, counts)


@composite
def fields(draw: DrawFn, spec: str, style: Style, *, enveloped: bool) -> Column:
    """What is written for a column that is described as in FIELDS."""
    kind, *names = spec.split()
    keys = [name.removeprefix("@") for name in names if enveloped or not name.startswith("@")]
    name = kind.rstrip("!")
    return draw(members(name, keys, style.values[name], required=kind.endswith("!")))


def number_of(text: str) -> float | None:
    value = json.loads(text)
    return float(value) if isinstance(value, int | float) else None


@composite
def own(draw: DrawFn, event: str, style: Style, *, enveloped: bool) -> tuple[Members, list[object], dict[str, Any]]:
    """The content of an event that is no agent's, its row, and what of it goes to `extra`."""
    content: Members = []
    row: list[object] = []
    extra: dict[str, Any] = {}
    found: dict[str, Column] = {}
    for spec in FIELDS[event].split("; "):
        if spec in {"blank", "none", "extra", "numeric"}:
            row.append({"blank": "", "none": None, "extra": extra, "numeric": None}[spec])
            if spec == "numeric":
                row[-1] = number_of(found["value"].json)
            continue
        column = found[spec.split()[1]] = draw(fields(spec, style, enveloped=enveloped))
        content += column.members
        merge(extra, column.extra)
        row.append(column.value)
        start, end = (found.get(name) for name in ("startTime", "endTime"))
        if spec.startswith("elapsed") and column.json == "null" and start and end and isinstance(end.value, tuple):
            assert isinstance(start.value, tuple)
            low, high = end.value[0] - start.value[1], end.value[1] - start.value[0]
            row[-1] = Between(low / timedelta(milliseconds=1), high / timedelta(milliseconds=1))
    return content, row, extra


@composite
def lines(draw: DrawFn, style: Style) -> Line:
    """A valid line of any type."""
    event = draw(st.sampled_from([*sorted(FIELDS), *AGENT_TYPES[:3], draw(st.sampled_from(AGENT_TYPES))]))
    enveloped = draw(st.sampled_from(style.shapes))
    if event in FIELDS:
        content, row, extra = draw(own(event, style, enveloped=enveloped))
        rows = [(TABLES[event], row)]
    else:
        content, rows, extra = draw(agent(event, style))
    if not style.name.startswith("clean"):
        for name in draw(st.lists(st.sampled_from(["unknown", "color", "änd"]), max_size=2, unique=True)):
            value = draw(any_json() | st.just(Written("null", None)))
            content.append((json.dumps(name), value.json))
            extra[name] = json.loads(value.json)
    project = "projectId" if event in FIELDS else "project_id"
    head = (f'"{style.tag}"', f'"{event}"')
    if enveloped:
        outer = [head, ('"data"', written_object(content, " "))]
        if not style.name.startswith("clean"):
            choices: list[dict[str, Any]] = [{}, {project: None}, {"id": "not this", "name": [1]}]
            beside = draw(st.sampled_from(choices))
            outer += [(json.dumps(key), json.dumps(value)) for key, value in beside.items()]
            if kept := {key: value for key, value in beside.items() if value is not None}:
                extra["envelope"] = kept
        return Line(written_object(outer, "").encode(), rows)
    content.insert(draw(st.integers(0, len(content))), head)
    if not style.name.startswith("clean") and draw(st.booleans()):
        data = draw(st.sampled_from([{project: "not this"}, 3, None]))
        content.append(('"data"', json.dumps(data)))
        extra["data"] = data
    if style.tag == "event_type" and not style.name.startswith("clean"):
        content += draw(st.sampled_from([[], [('"type"', "null")]]))
    return Line(written_object(content, draw(st.sampled_from(["", " ", "\t\r"]))).encode(), rows)


@composite
def agent(draw: DrawFn, event: str, style: Style) -> tuple[Members, list[tuple[str, list[object]]], dict[str, Any]]:
    """The content of an agent's event, its rows, and what of it goes to `extra`."""
    content: Members = []
    extra: dict[str, Any] = {}
    values: dict[str, object] = {"event_type": event, "position": 0, "extra": extra}
    specs = AGENT | (CALL if event == "tool_call" else {})
    if event == "agent_step":
        required = ("step_number", "step_name", "step_type")
        specs |= {name: specs[name].replace(" ", "! ", 1) for name in required}
    # Few columns at a time: to draw each of fifty takes a minute.
    chosen = draw(st.sets(st.sampled_from(sorted(specs)), max_size=8))
    for name, spec in specs.items():
        kind, *keys = spec.split() or ["fill"]
        if keys and (name in chosen or kind.endswith("!")):
            column = draw(fields(spec, style, enveloped=False))
            content += column.members
            values[name] = column.value
            merge(extra, column.extra)
        elif keys:
            values[name] = ABSENT.get(kind)
    rows = [("events", [values[name] for name in AGENT])]
    if event == "tool_call":
        rows.append(("tool_calls", [(values | {"extra": {}})[name] for name in CALL_ROW]))
    if event == "agent_step":
        empty = {"step_input_data": "", "step_output_data": ""}
        known = {name: value for name, value in values.items() if value is not None}
        rows.append(("agent_steps", [(values | empty | known | {"extra": {}})[name] for name in STEP_ROW]))
    calls = draw(st.none() | st.lists(st.just(ELEMENT), max_size=3))
    if calls is not None:
        elements = []
        for position, call in enumerate(calls, 1):
            inner: Members = []
            own: dict[str, Any] = {}
            found = values | {"position": position, "extra": own}
            for name, spec in call.items():
                column = draw(fields(spec, style, enveloped=False))
                inner += column.members
                found[name] = column.value
                merge(own, column.extra)
            elements.append(written_object(inner, " "))
            rows.append(("tool_calls", [found[name] for name in CALL_ROW]))
        content.append(('"tool_calls"', "[" + ", ".join(elements) + "]"))
    return content, rows, extra


def written_object(content: Members, space: str) -> str:
    flat: Members = []
    nested: dict[str, Members] = {}
    for name, value in content:
        first, _, rest = name.partition(".")
        if rest:
            nested.setdefault(json.loads(first), []).append((rest, value))
        else:
            flat.append((name, value))
    flat += [(f'"{first}"', written_object(inner, space)) for first, inner in nested.items()]
    return "{" + f"{space},{space}".join(f"{name}{space}:{space}{value}" for name, value in flat) + space + "}"


PIECES = st.sampled_from([*IN_BULK, *ODD]).flatmap(lambda style: st.lists(lines(style), min_size=1, max_size=5))


@given(PIECES)
@settings(max_examples=60, deadline=None, phases=PHASES)
def test_a_row_holds_what_was_written(written: list[Line]) -> None:
    decoded = decode(b"".join(line.data + b"\n" for line in written))
    assert decoded.rejects == []
    assert decoded.lines == len(written)
    found = rows(decoded)
    for line in written:
        for table, expected in line.rows:
            row = found[table].pop(0)
            wrong = [pair for pair in zip(row, expected, strict=True) if not is_value(*pair)]
            assert not wrong, (table, wrong, line.data)
    assert not any(found.values())


@given(data=st.data(), style=st.sampled_from(IN_BULK))
@settings(max_examples=40, deadline=None, phases=PHASES)
def test_clean_lines_of_one_shape_are_read_in_bulk(style: Style, data: st.DataObject) -> None:
    written = data.draw(st.lists(lines(style), min_size=1, max_size=4))
    piece = b"".join(line.data + b"\n" for line in written)
    found = DECODER._bulk(piece, origin())
    expected = Counter(table for line in written for table, _ in line.rows)
    if found is None:  # two keys of one column, for another reader: a value under each, or null under the first one
        kept = any(is_kept(value) for line in written for _, row in line.rows for value in row)
        assert kept or b"null" in piece
    else:
        assert {name: len(some) for name, some in found.rows.items() if some} == expected


def is_kept(value: object) -> bool:
    return isinstance(value, dict) and bool(value)


def one_by_one(data: bytes, **how: Any) -> Decoded:
    """What each line comes to when it is decoded alone and never in bulk, in one; the slowest reader agrees."""
    whole = Decoded()
    offset = how.pop("offset", 0)
    encoded: dict[str, list[Rows]] = {}
    for number, line in enumerate(BytesIO(data)):
        piece = Piece(offset=offset, data=line)
        alone = DECODER._encoded(DECODER._line_by_line(piece, origin(**how)), origin(**how))
        assert alone == decode(line, offset=offset, **how)
        slowly = leniently(piece, origin(**how))
        assert (slowly.rows, [one.field for one in slowly.rejects]) == (alone.rows, [r.field for r in alone.rejects]), (
            line
        )
        assert (slowly.converted, slowly.unknown) == (alone.converted, alone.unknown), line
        for name, some in alone.rows.items():
            encoded.setdefault(name, []).append(some)
        whole.rejects += [replace(reject, line=reject.line + number) for reject in alone.rejects]
        whole.lines += alone.lines
        whole.mismatched += alone.mismatched
        whole.unknown_lines += alone.unknown_lines
        whole.converted_lines += alone.converted_lines
        add_counts(whole.unknown, alone.unknown)
        add_counts(whole.converted, alone.converted)
        offset += len(line)
    whole.rows = {
        name: Rows(data=b"".join(one.data for one in some), count=sum(one.count for one in some))
        for name, some in encoded.items()
    }
    return whole


def leniently(piece: Piece, origin: Origin) -> Decoded:
    """What a line comes to when neither a strict nor a wide reader is asked."""
    found = Found()
    lines = LineByLine(DECODER._events, DECODER._wide, DECODER._reader, origin, found)
    lines._one(None, piece.data, 1, piece.offset, None, [])
    return DECODER._encoded(found, origin)


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
@settings(max_examples=70, deadline=None, phases=PHASES)
def test_it_does_not_matter_in_which_company_a_line_comes(data: bytes, policy: ProjectPolicy, offset: int) -> None:
    assert decode(data, policy=policy, offset=offset, project="") == one_by_one(
        data, policy=policy, offset=offset, project=""
    )
