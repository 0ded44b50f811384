"""JSON logs of any library: message, time, level and ids under any of their keys, in any form, beside other fields."""

import json
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, composite

from spoolhouse.events.builtin import LOGS
from spoolhouse.events.shapes.json_log import LEVELS, MESSAGES, SPAN_IDS, TIMES, TRACE_IDS
from tests.unit.written import ANYHOW, ANYTHING, WORDS, How, Value, shuffled, times

Json = dict[str, Any]

MORE = (
    "color",
    "größe",
    "a.b",
    " ",
    "host",
    "__proto__",
    "logger",
    "pid",
    "type",
    "data",
    "err",
    "no",
    "extra",
    'quo"te',
)
"""Fields that are no role's: all of them are attributes."""
_LEVEL = LOGS.column("level")
_EXACT = {choice: choice for choice in _LEVEL.choices} | dict(_LEVEL.same)
_NEAR = {name: choice for name, choice in _LEVEL.near.items() if not name.isdigit()}
_PINO = {10: "debug", 20: "debug", 30: "info", 40: "warn", 50: "error", 60: "fatal"}
_PYTHON = {10: "debug", 20: "info", 30: "warn", 40: "error", 50: "fatal"}
_SYSLOG = {0: "fatal", 2: "fatal", 3: "error", 4: "warn", 5: "info", 6: "info", 7: "debug"}
_OTEL = {1: "debug", 5: "debug", 9: "info", 13: "warn", 17: "error", 24: "fatal"}


class JsonLog(NamedTuple):
    """A line, and what its row has to say."""

    data: bytes
    columns: dict[str, Any]
    attributes: Json


def put(line: Json, key: str, value: object, *, nested: bool) -> None:
    """Write a value; under a key with a dot, perhaps as an object in the line."""
    name, dot, last = key.partition(".")
    if nested and dot and "/" not in last:
        line[name] = {last: value}
    else:
        line[key] = value


@composite
def levels(draw: DrawFn, key: str, line: Json) -> tuple[Value, bool]:
    """A level, and whether it says no more than the column."""
    exact = [(Value(form, choice), True) for name, choice in _EXACT.items() for form in (name, name.upper())]
    near = [(Value(name.capitalize(), choice), False) for name, choice in _NEAR.items()]
    numbers = _PINO
    if key in {"severityNumber", "severity_number", "SeverityNumber"}:
        numbers = _OTEL
    elif key == "PRIORITY" or ("short_message" in line and key != "levelno"):
        numbers = _SYSLOG
    elif key == "levelno" or ("pid" not in line and not {"asctime", "logger", "levelname"}.isdisjoint({*line, key})):
        numbers = _PYTHON
    counted = [(Value(number, choice), False) for number, choice in numbers.items()]
    unknown = [(Value(one, "info"), False) for one in ("gold", "", None)]
    level: tuple[Value, bool] = draw(st.sampled_from([*exact, *near, *counted, *unknown]))
    return level


@composite
def json_logs(draw: DrawFn, how: How = ANYHOW) -> JsonLog:
    """A line of a library."""
    attributes = draw(st.dictionaries(st.sampled_from(MORE), ANYTHING, max_size=4))
    # Of keys in order of precedence, one is there: what wins is for other tests.
    message = draw(WORDS)
    at = draw(times(how))
    keys = draw(st.sampled_from(MESSAGES)), draw(st.sampled_from(TIMES))
    line: Json = {**attributes, keys[0]: message, keys[1]: at.json}
    columns: Json = {"message": message, "timestamp": at.row, "level": "info", "trace_id": None, "span_id": None}
    if draw(st.booleans()):
        key = draw(st.sampled_from(LEVELS))
        nested = draw(st.booleans()) and "log" not in line
        level, is_all = draw(levels(key, line))
        put(line, key, level.json, nested=nested)
        columns["level"] = level.row
        if not is_all:
            put(attributes, key, level.json, nested=nested)
    for name, some in (("trace_id", TRACE_IDS), ("span_id", SPAN_IDS)):
        key, nested = draw(st.sampled_from(some)), draw(st.booleans())
        if draw(st.booleans()) and key.partition(".")[0] not in line:
            identity = draw(st.sampled_from([Value("4bf92f3577b34da6", "4bf92f3577b34da6"), Value(7, "7")]))
            nothing = draw(st.sampled_from([Value("0000", None), Value("", None), Value(None, None)]))
            value = draw(st.sampled_from([identity, identity, nothing]))
            put(line, key, value.json, nested=nested)
            columns[name] = value.row
            if value.row is None:
                put(attributes, key, value.json, nested=nested)
    if {"message", "timestamp", "level"} <= line.keys():
        line["color"] = attributes["color"] = 1  # without another field it would be a log of ours
    spaces = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    text = json.dumps(shuffled(draw, line), ensure_ascii=draw(st.booleans()), separators=spaces)
    return JsonLog(text.encode() + b"\n", columns, attributes)
