"""From a declaration to the strict readers of its lines, which read many lines in one go.

Strict and lenient readers give the same row for any line that both accept; the strict ones just accept less (times as
RFC 3339 text with an offset, or, loosely, without one and as numbers; whole numbers without a fraction part) and say
nothing of why. The lenient one accepts everything that DESIGN allows and names what is wrong. Tests hold them together.
"""

from codecs import utf_8_decode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import count
from types import SimpleNamespace
from typing import Annotated, Any, Literal, NamedTuple, cast

import msgspec
from msgspec import Meta, Raw

from spoolhouse.decode import times, values
from spoolhouse.decode.lenient import Row
from spoolhouse.events import json_paths
from spoolhouse.events.declaration import ARRAYS, Column, EventType, Fill, Key, Kind, RowSource
from spoolhouse.events.json_paths import Node

StrictRows = Callable[[Sequence[Any], datetime, str, datetime, datetime], tuple[tuple[list[Row], ...], int, int]]
"""Structs of one strict type, the shipment's clock, the folder's project, and two bounds → the rows for each table in
the order of the lines, how many events are of another project, and 1 if any event's time is not within the bounds. Any
ValueError means: read these lines another way."""

INT64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
INT32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
COUNT = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_TYPES: Mapping[Kind, object] = {
    Kind.TEXT: str,
    Kind.ANY: str,
    Kind.SCALAR: Raw,
    Kind.BOOLEAN: bool,
    Kind.INTEGER: INT64,
    Kind.INTEGER32: INT32,
    Kind.NUMBER: float,
    Kind.TIME: Annotated[datetime, Meta(tz=True)],
    Kind.JSON: Raw,
    Kind.NUMBERS: list[float],
    Kind.COUNTS: list[COUNT],
    Kind.TEXTS: list[str],
}
_LOOSE_TYPES: Mapping[Kind, object] = {Kind.TIME: datetime | int | float, Kind.ANY: Raw}
_Field = tuple[str, object] | tuple[str, object, object]


class Shape(NamedTuple):
    """One way to write lines, which a strict reader is for."""

    tag: Literal["type", "event_type"]
    """The key that holds the discriminator."""
    enveloped: bool
    loose: bool
    """Times without an offset and as numbers, too; and text or any JSON where that is allowed."""


def strict_struct(event: EventType, shape: Shape) -> type[msgspec.Struct]:
    """Return the struct that a clean line of `event` decodes into, tagged with the discriminator.

    Enveloped, the struct has the event's fields below `data`, and refuses a line that names its project at the top as
    well: that one is flat.
    """
    title = event.name.title().replace("_", "")
    certain = json_paths.certain(event, enveloped=shape.enveloped)
    fields, rename = _fields(json_paths.tree(event, enveloped=shape.enveloped), title, certain, loose=shape.loose)
    outer: list[tuple[str, object, object]] = []
    # Where both keys are there, `type` counts.
    if shape.tag == "event_type":
        outer.append(("type", None, None))
    tagged: dict[str, Any] = {"tag_field": shape.tag, "tag": event.name}
    # gc=False: the structs hold no cycles, and the collector would otherwise walk each of them again and again.
    if not shape.enveloped:
        return msgspec.defstruct(title, [*fields, *outer], rename=rename, gc=False, kw_only=True, **tagged)
    content = msgspec.defstruct(title, fields, rename=rename, gc=False, kw_only=True)
    at_top = dict.fromkeys(json_paths.steps(key)[0] for key in event.column(event.project).keys)
    outer += [(f"p{place}", None, None) for place in range(len(at_top))]
    named = {f"p{place}": key for place, key in enumerate(at_top)}
    members: list[_Field] = [("data", content), *outer]
    return msgspec.defstruct(title + "Envelope", members, rename=named, gc=False, kw_only=True, **tagged)


def _fields(node: Node, title: str, certain: frozenset[Key], *, loose: bool) -> tuple[list[_Field], dict[str, str]]:
    """Return the fields of the struct that a node's objects decode into, and their keys."""
    names = node.names()
    fields: list[_Field] = []
    for key, column in node.values.items():
        kind = _type(column, loose=loose)
        if kind is Raw:
            fields.append((names[key], Raw, values.NULL))
        elif key in certain:
            fields.append((names[key], kind))
        else:
            fields.append((names[key], kind | None, None))
    for inner in (node.objects, node.arrays):
        for key, below in inner.items():
            parts, rename = _fields(below, title, frozenset(), loose=loose)
            kind = msgspec.defstruct(title + names[key], parts, rename=rename, gc=False, kw_only=True)
            if inner is node.arrays:
                kind = Annotated[list[kind], Meta(max_length=json_paths.MOST_ELEMENTS)]  # type: ignore[valid-type]  # made above
            fields.append((names[key], kind | None, None))
    return fields, {name: key for key, name in names.items()}


def _type(column: Column, *, loose: bool) -> Any:
    if column.kind is Kind.CHOICE:
        return Literal[tuple(column.choices)]
    return (_LOOSE_TYPES.get(column.kind) if loose else None) or _TYPES[column.kind]


def strict_rows(event: EventType, shape: Shape) -> StrictRows:
    """Compile the function that turns structs of `strict_struct` into rows.

    Compiled, as dataclasses compile `__init__`, because a loop over the columns of each event would cost more than
    all the rest. Only numbers and the reprs of declared defaults and names go into the source; keys do not.
    """
    writer = _Writer(event, shape)
    source = writer.source()
    scope: dict[str, object] = {
        "earliest": times.EARLIEST,
        "latest": times.LATEST,
        "time_of": times.from_parsed,
        "scalar_of": values.scalar,
        "any_of": values.text_or_json,
        # Cheaper than str(raw, "utf-8"). It would pass over a character cut off at the end, but JSON ends in ASCII.
        "utf_8_decode": utf_8_decode,
        **writer.absent,
    }
    exec(source, scope)  # noqa: S102  # source of our own making, see the docstring
    return cast("StrictRows", scope["rows"])


class _Block(NamedTuple):
    """A place in the source: how far it is indented, the object that is read there, and what is settled by then."""

    depth: int
    base: str
    node: Node
    settled: dict[object, str]
    """Expressions by what they stand for: two columns of one key are looked at once."""

    def under(self) -> "_Block":
        """Return a block below a condition: what is settled in it is so there alone."""
        return self._replace(depth=self.depth + 1, settled=dict(self.settled))


class _Writer:
    """Writes the source of a row function."""

    def __init__(self, event: EventType, shape: Shape) -> None:
        self._event = event
        self._shape = shape
        self._certain = json_paths.certain(event, enveloped=shape.enveloped)
        self._lines: list[str] = []
        self._numbers = count()
        self.absent: dict[str, object] = {}
        """By name, what stands for an object that is not there: it has all its keys, without values."""

    def source(self) -> str:
        parts = self._event.parts
        block = _Block(2, "e", json_paths.tree(self._event, enveloped=self._shape.enveloped), {})
        self._needs(block)
        for part in parts:
            self._part(self._event.tables.index(part.table.name), part, block)
        outs = [f"out{number}" for number in range(len(self._event.tables))]
        return "\n".join((
            "def rows(events, clock, project, oldest, newest):",
            *(f"    {out} = []" for out in outs),
            "    mismatched = odd = 0",
            "    for e in events:",
            "        e = e.data" if self._shape.enveloped else "",
            *self._lines,
            f"    return ({', '.join(outs)},), mismatched, odd",
        ))  # fmt: skip

    def _write(self, block: _Block, line: str) -> None:
        self._lines.append("    " * block.depth + line)

    def _name(self) -> str:
        return f"v{next(self._numbers)}"

    def _needs(self, block: _Block) -> None:
        names = block.node.names()
        if self._event.needs:
            absent = " and ".join(f"{block.base}.{names[key]} is None" for key in self._event.needs)
            self._write(block, f"if {absent}: raise ValueError")

    def _part(self, number: int, part: RowSource, event: _Block) -> None:
        block = event
        if part.when:
            [column] = [column for column in part.columns if column.name == part.when]
            present = self._first(column, event)
            self._write(event, f"if {present} is not None:")
            block = event.under()
        elif part.each:
            block = self._loop(part, event)
        row = [self._value(part, column, event if column.inherited else block, block) for column in part.columns]
        self._write(block, f"out{number}.append(({', '.join(row)},))")

    def _loop(self, part: RowSource, event: _Block) -> _Block:
        """Open the loop over the elements of an array."""
        inherited = [column for column in part.columns if column.inherited]
        values_ = {column.name: self._column(column, event) for column in inherited}
        elements = self._name()
        self._write(event, f"{elements} = {event.base}.{event.node.names()[part.each]} or ()")
        if long := " + ".join(f"len({values_[column.name]})" for column in inherited if column.kind is Kind.TEXT):
            self._write(event, f"if {elements} and {long} > {json_paths.LONGEST_INHERITED}: raise ValueError")
        self._write(event, f"for position, x in enumerate({elements}, 1):")
        return _Block(event.depth + 1, "x", event.node.arrays[part.each], {})

    def _value(self, part: RowSource, column: Column, block: _Block, row: _Block) -> str:
        """Return a column's expression in a row, after writing what settles it."""
        if column.fill is Fill.TYPE:
            return repr(self._event.name)
        if column.fill is Fill.POSITION:
            return "position" if part.each else "0"
        value = self._column(column, block)
        own = part.table is self._event.table
        if own and column.name == self._event.project:
            self._write(row, f"p = {value}")
            self._write(row, "if p != project: mismatched += 1")
            return "p"
        if own and column.name == part.table.time:
            given = "" if column.required or column.fill else f"{value} is not None and "
            self._write(row, f"if {given}not oldest <= {value} < newest:")
            if not self._shape.loose:
                self._write(row.under(), f"if not earliest <= {value} < latest: raise ValueError")
            self._write(row.under(), "odd = 1")
        return value

    def _column(self, column: Column, block: _Block) -> str:
        same = (column.keys, column.kind, column.required, column.default, column.fill)
        if same not in block.settled:
            block.settled[same] = self._settle(column, block)
        return block.settled[same]

    def _settle(self, column: Column, block: _Block) -> str:
        if column.kind is Kind.JSON:
            return self._json(column, block)
        certain = self._is_certain(column, block)
        plain = certain if column.required else column.default is None and column.kind not in ARRAYS
        name = self._first(column, block, once=plain and column.kind is not Kind.TIME)
        if column.required and not certain:
            self._write(block, f"if {name} is None: raise ValueError")
        is_event_time = block.base == "e" and column.keys == self._event.column(self._event.table.time).keys
        if column.kind is Kind.TIME and not is_event_time and not self._shape.loose:
            given = "" if column.required else f"{name} is not None and "
            self._write(block, f"if {given}not earliest <= {name} < latest: raise ValueError")
        if column.required:
            return name
        if column.kind in ARRAYS:
            return f"({name} or ())"
        if column.fill is Fill.CLOCK:
            return f"({name} or clock)"
        return name if column.default is None else f"({name} if {name} is not None else {column.default!r})"

    def _is_certain(self, column: Column, block: _Block) -> bool:
        found = json_paths.of_column(column, enveloped=self._shape.enveloped)
        return block.base == "e" and len(found) == 1 and found[0] in self._certain

    def _first(self, column: Column, block: _Block, *, once: bool = False) -> str:
        """Return what holds the column's value, None if it is absent: the first of its keys that has one.

        It is a variable, but for a field that is looked at `once`.
        """
        found = json_paths.of_column(column, enveloped=self._shape.enveloped)
        fields = [self._converted(column, self._field(key, block)) for key in found]
        if once and len(fields) == 1:
            return fields[0]
        name = self._name()
        self._write(block, f"{name} = {fields[0]}")
        for field in fields[1:]:
            self._write(block, f"if {name} is None: {name} = {field}")
        if column.kind is Kind.TIME and self._shape.loose:
            given = "" if self._is_certain(column, block) else f"if {name} is not None: "
            self._write(block, f"{given}{name} = time_of({name})")
        return name

    def _converted(self, column: Column, field: str) -> str:
        if column.kind is Kind.SCALAR:
            return f"scalar_of({field})"
        return f"any_of({field})" if column.kind is Kind.ANY and self._shape.loose else field

    def _json(self, column: Column, block: _Block) -> str:
        name = self._name()
        found = json_paths.of_column(column, enveloped=self._shape.enveloped)
        first, *others = (self._field(key, block) for key in found)
        self._write(block, f"{name} = utf_8_decode({first})[0]")
        for other in others:
            self._write(block, f"if {name} == 'null': {name} = utf_8_decode({other})[0]")
        if column.required:
            self._write(block, f"if {name} == 'null': raise ValueError")
            return name
        return f"({name} if {name} != 'null' else {column.default!r})"

    def _field(self, key: Key, block: _Block) -> str:
        """Return what holds the value of a key, after opening the objects on the way to it."""
        *way, last = json_paths.steps(key)
        base, node = block.base, block.node
        for place, step in enumerate(way):
            seen = ("object", tuple(way[: place + 1]))
            if seen not in block.settled:
                name = self._name()
                self.absent[f"no_{name}"] = _absent(node.objects[step], loose=self._shape.loose)
                self._write(block, f"{name} = {base}.{node.names()[step]} or no_{name}")
                block.settled[seen] = name
            base, node = block.settled[seen], node.objects[step]
        return f"{base}.{node.names()[last]}"


def _absent(node: Node, *, loose: bool) -> SimpleNamespace:
    """Return what has the names of a node's keys, and no values."""
    names = node.names()
    raw = {names[key] for key, column in node.values.items() if _type(column, loose=loose) is Raw}
    return SimpleNamespace(**{name: values.NULL if name in raw else None for name in names.values()})
