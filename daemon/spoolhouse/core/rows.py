"""From a declaration to the two readers of its lines: the strict one in bulk, the lenient one line by line.

Both give the same row for any line that both accept; the strict one just accepts less (times as RFC 3339 text with an
offset, whole numbers without a fraction part) and says nothing of why. The lenient one accepts everything that
DESIGN allows and names what is wrong. Tests hold the two together.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta, Raw

from spoolhouse.core import times
from spoolhouse.core.declaration import Column, EventType, Kind
from spoolhouse.core.reject import Reason, RejectedLineError

Row = tuple[object, ...]
StrictRows = Callable[[Sequence[Any], datetime], list[Row]]
"""Structs of one strict type and the shipment's clock → rows; any ValueError means: read these lines leniently."""

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
# A comparison of years costs a third of one of times. A year less at both ends leaves room for any offset; what lies
# outside is left to the lenient reader, which knows the exact bounds.
_FIRST_YEAR = times.EARLIEST.year + 1
_LAST_YEAR = times.LATEST.year - 2


def json_keys(column: Column, *, enveloped: bool) -> tuple[str, ...]:
    """Return the JSON keys that may hold the column, in order of precedence."""
    return column.keys + column.envelope_keys if enveloped else column.keys


def strict_struct(event: EventType, *, enveloped: bool) -> type[msgspec.Struct]:
    """Return the struct that a clean line of `event` decodes into, tagged with the discriminator.

    The fields of column number 2 are `c2_0`, `c2_1` … in the order of its keys. Enveloped, the struct has them below
    `data`, and refuses a line that names its project at the top as well: that one is flat.
    """
    fields: list[tuple[str, object, object]] = []
    rename: dict[str, str] = {}
    for number, column in enumerate(event.table.columns):
        for place, key in enumerate(json_keys(column, enveloped=enveloped)):
            name = f"c{number}_{place}"
            rename[name] = key
            if column.kind is Kind.JSON:
                fields.append((name, Raw, _NULL))
            else:
                fields.append((name, _strict_type(column) | None, None))  # type: ignore[operator]  # built types
    tag = {} if enveloped else {"tag_field": "type", "tag": event.name}
    title = event.name.title().replace("_", "")
    # gc=False: the structs hold no cycles, and the collector would otherwise walk each of them again and again.
    content = msgspec.defstruct(title, fields, rename=rename, gc=False, kw_only=True, **tag)  # type: ignore[arg-type]
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


def _strict_type(column: Column) -> object:
    if column.kind is Kind.CHOICE:
        return Literal[tuple(column.choices)]
    return _STRICT_TYPES[column.kind]


def strict_rows(event: EventType, *, enveloped: bool) -> StrictRows:
    """Compile the function that turns structs of `strict_struct` into rows.

    Compiled, as dataclasses compile `__init__`, because a loop over the columns of each event would cost more than
    all the rest. Only numbers and the reprs of declared defaults go into the source; keys and names do not.
    """
    names: list[str] = []
    checks: list[str] = []
    values: list[str] = []
    for number, column in enumerate(event.table.columns):
        own = [f"c{number}_{place}" for place in range(len(json_keys(column, enveloped=enveloped)))]
        names += own
        value = own[0]
        for other in own[1:]:
            checks.append(f"if {value} is None: {value} = {other}")
        if column.required:
            checks.append(f"if {value} is None: raise ValueError")
        if column.kind is Kind.JSON:
            value = f"(j if (j := str({value}, 'utf-8')) != 'null' else {column.default!r})"
        elif column.kind is Kind.TIME:
            guard = "" if column.required else f"{value} is not None and "
            checks.append(f"if {guard}not {_FIRST_YEAR} <= {value}.year <= {_LAST_YEAR}: raise ValueError")
            value = f"({value} or clock)" if column.filled_by_clock else value
        elif column.kind in {Kind.NUMBERS, Kind.COUNTS}:
            value = f"({value} or ())"
        elif column.default is not None:
            value = f"({value} if {value} is not None else {column.default!r})"
        values.append(value)
    content = "(e.data for e in events)" if enveloped else "events"
    source = [
        "def rows(events, clock):",
        "    out = []",
        f"    for {', '.join(names)}, in map(astuple, {content}):",
        *(f"        {check}" for check in checks),
        f"        out.append(({', '.join(values)},))",
        "    return out",
    ]
    scope: dict[str, object] = {"astuple": msgspec.structs.astuple}
    exec("\n".join(source), scope)  # noqa: S102  # source of our own making, see the docstring
    return cast("StrictRows", scope["rows"])


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
        enveloped = memoryview(data)[:1] == b"{" and all(
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
_INTEGER = msgspec.json.Decoder(int | float)
_NUMBER = msgspec.json.Decoder(float)
_NUMBERS = msgspec.json.Decoder(list[float])
_COUNTS = msgspec.json.Decoder(list[COUNT])
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


def _integer(raw: Raw, column: Column) -> int:
    try:
        number = _INTEGER.decode(raw)
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
        return times.within_reach(times.from_epoch(_INTEGER.decode(raw)))
    if first != b'"':
        raise RejectedLineError(Reason.WRONG_TYPE, detail="not a time: neither text nor a number")
    text = _text(raw, column)
    try:
        time = _RFC3339.decode(raw)
    except msgspec.ValidationError:
        time = times.from_text(text)
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return times.within_reach(time)


def _json(raw: Raw, _column: Column) -> str:
    try:
        return str(raw, "utf-8")  # type: ignore[call-overload]  # Raw has the buffer protocol, unseen by its stub
    except UnicodeDecodeError as error:
        raise RejectedLineError(Reason.INVALID_UNICODE, detail=error.reason) from None


def _numbers(raw: Raw, column: Column) -> list[float]:
    try:
        return _NUMBERS.decode(raw)
    except msgspec.ValidationError as error:
        raise _wrong_type(column.kind, error) from None


def _counts(raw: Raw, column: Column) -> list[int]:
    try:
        return _COUNTS.decode(raw)
    except msgspec.ValidationError as error:
        raise _wrong_type(column.kind, error) from None


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
