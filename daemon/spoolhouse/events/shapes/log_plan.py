"""Where JSON logs with certain keys have their message, time, level and ids.

Producers write the same keys again and again, so a plan is made once, and serves all lines with these keys. Each value
still has to be checked: where it is none of the expected kind, the whole line has to be searched.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from msgspec import Raw

from spoolhouse.events.shapes import log_levels
from spoolhouse.events.shapes.json_log import (
    BOUND,
    FIRST_STEPS,
    INNER,
    LEVELS,
    MESSAGES,
    PYTHON_MARKS,
    SECONDS,
    SPAN_IDS,
    TRACE_IDS,
    TYPES,
    have_our_keys,
    times_of,
)

TRACE = "trace"
"""In Google Cloud's entries, the key of a path that ends in the trace's id."""
_COMPLEX = frozenset({"span", "dd", "attributes"})
"""Keys whose values decide how a line is read."""
_QUOTE = ord('"')
_VALUES = frozenset(b'"-0123456789{')


class Plan(NamedTuple):
    """The keys of the message, the time and so on."""

    inner: str
    """The object that has the message in it; empty: the line itself."""
    message: str
    """Empty: there is none, and the line has a level instead."""
    time: str
    """Empty: there is none, and the line is rejected."""
    is_inner_time: bool
    level: str
    """Empty: there is none."""
    is_inner_level: bool
    is_only_level: bool
    """Whether no other key may have a level, so that an unknown name means that there is none."""
    trace_id: str
    span_id: str
    """Empty: there are none."""
    has_inner_ids: bool
    """Whether the object may have ids in it."""
    has_bound: bool
    """Whether it has values in it that a program has bound: these may have ids, too."""
    has_trace_path: bool
    scale: Callable[[float], str]
    """How a level is read that is a number."""
    types: frozenset[str]
    """The keys that may name a type of ours, or that the line is an envelope."""


def inner_of(keys: Collection[str]) -> str:
    """Return the key of the object that has the message in it, in lines with these keys; empty if there is none."""
    if any(key in keys for key in MESSAGES):
        return ""
    found = [key for key in INNER if key in keys]
    return found[0] if len(found) == 1 else ""


def plan(fields: Mapping[str, Raw], inner: Mapping[str, Raw]) -> Plan | None:
    """Return the plan for lines with the keys of this one; None if their values decide, too.

    `inner`: the object at `inner_of` these keys.
    """
    source = inner or fields
    message = _earliest(MESSAGES, source)
    is_plain = _is_text(source[message]) if message else _has_level_alone(fields)
    if not is_plain or (TRACE in fields and not _is_text(fields[TRACE])):
        return None
    if have_our_keys(fields) or not _COMPLEX.isdisjoint(fields):
        return None
    time, is_inner_time = _time(fields, inner)
    if time:
        if not _is_value((inner if is_inner_time else fields)[time]):
            return None
    elif not message or is_inner_time or (not PYTHON_MARKS.isdisjoint(fields) and "created" in fields):
        return None
    level = _earliest(LEVELS, fields)
    is_inner_level = not level and bool(inner)
    if is_inner_level:
        level = _earliest(LEVELS, inner)
    levels = sum(key in fields for key in LEVELS) + sum(key in inner for key in LEVELS)
    ids = [[key for key in keys if key in fields] for keys in (TRACE_IDS, SPAN_IDS)]
    if any(len(some) > 1 for some in ids) or _may_have_level_in_object(fields, inner, level):
        return None
    trace_id, span_id = (next(iter(some), "") for some in ids)
    return Plan(
        inner=inner_of(fields) if inner else "",
        message=message,
        time=time,
        is_inner_time=is_inner_time,
        level=level,
        is_inner_level=is_inner_level and bool(level),
        is_only_level=levels == 1 and "log" not in fields and "log" not in inner,
        trace_id=trace_id,
        span_id=span_id,
        has_bound=BOUND in inner,
        has_inner_ids=any(not FIRST_STEPS[keys].isdisjoint(inner) for keys in (TRACE_IDS, SPAN_IDS)),
        has_trace_path=TRACE in fields,
        scale=log_levels.scale(level, fields.keys()),
        types=TYPES.intersection(fields),
    )


def _has_level_alone(fields: Mapping[str, Raw]) -> bool:
    """Tell whether lines with these keys, of which none is a message's, have a level, and no object with a message."""
    return not any(key in fields for key in INNER) and any(key in fields for key in LEVELS)


def _time(fields: Mapping[str, Raw], inner: Mapping[str, Raw]) -> tuple[str, bool]:
    """Return the key of the time, and whether it is in the inner object."""
    keys = times_of(fields, inner)
    if key := _earliest(keys, fields):
        return key, False
    if key := _earliest(keys, inner):
        return key, True
    return (SECONDS, False) if SECONDS in fields else ("", bool(inner))


def _may_have_level_in_object(fields: Mapping[str, Raw], inner: Mapping[str, Raw], level: str) -> bool:
    """Tell whether the object `log` may have a level that comes before the one at `level`, or stands for it."""
    before = LEVELS[: LEVELS.index(level)] if level else LEVELS
    return "log.level" in before and ("log" in fields or "log" in inner)


def _earliest(keys: Iterable[str], fields: Collection[str]) -> str:
    return next((key for key in keys if key in fields), "")


def _is_text(value: Any) -> bool:
    return bytes(value)[0] == _QUOTE


def _is_value(value: Any) -> bool:
    return bytes(value)[0] in _VALUES
