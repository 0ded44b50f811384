"""The INSERT that splits canonical rows into columns, in one form per driver. Pure: a declaration in, SQL out.

All text in the SQL comes from declarations, never from events; it is escaped all the same.
"""

from collections.abc import Iterable

from spoolhouse.events.declaration import Column, Kind
from spoolhouse.store.clickhouse.driver import BATCH_ID, INGESTED_AT, RowsInsert
from spoolhouse.store.clickhouse.quoting import identifier, literal

STORED_TYPES = {
    Kind.TEXT: "String",
    Kind.SCALAR: "String",
    Kind.ANY: "String",
    Kind.BOOLEAN: "Bool",
    Kind.INTEGER: "Int64",
    Kind.INTEGER32: "Int32",
    Kind.NUMBER: "Float64",
    Kind.TIME: "DateTime64(3, 'UTC')",
    Kind.JSON: "String",
    Kind.NUMBERS: "Array(Float64)",
    Kind.COUNTS: "Array(UInt64)",
    Kind.TEXTS: "Array(String)",
}
"""The type that a strict parser reads each kind as; CHOICE has its own Enum8."""


def parsed_type(column: Column) -> str:
    """Return the type that a strict parser reads the column's value as."""
    if column.kind is Kind.CHOICE:
        members = ", ".join(f"{literal(name)} = {number}" for name, number in column.choices.items())
        stored = f"Enum8({members})"
    else:
        stored = STORED_TYPES[column.kind]
    return f"Nullable({stored})" if column.nullable else stored


def extracted_type(column: Column) -> str:
    """Return the type that JSONExtract reads the column's value as.

    JSONExtract is lenient (an unfit value silently becomes a default), so times and choices are extracted as text, and
    the conversion afterwards throws.
    """
    text = column.kind in {Kind.TIME, Kind.CHOICE}
    extracted = "String" if text else STORED_TYPES[column.kind]
    return f"Nullable({extracted})" if column.nullable else extracted


def native_insert(insert: RowsInsert) -> str:
    """Render the INSERT whose input is one String column; each value holds many rows, a JSON array on each line.

    The server splits them at the line ends. That costs it a twentieth more than single lines, and saves the sender most
    of its work.
    """
    types = ", ".join(extracted_type(column) for column in insert.columns)
    taken = (_taken(column, f"t.{place}") for place, column in enumerate(insert.columns, start=1))
    # Each line ends with a newline, so the last substring is always empty.
    lines = "SELECT arrayJoin(arrayPopBack(splitByChar('\\n', piece))) AS line FROM input('piece String')"
    rows = f"SELECT JSONExtract(line, {literal(f'Tuple({types})')}) AS t FROM ({lines})"  # noqa: S608  # from declarations
    return f"{_head(insert)} SELECT {_values(insert, taken)} FROM ({rows}) FORMAT Native"  # noqa: S608  # from declarations


def http_insert(insert: RowsInsert) -> str:
    """Render the INSERT whose input is the request's body, a row's JSON array on each line."""
    names = (identifier(column.name) for column in insert.columns)
    rows = f"input({literal(structure(insert))})"
    return f"{_head(insert)} SELECT {_values(insert, names)} FROM {rows} FORMAT JSONCompactEachRow"  # noqa: S608  # from declarations


def embedded_insert(insert: RowsInsert, path: str, settings: str) -> str:
    """Render the INSERT whose input is the file at `path`, a row's JSON array on each line.

    `settings` is a rendered list (`a = 1, b = 'x'`): an embedded engine takes them nowhere else.
    """
    names = (identifier(column.name) for column in insert.columns)
    rows = f"file({literal(path)}, 'JSONCompactEachRow', {literal(structure(insert))})"
    return f"{_head(insert)} SELECT {_values(insert, names)} FROM {rows} SETTINGS {settings}"  # noqa: S608  # from declarations


def structure(insert: RowsInsert) -> str:
    """Return the columns of a row as `name type, …`, for `input()` and `file()`."""
    return ", ".join(f"{identifier(column.name)} {parsed_type(column)}" for column in insert.columns)


def _head(insert: RowsInsert) -> str:
    names = ", ".join((*(identifier(column.name) for column in insert.columns), *_constants(insert)))
    return f"INSERT INTO {identifier(insert.table)} ({names})"


def _values(insert: RowsInsert, taken: Iterable[str]) -> str:
    """Return the selected expressions: the row's values, then the columns that are constant in a batch."""
    return ", ".join((*taken, *_constants(insert).values()))


def _constants(insert: RowsInsert) -> dict[str, str]:
    """Return the value of each column that is the same for all rows."""
    values = {
        INGESTED_AT.name: f"fromUnixTimestamp64Milli(toInt64({insert.clock_ms}), 'UTC')",
        BATCH_ID.name: literal(insert.batch_id),
    }
    own = {column.name for column in insert.columns}
    return {name: value for name, value in values.items() if name not in own}


def _taken(column: Column, element: str) -> str:
    if column.kind is not Kind.TIME:
        return element
    if not column.nullable:
        return f"parseDateTime64BestEffort({element}, 3, 'UTC')"
    # It throws for a NULL among other values, as it does for text that is no time; …OrNull would let both pass.
    return f"if(isNull({element}), NULL, parseDateTime64BestEffort(ifNull({element}, '1970-01-01'), 3, 'UTC'))"
