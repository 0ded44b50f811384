"""Documents of OTLP/JSON by the protocol's messages: each field absent, null, present, or in another form."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy, composite

from spoolhouse.events.declaration import other_case
from tests.unit.written import ANYHOW, ANYTHING, DOUBLES, EPOCH, EXACT, INT64, UNKNOWN, WORDS, How, Value, shuffled

KINDS = ("internal", "internal", "server", "client", "producer", "consumer")
STATES = ("unset", "ok", "error")
LEVELS = ("debug", "debug", "info", "warn", "error", "fatal")
SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
KEYS = ("a", "http.route", "größe", "resource", "scope")
Json = dict[str, Any]


class Row(NamedTuple):
    """What a row has to say: columns but for `extra`, and this."""

    columns: dict[str, Any]
    extra: Json


@dataclass
class Document:
    """A line in the making, and the rows that it has to give by event type."""

    key: Callable[[str], str]
    """How it spells the protocol's names."""
    how: How = ANYHOW
    top: Json = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=lambda: {"span": [], "log": [], "metric": []})

    @property
    def data(self) -> bytes:
        return json.dumps(self.top).encode() + b"\n"


class Shared(NamedTuple):
    """What all rows of a scope share."""

    attributes: Json
    extra: Json
    unknown: Json


COUNTS = st.integers(1, 2**31 - 1)
WHOLE = st.one_of(INT64, INT64.map(str))


def written(some: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """A number, as it is or as text."""
    return some | some.map(str)


def values(depth: int = 1) -> SearchStrategy[Value]:
    """An attribute's value, and what it is as JSON."""
    inner = values(depth - 1) if depth else WORDS.map(lambda text: Value({"stringValue": text}, text))
    lists, objects = st.lists(inner, max_size=2), st.dictionaries(WORDS, inner, max_size=2)
    return st.one_of(
        WORDS.map(lambda text: Value({"stringValue": text}, text)),
        INT64.map(lambda number: Value({"intValue": number}, number)),
        INT64.map(lambda number: Value({"intValue": str(number)}, number)),
        st.booleans().map(lambda flag: Value({"boolValue": flag}, flag)),
        DOUBLES.map(lambda number: Value({"doubleValue": number}, number)),
        DOUBLES.map(lambda number: Value({"doubleValue": repr(number)}, number)),
        st.sampled_from([Value({"bytesValue": "AP8="}, "AP8="), Value({}, None)]),
        lists.map(
            lambda some: Value({"arrayValue": {"values": [one.json for one in some]}}, [one.row for one in some])
        ),
        objects.map(
            lambda some: Value({"kvlistValue": {"values": pairs(some)}}, {key: one.row for key, one in some.items()})
        ),
    )


def pairs(named: dict[str, Value]) -> list[Json]:
    return [{"key": key, "value": value.json} for key, value in named.items()]


def spelt(document: Document, value: Any) -> Any:
    """Return messages with the document's names. No unknown fields are in them."""
    if isinstance(value, dict):
        return {document.key(key): spelt(document, inner) for key, inner in value.items()}
    return [spelt(document, one) for one in value] if isinstance(value, list) else value


def optional(draw: DrawFn, into: Json, key: str, value: SearchStrategy[Any]) -> Any:
    """Write a field: absent, null, or present; return its value, None for absence."""
    match draw(st.sampled_from(["absent", "null", "value", "value"])):
        case "value":
            into[key] = draw(value)
            return into[key]
        case "null":
            into[key] = None
    return None


def attributes(draw: DrawFn, document: Document, into: Json, key: str = "attributes") -> Json:
    """Write attributes, and return them as an object."""
    named = draw(st.dictionaries(st.sampled_from(KEYS), values(), max_size=3))
    if named:
        into[document.key(key)] = spelt(document, pairs(named))
    return {key: value.row for key, value in named.items()}


@composite
def times(draw: DrawFn, how: How) -> Value:
    """A time in nanoseconds: as it is written, and its number."""
    since = draw(st.integers(how.since, how.until)) * 10**6
    finer = draw(st.integers(0, 10**6 - 1))
    forms = [since + finer, str(since + finer)] if finer else [since, str(since), since // 10**6, since // 1000]
    return Value(draw(st.sampled_from(forms)), since + finer)


def moment(nanoseconds: int) -> Any:
    return EPOCH + timedelta(milliseconds=nanoseconds // 10**6)


@composite
def ids(draw: DrawFn, length: int) -> Value:
    raw = draw(st.binary(min_size=length, max_size=length).filter(any))
    return Value(draw(st.sampled_from([raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode()])), raw.hex())


def optional_id(draw: DrawFn, into: Json, key: str, length: int) -> Any:
    nothing = st.sampled_from(["", "0" * 2 * length]).map(lambda text: Value(text, None))
    found = optional(draw, into, key, ids(length) | nothing)
    if isinstance(found, Value):
        into[key] = found.json
        return found.row
    return None


def optional_time(draw: DrawFn, document: Document, into: Json, key: str) -> int:
    key = document.key(key)
    found = optional(draw, into, key, times(document.how) | st.sampled_from([Value(0, 0), Value("0", 0)]))
    if isinstance(found, Value):
        into[key] = found.json
        return int(found.row)
    return 0


def counted(draw: DrawFn, document: Document, into: Json, extra: Json, *names: str) -> None:
    """Write counts that are kept."""
    for name in names:
        found = optional(draw, into, document.key(name), written(COUNTS))
        if found is not None:
            extra[name] = int(found)


def more(draw: DrawFn, into: Json) -> Json:
    """Write unknown fields, and return those that count."""
    some = draw(st.dictionaries(st.sampled_from(UNKNOWN), ANYTHING, max_size=1))
    into.update(some)
    return {key: value for key, value in some.items() if value is not None}


@composite
def documents(draw: DrawFn, how: How = ANYHOW) -> Document:
    """A line with spans, logs, metrics, or several of these."""
    spellings: list[Callable[[str], str]] = [str, other_case]
    document = Document(draw(st.sampled_from(spellings)), how)
    signals = draw(st.sets(st.sampled_from(["span", "log", "metric"]), min_size=1))
    arrays = {"span": ("Spans", "spans"), "log": ("Logs", "logRecords"), "metric": ("Metrics", "metrics")}
    # The first row of a line has the unknown fields beside the arrays.
    for signal in [signal for signal in arrays if signal in signals]:
        signal_name, records = arrays[signal]
        groups: list[Json] = []
        document.top[document.key(f"resource{signal_name}")] = groups
        for _ in range(draw(st.integers(1, 2))):
            group: Json = {document.key(f"scope{signal_name}"): []}
            groups.append(group)
            outer = shared_of_resource(draw, document, group)
            for _ in range(draw(st.integers(0, 2))):
                scoped: Json = {}
                shared = shared_of_scope(draw, document, scoped, outer)
                write = {"span": span, "log": log, "metric": metric}[signal]
                scoped[document.key(records)] = [write(draw, document, shared) for _ in range(draw(st.integers(0, 2)))]
                group[document.key(f"scope{signal_name}")].append(shuffled(draw, scoped))
    unknown = more(draw, document.top)
    first = next((rows[0] for rows in document.rows.values() if rows), None)
    if first:
        first.extra.update({key: value for key, value in unknown.items() if key not in first.extra})
    document.top = shuffled(draw, document.top)
    return document


def shared_of_resource(draw: DrawFn, document: Document, group: Json) -> Shared:
    attrs: Json = {}
    kept: Json = {}
    unknown = {f"resource.{key}": value for key, value in more(draw, group).items()}
    if url := optional(draw, group, document.key("schemaUrl"), WORDS):
        kept["schemaUrl"] = url
    if draw(st.booleans()):
        resource: Json = {}
        group["resource"] = resource
        attrs = attributes(draw, document, resource)
        counted(draw, document, resource, kept, "droppedAttributesCount")
        unknown |= {f"resource.{key}": value for key, value in more(draw, resource).items()}
    return Shared({"resource": attrs} if attrs else {}, {"resource": kept} if kept else {}, unknown)


def shared_of_scope(draw: DrawFn, document: Document, scoped: Json, outer: Shared) -> Shared:
    about: Json = {}
    kept: Json = {}
    unknown = {f"scope.{key}": value for key, value in more(draw, scoped).items()}
    if url := optional(draw, scoped, document.key("schemaUrl"), WORDS):
        kept["schemaUrl"] = url
    if draw(st.booleans()):
        scope: Json = {}
        scoped["scope"] = scope
        for name in ("name", "version"):
            if text := optional(draw, scope, name, WORDS):
                about[name] = text
        if attrs := attributes(draw, document, scope):
            about["attributes"] = attrs
        counted(draw, document, scope, kept, "droppedAttributesCount")
        unknown |= {f"scope.{key}": value for key, value in more(draw, scope).items()}
    return Shared(
        outer.attributes | ({"scope": about} if about else {}),
        outer.extra | ({"scope": kept} if kept else {}),
        outer.unknown | unknown,
    )


def row(  # noqa: PLR0917  # what a record says, and where it goes
    shared: Shared, columns: Json, where: str, own: Json, extra: Json, unknown: Json
) -> Row:
    """Return a record's row: its attributes are in the column `where`."""
    whole = {**shared.extra, **extra}
    if own.keys().isdisjoint({"resource", "scope"}):
        columns[where] = own | shared.attributes
    else:
        columns[where] = own
        for name, value in shared.attributes.items():
            whole[name] = whole.get(name, {}) | (value if name == "scope" else {"attributes": value})
    return Row(columns, whole | shared.unknown | unknown)


def named(draw: DrawFn, into: Json, key: str, prefix: str, names: tuple[str, ...]) -> tuple[int, Any]:
    """Write a value of an enumeration by its number or name; return its number, and the original."""
    forms = [(at, form) for at, name in enumerate(names) for form in (at, str(at), f"{prefix}_{name}")]
    found = optional(draw, into, key, st.sampled_from(forms))
    if found is None:
        return 0, None
    into[key] = found[1]
    return int(found[0]), found[1]


def span(draw: DrawFn, document: Document, shared: Shared) -> Json:
    key = document.key
    extra: Json = {}
    trace_id, span_id, start = draw(ids(16)), draw(ids(8)), draw(times(document.how))
    given: Json = {key("traceId"): trace_id.json, key("spanId"): span_id.json, key("startTimeUnixNano"): start.json}
    columns: Json = {"trace_id": trace_id.row, "span_id": span_id.row, "start_time": moment(start.row)}
    columns["parent_span_id"] = optional_id(draw, given, key("parentSpanId"), 8)
    columns["name"] = optional(draw, given, "name", WORDS) or ""
    spellings = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
    columns["kind"] = KINDS[named(draw, given, "kind", "SPAN_KIND", spellings)[0]]
    end = optional_time(draw, document, given, "endTimeUnixNano")
    columns["end_time"] = moment(end) if end else None
    columns["duration_ms"] = (end - start.row) / 1e6 if end else None
    columns["status"] = "unset"
    if draw(st.booleans()):
        status: Json = {}
        given["status"] = status
        code, original = named(draw, status, "code", "STATUS_CODE", ("UNSET", "OK", "ERROR"))
        columns["status"] = STATES[code]
        if text := optional(draw, status, "message", WORDS):
            extra["status"] = {"message": text} | ({} if original is None else {"code": original})
    columns["events"] = []
    for _ in range(draw(st.integers(0, 2))):
        event: Json = {}
        said: Json = {}
        if time := optional(draw, event, key("timeUnixNano"), written(st.integers(1, 2**62))):
            said["timeUnixNano"] = int(time)
        if (name := optional(draw, event, "name", WORDS)) is not None:
            said["name"] = name
        if attrs := attributes(draw, document, event):
            said["attributes"] = attrs
        given.setdefault("events", []).append(event)
        columns["events"].append(said)
    if state := optional(draw, given, key("traceState"), WORDS):
        extra["traceState"] = state
    counted(draw, document, given, extra, "flags", "droppedAttributesCount", "droppedEventsCount", "droppedLinksCount")
    own = attributes(draw, document, given)
    document.rows["span"].append(row(shared, columns, "attributes", own, extra, more(draw, given)))
    return shuffled(draw, given)


def severity(draw: DrawFn, document: Document, given: Json, extra: Json) -> str:
    """Write the severity, and return the level."""
    numbers = ("UNSPECIFIED", *(f"{name}{finer or ''}" for name in SEVERITIES for finer in ("", 2, 3, 4)))
    number, original = named(draw, given, document.key("severityNumber"), "SEVERITY_NUMBER", numbers)
    text = optional(draw, given, document.key("severityText"), st.sampled_from(["", "gold", *SEVERITIES[1:], "Info"]))
    text = text or ""
    level = LEVELS[(number - 1) // 4] if number else text.lower() if text.lower() in LEVELS else "info"
    if number and original != 5 + 4 * ("debug", "info", "warn", "error", "fatal").index(level):
        extra["severityNumber"] = original
    if text and text.lower() != level:
        extra["severityText"] = text
    return level


def log(draw: DrawFn, document: Document, shared: Shared) -> Json:
    key = document.key
    given: Json = {}
    extra: Json = {}
    time = optional_time(draw, document, given, "timeUnixNano")
    noticed = optional_time(draw, document, given, "observedTimeUnixNano")
    if not (time or noticed):
        at = draw(times(document.how))
        given[key("timeUnixNano")], time = at.json, at.row
    columns: Json = {"timestamp": moment(time or noticed), "recorded_at": moment(noticed) if noticed else None}
    columns["level"] = severity(draw, document, given, extra)
    columns["trace_id"] = optional_id(draw, given, key("traceId"), 16)
    columns["span_id"] = optional_id(draw, given, key("spanId"), 8)
    if name := optional(draw, given, key("eventName"), WORDS):
        extra["eventName"] = name
    columns["message"] = name or ""
    body = optional(draw, given, "body", values())
    if isinstance(body, Value):
        given["body"] = spelt(document, body.json)
        if isinstance(body.row, str) and "stringValue" in body.json:
            columns["message"] = body.row
        elif body.row is not None:
            extra["body"] = body.row
            columns["message"] = body.row if isinstance(body.row, str) else Value(None, body.row)
    counted(draw, document, given, extra, "flags", "droppedAttributesCount")
    own = attributes(draw, document, given)
    document.rows["log"].append(row(shared, columns, "attributes", own, extra, more(draw, given)))
    return shuffled(draw, given)


def metric(draw: DrawFn, document: Document, shared: Shared) -> Json:
    """Write a metric with one data point."""
    key = document.key
    given: Json = {}
    point: Json = {}
    extra: Json = {}
    columns: Json = {"name": optional(draw, given, "name", WORDS) or ""}
    columns["unit"] = optional(draw, given, "unit", WORDS) or None
    if text := optional(draw, given, "description", WORDS):
        extra["description"] = text
    time = draw(times(document.how))
    point[key("timeUnixNano")], columns["timestamp"] = time.json, moment(time.row)
    if start := optional(draw, point, key("startTimeUnixNano"), written(st.integers(1, 2**62))):
        extra["startTimeUnixNano"] = int(start)
    if flags := optional(draw, point, "flags", st.sampled_from([2, "4", 0, "0"])):
        extra |= {"flags": int(flags)} if int(flags) else {}
    kind = draw(st.sampled_from(["gauge", "sum", "histogram"]))
    data: Json = {key("dataPoints"): [point]}
    columns["type"] = {"gauge": "gauge", "sum": "counter", "histogram": "histogram"}[kind]
    if kind != "gauge":
        names = ("UNSPECIFIED", "DELTA", "CUMULATIVE")
        number, _ = named(draw, data, key("aggregationTemporality"), "AGGREGATION_TEMPORALITY", names)
        extra |= {"aggregationTemporality": names[number].lower()} if number else {}
    if kind == "sum" and not optional(draw, data, key("isMonotonic"), st.booleans()):
        columns["type"], extra["metricType"] = "gauge", "up_down_counter"
    (histogram if kind == "histogram" else number_point)(draw, document, point, columns, extra)
    own = attributes(draw, document, point)
    unknown = more(draw, given)
    document.rows["metric"].append(row(shared, columns, "labels", own, extra, unknown | more(draw, point)))
    given[kind] = shuffled(draw, data)
    return shuffled(draw, given)


def number_point(draw: DrawFn, document: Document, point: Json, columns: Json, _extra: Json) -> None:
    name, numbers = draw(st.sampled_from([("asDouble", DOUBLES), ("asInt", EXACT)]))
    number = draw(numbers)
    point[document.key(name)] = draw(st.sampled_from([number, repr(number)]))
    columns |= {"value": number, "bucket_boundaries": [], "bucket_counts": []}


def histogram(draw: DrawFn, document: Document, point: Json, columns: Json, extra: Json) -> None:
    count = draw(COUNTS)
    point["count"] = draw(st.sampled_from([count, str(count)]))
    extra["count"] = columns["value"] = count
    for name in ("sum", "min", "max"):
        if (number := optional(draw, point, name, DOUBLES)) is not None:
            extra[name] = number
            columns["value"] = number if name == "sum" else columns["value"]
    counts = draw(st.lists(st.integers(0, 2**40), max_size=3))
    point[document.key("bucketCounts")] = [draw(st.sampled_from([one, str(one)])) for one in counts]
    columns["bucket_boundaries"] = point[document.key("explicitBounds")] = draw(st.lists(DOUBLES, max_size=2))
    columns["bucket_counts"] = counts
