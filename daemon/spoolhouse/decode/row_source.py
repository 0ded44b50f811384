"""The source of a function that turns structs into rows.

Only numbers and the reprs of declared names, keys and defaults go into it.
"""

from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from spoolhouse.decode import times, usage, values, wide_values
from spoolhouse.decode.structs import Shape, absent
from spoolhouse.events import json_paths
from spoolhouse.events.declaration import ARRAYS, Column, EventType, Fill, Key, Kind, RowSource
from spoolhouse.events.json_paths import Node

_CONVERTED = {
    Kind.INTEGER: "{0}.__class__ is not int",
    Kind.INTEGER32: "{0}.__class__ is not int",
    Kind.NUMBER: "{0}.__class__ is str",
    Kind.TEXT: "{0}.__class__ is not str",
}
"""By kind, the test for a wide value that has to be converted for a row."""
_CONVERTERS = {Kind.INTEGER: "int", Kind.INTEGER32: "int", Kind.NUMBER: "float", Kind.TEXT: "str"}


def _surely_within(name: str) -> str:
    """Return a test by the year alone: to compare a time that has an offset takes ten times as long."""
    return f"{times.EARLIEST.year} < {name}.year < {times.LATEST.year - 1}"


class _Block(NamedTuple):
    """A place in the source: its indentation, the object that is read there, and the expressions known by then."""

    depth: int
    base: str
    node: Node
    settled: dict[object, str]
    """Expressions by what they stand for: two columns of one key are read once."""
    array: str = ""
    """The key of the array whose elements are read."""

    def under(self) -> "_Block":
        """Return a block below a condition; its expressions are valid there alone."""
        return self._replace(depth=self.depth + 1, settled=dict(self.settled))


class Writer:
    """Writes the source of a row function."""

    def __init__(self, event: EventType, shape: Shape) -> None:
        self._event = event
        self._enveloped = shape.enveloped
        self._wide = shape.wide
        self._many = shape.many
        self._open = shape.open
        self._text_times = shape.text_times
        self._is_single = shape.wide and not shape.many and event.gives_one_row
        self._certain = frozenset[Key]() if shape.wide else json_paths.certain(event, enveloped=shape.enveloped)
        self._lines: list[str] = []
        self._call: tuple[str, list[str], str] | None = None
        """For the columns of a model call that come from attributes alone: the attributes, the variables, and the
        expression that is unpacked into them."""
        self._numbers = count()
        self.scope: dict[str, object] = {}
        """By name, objects that the source refers to."""

    def source(self) -> str:
        """Return the source of the function `rows`."""
        tree = json_paths.tree(self._event, enveloped=self._enveloped, wide=self._wide)
        block = _Block(1 if self._wide and not self._many else 2, "e", tree, {})
        self._needs(block)
        for part in self._event.parts:
            self._part(self._event.tables.index(part.table.name), part, block)
        outs = [] if self._is_single else [f"out{number}" for number in range(len(self._event.tables))]
        result = f"({', '.join(outs)},)"
        inner = "e = e.data" if self._enveloped else ""
        if self._many:
            head = (
                "def rows(events, offsets, is_right, clock, project, file_id, oldest, newest, is_strict, notes):",
                *(f"    {out} = []" for out in outs),
                "    mismatched = odd = converted = noted = 0",
                "    for e, offset in zip(events, offsets):",
                f"        if (e.t0 != {self._event.name!r} or e.t1 is not None) and not is_right(e): raise ValueError",
                f"        {inner}",
            )
            tail = (
                "        if len(notes) > noted:",
                "            converted += 1",
                # A name counts once a line, though two tables take it.
                "            notes[noted:] = dict.fromkeys(notes[noted:])",
                "            noted = len(notes)",
            )
            return "\n".join((*head, *self._lines, *tail, f"    return {result}, mismatched, odd, converted"))
        if self._wide:
            head = (
                f"def rows(e, clock, project, file_id, offset, notes{', unknown, originals' * self._open}):",
                *(f"    {out} = []" for out in outs),
            )
            return "\n".join((*head, f"    {inner}", *self._lines, f"    return {result}" if outs else ""))
        head = ("def rows(events, clock, project, oldest, newest, is_strict):", *(f"    {out} = []" for out in outs))
        loop = ("    mismatched = odd = 0", "    for e in events:", f"        {inner}")
        return "\n".join((*head, *loop, *self._lines, f"    return {result}, mismatched, odd"))

    def _write(self, block: _Block, line: str) -> None:
        self._lines.append("    " * block.depth + line)

    def _name(self) -> str:
        return f"v{next(self._numbers)}"

    def _needs(self, block: _Block) -> None:
        if self._event.needs:
            names = block.node.names()
            missing = " and ".join(f"{block.base}.{names[key]} is None" for key in self._event.needs)
            self._write(block, f"if {missing}: raise ValueError")

    def _part(self, number: int, part: RowSource, event: _Block) -> None:
        block = event
        if part.when:
            [column] = [column for column in part.columns if column.name == part.when]
            present = self._first(column, event)
            self._write(event, f"if {present} is not None:")
            block = event.under()
        elif part.unless:
            self._write(event, f"if not {self._own(part.unless, event)}:")
            block = event.under()
        elif part.each:
            block = self._loop(part, event)
        row = [self._value(part, column, event if column.inherited else block, block) for column in part.columns]
        if self._call:
            # Most spans are no model calls: their rows have constants, which costs less than six variables.
            attributes, names, found = self._call
            self._write(block, f"if {usage.MARK!r} in {attributes}:")
            self._write(block.under(), f"{', '.join(names)} = {found}")
            self._write(block.under(), f"out{number}.append(({', '.join(row)},))")
            constants = dict(zip(names, map(repr, usage.NONE), strict=True))
            row = [constants.get(value, value) for value in row]
            self._write(block, "else:")
            block, self._call = block.under(), None
        if self._is_single:
            self._write(block, f"return ({', '.join(row)},)")
        else:
            self._write(block, f"out{number}.append(({', '.join(row)},))")

    def _loop(self, part: RowSource, event: _Block) -> _Block:
        """Open the loop over the elements of an array."""
        inherited = [column for column in part.columns if column.inherited]
        found = {column.name: self._column(part, column, event) for column in inherited}
        elements = self._name()
        self._write(event, f"{elements} = {event.base}.{event.node.names()[part.each]} or ()")
        if long := " + ".join(f"len({found[column.name]})" for column in inherited if column.kind is Kind.TEXT):
            self._write(event, f"if {elements} and {long} > {json_paths.LONGEST_INHERITED}: raise ValueError")
        self._write(event, f"for position, x in enumerate({elements}, 1):")
        return _Block(event.depth + 1, "x", event.node.arrays[part.each], {}, part.each)

    def _value(self, part: RowSource, column: Column, block: _Block, row: _Block) -> str:
        """Return a column's expression in a row, after writing the lines that compute it."""
        if column.fill is Fill.TYPE:
            return repr(self._event.name)
        if column.fill is Fill.POSITION:
            return "position" if part.each else "0"
        if column.fill is Fill.YIELDING:
            return f"yielding({', '.join(self._own(name, block) for name in column.sources)})"
        if column.fill is Fill.EXTRA:
            if self._open and part.table is self._event.table:
                return f"(extra_of(unknown, originals) if unknown or originals else {column.default!r})"
            return repr(column.default)
        value = self._column(part, column, block)
        return self._judged(part, column, value, row)

    def _own(self, name: str, block: _Block) -> str:
        """Return the expression of a column of the event's own row."""
        return self._column(self._event.parts[0], self._event.column(name), block)

    def _judged(self, part: RowSource, column: Column, value: str, row: _Block) -> str:
        """Write the checks of the event's project and time, where many events are judged at once."""
        if (self._wide and not self._many) or part.table is not self._event.table:
            return value
        if column.name == self._event.project:
            self._write(row, f"p = {value}")
            self._write(row, "if p != project:")
            self._write(row.under(), "if is_strict: raise ValueError")
            self._write(row.under(), "mismatched += 1")
            return "p"
        if column.name == part.table.time:
            given = "" if column.required or column.fill else f"{value} is not None and "
            self._write(row, f"if {given}not oldest <= {value} < newest:")
            self._write(row.under(), f"if not earliest <= {value} < latest: raise ValueError")
            self._write(row.under(), "odd = 1")
        return value

    def _column(self, part: RowSource, column: Column, block: _Block) -> str:
        # A column of a model call is known by its name alone: it has no key of its own in strict structs.
        name = column.name if column.fill is Fill.USAGE else ""
        same = (column.keys, column.aliases, column.kind, column.required, column.default, column.fill, name)
        if same not in block.settled:
            block.settled[same] = self._settle(part, column, block)
        return block.settled[same]

    def _settle(self, part: RowSource, column: Column, block: _Block) -> str:
        """Write the lines that find a column's value; return its expression."""
        if column.fill is Fill.NUMBER:
            return self._number(part, column, block)
        if column.kind is Kind.JSON:
            return self._json(column, block)
        derived = self._wide and self._derived(part, column)
        certain = self._is_certain(column, block)
        plain = certain if column.required else column.default is None and column.kind not in ARRAYS
        is_given = not column.fill or (column.required and certain)
        once = plain and is_given and not self._wide and column.kind is not Kind.TIME
        name = self._first(column, block, once=once)
        absent = f"not {name}" if column.identifies else f"{name} is None"
        if derived:
            self._write(block, f"if {absent}: {name} = {derived}")
        elif column.required and not certain:
            self._write(block, f"if {absent}: raise {self._refused(column, block)}")
        is_event_time = block.base == "e" and column.keys == self._event.column(self._event.table.time).keys
        if column.kind is Kind.TIME and not is_event_time and not self._wide:
            given = "" if column.required else f"{name} is not None and "
            self._write(
                block, f"if {given}not {_surely_within(name)} and not earliest <= {name} < latest: raise ValueError"
            )
        if column.required:
            return name
        if column.kind in ARRAYS:
            return f"({name} or ())"
        if column.fill is not None:
            return self._filled(part, column, name, block)
        return name if column.default is None else f"({name} if {name} is not None else {column.default!r})"

    def _refused(self, column: Column, block: _Block) -> str:
        """Return the exception for a required column without a value."""
        key = self._spelt(column.keys[0], block)
        return f"RejectedLineError(missing, {key}, 'required')" if self._open else f"RefusedError({key})"

    @staticmethod
    def _spelt(key: Key, block: _Block) -> str:
        """Return a key as rejects and counts name it. One in an array has a dot, and no number of its element."""
        return repr(json_paths.spelt(key) if block.base == "e" else f"{block.array}.{json_paths.spelt(key)}")

    def _derived(self, part: RowSource, column: Column) -> str:
        """Return the expression for a required value that is absent; empty if it cannot be derived."""
        if column.name == self._event.project and (
            part.table is self._event.table or column.inherited or not part.each
        ):
            return "project"
        return 'f"{file_id}{offset:012x}"' if column.fill is Fill.LINE else ""

    def _filled(self, part: RowSource, column: Column, name: str, block: _Block) -> str:
        """Return the expression of an optional column that is derived where it is absent."""
        if column.fill is Fill.CLOCK:
            return f"({name} or clock)"
        if column.fill is Fill.ELAPSED:
            start, end = (self._source(part, column, place, block) for place in (0, 1))
            self._write(block, f"if {name} is None and {end} is not None: {name} = elapsed({start}, {end})")
            return name
        if column.fill is Fill.USAGE:
            return self._usage(part, column, name, block)
        raise ValueError(f"{column.name}: {column.fill} is for required columns")

    def _usage(self, part: RowSource, column: Column, name: str, block: _Block) -> str:
        """Settle all columns of a model call at once. The first of them is the span's type, which decides the rest."""
        if ("usage", 0) not in block.settled:
            attributes = self._source(part, column, 0, block)
            names = [self._name() for _ in usage.COLUMNS]
            block.settled.update({("usage", place): one for place, one in enumerate(names)})
            own = f", {name} or ''" if column.name == usage.COLUMNS[0] and name != "None" else ""
            if name == "None":
                self._call = attributes, names, f"usage_of({attributes})"
            else:
                found = f"usage_of({attributes}{own}) if {usage.MARK!r} in {attributes} else no_usage"
                self._write(block, f"{', '.join(names)} = {found}")
        derived = block.settled["usage", usage.COLUMNS.index(column.name)]
        return derived if name == "None" else f"({derived} if {name} is None else {name})"

    def _number(self, part: RowSource, column: Column, block: _Block) -> str:
        """Return the expression of the number that another column's JSON is, if it is one."""
        [source] = [one for one in part.columns if one.name == column.sources[0]]
        name = self._name()
        self._write(block, f"{name} = None")
        for key in self._keys(source):
            self._write(block, f"if {name} is None: {name} = {self._field(key, block)}")
        return f"number_of({name})"

    def _source(self, part: RowSource, column: Column, place: int, block: _Block) -> str:
        [source] = [one for one in part.columns if one.name == column.sources[place]]
        return self._column(part, source, block)

    def _is_certain(self, column: Column, block: _Block) -> bool:
        found = self._keys(column)
        # A JSON null is a value like any other to a struct that leaves it undecoded.
        is_typed = column.kind not in {Kind.SCALAR, Kind.ANY, Kind.JSON}
        return is_typed and block.base == "e" and len(found) == 1 and found[0] in self._certain

    def _keys(self, column: Column) -> tuple[Key, ...]:
        return json_paths.of_column(column, enveloped=self._enveloped, wide=self._wide)

    def _first(self, column: Column, block: _Block, *, once: bool = False) -> str:
        """Return the expression of the column's value, of the first of its keys that has one; its value may be None.

        It is a variable, but for a field that is read `once`. A line with values under two keys of one column is for
        the lenient reader, which keeps the second.
        """
        fields = [self._field(key, block) for key in self._keys(column)]
        if column.takes_type and self._wide and not self._enveloped:
            fields.append(f"(e.t0 if e.t0 != {self._event.name!r} else None)")
        if not fields:
            return "None"
        if once and len(fields) == 1 and column.kind not in {Kind.SCALAR, Kind.ANY}:
            return fields[0]
        name = self._name()
        self._write(block, f"{name} = {fields[0]}")
        # No `not`: before the conversion a zero is an id.
        empty, given = (f" or {name} == ''", " and {} != ''") if column.identifies and self._wide else ("", "")
        for field in fields[1:]:
            self._write(block, f"if {name} is None{empty}: {name} = {field}")
            self._write(block, f"elif {field} is not None{given.format(field)}: raise ValueError")
        for line in self._conversion(column, name, self._given(column, fields, block), block):
            self._write(block, line)
        return name

    def _given(self, column: Column, fields: Sequence[str], block: _Block) -> str:
        """Return the expression of the key that has the value, where one of the fields of the column has it."""
        keys = [self._spelt(key, block) for key in self._keys(column)]
        keys += [repr("type")] * (len(fields) - len(keys))
        given = keys[-1]
        for key, field in zip(keys[-2::-1], fields[-2::-1], strict=True):
            given = f"({key} if {field} is not None else {given})"
        return given

    def _conversion(self, column: Column, name: str, key: str, block: _Block) -> tuple[str, ...]:
        """Return the lines that convert the value for a row, if the struct's type allows several forms."""
        if column.kind is Kind.SCALAR:
            return (f"if {name} is not None: {name} = scalar_of({name})",)
        if not self._wide:
            return ()
        if column.kind is Kind.ANY:
            return (f"if {name} is not None: {name} = any_of({name})",)
        if column.kind in {Kind.TIME, Kind.CHOICE}:
            return self._time(name, key) if column.kind is Kind.TIME else self._choice(column, name, key, block)
        if column.kind not in _CONVERTERS:
            return ()
        plain = _CONVERTERS[column.kind]
        bits = f", {values.BITS[column.kind]}" if column.kind in values.BITS else ""
        test = _CONVERTED[column.kind].format(name)
        return (f"if {test} and {name} is not None: {name} = {plain}_of({name}, notes, {key}{bits})",)

    def _time(self, name: str, key: str) -> tuple[str, ...]:
        if self._text_times:
            return (f"if {name} is not None: {name} = text_time_of({name}, notes, {key})",)
        return (
            f"if {name}.__class__ is datetime:",
            f"    if {name}.tzinfo is None: {name} = earliest + ({name} - naive_earliest)",
            f"    if not {_surely_within(name)}: {name} = time_of({name})",
            f"elif {name} is not None: {name} = time_of({name})",
        )

    def _choice(self, column: Column, name: str, key: str, block: _Block) -> tuple[str, ...]:
        known, before = f"known_{name}", f"was_{name}"
        self.scope[known] = wide_values.spellings(column)
        other = f"raise RefusedError({key})"
        if self._open and block.base == "e":
            column_of = f"column_{name}"
            self.scope[column_of] = column
            other = f"{name} = choice_of({before}, {column_of}, {key}, originals)"
        return (
            f"if {name} is not None:",
            f"    {before}, {name} = {name}, {known}.get({name})",
            f"    if {name} is None: {other}",
            f"    if {name} != {before}: notes.append({key})",
        )

    def _json(self, column: Column, block: _Block) -> str:
        default = None if column.required else column.default
        fields = [self._field(key, block) for key in self._keys(column)]
        if not fields:
            return repr(default)
        if len(fields) == 1:
            name = self._name()
            value = f"({name} := {fields[0]})"
        else:
            name = value = self._first(column, block)
        text = f"({name} := utf_8_decode({name})[0])"
        self._write(block, f"if {value} is None or {text} == 'null': {name} = {default!r}")
        if column.required:
            self._write(block, f"if {name} is None: raise {self._refused(column, block)}")
        return name

    def _field(self, key: Key, block: _Block) -> str:
        """Return the expression of a key's value, after writing the lines that open the objects on the way."""
        *way, last = json_paths.steps(key)
        base, node = block.base, block.node
        for place, step in enumerate(way):
            seen = ("object", tuple(way[: place + 1]))
            if seen not in block.settled:
                name = self._name()
                self.scope[f"no_{name}"] = absent(node.objects[step])
                self._write(block, f"{name} = {base}.{node.names()[step]} or no_{name}")
                block.settled[seen] = name
            base, node = block.settled[seen], node.objects[step]
        return f"{base}.{node.names()[last]}"
