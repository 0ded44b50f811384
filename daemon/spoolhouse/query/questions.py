"""What a reader of a store is asked: values without SQL, made by `plan` and rendered by each store's dialect."""

from enum import StrEnum

from msgspec import Struct

from spoolhouse.events.declaration import Rollup, Table

Scalar = str | int | float | bool
Value = str | int | float | bool | None | list[object]
"""A stored value: a time is ms since 1970, an array a list."""


class Op(StrEnum):
    """How a field is compared. A missing field fulfils NE and NOT_IN alone."""

    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LE = "lte"
    GT = "gt"
    GE = "gte"
    IN = "in"
    NOT_IN = "notIn"
    CONTAINS = "includes"
    """A text contains this one, letter for letter; an array has this element."""
    PREFIX = "prefix"
    WORDS = "words"
    """A text has each of these words, in any case; words are runs of letters and digits."""
    EXISTS = "exists"


class Field(Struct, frozen=True):
    """A column; with `key`, the value of that key in its JSON object, as text."""

    column: str
    key: str | None = None
    edges: tuple[float, ...] = ()
    """Of a group: not the number itself counts, but how many of these it has reached."""


class Compare(Struct, frozen=True):
    """A field against a value; for IN, NOT_IN and WORDS a tuple of them."""

    field: Field
    op: Op
    value: Scalar | tuple[Scalar, ...] = True


class All(Struct, frozen=True):
    """All of these hold; none of them: true."""

    of: tuple["Condition", ...]


class Any(Struct, frozen=True):
    """One of these holds, at least."""

    of: tuple["Condition", ...]


class Not(Struct, frozen=True):
    """This does not hold."""

    of: "Condition"


class Related(Struct, frozen=True):
    """Some row of another table has the same `link` column, is no older than `since_ms`, and fulfils `where`.

    `where` has the project, too.
    """

    table: Table
    link: str
    since_ms: int
    where: "Condition"


Condition = Compare | All | Any | Not | Related


class Window(Struct, frozen=True, kw_only=True):
    """Times in ms since 1970, the end excluded."""

    since_ms: int
    until_ms: int


class Position(Struct, frozen=True, kw_only=True):
    """The place of a row in a listing: the value that it is ordered by (nothing where that is its time), time, ids."""

    value: str | int | float | None = None
    time_ms: int
    ids: tuple[str | int, ...]


class Listing(Struct, frozen=True, kw_only=True):
    """Rows in an order, from a position on: the newest version of each, where that fulfils `where`."""

    table: Table
    where: Condition
    """It has the project."""
    window: Window
    column: str = ""
    """What the rows are ordered by before time and ids, which go the same way; empty: nothing. NULLs come last."""
    descending: bool = True
    after: Position | None = None
    limit: int
    offset: int = 0
    """Rows to leave out first."""
    ids: tuple[str, ...]
    """The columns that tell rows of one time apart."""
    batches: tuple[str, ...] = ()
    """Only rows whose newest version came with one of these; none: all."""
    columns: tuple[str, ...]
    previews: frozenset[str] = frozenset()
    """Columns of which the first characters are wanted alone."""


class Lookup(Struct, frozen=True, kw_only=True):
    """Rows by their ids, whenever they were, in the order of time; of each id the version that was recorded last."""

    table: Table
    where: Condition
    """It has the project and the ids."""
    id: tuple[str, ...]
    """The columns of which one row is wanted for each combination of values."""
    limit: int
    columns: tuple[str, ...]


Row = tuple[Value, ...]


class Listed(Struct, frozen=True, kw_only=True):
    """The rows of a listing, and the position after which it goes on; None: there are no more."""

    rows: list[Row]
    next: Position | None


class Measured(StrEnum):
    """What is computed of the rows of a group."""

    COUNT = "count"
    ERRORS = "errors"
    ERROR_RATE = "error_rate"
    """From 0 to 1."""
    ERROR_PERCENT = "error_percent"
    """From 0 to 100."""
    RATE = "rate"
    """Rows a second."""
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"
    LAST = "last"
    COUNT_DISTINCT = "count_distinct"
    PERCENTILE = "percentile"
    # Of the runs of agents alone:
    EARLIEST = "earliest"
    LATEST = "latest"
    PRESENT = "present"
    """Rows that have a value."""
    EACH = "each"
    """The different values, sorted."""


class Figure(Struct, frozen=True, kw_only=True):
    """One figure of a group of rows: of how many there are, or of the values of a column."""

    name: str
    measured: Measured
    field: Field | None = None
    level: float = 0.0
    """Of a percentile: from 0 to 1."""
    failed: tuple[str, tuple[str, ...]] = ("", ())
    """The column that says whether a row is an error, and its values that do."""


class Aggregate(Struct, frozen=True, kw_only=True):
    """Figures of the rows in a window, by group and by interval of time, in a row each: groups, time, figures."""

    table: Table
    where: Condition
    window: Window
    figures: tuple[Figure, ...]
    by: tuple[Field, ...] = ()
    every_ms: int | None = None
    having: tuple[tuple[str, Op, float], ...] = ()
    """Groups whose figure (by name) compares so."""
    order: str = ""
    """The figure that rows are ordered by, the largest first; empty: by time, then by group."""
    descending: bool = True
    limit: int
    rollup: Rollup | None = None
    """It has the whole hours or days of the window; the edges come from the rows."""
    rollup_where: Condition = All(())
    """`where` in columns of the rollup."""


class Distinct(Struct, frozen=True, kw_only=True):
    """The different values of a field (or, with `keys`, the keys of a JSON column), sorted."""

    table: Table
    where: Condition
    window: Window
    field: Field
    keys: bool = False
    prefix: str = ""
    limit: int
