"""An event type is one declaration: DDL, validation, rows and the extraction SELECT are derived from it.

A declaration names JSON paths and SQL columns. It knows neither bytes nor servers.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace

_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")

Scalar = str | int | float | None
Key = str | tuple[str, ...]
"""A JSON key; as a tuple, the keys that lead to a nested value, one in the other."""


class Kind(StrEnum):
    """How a value is validated, and its type in a canonical row."""

    TEXT = "text"
    """A JSON string."""
    CHOICE = "choice"
    """A JSON string, one of `Column.choices`; an Enum8 in ClickHouse."""
    SCALAR = "scalar"
    """A JSON string or number; stored as the text of either."""
    ANY = "any"
    """A JSON string, stored as the text that it is; or any other value, stored as its JSON text."""
    BOOLEAN = "boolean"
    """true or false."""
    INTEGER = "integer"
    """A whole number within 64 bits, signed."""
    INTEGER32 = "integer32"
    """A whole number within 32 bits, signed."""
    NUMBER = "number"
    """Any JSON number that fits a double."""
    TIME = "time"
    """ISO-8601, or an epoch number in s, ms, µs or ns; a UTC DateTime64(3) in ClickHouse."""
    JSON = "json"
    """Any JSON value; stored as its text, byte for byte."""
    NUMBERS = "numbers"
    """An array of numbers."""
    COUNTS = "counts"
    """An array of whole numbers from 0 to 2^63-1; an Array(UInt64) in ClickHouse."""
    TEXTS = "texts"
    """An array of strings."""


ARRAYS = frozenset({Kind.NUMBERS, Kind.COUNTS, Kind.TEXTS})
"""Kinds that cannot be NULL in ClickHouse; an absent one is empty."""


class Fill(StrEnum):
    """What fills a column besides the event's own value."""

    CLOCK = "clock"
    """Absent: the shipment's journalled clock, the same on every replay."""
    LINE = "line"
    """Absent: an id derived from the file's name and the line's offset, the same on every replay."""
    ELAPSED = "elapsed"
    """Absent: the milliseconds between the two times in `Column.sources`, where both are there."""
    USAGE = "usage"
    """Absent: what the JSON of the column in `Column.sources` says of a model call; see `decode.usage`."""
    TYPE = "type"
    """The event type's name, always."""
    POSITION = "position"
    """The row's place in its event, always: 0 for what the event itself says, and array elements count from 1."""
    NUMBER = "number"
    """The value of the column in `Column.sources` if it is a JSON number, always; NULL for text."""
    YIELDING = "yielding"
    """A recorded time before that of any row of the table's own events, always: of the event's columns in
    `Column.sources`, the second one's distance from the first, counted from 1970. Later states still win."""
    EXTRA = "extra"
    """Fields that no column takes, and the originals of values that were converted with loss; a JSON object, always."""


class Column(Struct, frozen=True, kw_only=True):
    """One column that a producer's event fills.

    `keys` are the JSON keys that may hold it, the first one that is present and not null wins; `envelope_keys` count
    only inside `{"type": …, "data": {…}}`, where they clash with nothing. `aliases` come last: other spellings of the
    keys, which the bulk reader does not know.
    """

    name: str
    kind: Kind
    keys: tuple[Key, ...] = ()
    envelope_keys: tuple[str, ...] = ()
    aliases: tuple[Key, ...] = ()
    takes_type: bool = False
    """A top-level `type` that is no event type is this column's value."""
    required: bool = False
    identifies: bool = False
    """Tells events apart: an empty text counts as absent, because all rows that had it would be one."""
    nullable: bool = False
    default: Scalar = None
    """What an absent optional value becomes; None needs `nullable`."""
    fill: Fill | None = None
    sources: tuple[str, ...] = ()
    """The columns of the same row (YIELDING: of the event's own row) that `fill` derives this one from."""
    inherited: bool = False
    """In a row that is made of an array's element: its keys are those of the event, not the element's."""
    choices: Mapping[str, int] = field(default_factory=dict)
    same: Mapping[str, str] = field(default_factory=dict)
    """Other names of choices, in lower case, that mean exactly the choice."""
    near: Mapping[str, str] = field(default_factory=dict)
    """Other names, in lower case, that mean less or more than the choice: the original is kept in `extra`."""
    implied: Mapping[str, str] = field(default_factory=dict)
    """By key that no column takes: the choice that an object under it stands for, where the event names none."""
    low_cardinality: bool = False
    """Few distinct values are known to occur: stored as LowCardinality(String)."""
    bloom: float | None = None
    """False positive rate of a bloom filter index, for ids that are looked up."""


class Measure(Struct, frozen=True, kw_only=True):
    """A numeric column that a rollup sums up.

    The view shows `{total}`, `{average}`, `{minimum}`, `{maximum}` where these are named, and p50/p95/p99 as
    `p50_{column}` and so on where `quantiles` is set.
    """

    column: str
    total: str
    average: str
    minimum: str | None = None
    maximum: str | None = None
    quantiles: bool = False


class Grain(StrEnum):
    """The time span of a rollup's row; also the name of its time column."""

    HOUR = "hour"
    DAY = "day"


class Reckoning(StrEnum):
    """How a tally aggregates lines."""

    COUNT = "count"
    SUM = "sum"
    FIRST = "first"
    """The smallest value."""
    LAST = "last"
    """The largest value."""
    DISTINCT = "distinct"
    """How many different values there are: exact for some thousands, then estimated."""


Only = Mapping[str, tuple[str, ...]]
"""Which lines count: those that have one of the texts in each of these columns."""


class Tally(Struct, frozen=True, kw_only=True):
    """One more aggregate of a rollup, beside its measure; the view shows it as `name`."""

    name: str
    reckoning: Reckoning = Reckoning.COUNT
    column: str = ""
    """The column that is aggregated; a COUNT counts lines and has none."""
    only: Only = field(default_factory=dict)
    """For COUNT and SUM."""


class Rollup(Struct, frozen=True, kw_only=True):
    """Aggregates of one table by time: an AggregatingMergeTree target, a materialized view into it, a view to read."""

    name: str
    """The readable view's name, without the prefix: the name that the seed gave it."""
    time: str
    """The time column whose hour or day groups the rows."""
    grain: Grain = Grain.HOUR
    keys: tuple[str, ...]
    """Columns of the source table, in the order of the target's key; the time stands before the last `trailing`."""
    trailing_keys: tuple[str, ...] = ()
    """Keys that come after the time in the sorting key."""
    shown_by: tuple[str, ...] | None = None
    """The keys that the view has a row for; None: all of them, with the time."""
    only: Only = field(default_factory=dict)
    """The lines that it counts."""
    count: str = "count"
    """The name of the number of lines in the view."""
    tallies: tuple[Tally, ...] = ()
    measure: Measure | None = None
    error_status: str | None = None
    """The `status` value that counts as an error: the view then has `error_count` and `error_rate`."""
    count_when: str | None = None
    """Count only lines where this column is present (a trace is written at its start and again at its end)."""
    count_unless: str | None = None
    """Count no lines where this column is present."""
    ttl_days: int = 730
    version: int = 1
    """Raise it with every change of what is counted or how it is grouped: the rollup is then built again from the rows,
    under a new name, while the old one stays readable."""


class Index(Struct, frozen=True, kw_only=True):
    """A data skipping index, besides those of `Column.bloom`."""

    columns: tuple[str, ...]
    type: Literal["minmax", "set(0)"]


class Table(Struct, frozen=True, kw_only=True):
    """A table without its prefix, and without the columns that Spoolhouse adds."""

    name: str
    columns: tuple[Column, ...]
    order_by: tuple[str, ...]
    time: str
    """The column of the event time: partitions and the TTL depend on it."""
    ttl_days: int
    indexes: tuple[Index, ...] = ()
    words: tuple[str, ...] = ()
    """Columns of prose, whose words a store may index."""
    rollups: tuple[Rollup, ...] = ()

    def column(self, name: str) -> Column:
        """Return the column called `name`; KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


class RowSource(Struct, frozen=True, kw_only=True):
    """The rows of an event for one table: one of the whole event, or one for each element of an array."""

    table: Table
    columns: tuple[Column, ...]
    """The table's columns, in its order, each with the keys that this event has its value under."""
    each: str = ""
    """The key of an array of objects: a row for each. Empty: one row, of the event itself."""
    when: str = ""
    """One row at most: only of an event where this column's value is present."""
    unless: str = ""
    """One row at most: only of an event where the value of this column of its own row is absent or empty."""


class EventType(Struct, frozen=True, kw_only=True):
    """One kind of event: the discriminator value that producers write, and the tables that its lines land in."""

    name: str
    table: Table
    """Where the event itself lands, a row for each line."""
    columns: tuple[Column, ...] = ()
    """The table's columns with this type's own keys and requirements, where they are not the table's."""
    children: tuple[RowSource, ...] = ()
    """Rows for other tables."""
    needs: tuple[str, ...] = ()
    """Top-level keys of which at least one has to be present."""
    project: str = "project_id"
    """The column of the project."""
    shaped: "EventType | None" = None
    """What an event of this type is that a foreign shape has made, where that differs."""

    @property
    def parts(self) -> tuple[RowSource, ...]:
        """The row sources of a line, its own row first."""
        return (RowSource(table=self.table, columns=self.columns or self.table.columns), *self.children)

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables that its lines land in, its own first."""
        return tuple(dict.fromkeys(part.table.name for part in self.parts))

    @property
    def gives_one_row(self) -> bool:
        """Whether each event of the type gives exactly one row."""
        return not self.children

    def column(self, name: str) -> Column:
        """Return a column of its own row as this type fills it; KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        return self.table.column(name)


def tables(events: Mapping[str, EventType]) -> Mapping[str, Table]:
    """Return the tables that the lines of `events` land in, by name, each once."""
    return {part.table.name: part.table for event in events.values() for part in event.parts}


def both_cases(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """Return the columns with aliases for their keys: snake_case where they are in camelCase, and the other way round.

    A spelling that is another column's key is left out.
    """
    taken = {key for column in columns for key in (*column.keys, *column.envelope_keys, *column.aliases)}
    found = []
    for column in columns:
        fresh = []
        for key in (*column.keys, *column.aliases):
            other = _other_case(key)
            if other not in taken:
                fresh.append(other)
        found.append(replace(column, aliases=(*column.aliases, *dict.fromkeys(fresh))))
        taken.update(fresh)
    return tuple(found)


def other_case(key: str) -> str:
    """Return a key in camelCase if it is in snake_case, else in snake_case."""
    if "_" in key.strip("_"):
        first, *rest = key.split("_")
        return first + "".join(word[:1].upper() + word[1:] for word in rest)
    return _HUMP.sub(r"_\1", key).lower()


def _other_case(key: Key) -> Key:
    return other_case(key) if isinstance(key, str) else (*key[:-1], other_case(key[-1]))
