"""Questions as SQL: what all stores write alike, and the `Dialect` of what each writes in its own way. Pure.

Names of columns come from declarations, operators from closed sets; whatever a person wrote is a bound value.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from spoolhouse.events.declaration import ARRAYS, Column, Kind, Table
from spoolhouse.query.questions import (
    Aggregate,
    All,
    Any,
    Compare,
    Condition,
    Distinct,
    Field,
    Figure,
    Listing,
    Measured,
    Not,
    Op,
    Position,
    Related,
    Scalar,
    Window,
)

PREVIEW = 100
"""Characters."""
Bound = str | int | float | Sequence[str] | Sequence[int] | Sequence[float]
_SIGNS = {Op.EQ: "=", Op.NE: "!=", Op.LT: "<", Op.LE: "<=", Op.GT: ">", Op.GE: ">="}
_TEXTS = frozenset({Kind.TEXT, Kind.SCALAR, Kind.ANY, Kind.JSON})


class Dialect(Struct, frozen=True, kw_only=True):
    """What a store writes in its own way: templates, with the names that they have in braces."""

    identifier: Callable[[str], str]
    """Quotes a name."""
    literal: Callable[[str], str]
    """Quotes a text of a declaration."""
    placeholder: str
    """Of a value: `name`, `kind`."""
    kinds: Mapping[type, str] = {}
    """The kind of a value of each Python type."""
    time: str
    """A moment of the columns' type: `ms`."""
    ms: str
    """A moment as ms since 1970: `time`."""
    bucket: str
    """The start of the interval of a moment, floored since 1970 in UTC: `ms`, `every`."""
    label: str
    """The text of a JSON object's key, or NULL: `column`, `key`."""
    to_key: Callable[[str], str] = str
    """Returns what is bound as `key`."""
    choice: str = "{field}"
    """The text of a choice."""
    contains: str
    """A text contains another: `field`, `value`; likewise the next two."""
    prefix: str
    has: str
    """An array has an element."""
    batches: str
    """A row came with one of some batches: `value`."""
    preview: str
    """The first characters of a text: `field`, `size`."""
    each: str
    """A row for each element of an array: `field`."""
    bin: str
    """How many of `edges` a number, `field`, has reached; NULL without one."""
    keys: str
    """The keys of a JSON object as an array: `field`."""
    figures: Mapping[Measured, str]
    """Figures of rows: `value`, `failed`, `seconds`, `level`, `time`, `key`."""


class Statement(ABC):
    """A statement in the making: its values, each under a name of its own."""

    dialect: Dialect

    def __init__(self, prefix: str) -> None:
        """`prefix` stands before the names of tables."""
        self._prefix = prefix
        self.values: dict[str, Bound] = {}

    @abstractmethod
    def table(self, table: Table, *, newest: bool = True) -> str:
        """Return what follows FROM; `newest`: `where` finds the newest version of each row alone."""

    @abstractmethod
    def newest(self, table: Table, of_key: Sequence[str], *, is_all: bool) -> Iterable[str]:
        """Return what more has to hold for the newest version of a row.

        `of_key` holds for all versions of it; `is_all`: nothing else is asked for.
        """

    @abstractmethod
    def words(self, table: Table, field: str, words: Sequence[str], *, is_prose: bool) -> str:
        """Return the condition that a text has each of these words, in any case; `is_prose`: `table` names it so."""

    def sorted_by(self, column: Column, value: str) -> str:
        """Return what a group's value is sorted by."""
        del column
        return value

    def within(self, table: Table) -> str:
        """Return the operator for what is in a SELECT from a table."""
        del table
        return "IN"

    def bind(self, value: Bound, kind: str = "") -> str:
        """Return the placeholder for a value."""
        name = f"v{len(self.values)}"
        self.values[name] = list(value) if isinstance(value, tuple) else value
        return self.dialect.placeholder.format(name=name, kind=kind or self.dialect.kinds.get(type(self.values[name])))

    def names(self, names: Iterable[str]) -> str:
        """Return names, quoted and separated by commas."""
        return ", ".join(map(self.dialect.identifier, names))

    def time(self, ms: int) -> str:
        """Return a moment, in the type of the columns: else no block of rows is left out."""
        return self.dialect.time.format(ms=self.bind(ms))

    def where(
        self,
        table: Table,
        condition: Condition,
        window: Window | None = None,
        *,
        newest: bool = True,
        of_key: Sequence[str] = (),
    ) -> str:
        """Return what follows WHERE; `newest`: of each row only the newest version counts.

        `of_key` are further conditions, which hold for all versions of a row, or for none.
        """
        of_key = [*self._bounds(table, window), *of_key]
        parts = [self.condition(table, condition), *of_key]
        if newest:
            # What holds for the key holds for all versions of a row: fewer are searched for a newer one.
            conjuncts = list(_conjuncts(condition))
            keys = [self.condition(table, one) for one in conjuncts if _is_of_key(table, one)]
            parts += self.newest(table, [*keys, *of_key], is_all=len(keys) == len(conjuncts))
        return " AND ".join(parts)

    def _bounds(self, table: Table, window: Window | None) -> list[str]:
        if window is None:
            return []
        time = self.dialect.identifier(table.time)
        return [f"{time} >= {self.time(window.since_ms)}", f"{time} < {self.time(window.until_ms)}"]

    def condition(self, table: Table, condition: Condition) -> str:
        """Return a condition, in brackets where it needs them."""
        match condition:
            case All(of):
                return self._joined(table, of, " AND ", "true")
            case Any(of):
                return self._joined(table, of, " OR ", "false")
            case Not(inner):
                return f"NOT coalesce({self.condition(table, inner)}, false)"
            case Related(other, link, since_ms, wanted):
                recent = f"{self.dialect.identifier(other.time)} >= {self.time(since_ms)}"
                inside = self.where(other, wanted, of_key=[recent])
                name = self.dialect.identifier(link)
                return f"{name} {self.within(other)} (SELECT {name} FROM {self.table(other)} WHERE {inside})"
        return self._compare(table, condition)

    def _joined(self, table: Table, of: Sequence[Condition], word: str, none: str) -> str:
        if not of:
            return none
        return f"({word.join(self.condition(table, one) for one in of)})"

    def field(self, field: Field) -> str:
        """Return a field's value; of a JSON object's key, its text, or NULL."""
        name = self.dialect.identifier(field.column)
        if field.key is None:
            return name
        return self.dialect.label.format(column=name, key=self.bind(self.dialect.to_key(field.key)))

    def _text(self, column: Column, field: str) -> str:
        return self.dialect.choice.format(field=field) if column.kind is Kind.CHOICE else field

    def _compare(self, table: Table, compare: Compare) -> str:
        column = table.column(compare.field.column)
        is_label = compare.field.key is not None
        field, op, value = self.field(compare.field), compare.op, compare.value
        values = value if isinstance(value, tuple) else (value,)
        match op:
            case Op.EXISTS:
                has_length = not is_label and column.kind in _TEXTS | ARRAYS
                return f"length({field}) > 0" if has_length else f"{field} IS NOT NULL"
            case Op.WORDS:
                is_prose = not is_label and column.name in table.words
                return self.words(table, field, [str(one) for one in values], is_prose=is_prose)
            case Op.IN | Op.NOT_IN:
                return self._in(column, field, values, op, is_label=is_label)
            case Op.CONTAINS | Op.PREFIX:
                has = self.dialect.has if column.kind is Kind.TEXTS and not is_label else self.dialect.contains
                template = self.dialect.prefix if op is Op.PREFIX else has
                text = field if is_label else self._text(column, field)
                return template.format(field=text, value=self.bind(str(value)))
        [one] = values
        found = f"{field} {_SIGNS[op]} {self._value(column, one, is_label=is_label)}"
        return f"coalesce({found}, true)" if op is Op.NE else found

    def _in(self, column: Column, field: str, values: Sequence[Scalar], op: Op, *, is_label: bool) -> str:
        if not values:
            return "false" if op is Op.IN else "true"
        text = field if is_label else self._text(column, field)
        found = f"{text} IN ({', '.join(self._value(column, one, is_label=is_label) for one in values)})"
        return found if op is Op.IN else f"NOT coalesce({found}, false)"

    def _value(self, column: Column, value: Scalar, *, is_label: bool) -> str:
        if is_label or isinstance(value, str):
            return self.bind(str(value))
        return self.time(int(value)) if column.kind is Kind.TIME else self.bind(value)

    def read(self, column: Column) -> str:
        """Return a column as the query side has it: times are ms."""
        name = self.dialect.identifier(column.name)
        return self.dialect.ms.format(time=name) if column.kind is Kind.TIME else name

    def shown(self, listing: Listing) -> list[str]:
        """Return the columns of a listing."""
        return [
            self.dialect.preview.format(field=self.dialect.identifier(name), size=PREVIEW)
            if name in listing.previews
            else self.read(listing.table.column(name))
            for name in listing.columns
        ]

    def of_batches(self, listing: Listing) -> str:
        """Return the further condition that rows came with some batches."""
        return f" AND {self.dialect.batches.format(value=self.bind(listing.batches))}" if listing.batches else ""

    def place(self, listing: Listing) -> tuple[list[str], str]:
        """Return the columns of a row's position, time and ids and the value of its order; and what rows go by."""
        table, way = listing.table, "DESC" if listing.descending else "ASC"
        names = [table.time, *listing.ids]
        order = [f"{self.dialect.identifier(name)} {way}" for name in names]
        if listing.column:
            order.insert(0, f"{self.dialect.identifier(listing.column)} {way} NULLS LAST")
            names.append(listing.column)
        return [self.read(table.column(name)) for name in names], ", ".join(order)

    def listed(self, listing: Listing, position: Position | None, *, newest: bool = True) -> str:
        """Return what follows WHERE for the rows of a listing after a position."""
        where = self.where(listing.table, listing.where, listing.window, newest=newest) + self.of_batches(listing)
        return where if position is None else f"{where} AND {self._after(listing, position)}"

    def _after(self, listing: Listing, position: Position) -> str:
        sign = "<" if listing.descending else ">"
        time, moment = self.dialect.identifier(listing.table.time), self.time(position.time_ms)
        ids = ", ".join([moment, *(self.bind(one) for one in position.ids)])
        later = f"({self.names([listing.table.time, *listing.ids])}) {sign} ({ids})"
        if not listing.column:
            return f"{time} {sign}= {moment} AND {later}"
        name = self.dialect.identifier(listing.column)
        if position.value is None:
            return f"({name} IS NULL AND {later})"
        value = self._value(listing.table.column(listing.column), position.value, is_label=False)
        ties = f"({name} = {value} AND {later})"
        return f"({name} {sign} {value} OR {ties} OR {name} IS NULL)"

    def arrived(self, table: Table, where: Condition, window: Window, since_ms: int) -> str:
        """Return the statement for the batches of rows that were ingested since then, with the time in ms."""
        wanted = f"{self.where(table, where, window, newest=False)} AND ingested_at >= {self.time(since_ms)}"
        columns = f"batch_id, {self.dialect.ms.format(time='max(ingested_at)')}"
        return f"SELECT {columns} FROM {self.table(table, newest=False)} WHERE {wanted} GROUP BY batch_id"

    def counted(self, table: Table, where: Condition, window: Window) -> str:
        """Return the statement for the number of rows."""
        return f"SELECT count(*) FROM {self.table(table)} WHERE {self.where(table, where, window)}"

    def distinct(self, asked: Distinct) -> str:
        """Return the statement for the values that occur."""
        column, value = asked.table.column(asked.field.column), self.field(asked.field)
        if asked.keys:
            value = self.dialect.each.format(field=self.dialect.keys.format(field=value))
        elif asked.field.key is None:
            value = self.dialect.each.format(field=value) if column.kind is Kind.TEXTS else self._text(column, value)
        inner = f"SELECT {value} AS found FROM {self.table(asked.table)}"
        where = self.where(asked.table, asked.where, asked.window)
        prefixed = self.dialect.prefix.format(field="found", value=self.bind(asked.prefix)) if asked.prefix else "true"
        found = f"({inner} WHERE {where}) WHERE found != '' AND {prefixed}"
        return f"SELECT DISTINCT found FROM {found} ORDER BY found LIMIT {asked.limit:d}"

    def figures(self, asked: Aggregate) -> str:
        """Return the statement for figures: groups, the bucket in ms (where there are intervals), figures."""
        names = {one.name: f"f{number}" for number, one in enumerate(asked.figures)}
        having = [f"{names[name]} {_SIGNS[op]} {self.bind(value)}" for name, op, value in asked.having]
        order = [f"{names[asked.order]} {'DESC' if asked.descending else 'ASC'} NULLS LAST"] if asked.order else []
        order += ["bucket"] if asked.every_ms else []
        for number, one in enumerate(asked.by):
            value = f"g{number}"
            value = value if one.key is not None else self.sorted_by(asked.table.column(one.column), value)
            order.append(f"{value} NULLS LAST")
        return (
            f"SELECT * FROM ({self.aggregated(asked)})"
            + (f" WHERE {' AND '.join(having)}" if having else "")
            + (f" ORDER BY {', '.join(order)}" if order else "")
            + f" LIMIT {asked.limit + 1:d}"
        )

    def aggregated(self, asked: Aggregate) -> str:
        """Return the statement for the figures of rows, in any order."""
        table = asked.table
        shown = [*self.groups(asked), *self.buckets(asked, self.read(table.column(table.time)))]
        shown += [f"{self._figure(asked, one)} AS f{number}" for number, one in enumerate(asked.figures)]
        source = f"{self.table(table)} WHERE {self.where(table, asked.where, asked.window)}"
        return f"SELECT {', '.join(shown)} FROM {source}{grouped(asked)}"

    def groups(self, asked: Aggregate) -> list[str]:
        """Return the columns of groups."""
        return [f"{self._group(one)} AS g{number}" for number, one in enumerate(asked.by)]

    def _group(self, field: Field) -> str:
        if not field.edges:
            return self.field(field)
        edges = self.bind(field.edges, "Array(Float64)")
        return self.dialect.bin.format(field=self.field(field), edges=edges)

    def buckets(self, asked: Aggregate, ms: str) -> list[str]:
        """Return the column of the interval that a time in ms is in, where there are intervals."""
        every = asked.every_ms
        return [f"{self.dialect.bucket.format(ms=ms, every=every)} AS bucket"] if every else []

    def _figure(self, asked: Aggregate, figure: Figure) -> str:
        return self.dialect.figures[figure.measured].format(
            value="" if figure.field is None else self.field(figure.field),
            failed=self.failed(figure),
            seconds=seconds(asked),
            level=figure.level,
            time=self.dialect.identifier(asked.table.time),
            key=self.names([asked.table.time, *asked.table.order_by]),
        )

    def failed(self, figure: Figure) -> str:
        """Return the condition that a row is an error."""
        column, choices = figure.failed
        if not choices:
            return "false"
        some = ", ".join(map(self.dialect.literal, choices))
        return f"coalesce({self.dialect.identifier(column)} IN ({some}), false)"


def seconds(asked: Aggregate) -> float:
    """Return the length of what a rate is of: an interval, or the window."""
    return (asked.every_ms or asked.window.until_ms - asked.window.since_ms) / 1000 or 1.0


def grouped(asked: Aggregate, *others: str) -> str:
    """Return what follows the condition: the groups, where there are any."""
    names = [*(f"g{number}" for number in range(len(asked.by))), *others, *(["bucket"] if asked.every_ms else [])]
    return f" GROUP BY {', '.join(names)}" if names else ""


def _conjuncts(condition: Condition) -> Iterator[Condition]:
    if isinstance(condition, All):
        for one in condition.of:
            yield from _conjuncts(one)
    else:
        yield condition


def _is_of_key(table: Table, condition: Condition) -> bool:
    return isinstance(condition, Compare) and condition.field.key is None and condition.field.column in table.order_by
