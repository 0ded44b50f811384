"""Lines as producers may write them, each value in any way that is legal, and what has to come back of each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy, composite

from spoolhouse.events import json_paths
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.declaration import ARRAYS, Column, EventType, Kind, RowSource

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNKNOWN = ("color", "größe", "a.b", " ", "host", "__proto__", "extra", 'quo"te', "null")
"""Names of fields that no type has."""
BESIDE = "envelope"

Path = tuple[str, ...]


class Value(NamedTuple):
    """A value as it is written, and what the row has to say of it."""

    json: Any
    row: Any
    is_lossy: bool = False
    """The column cannot express it: it has to come back in `extra`."""


@dataclass(kw_only=True)
class Written:
    """An object of a line: an event, or an element of its array."""

    json: dict[str, Any] = field(default_factory=dict)
    values: dict[Path, Value] = field(default_factory=dict)
    """By path, the values that columns take."""
    extra: dict[str, Any] = field(default_factory=dict)
    elements: "list[Written]" = field(default_factory=list)


class Line(NamedTuple):
    """A line, its event type, and what it says."""

    type: str
    data: bytes
    event: Written
    is_tagged: bool
    """It says itself of which type it is."""


# Values

WORDS = st.text(st.characters(codec="utf-8"), max_size=6)
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
EXACT = st.integers(-(2**53), 2**53)
INT64 = st.integers(-(2**63), 2**63 - 1)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | DOUBLES | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
SOMETHING = ANYTHING.filter(lambda value: value is not None)


def plain(some: SearchStrategy[Any]) -> SearchStrategy[Value]:
    return some.map(lambda one: Value(one, one))


def whole(numbers: SearchStrategy[int]) -> SearchStrategy[Value]:
    """Whole numbers, also as text, and with a fraction of nothing."""
    small = EXACT.filter(lambda number: abs(number) < 2**31)
    return st.one_of(
        plain(numbers),
        numbers.map(lambda number: Value(str(number), number)),
        small.map(lambda number: Value(float(number), number)),
    )


NUMBERS = st.one_of(
    plain(DOUBLES), plain(EXACT), (DOUBLES | EXACT).map(lambda number: Value(json.dumps(number), number))
)
TEXTS = st.one_of(plain(WORDS), plain(WORDS), (INT64 | DOUBLES).map(lambda number: Value(number, json.dumps(number))))


class How(NamedTuple):
    """How a producer writes."""

    enveloped: bool = False
    since: int = 200_000_000_000
    until: int = 4_000_000_000_000
    """Times lie between these, in milliseconds since 1970."""


ANYHOW = How()


@composite
def times(draw: DrawFn, how: How) -> Value:
    """Times of whole milliseconds."""
    since = draw(st.integers(how.since, how.until))
    moment = EPOCH + timedelta(milliseconds=since)
    zone = timezone(timedelta(minutes=draw(st.integers(-14 * 60, 14 * 60))))
    forms = (
        moment.isoformat().replace("+00:00", "Z"), moment.astimezone(zone).isoformat(),
        moment.replace(tzinfo=None).isoformat(), since, since / 1000, since * 1000, since * 10**6, str(since),
        str(since * 10**6),
    )  # fmt: skip
    return Value(draw(st.sampled_from(forms)), moment)


def choices(column: Column, *, lossy: bool) -> SearchStrategy[Value]:
    some = [Value(choice, choice) for choice in column.choices]
    some += [Value(choice.upper(), choice) for choice in column.choices]
    some += [Value(name.capitalize(), choice) for name, choice in column.same.items()]
    if lossy:
        some += [Value(name, choice, is_lossy=True) for name, choice in column.near.items()]
        some += [Value(int(name), choice, is_lossy=True) for name, choice in column.near.items() if name.isdigit()]
        some += [Value({"code": choice, "message": "m"}, choice, is_lossy=True) for choice in column.choices]
    return st.sampled_from(some)


def listed(some: SearchStrategy[Value]) -> SearchStrategy[Value]:
    return st.lists(some, max_size=3).map(lambda each: Value([one.json for one in each], [one.row for one in each]))


VALUES: dict[Kind, SearchStrategy[Value]] = {
    Kind.TEXT: TEXTS,
    Kind.SCALAR: (WORDS | INT64 | DOUBLES).map(
        lambda one: Value(one, one if isinstance(one, str) else json.dumps(one))
    ),
    Kind.ANY: plain(SOMETHING),
    Kind.INTEGER: whole(INT64),
    Kind.INTEGER32: whole(st.integers(-(2**31), 2**31 - 1)),
    Kind.NUMBER: NUMBERS,
    Kind.JSON: plain(SOMETHING),
    Kind.NUMBERS: listed(NUMBERS),
    Kind.COUNTS: listed(whole(st.integers(0, 2**63 - 1)).filter(lambda one: one.row >= 0)),
    Kind.TEXTS: listed(TEXTS),
}


def value_of(column: Column, path: Path, how: How) -> SearchStrategy[Value]:
    if column.kind is Kind.TIME:
        return times(how)
    if column.kind is Kind.CHOICE:
        return choices(column, lossy=len(path) == 1)
    values = VALUES[column.kind]
    return values.filter(lambda value: value.json != "") if column.identifies else values


# Lines


def paths(column: Column, *, enveloped: bool) -> list[Path]:
    """The ways to a column's value, in order of precedence."""
    return [json_paths.steps(key) for key in json_paths.of_column(column, enveloped=enveloped, wide=True)]


def put(into: dict[str, Any], path: Path, value: object) -> None:
    *way, last = path
    for step in way:
        into = into.setdefault(step, {})
    into[last] = value


@composite
def objects(draw: DrawFn, columns: list[Column], how: How) -> Written:
    """An object that fills columns: each absent, null, present, or present under two keys."""
    written = Written()
    seen: set[Path] = set()
    for column in columns:
        ways = paths(column, enveloped=how.enveloped)
        if not ways or not seen.isdisjoint(ways):
            continue
        seen.update(ways)
        kinds = ["once"] if is_needed(column) else ["absent", "null", "once", "once"]
        match draw(st.sampled_from([*kinds, "twice"] if len(ways) > 1 else kinds)):
            case "null":
                put(written.json, draw(st.sampled_from(ways)), draw(st.sampled_from([None, *[""] * column.identifies])))
            case "once":
                take(draw, written, column, [draw(st.sampled_from(ways))], how)
            case "twice":
                first = draw(st.integers(0, len(ways) - 2))
                take(draw, written, column, [ways[first], draw(st.sampled_from(ways[first + 1 :]))], how)
    known = {path[0] for path in seen}
    more = draw(st.dictionaries(st.sampled_from(UNKNOWN), ANYTHING, max_size=2))
    for name, value in more.items():
        if name not in known:
            written.json[name] = written.extra[name] = value
    for inner in [name for name, value in written.json.items() if name in known and isinstance(value, dict)]:
        if any(len(path) > 1 and path[0] == inner for path in seen) and draw(st.booleans()):
            put(written.json, (inner, "more"), 1)
            put(written.extra, (inner, "more"), 1)
    return written


def take(draw: DrawFn, written: Written, column: Column, ways: list[Path], how: How) -> None:
    """Write values for a column: the first one is its own, any other one stays."""
    for number, way in enumerate(ways):
        value = draw(value_of(column, way, how))
        put(written.json, way, value.json)
        if number:
            put(written.extra, way, value.json)
        else:
            written.values[way] = value
            if value.is_lossy:
                put(written.extra, way, value.json)


def own_columns(event: EventType) -> list[Column]:
    """The columns of its rows; first those that something has to be written for."""
    columns = [column for part in event.parts if not part.each for column in part.columns]
    return sorted(columns, key=lambda column: not is_needed(column))


def is_needed(column: Column) -> bool:
    return column.required and not column.fill


def element_columns(part: RowSource) -> list[Column]:
    return [column for column in part.columns if not column.inherited]


@composite
def lines(draw: DrawFn, how: How = ANYHOW, names: Sequence[str] = tuple(BUILT_IN)) -> Line:
    """A line of one of these types of ours."""
    event = BUILT_IN[draw(st.sampled_from(names))]
    how = how._replace(enveloped=draw(st.booleans()))
    written = draw(objects(own_columns(event), how))
    for part in event.children:
        if part.each and draw(st.booleans()):
            written.elements = draw(st.lists(objects(element_columns(part), how), max_size=2))
            written.json[part.each] = [element.json for element in written.elements]
    whole: dict[str, Any] = written.json
    # A line in a folder of logs that names no type may be of any library's.
    untyped: list[list[str]] = [] if event.name == "log" else [[]]
    tags = dict.fromkeys(draw(st.sampled_from([["type"], ["event_type"], *untyped])), event.name)
    if how.enveloped:
        beside = draw(st.dictionaries(st.sampled_from(UNKNOWN), SOMETHING, max_size=1))
        whole = {**tags, **beside, "data": shuffled(draw, written.json)}
        if beside:
            written.extra[BESIDE] = beside
    else:
        whole = shuffled(draw, {**tags, **written.json})
    text = json.dumps(whole, ensure_ascii=draw(st.booleans()))
    return Line(event.name, text.encode() + b"\n", written, bool(tags))


def shuffled(draw: DrawFn, some: dict[str, Any]) -> dict[str, Any]:
    return dict(draw(st.permutations(list(some.items()))))


def default_of(column: Column) -> object:
    """What an absent value becomes."""
    return [] if column.kind in ARRAYS else column.default
