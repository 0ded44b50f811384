"""Questions as DuckDB's SQL. Pure.

Names of columns come from declarations, operators from closed sets; whatever a person wrote is a bound value.
"""

from collections.abc import Iterator, Sequence

from spoolhouse.events.declaration import ARRAYS, Column, Kind, Table
from spoolhouse.query.questions import (
    All,
    Any,
    Compare,
    Condition,
    Distinct,
    Field,
    Listing,
    Lookup,
    Not,
    Op,
    Position,
    Related,
    Scalar,
    Window,
)
from spoolhouse.store.duckdb.quoting import identifier, literal

PREVIEW = 100
"""Characters."""
_FUNCTIONS = {Op.CONTAINS: "contains", Op.PREFIX: "starts_with"}
SIGNS = {Op.EQ: "=", Op.NE: "!=", Op.LT: "<", Op.LE: "<=", Op.GT: ">", Op.GE: ">="}
_TEXTS = frozenset({Kind.TEXT, Kind.SCALAR, Kind.ANY, Kind.JSON})
_NO_LETTER = r"[^0-9A-Za-z\x{80}-\x{10FFFF}]"
"""What is between words."""
Bound = str | int | float | Sequence[str]


class Statement:
    """A statement in the making: its values, each under a name of its own."""

    def __init__(self, prefix: str) -> None:
        """`prefix` stands before the names of tables."""
        self._prefix = prefix
        self.values: dict[str, Bound] = {}

    def bind(self, value: Bound) -> str:
        """Return the placeholder for a value."""
        name = f"v{len(self.values)}"
        self.values[name] = list(value) if isinstance(value, tuple) else value
        return f"${name}"

    def time(self, ms: int) -> str:
        """Return a moment, in the type of the columns: else no block of rows is left out."""
        return f"make_timestamp_ms({self.bind(ms)})::TIMESTAMP_MS"

    def table(self, table: Table) -> str:
        """Return the name of a table."""
        return identifier(self._prefix + table.name)

    def where(self, table: Table, condition: Condition, window: Window | None = None, *, newest: bool = True) -> str:
        """Return what follows WHERE; `newest`: of each row only the newest version counts."""
        name = self.table(table)
        bounds = self._bounds(table, window)
        parts = [self.condition(table, condition), *bounds]
        if newest:
            # What holds for the key holds for all versions of a row: fewer are searched for a newer one.
            of_key = [one for one in _conjuncts(condition) if _is_of_key(table, one)]
            same = [f"{_of('newer', column)} = {name}.{identifier(column)}" for column in table.order_by]
            later = f"({_of('newer', 'recorded_at')}, newer.rowid) > ({name}.recorded_at, {name}.rowid)"
            narrow = [self.condition(table, one) for one in of_key]
            versions = f"SELECT * , rowid FROM {name} WHERE {' AND '.join([*narrow, *bounds]) or 'true'}"
            parts.append(f"NOT EXISTS (SELECT 1 FROM ({versions}) AS newer WHERE {' AND '.join([*same, later])})")
        return " AND ".join(parts)

    def _bounds(self, table: Table, window: Window | None) -> list[str]:
        if window is None:
            return []
        time = identifier(table.time)
        return [f"{time} >= {self.time(window.since_ms)}", f"{time} < {self.time(window.until_ms)}"]

    def of_batches(self, listing: Listing) -> str:
        """Return the further condition that rows came with some batches."""
        return f" AND list_contains({self.bind(listing.batches)}, batch_id)" if listing.batches else ""

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
                inside = f"{self.where(other, wanted)} AND {identifier(other.time)} >= {self.time(since_ms)}"
                name = identifier(link)
                return f"{name} IN (SELECT {name} FROM {self.table(other)} WHERE {inside})"
        return self._compare(table, condition)

    def _joined(self, table: Table, of: Sequence[Condition], word: str, none: str) -> str:
        if not of:
            return none
        return f"({word.join(self.condition(table, one) for one in of)})"

    def field(self, field: Field) -> str:
        """Return a field's value; of a JSON object's key, its text, or NULL."""
        name = identifier(field.column)
        if field.key is None:
            return name
        # A JSON pointer: in a path a key could be a wildcard. What is no JSON has no keys.
        pointer = "/" + field.key.replace("~", "~0").replace("/", "~1")
        return f"TRY(json_extract_string({name}, {self.bind(pointer)}))"

    def _compare(self, table: Table, compare: Compare) -> str:
        column = table.column(compare.field.column)
        is_label = compare.field.key is not None
        field, op, value = self.field(compare.field), compare.op, compare.value
        if op is Op.EXISTS:
            if is_label or column.kind not in _TEXTS | ARRAYS:
                return f"{field} IS NOT NULL"
            return f"len({field}) > 0"
        if op is Op.WORDS:
            return self._words(field, value)
        if op in {Op.IN, Op.NOT_IN}:
            return self._in(column, field, value, op, is_label=is_label)
        if op in {Op.CONTAINS, Op.PREFIX}:
            function = "list_contains" if column.kind is Kind.TEXTS and not is_label else _FUNCTIONS[op]
            return f"{function}({field}, {self.bind(str(value))})"
        found = f"{field} {SIGNS[op]} {self._value(column, value, is_label=is_label)}"
        return f"coalesce({found}, true)" if op is Op.NE else found

    def _in(self, column: Column, field: str, value: Scalar | tuple[Scalar, ...], op: Op, *, is_label: bool) -> str:
        values = value if isinstance(value, tuple) else (value,)
        if not values:
            return "false" if op is Op.IN else "true"
        found = f"{field} IN ({', '.join(self._value(column, one, is_label=is_label) for one in values)})"
        return found if op is Op.IN else f"NOT coalesce({found}, false)"

    def _words(self, field: str, value: Scalar | tuple[Scalar, ...]) -> str:
        words = value if isinstance(value, tuple) else (value,)
        found = (f"regexp_matches({field}, {self.bind(_whole_word(str(one)))})" for one in words)
        return f"({' AND '.join(found)})"

    def _value(self, column: Column, value: Scalar | tuple[Scalar, ...], *, is_label: bool) -> str:
        if isinstance(value, tuple):
            raise TypeError(value)
        if is_label or isinstance(value, str):
            return self.bind(str(value))
        return self.time(int(value)) if column.kind is Kind.TIME else self.bind(value)

    def after(self, listing: Listing, position: Position) -> str:
        """Return the condition that a row comes after a position."""
        sign = "<" if listing.descending else ">"
        time = identifier(listing.table.time)
        names = ", ".join([time, *(identifier(name) for name in listing.ids)])
        moment = self.time(position.time_ms)
        later = f"({names}) {sign} ({', '.join([moment, *(self.bind(one) for one in position.ids)])})"
        if not listing.column:
            return f"{time} {sign}= {moment} AND {later}"
        name = identifier(listing.column)
        if position.value is None:
            return f"({name} IS NULL AND {later})"
        value = self._value(listing.table.column(listing.column), position.value, is_label=False)
        ties = f"({name} = {value} AND {later})"
        return f"({name} {sign} {value} OR {ties} OR {name} IS NULL)"


def listed(prefix: str, listing: Listing, position: Position | None, limit: int) -> tuple[str, Statement]:
    """Return the statement for rows of a listing, in its order: time, ids, the value of its order, and the columns."""
    made = Statement(prefix)
    where = made.where(listing.table, listing.where, listing.window) + made.of_batches(listing)
    if position is not None:
        where += f" AND {made.after(listing, position)}"
    way = "DESC" if listing.descending else "ASC"
    names = [listing.table.time, *listing.ids]
    order = [f"{identifier(name)} {way}" for name in names]
    keys = [_read(listing.table.column(name)) for name in names]
    if listing.column:
        order.insert(0, f"{identifier(listing.column)} {way} NULLS LAST")
        keys.append(_read(listing.table.column(listing.column)))
    shown = (_shown(listing.table.column(name), listing) for name in listing.columns)
    offset = f" OFFSET {listing.offset:d}" if listing.offset else ""
    return (
        f"SELECT {', '.join([*keys, *shown])} FROM {made.table(listing.table)} WHERE {where}"
        f" ORDER BY {', '.join(order)} LIMIT {limit:d}{offset}"
    ), made


def arrived(prefix: str, table: Table, where: Condition, window: Window, since_ms: int) -> tuple[str, Statement]:
    """Return the statement for the batches of rows that were ingested since then."""
    made = Statement(prefix)
    wanted = f"{made.where(table, where, window, newest=False)} AND ingested_at >= {made.time(since_ms)}"
    return (
        f"SELECT batch_id, epoch_ms(max(ingested_at)) FROM {made.table(table)} WHERE {wanted} GROUP BY batch_id"
    ), made


def looked_up(prefix: str, lookup: Lookup) -> tuple[str, Statement]:
    """Return the statement for rows by id: of each id the version that was recorded last, in the order of time."""
    made = Statement(prefix)
    table = lookup.table
    columns = ", ".join(_read(table.column(name)) for name in lookup.columns)
    ids = ", ".join(identifier(name) for name in (*lookup.id, "project_id"))
    order = ", ".join(
        identifier(name)
        for name in (table.time, *(name for name in table.order_by if name not in {table.time, "project_id"}))
    )
    return (
        f"SELECT {columns} FROM {made.table(table)} WHERE {made.where(table, lookup.where)}"
        f" QUALIFY row_number() OVER (PARTITION BY {ids} ORDER BY recorded_at DESC, {order}) = 1"
        f" ORDER BY {order} LIMIT {lookup.limit:d}"
    ), made


def counted(prefix: str, table: Table, where: Condition, window: Window) -> tuple[str, Statement]:
    """Return the statement for the number of rows."""
    made = Statement(prefix)
    return f"SELECT count(*) FROM {made.table(table)} WHERE {made.where(table, where, window)}", made


def distinct(prefix: str, asked: Distinct) -> tuple[str, Statement]:
    """Return the statement for the values that occur."""
    made = Statement(prefix)
    column = asked.table.column(asked.field.column)
    value = made.field(asked.field)
    if asked.keys:
        value = f"unnest(TRY(json_keys({value})))"
    elif column.kind is Kind.TEXTS and asked.field.key is None:
        value = f"unnest({value})"
    inner = f"SELECT {value} AS found FROM {made.table(asked.table)}"
    where = made.where(asked.table, asked.where, asked.window)
    prefixed = f"starts_with(found, {made.bind(asked.prefix)})" if asked.prefix else "true"
    found = f"({inner} WHERE {where}) WHERE found != '' AND {prefixed}"
    return f"SELECT DISTINCT found FROM {found} ORDER BY found LIMIT {asked.limit:d}", made


def in_order(column: Column, value: str) -> str:
    """Return what a group's value is sorted by: choices have the order of their numbers."""
    if column.kind is not Kind.CHOICE:
        return value
    names = sorted(column.choices, key=lambda name: column.choices[name])
    return f"list_position([{', '.join(map(literal, names))}], {value})"


def _of(name: str, column: str) -> str:
    return f"{name}.{identifier(column)}"


def _conjuncts(condition: Condition) -> Iterator[Condition]:
    if isinstance(condition, All):
        for one in condition.of:
            yield from _conjuncts(one)
    else:
        yield condition


def _is_of_key(table: Table, condition: Condition) -> bool:
    return isinstance(condition, Compare) and condition.field.key is None and condition.field.column in table.order_by


def _whole_word(word: str) -> str:
    """Return the pattern of a word, its ASCII letters in either case. Words have nothing that a pattern gives sense."""
    letters = "".join(f"[{one.lower()}{one.upper()}]" if one.isascii() and one.isalpha() else one for one in word)
    return f"(^|{_NO_LETTER}){letters}($|{_NO_LETTER})"


def _read(column: Column) -> str:
    """Return a column as the query side has it: times are ms."""
    name = identifier(column.name)
    return f"epoch_ms({name})" if column.kind is Kind.TIME else name


def _shown(column: Column, listing: Listing) -> str:
    if column.name in listing.previews:
        return f"substring({identifier(column.name)}, 1, {PREVIEW})"
    return _read(column)
