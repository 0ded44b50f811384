"""What an event type takes, in words: derived from its declaration, for people and for programs that show it."""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from spoolhouse.events import json_paths
from spoolhouse.events.declaration import ARRAYS, Column, EventType, Fill, Kind, RowSource
from spoolhouse.events.examples import example

KINDS: Mapping[Kind, str] = {
    Kind.TEXT: "text",
    Kind.CHOICE: "choice",
    Kind.SCALAR: "text or number",
    Kind.ANY: "text, or any JSON",
    Kind.BOOLEAN: "true or false",
    Kind.INTEGER: "whole number",
    Kind.INTEGER32: "whole number, 32 bits",
    Kind.NUMBER: "number",
    Kind.TIME: "time",
    Kind.JSON: "any JSON",
    Kind.NUMBERS: "array of numbers",
    Kind.COUNTS: "array of whole numbers from 0",
    Kind.TEXTS: "array of texts",
}
_ALWAYS: Mapping[Fill, str] = {
    Fill.TYPE: "the event type",
    Fill.POSITION: "the place in the event's array, from 1; 0 for the event itself",
    Fill.NUMBER: "the value, if it is a number",
    Fill.EXTRA: "fields that no column takes, and originals of values that were converted with loss",
}


class FieldReference(Struct, frozen=True, kw_only=True):
    """One field of an event."""

    key: str
    """The key to write; dots lead into objects."""
    also: tuple[str, ...]
    """Other keys that are taken."""
    value: str
    required: bool
    absent: str
    """What the column gets where the event does not say; empty if it is required."""
    choices: tuple[str, ...]
    names: Mapping[str, str]
    """Other names of the choices, in any case."""
    implied: Mapping[str, str]
    """By key, the choice that an object under it stands for where the field is absent."""
    columns: tuple[str, ...]
    """Without the tables' prefix; another table's than the event's own as `table.column`."""


class ArrayReference(Struct, frozen=True, kw_only=True):
    """An array of objects, each of which gives a row of its own."""

    key: str
    table: str
    fields: tuple[FieldReference, ...]


class TypeReference(Struct, frozen=True, kw_only=True):
    """An event type."""

    name: str
    tables: tuple[str, ...]
    """Without the prefix; the event's own first."""
    ttl_days: int
    needs: tuple[str, ...]
    """Keys of which at least one is required."""
    fields: tuple[FieldReference, ...]
    arrays: tuple[ArrayReference, ...]
    filled: Mapping[str, str]
    """Columns that no field fills, and what does."""
    example: Mapping[str, object]

    @property
    def required(self) -> tuple[str, ...]:
        """The keys that a line in its folder cannot be without."""
        return tuple(field.key for field in self.fields if field.required)


def reference(event: EventType) -> TypeReference:
    """Return the reference of an event type."""
    whole = [part for part in event.parts if not part.each]
    return TypeReference(
        name=event.name,
        tables=event.tables,
        ttl_days=event.table.ttl_days,
        needs=event.needs,
        fields=tuple(_fields(event, whole)),
        arrays=tuple(
            ArrayReference(key=part.each, table=part.table.name, fields=tuple(_fields(event, [part])))
            for part in event.parts
            if part.each
        ),
        filled={one.name: _ALWAYS[one.fill] for one in event.parts[0].columns if one.fill in _ALWAYS},  # type: ignore[index]  # it is there
        example=example(event),
    )


def keys(column: Column) -> tuple[str, ...]:
    """Return all keys that a column is read from, the one to write first."""
    if not json_paths.of_column(column, enveloped=True, wide=True):
        return ()
    every = (*column.keys, *column.aliases, *column.envelope_keys, *(("type",) if column.takes_type else ()))
    return tuple(dict.fromkeys(map(json_paths.spelt, every)))


def filled(event: EventType, column: Column) -> str:
    """Return what a column gets where the event does not say; empty if nothing does."""
    if column.name == event.project:
        return "the folder's project"
    match column.fill:
        case Fill.CLOCK:
            return "the time of ingest"
        case Fill.LINE:
            return "from the file's name and the line's offset"
        case Fill.ELAPSED:
            start, end = (keys(event.column(name))[0] for name in column.sources)
            return f"{end} minus {start}"
        case Fill.USAGE:
            return f"from {column.sources[0]}"
    return ""


def _fields(event: EventType, parts: list[RowSource]) -> Iterator[FieldReference]:
    """Yield the fields that fill columns of these parts, each once."""
    takers: dict[str, list[tuple[RowSource, Column]]] = {}
    for part in parts:
        for column in part.columns:
            if (found := keys(column)) and not column.inherited:
                takers.setdefault(found[0], []).append((part, column))
    for key, found_in in takers.items():
        part, column = next((one for one in found_in if one[1].required), found_in[0])
        given = filled(event, column)
        is_required = not given and any(one.required and not where.when for where, one in found_in)
        default = f"no row in {part.table.name}" if column.required else _default(column)
        yield FieldReference(
            key=key,
            also=tuple(dict.fromkeys(other for _, one in found_in for other in keys(one) if other != key)),
            value=KINDS[column.kind],
            required=is_required,
            absent="" if is_required else given or default,
            choices=tuple(column.choices),
            names={**column.same, **column.near},
            implied=column.implied,
            columns=tuple(dict.fromkeys(_place(event, where, one) for where, one in found_in)),
        )


def _place(event: EventType, part: RowSource, column: Column) -> str:
    return column.name if part.table is event.table or part.each else f"{part.table.name}.{column.name}"


def _default(column: Column) -> str:
    if column.kind in ARRAYS:
        return "[]"
    return "NULL" if column.default is None else str(column.default) or "empty"
