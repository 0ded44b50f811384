"""Rows of many JSON logs that one plan serves, made column by column.

All values of a column are decoded in one call. If that fails, each is decoded on its own: so an odd line costs the
others nothing more.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from spoolhouse.decode import log_times
from spoolhouse.decode.origin import Origin
from spoolhouse.decode.rows import Row
from spoolhouse.decode.values import json_text
from spoolhouse.events.shapes import log_levels
from spoolhouse.events.shapes.json_log import (
    BOUND,
    FIRST_STEPS,
    NANOS,
    NO_TIME,
    SECONDS,
    SPAN_IDS,
    TRACE_IDS,
    TRACE_PATH,
    find_id,
    is_zeros,
)
from spoolhouse.events.shapes.log_plan import TRACE, Plan
from spoolhouse.events.shapes.shape import ShapeError

_MOST_LEVELS = 256
_LONGEST_LEVEL = 128

Fields = dict[str, Any]
Level = tuple[str, bool]

_text_of = msgspec.json.Decoder(str).decode
_texts_of = msgspec.json.Decoder(str).decode_lines
_text_or_none_of = msgspec.json.Decoder(str | None).decode
_texts_or_none_of = msgspec.json.Decoder(str | None).decode_lines
_objects_of = msgspec.json.Decoder(dict[str, Raw]).decode_lines
_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines


class Known:
    """A plan, and the levels that its lines had, by their JSON. Threads share it; it changes no result."""

    __slots__ = ("levels", "plan")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.levels: dict[str, Level | None] = {}

    def level(self, text: str) -> Level | None:
        """Return the level that a JSON text means, and remember it; None if the line reader has to decide."""
        if text in self.levels:
            return self.levels[text]
        level = log_levels.of_json(text, self.plan.scale, is_only=self.plan.is_only_level)
        if len(self.levels) < _MOST_LEVELS and len(text) < _LONGEST_LEVEL:
            self.levels[text] = level
        return level


class Lines(NamedTuple):
    """Lines that one plan serves."""

    fields: list[Fields]
    """By line. Values that are used are removed."""
    inner: list[Fields]
    """By line, the object that has the message in it, if the plan has one."""
    ids: list[str]
    """Derived ones."""


def rows(
    known: Known, lines: Lines, origin: Origin, oldest: datetime, newest: datetime
) -> tuple[Sequence[Row | ShapeError], bool]:
    """Return the row of each line, and whether all are rows.

    Instead of a row, a line without a time has an error, and one that needs more than this has nothing.
    """
    plan, bad = known.plan, set[int]()
    fields, inner = lines.fields, lines.inner
    messages: Any = _NO_MESSAGES
    if plan.message:
        messages = _column(_texts_of, _text_of, [one.pop(plan.message) for one in inner or fields], bad)
    if not plan.time:
        error = ShapeError("timestamp", NO_TIME, is_missing=True)
        return [() if place in bad else error for place in range(len(fields))], False
    times = _times(plan, fields, inner, bad)
    if bad or not (oldest <= min(times) and max(times) < newest):
        bad.update(place for place, time in enumerate(times) if time is not None and not oldest <= time < newest)
    levels: Any = _levels(known, inner if plan.is_inner_level else fields, bad) if plan.level else _DEFAULTS
    traces: Any = _ids(plan.trace_id, fields, bad) if plan.trace_id else None
    spans: Any = _ids(plan.span_id, fields, bad) if plan.span_id else None
    if plan.has_inner_ids or plan.has_bound:
        traces, spans = _inner_ids(plan, inner, traces, spans, bad)
    if plan.has_trace_path:
        traces = _paths(traces, fields, bad)
    if inner:
        for one, within in zip(fields, inner, strict=True):
            one[plan.inner] = within
    made: list[Row] = list(
        zip(
            lines.ids, repeat(origin.project), repeat(""), traces or repeat(None), spans or repeat(None), levels,
            messages, times, _attributes(fields, bad), repeat(origin.clock), repeat("{}"),
        )
    )  # fmt: skip
    for place in bad:
        made[place] = ()
    return made, not bad


_ABSENT = Raw()
_DEFAULTS = repeat(log_levels.DEFAULT)
_NO_MESSAGES = repeat("")


def joined(raws: Sequence[Raw]) -> bytes:
    """Return values as lines."""
    return b"\n".join(raws)


def objects(raws: Sequence[Raw]) -> list[Fields]:
    """Return objects. Raises ValueError if not all are."""
    return _objects_of(joined(raws))


def _column(many: Callable[[bytes], list[Any]], one: Callable[[Any], Any], raws: Sequence[Any], bad: set[int]) -> Any:
    """Return values decoded by `many`, or else each by `one`; None for one that this refuses, whose place is bad."""
    try:
        return many(joined(raws))
    except (ValueError, RecursionError):
        return _singly(one, raws, bad)


def _singly(one: Callable[[Any], Any], values: Sequence[Any], bad: set[int]) -> list[Any]:
    found: list[Any] = []
    for place, value in enumerate(values):
        try:
            found.append(one(value))
        except (ValueError, RecursionError):
            bad.add(place)
            found.append(None)
    return found


def _times(plan: Plan, fields: list[Fields], inner: list[Fields], bad: set[int]) -> list[Any]:
    if plan.time == SECONDS:
        parts = [(one.pop(SECONDS), one.pop(NANOS, _ABSENT)) for one in fields]
        return _singly(log_times.of_parts, parts, bad)
    # What an inner object has stays in it.
    raws = [one[plan.time] for one in inner] if plan.is_inner_time else [one.pop(plan.time) for one in fields]
    try:
        return log_times.many(raws)
    except (ValueError, RecursionError):
        return _singly(log_times.one, raws, bad)


def _levels(known: Known, fields: list[Fields], bad: set[int]) -> list[str]:
    """Return the levels, and remove those that are named exactly."""
    key, is_kept = known.plan.level, known.plan.is_inner_level
    texts: list[str] = _column(_json_texts, json_text, [one[key] for one in fields], bad)
    table = {text: known.level(text) if text else None for text in set(texts)}
    if None in table.values():
        bad.update(place for place, text in enumerate(texts) if table[text] is None)
    taken = {text for text, level in table.items() if level is not None and level[1] and not is_kept}
    if len(taken) == len(table):
        for one in fields:
            del one[key]
    elif taken:
        for one, text in zip(fields, texts, strict=True):
            if text in taken:
                del one[key]
    names = {text: "" if level is None else level[0] for text, level in table.items()}
    return [names[text] for text in texts]


def _json_texts(lines: bytes) -> list[str]:
    return lines.decode().split("\n")


def _ids(key: str, fields: list[Fields], bad: set[int]) -> list[str | None]:
    """Return the ids under a key. An id that is a whole value is removed."""
    found: list[str | None] = _column(_texts_or_none_of, _text_or_none_of, [one[key] for one in fields], bad)
    for place, text in enumerate(found):
        if text and TRACE_PATH in text and not text.endswith(TRACE_PATH):
            found[place] = text.rpartition(TRACE_PATH)[2]
        elif text and not is_zeros(text):
            del fields[place][key]
        else:
            found[place] = None
    return found


def _inner_ids(plan: Plan, inner: list[Fields], traces: Any, spans: Any, bad: set[int]) -> tuple[Any, Any]:
    """Return the ids, also those in the inner objects and in what a program has bound there."""
    bound = _column(_objects_of, _bound, [one.get(BOUND, _EMPTY) for one in inner], bad)
    if not plan.has_inner_ids and _ID_STEPS.isdisjoint(set().union(*filter(None, bound))):
        return traces, spans
    found = []
    for keys, ids in ((TRACE_IDS, traces), (SPAN_IDS, spans)):
        others = _singly(partial(_first_id, keys), list(zip(inner, bound, strict=True)), bad)
        found.append([one or other for one, other in zip(ids or others, others, strict=True)])
    return found[0], found[1]


def _first_id(keys: tuple[str, ...], places: Sequence[Fields]) -> str | None:
    for fields in filter(None, places):
        if found := find_id(fields, keys):
            return _text_of(found[1]) if isinstance(found[1], Raw) else str(found[1])
    return None


_ID_STEPS = FIRST_STEPS[TRACE_IDS] | FIRST_STEPS[SPAN_IDS]
_EMPTY = Raw(b"{}")


_object_of = msgspec.json.Decoder(dict[str, Raw]).decode


def _bound(value: Raw) -> Fields:
    return _object_of(value) if json_text(value).startswith("{") else {}


def _paths(traces: Any, fields: list[Fields], bad: set[int]) -> list[Any]:
    """Return the traces' ids, also those at the end of a path."""
    paths = _column(_texts_of, _text_of, [one[TRACE] for one in fields], bad)
    found = traces or [None] * len(paths)
    for place, text in enumerate(paths):
        if found[place] is None and text and TRACE_PATH in text:
            found[place] = text.rpartition(TRACE_PATH)[2] or None
    return found


def _attributes(fields: list[Fields], bad: set[int]) -> list[Any]:
    try:
        return _encode_lines(fields).decode().split("\n")[:-1]
    except ValueError:
        return _singly(lambda one: _encode(one).decode(), fields, bad)
