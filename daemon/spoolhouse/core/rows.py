"""From a declaration to the readers of its lines: the strict ones in bulk, the lenient one line by line.

All give the same row for any line that they accept; the strict ones just accept less (times as RFC 3339 text with an
offset, or, loosely, without one and as numbers; whole numbers without a fraction part) and say nothing of why. The
lenient one accepts everything that DESIGN allows and names what is wrong. Tests hold them together.
"""

from codecs import utf_8_decode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta, Raw

from spoolhouse.core import times
from spoolhouse.core.declaration import Column, EventType, Kind
from spoolhouse.core.reject import Reason, RejectedLineError

Row = tuple[object, ...]
StrictRows = Callable[[Sequence[Any], datetime, str], tuple[list[Row], int]]
"""Structs of one strict type, the shipment's clock and the folder's project → rows, and how many are of another
project. Any ValueError means: read these lines another way."""

INT64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
COUNT = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_STRICT_TYPES: Mapping[Kind, object] = {
    Kind.TEXT: str,
    Kind.INTEGER: INT64,
    Kind.NUMBER: float,
    Kind.TIME: Annotated[datetime, Meta(tz=True)],
    Kind.NUMBERS: list[float],
    Kind.COUNTS: list[COUNT],
}
_NULL = Raw(b"null")


def json_keys(column: Column, *, enveloped: bool) -> tuple[str, ...]:
    """Return the JSON keys that may hold the column, in order of precedence."""
    return column.keys + column.envelope_keys if enveloped else column.keys


def strict_struct(event: EventType, *, enveloped: bool, loose: bool = False) -> type[msgspec.Struct]:
    """Return the struct that a clean line of `event` decodes into, tagged with the discriminator.

    The fields of column number 2 are `c2_0`, `c2_1` … in the order of its keys. Enveloped, the struct has them below
    `data`, and refuses a line that names its project at the top as well: that one is flat. `loose` takes times without
    an offset and as numbers too.
    """
    fields: list[tuple[str, object] | tuple[str, object, object]] = []
    rename: dict[str, str] = {}
    for number, column in enumerate(event.table.columns):
        keys = json_keys(column, enveloped=enveloped)
        for place, key in enumerate(keys):
            name = f"c{number}_{place}"
            rename[name] = key
            if column.kind is Kind.JSON:
                fields.append((name, Raw, _NULL))
            elif column.required and len(keys) == 1:
                fields.append((name, _strict_type(column, loose=loose)))
            else:
                fields.append((name, _strict_type(column, loose=loose) | None, None))
    tag = {} if enveloped else {"tag_field": "type", "tag": event.name}
    title = event.name.title().replace("_", "")
    # gc=False: the structs hold no cycles, and the collector would otherwise walk each of them again and again.
    content = msgspec.defstruct(title, fields, rename=rename, gc=False, kw_only=True, **tag)  # type: ignore[arg-type]  # a dict of str
    if not enveloped:
        return content
    top_level_project = [(f"p{i}", None, None) for i, _ in enumerate(event.table.column(event.project).keys)]
    return msgspec.defstruct(
        title + "Envelope",
        [("data", content), *top_level_project],
        rename={f"p{i}": key for i, key in enumerate(event.table.column(event.project).keys)},
        gc=False,
        kw_only=True,
        tag_field="type",
        tag=event.name,
    )


def _strict_type(column: Column, *, loose: bool) -> Any:
    if column.kind is Kind.CHOICE:
        return Literal[tuple(column.choices)]
    if column.kind is Kind.TIME and loose:
        return datetime | int | float
    return _STRICT_TYPES[column.kind]


def strict_rows(event: EventType, *, enveloped: bool, loose: bool = False) -> StrictRows:
    """Compile the function that turns structs of `strict_struct` into rows.

    Compiled, as dataclasses compile `__init__`, because a loop over the columns of each event would cost more than
    all the rest. Only numbers and the reprs of declared defaults go into the source; keys and names do not.
    """
    steps: list[str] = []
    values: list[str] = []
    for number, column in enumerate(event.table.columns):
        fields = [f"e.c{number}_{place}" for place in range(len(json_keys(column, enveloped=enveloped)))]
        more, value = _compiled(column, f"v{number}", fields, loose=loose)
        if column.name == event.project:
            more, value = [*more, f"p = {value}", "if p != project: mismatched += 1"], "p"
        steps += more
        values.append(value)
    source = [
        "def rows(events, clock, project):",
        "    out = []",
        "    mismatched = 0",
        "    for e in events:",
        "        e = e.data" if enveloped else "",
        *(f"        {step}" for step in steps),
        f"        out.append(({', '.join(values)},))",
        "    return out, mismatched",
    ]
    scope: dict[str, object] = {
        "earliest": times.EARLIEST,
        "latest": times.LATEST,
        "time_of": times.from_parsed,
        # Cheaper than str(raw, "utf-8"). It would pass over a character cut off at the end, but JSON ends in ASCII.
        "utf_8_decode": utf_8_decode,
    }
    exec("\n".join(source), scope)  # noqa: S102  # source of our own making, see the docstring
    return cast("StrictRows", scope["rows"])


def _compiled(column: Column, name: str, fields: Sequence[str], *, loose: bool) -> tuple[list[str], str]:
    """Return the statements that settle a column, in the variable `name` if it needs one, and its expression."""
    if column.kind is Kind.JSON:
        return _compiled_json(column, name, fields)
    first, *others = fields
    steps = [f"{name} = {first}"]
    steps += [f"if {name} is None: {name} = {other}" for other in others]
    if column.required and others:
        steps.append(f"if {name} is None: raise ValueError")
    if column.kind is Kind.TIME:
        given = f"{name} is not None"
        if loose:
            steps.append(f"if {given}: {name} = time_of({name})")
        else:
            steps.append(f"if {given} and not earliest <= {name} < latest: raise ValueError")
        return steps, f"({name} or clock)" if column.filled_by_clock else name
    if column.required:
        return (steps, name) if others else ([], first)
    if column.kind in {Kind.NUMBERS, Kind.COUNTS}:
        return steps, f"({name} or ())"
    if column.default is not None:
        return steps, f"({name} if {name} is not None else {column.default!r})"
    return (steps, name) if others else ([], first)


def _compiled_json(column: Column, name: str, fields: Sequence[str]) -> tuple[list[str], str]:
    first, *others = fields
    steps = [f"{name} = utf_8_decode({first})[0]"]
    steps += [f"if {name} == 'null': {name} = utf_8_decode({other})[0]" for other in others]
    if column.required:
        return [*steps, f"if {name} == 'null': raise ValueError"], name
    return steps, f"({name} if {name} != 'null' else {column.default!r})"


class LenientReader:
    """Reads one line of one event type, says exactly what is wrong with it, and accepts all that is allowed."""

    def __init__(self, event: EventType) -> None:
        """Prepare decoders for the columns of `event`."""
        self._columns = event.table.columns
        self._project = event.table.column(event.project)
        keys = {key for column in self._columns for key in json_keys(column, enveloped=True)}
        self._field = {key: f"k{number}" for number, key in enumerate(sorted(keys))}
        fields: list[tuple[str, object, object]] = [(name, Raw, _NULL) for name in self._field.values()]
        rename = {name: key for key, name in self._field.items()}
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Line", fields, rename=rename)).decode

    def row(self, line: bytes | Raw, data: Raw, clock: datetime) -> Row:
        """Return the row of `line`, whose `data` field is given too; raises `RejectedLineError`.

        Flat or enveloped: a line that names its project at the top is flat, whatever else it calls `data`.
        """
        content = self._decode(line)
        enveloped = bytes(memoryview(data)[:1]) == b"{" and all(
            getattr(content, self._field[key]) == _NULL for key in self._project.keys
        )
        if enveloped:
            content = self._decode(data)
        return tuple(self._value(content, column, enveloped=enveloped, clock=clock) for column in self._columns)

    def _value(self, line: object, column: Column, *, enveloped: bool, clock: datetime) -> object:
        for key in json_keys(column, enveloped=enveloped):
            raw = getattr(line, self._field[key])
            if raw != _NULL:
                try:
                    return _READERS[column.kind](raw, column)
                except RejectedLineError as error:
                    raise RejectedLineError(error.reason, key, error.detail) from None
        if column.required:
            raise RejectedLineError(Reason.MISSING_FIELD, column.keys[0], "required")
        if column.kind in {Kind.NUMBERS, Kind.COUNTS}:
            return ()
        return clock if column.filled_by_clock else column.default


_TEXT = msgspec.json.Decoder(str)
_WHOLE_OR_NOT = msgspec.json.Decoder(int | float)
_NUMBER = msgspec.json.Decoder(float)
_NUMBERS = msgspec.json.Decoder(list[float])
_LIST = msgspec.json.Decoder(list[Raw])
_RFC3339 = msgspec.json.Decoder(datetime)


def _wrong_type(kind: Kind, error: Exception) -> RejectedLineError:
    reason = Reason.OUT_OF_RANGE if "out of range" in str(error) else Reason.WRONG_TYPE
    return RejectedLineError(reason, detail=f"not {kind.value}: {error}")


def _text(raw: Raw, column: Column) -> str:
    try:
        return _TEXT.decode(raw)
    except UnicodeDecodeError as error:
        raise RejectedLineError(Reason.INVALID_UNICODE, detail=error.reason) from None
    except msgspec.ValidationError as error:
        raise _wrong_type(column.kind, error) from None


def _choice(raw: Raw, column: Column) -> str:
    text = _text(raw, column)
    if text not in column.choices:
        raise RejectedLineError(Reason.BAD_CHOICE, detail=f"not one of {', '.join(column.choices)}")
    return text


def _exact(raw: Raw) -> float | Decimal:
    """Return a number without losing what a float cannot hold of it: whether it is whole, and its last digits.

    Raises `msgspec.ValidationError` if it is no number, or beyond a double.
    """
    number: int | float = _WHOLE_OR_NOT.decode(raw)
    if isinstance(number, float) and abs(number) >= times.INEXACT_FROM:
        return Decimal(_json(raw))
    return number


def _integer(raw: Raw, column: Column) -> int:
    try:
        number = _exact(raw)
    except msgspec.ValidationError as error:
        raise _wrong_type(column.kind, error) from None
    if number != int(number):
        raise RejectedLineError(Reason.WRONG_TYPE, detail="not a whole number")
    if not -(2**63) <= number < 2**63:
        raise RejectedLineError(Reason.OUT_OF_RANGE, detail="beyond 64 bits")
    return int(number)


def _number(raw: Raw, column: Column) -> float:
    try:
        return _NUMBER.decode(raw)
    except msgspec.ValidationError as error:
        raise _wrong_type(column.kind, error) from None


def _time(raw: Raw, column: Column) -> datetime:
    first = bytes(memoryview(raw)[:1])
    if first in b"-0123456789":
        try:
            return times.within_reach(times.from_epoch(_exact(raw)))
        except msgspec.ValidationError as error:
            raise RejectedLineError(Reason.ABSURD_TIME, detail=str(error)) from None
    if first != b'"':
        raise RejectedLineError(Reason.WRONG_TYPE, detail="not a time: neither text nor a number")
    text = _text(raw, column)
    try:
        return times.from_parsed(_RFC3339.decode(raw))
    except msgspec.ValidationError:
        return times.within_reach(times.from_text(text))


def _json(raw: Raw, _column: Column | None = None) -> str:
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError as error:
        raise RejectedLineError(Reason.INVALID_UNICODE, detail=error.reason) from None


def _numbers(raw: Raw, column: Column) -> list[float]:
    try:
        return _NUMBERS.decode(raw)
    except msgspec.ValidationError as error:
        raise _wrong_type(column.kind, error) from None


def _counts(raw: Raw, column: Column) -> list[int]:
    try:
        counts = [_integer(count, column) for count in _LIST.decode(raw)]
    except msgspec.ValidationError as error:
        raise _wrong_type(column.kind, error) from None
    if min(counts, default=0) < 0:
        raise RejectedLineError(Reason.OUT_OF_RANGE, detail="a negative count")
    return counts


_READERS: Mapping[Kind, Callable[[Raw, Column], object]] = {
    Kind.TEXT: _text,
    Kind.CHOICE: _choice,
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.TIME: _time,
    Kind.JSON: _json,
    Kind.NUMBERS: _numbers,
    Kind.COUNTS: _counts,
}
