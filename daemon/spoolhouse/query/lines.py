"""A row as the line of JSON that a producer would write: what comes out can go in again, and gives the same row."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from spoolhouse.events import json_paths
from spoolhouse.events.agent import AGENT_TYPES, TOOL_CALLS
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.declaration import Column, Fill, Kind, RowSource
from spoolhouse.query.questions import Row, Value
from spoolhouse.query.records import time_of

Object = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_parse = msgspec.json.Decoder().decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_NEVER = frozenset({Fill.TYPE, Fill.POSITION, Fill.NUMBER, Fill.EXTRA})
_OWN_CALL = {"tool_name": "tool_name", "tool_id": "tool_id", "tool_input": "tool_input", "tool_output": "tool_output"}
"""The columns of a call that an event is itself, and their keys there."""


def line(kind: str, names: Sequence[str], row: Row, calls: Iterable[Row] = ()) -> bytes:
    """Return an event's own row as one line, without a newline at its end; `calls` are its rows in `tool_calls`.

    `kind` is the event's type; `names` are the columns of `row`. The columns of calls are those of their table.
    """
    event = BUILT_IN[kind]
    values = dict(zip(names, row, strict=True))
    content = _object(event.parts[0], values)
    elements = []
    call_names = [column.name for column in TOOL_CALLS.columns]
    for call in calls:
        found = dict(zip(call_names, call, strict=True))
        if found["position"] == 0:
            own = {column.name: _json_value(column, found[column.name]) for column in TOOL_CALLS.columns}
            content |= {key: own[name] for name, key in _OWN_CALL.items() if own[name] is not None}
        else:
            [listed] = [part for part in event.parts if part.each]
            elements.append(_with_extra(_object(listed, found), found["extra"]))
    if elements:
        content["tool_calls"] = elements
    discriminator = "event_type" if kind in AGENT_TYPES else "type"
    content = _with_extra(content, values.get("extra"))
    if not content.keys().isdisjoint({"type", "event_type", "data"}):
        # The event has a field of the same name: in an envelope the two are two things.
        return _encode({discriminator: kind, "data": content})
    return _encode({discriminator: kind, **content})


def _object(part: RowSource, values: Mapping[str, Value]) -> Object:
    """Return the fields of a row under the keys that a producer writes first; an absent one is left out."""
    content: Object = {}
    for column in part.columns:
        if column.fill in _NEVER or column.inherited or column.name not in values:
            continue
        value = values[column.name]
        if column.name == "value" and column.kind is Kind.SCALAR and values.get("value_number") is not None:
            found: Any = Raw(str(value).encode())
        else:
            found = _json_value(column, value)
        if found is not None:
            *way, last = json_paths.steps((column.keys or column.aliases)[0])
            inner = content
            for step in way:
                inner = inner.setdefault(step, {})
            inner[last] = found
    return content


def _json_value(column: Column, value: Value) -> Any:
    """Return a column's value as it stands in JSON; None if it is absent."""
    if value is None or value == []:
        return None
    if column.kind is Kind.TIME:
        return time_of(value).isoformat(timespec="milliseconds").replace("+00:00", "Z")  # type: ignore[arg-type]  # times are ms
    if column.kind is Kind.JSON:
        return _raw(str(value)) if value != "" else None
    if column.kind is Kind.ANY and str(value)[:1] in {"{", "["}:
        return _raw(str(value))
    return value


def _raw(text: str) -> Raw | str:
    """Return JSON byte for byte; text that is no JSON, or has line ends in it, as a string or encoded anew."""
    try:
        parsed = _parse(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return text
    return Raw(_encode(parsed) if "\n" in text or "\r" in text else text.encode())


def _with_extra(content: Object, extra: Value) -> Object:
    """Merge what no column takes; an original stands in place of what it was converted to."""
    if not extra or extra == "{}":
        return content
    try:
        fields = _fields(str(extra))
    except msgspec.MsgspecError:
        return content
    for key, value in fields.items():
        own = content.get(key)
        if isinstance(own, dict):
            try:
                content[key] = own | _fields(value)
            except msgspec.MsgspecError:
                continue
        else:
            content[key] = value
    return content
