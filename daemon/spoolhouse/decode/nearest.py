"""The hints of `spoolhouse explain`: the nearest keys, types and choices that would be taken."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

from spoolhouse.decode.reject import Reason, Reject
from spoolhouse.events.declaration import Column, EventType, Kind
from spoolhouse.events.reference import KINDS, keys

_TIMES = "ISO-8601, or an epoch number in s, ms, µs or ns"
_WORDS: Mapping[Kind, str] = {
    **KINDS,
    Kind.TIME: _TIMES,
    Kind.NUMBER: "a number, or text that is one",
    Kind.INTEGER: "a whole number, or text that is one",
    Kind.INTEGER32: "a whole number of 32 bits, or text that is one",
}
_LIKE_A_TIME = re.compile(r"time|date|stamp|^ts$|_at$|At$")
_FOR_A_KEY, _FOR_A_SPARE = 0.6, 0.8
"""How much a key has to be like another one: where one is missing, and where it is only not known."""
_LISTED = 12
_NO_OBJECT = frozenset({Reason.NOT_AN_OBJECT, Reason.INVALID_JSON, Reason.TORN})
_ONE_OBJECT = "a line is one JSON object"
_ENDS = 200
"""How many bytes at the beginning and at the end of a line are looked at."""
_FORMS = tuple(
    (re.compile(begin, re.DOTALL), end, hint)
    for begin, end, hint in (
        (rb"\x1f\x8b", b"", "it is gzip: the file's name has to end in .gz"),
        (rb"\x28\xb5\x2f\xfd", b"", "it is zstd: the file's name has to end in .zst"),
        (rb"\xff\xfe|\xfe\xff|.?\x00", b"", "it looks like UTF-16: a line is UTF-8"),
        (rb"\S+ std(out|err) [FP] ", b"", "a container's runtime wrote words before the line: write what follows them"),
        (rb"\{'", b"", "keys and text stand in double quotes, as json.dumps writes them"),
        (rb"\{.*\}\s*\{", b"", "each object is a line of its own"),
        (rb"\{\s*\S", b",", "a line is one JSON object: without the comma at its end"),
        (rb"\[", b"", "each element of an array is a line of its own: jq -c '.[]' writes them so"),
        (rb'[{}\]],?\s*$|"[^"]*"\s*:', b"", "an object is one line: jq -c . writes it so"),
    )
)
"""Hints for lines that are no object: how such a line begins, how it ends, and what to do."""
_LIBRARIES = "a log of another library has a time, and a message or a level; `spoolhouse types` lists their keys"
_HINTS: Mapping[Reason, str] = {
    Reason.INVALID_UNICODE: "a line is UTF-8, and has no half of a character",
    Reason.TOO_DEEP: "write the inner objects or arrays as text",
    Reason.PROJECT_MISMATCH: "the setting spool.project is reject",
    Reason.EXPIRED: "the setting spool.expired is reject",
    Reason.FUTURE: "the setting spool.future is reject",
    Reason.TOO_LONG: "the setting spool.max_line is the limit",
}


def near_keys(unknown: Iterable[str], event: EventType) -> dict[str, str]:
    """Return the known keys that unknown ones are probably meant to be."""
    known = {_plain(key): key for key in reversed(_keys(event))}
    found = {}
    for key in unknown:
        near = difflib.get_close_matches(_plain(key), known, n=1, cutoff=_FOR_A_SPARE)
        if near and known[near[0]] != key:
            found[key] = known[near[0]]
    return found


def hints(
    reject: Reject, event: EventType | None, given: Iterable[str], events: Mapping[str, EventType]
) -> Iterator[str]:
    """Yield sentences that name the nearest valid keys, types or choices, nearest first.

    `event` is the type that the line was read as, or its folder's; None if neither is known. `given` are the line's
    keys.
    """
    if reject.reason in _NO_OBJECT:
        if reject.reason is Reason.TORN:
            yield "the last line has no end, and is not whole"
        yield _hint_by_form(reject.raw)
    elif reject.reason in _HINTS:
        yield _HINTS[reject.reason]
    elif reject.reason is Reason.UNKNOWN_TYPE:
        yield from _near_types(reject.detail, events)
    elif reject.reason is Reason.MISSING_FIELD and reject.field == "type":
        yield "the folder names the type, or the line does, as type"
    elif event is None:
        return
    elif reject.reason is Reason.MISSING_FIELD:
        yield from _missing(reject.field, event, list(given), is_listed=reject.detail != "required")
    elif reject.reason is Reason.UNKNOWN_FIELD:
        yield from (f"did you mean {near}?" for near in near_keys([reject.field], event).values())
    elif column := _column(reject.field, event):
        yield from _accepted(column, reject)


def _hint_by_form(raw: bytes) -> str:
    """Return what to do about a line that is no object, by how it begins and ends."""
    begin, end = raw[:_ENDS].lstrip(), raw[-_ENDS:].rstrip()
    return next((hint for form, last, hint in _FORMS if form.match(begin) and end.endswith(last)), _ONE_OBJECT)


def _missing(field: str, event: EventType, given: list[str], *, is_listed: bool) -> Iterator[str]:
    """Yield the line's own keys that may stand for a missing field; `is_listed`: the reject lists the keys already."""
    column = _column(field, event)
    looked_for = (field,) if column is None else keys(column)
    known = set(_keys(event))
    unknown = {_plain(key): key for key in given if key not in known}
    near = [
        unknown[one]
        for key in looked_for
        for one in difflib.get_close_matches(_plain(key), unknown, n=1, cutoff=_FOR_A_KEY)
    ]
    if column is not None and column.kind is Kind.TIME:
        near += [key for key in unknown.values() if _LIKE_A_TIME.search(key)]
    if near:
        yield f"the line has {near[0]}: write it as {looked_for[0]}"
    if not is_listed:
        yield f"looked for: {', '.join(looked_for)}"
        if event.name == "log":
            yield _LIBRARIES


def _near_types(detail: str, events: Mapping[str, EventType]) -> Iterator[str]:
    named = re.search(r"'(.*?)'", detail)
    near = difflib.get_close_matches(named[1], events, n=1) if named else []
    yield f"did you mean {near[0]}?" if near else f"the types are {', '.join(events)}"


def _accepted(column: Column, reject: Reject) -> Iterator[str]:
    if column.kind is Kind.CHOICE:
        value = re.search(rb'"' + re.escape(reject.field.encode()) + rb'"\s*:\s*"([^"]*)"', reject.raw)
        names = {**{choice: choice for choice in column.choices}, **column.same, **column.near}
        near = difflib.get_close_matches(value[1].decode("utf-8", "replace").lower(), names, n=1) if value else []
        yield from (f"did you mean {one}?" for one in near)
        others = [name for name in (*column.same, *column.near) if name and not name.isdigit()]
        if others:
            more = ", …" if len(others) > _LISTED else ""
            yield f"also taken: {', '.join(others[:_LISTED])}{more}"
    else:
        yield f"taken: {_WORDS[column.kind]}"


def _column(field: str, event: EventType) -> Column | None:
    """Return a column that is read from a key; of an array's element too, as `array[0].key`."""
    array, dot, inner = field.partition("].")
    name = inner if dot else field
    each = array.partition("[")[0] if dot else ""
    found = (column for part in event.parts if part.each == each for column in part.columns if name in keys(column))
    return next(found, None)


def _keys(event: EventType) -> list[str]:
    return [key for part in event.parts if not part.each for column in part.columns for key in keys(column)]


def _plain(key: str) -> str:
    return "".join(letter for letter in key.lower() if letter.isalnum())
