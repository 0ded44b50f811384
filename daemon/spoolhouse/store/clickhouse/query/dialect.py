"""Questions as ClickHouse's SQL. Pure.

Names of columns come from declarations, operators from closed sets; whatever a person wrote is a bound value.
"""

from collections.abc import Sequence

from spoolhouse.events.declaration import ARRAYS, Column, Kind, Table
from spoolhouse.events.naming import LOCAL
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
from spoolhouse.store.clickhouse.driver import Parameter
from spoolhouse.store.clickhouse.quoting import identifier, identifiers

PREVIEW = 100
"""Characters."""
_MOST_TOKENS = 64
"""That one call of the server's function takes."""
_FUNCTIONS = {Op.CONTAINS: "position", Op.PREFIX: "startsWith"}
SIGNS = {Op.EQ: "=", Op.NE: "!=", Op.LT: "<", Op.LE: "<=", Op.GT: ">", Op.GE: ">="}
_TEXTS = frozenset({Kind.TEXT, Kind.SCALAR, Kind.ANY, Kind.JSON})
_NUMBERS = frozenset({Kind.NUMBER, Kind.INTEGER, Kind.INTEGER32})


class Statement:
    """A statement in the making: its values, each under a name of its own."""

    def __init__(self, prefix: str, *, has_text_index: bool = False) -> None:
        """`prefix` stands before the names of tables. `has_text_index`: words are looked up in it."""
        self._prefix = prefix
        self._has_text_index = has_text_index
        self.values: dict[str, Parameter] = {}

    def bind(self, value: Parameter, kind: str) -> str:
        """Return the placeholder for a value."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{kind}}}"

    def time(self, ms: int) -> str:
        """Return a moment."""
        return f"fromUnixTimestamp64Milli({self.bind(ms, 'Int64')}, 'UTC')"

    def table(self, table: Table, *, newest: bool) -> str:
        """Return what follows FROM; `newest`: of each row only the newest version."""
        return f"{identifier(self._prefix + table.name)}{' FINAL' if newest else ''}"

    def where(self, table: Table, condition: Condition, window: Window | None = None) -> str:
        """Return what follows WHERE."""
        parts = [self.condition(table, condition)]
        if window is not None:
            time = identifier(table.time)
            parts += [f"{time} >= {self.time(window.since_ms)}", f"{time} < {self.time(window.until_ms)}"]
        return " AND ".join(parts)

    def of_batches(self, listing: Listing) -> str:
        """Return the further condition that rows came with some batches."""
        return f" AND batch_id IN {self.bind(listing.batches, 'Array(String)')}" if listing.batches else ""

    def condition(self, table: Table, condition: Condition) -> str:
        """Return a condition, in brackets where it needs them."""
        match condition:
            case All(of):
                return self._joined(table, of, " AND ", "1")
            case Any(of):
                return self._joined(table, of, " OR ", "0")
            case Not(inner):
                return f"NOT ifNull({self.condition(table, inner)}, 0)"
            case Related(other, link, since_ms, wanted):
                inside = f"{self.where(other, wanted)} AND {identifier(other.time)} >= {self.time(since_ms)}"
                name = identifier(link)
                return f"{name} IN (SELECT {name} FROM {self.table(other, newest=True)} WHERE {inside})"
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
        at = f"{name}, {self.bind(field.key, 'String')}"
        text = f"if(JSONType({at}) = 'String', JSONExtractString({at}), JSONExtractRaw({at}))"
        return f"if(JSONHas({at}) AND JSONType({at}) != 'Null', {text}, NULL)"

    def _compare(self, table: Table, compare: Compare) -> str:
        column = table.column(compare.field.column)
        is_label = compare.field.key is not None
        field, op, value = self.field(compare.field), compare.op, compare.value
        if op is Op.EXISTS:
            is_text = not is_label and (column.kind in _TEXTS or column.kind in ARRAYS)
            return f"notEmpty({field})" if is_text else f"isNotNull({field})"
        if op is Op.WORDS:
            words = tuple(str(one) for one in (value if isinstance(value, tuple) else (value,)))
            is_indexed = self._has_text_index and not is_label and column.name in table.words
            return self._indexed_words(field, words) if is_indexed else self._words(field, words)
        if op in {Op.IN, Op.NOT_IN}:
            return self._in(column, field, value, op, is_label=is_label)
        if op in {Op.CONTAINS, Op.PREFIX}:
            function = "has" if column.kind is Kind.TEXTS and not is_label else _FUNCTIONS[op]
            return f"{function}({field if is_label else _text(column, field)}, {self.bind(str(value), 'String')})"
        found = f"{field} {SIGNS[op]} {self._value(column, value, is_label=is_label)}"
        return f"ifNull({found}, 1)" if op is Op.NE else found

    def _in(self, column: Column, field: str, value: Scalar | tuple[Scalar, ...], op: Op, *, is_label: bool) -> str:
        values = value if isinstance(value, tuple) else (value,)
        if not values:
            return "0" if op is Op.IN else "1"
        if column.kind in {*_TEXTS, Kind.CHOICE} or is_label:
            field = field if is_label else _text(column, field)
            found = f"{field} IN {self.bind([str(one) for one in values], 'Array(String)')}"
        else:
            found = f"{field} IN ({', '.join(self._value(column, one, is_label=False) for one in values)})"
        return found if op is Op.IN else f"NOT ifNull({found}, 0)"

    def _words(self, field: str, words: Sequence[str]) -> str:
        found = (f"hasTokenCaseInsensitive({field}, {self.bind(one, 'String')})" for one in words)
        return f"({' AND '.join(found)})"

    def _indexed_words(self, field: str, words: Sequence[str]) -> str:
        # As the server's lower(): of ASCII alone.
        lower = [one.encode().lower().decode() for one in words]
        some = (lower[start : start + _MOST_TOKENS] for start in range(0, len(lower), _MOST_TOKENS))
        found = (f"hasAllTokens(lower({field}), {self.bind(one, 'Array(String)')})" for one in some)
        return f"({' AND '.join(found)})"

    def _value(self, column: Column, value: Scalar | tuple[Scalar, ...], *, is_label: bool) -> str:
        if isinstance(value, tuple):
            raise TypeError(value)
        if is_label or isinstance(value, str):
            return self.bind(str(value), "String")
        if column.kind is Kind.TIME:
            return self.time(int(value))
        return self.bind(value, "Int64" if isinstance(value, int) else "Float64")

    def after(self, listing: Listing, position: Position) -> str:
        """Return the condition that a row comes after a position."""
        sign = "<" if listing.descending else ">"
        time = identifier(listing.table.time)
        names = ", ".join([time, *(identifier(name) for name in listing.ids)])
        ids = [self.bind(one, "Int64" if isinstance(one, int) else "String") for one in position.ids]
        moment = self.time(position.time_ms)
        later = f"({names}) {sign} ({', '.join([moment, *ids])})"
        if not listing.column:
            return f"{time} {sign}= {moment} AND {later}"
        name = identifier(listing.column)
        if position.value is None:
            return f"(isNull({name}) AND {later})"
        value = self._value(listing.table.column(listing.column), position.value, is_label=False)
        ties = f"({name} = {value} AND {later})"
        return f"({name} {sign} {value} OR {ties} OR isNull({name}))"


def candidates(
    prefix: str, listing: Listing, position: Position | None, limit: int, *, has_text_index: bool = False
) -> tuple[str, Statement]:
    """Return the narrow step: where rows may be that fulfil a listing, in its order: time, hash, ids and value.

    It sees superseded versions too, except where the order is not that of the table's key: FINAL costs less there than
    what else would have to be read again.
    """
    newest = bool(listing.column) or listing.offset > 0
    made = Statement(prefix, has_text_index=has_text_index and not newest)
    where = made.where(listing.table, listing.where, listing.window) + made.of_batches(listing)
    if position is not None:
        where += f" AND {made.after(listing, position)}"
    way = "DESC" if listing.descending else "ASC"
    names = [listing.table.time, *listing.ids]
    order = [f"{identifier(name)} {way}" for name in names]
    if listing.column:
        order.insert(0, f"{identifier(listing.column)} {way} NULLS LAST")
    columns = [key_hash(listing.table), *(_read(listing.table.column(name)) for name in names)]
    if listing.column:
        columns.append(_read(listing.table.column(listing.column)))
    once = f"LIMIT 1 BY {identifiers([*names, 'project_id'])}"
    offset = f" OFFSET {listing.offset:d}" if listing.offset else ""
    sql = (
        f"SELECT {', '.join(columns)} FROM {made.table(listing.table, newest=newest)} WHERE {where} "
        f"ORDER BY {', '.join(order)} {once} LIMIT {limit:d}{offset}"
    )
    return sql, made


def verified(prefix: str, listing: Listing, hashes: Sequence[int], times: Sequence[int]) -> tuple[str, Statement]:
    """Return the wide step: the newest versions of these keys that fulfil the listing, in any order: hash, columns."""
    made = Statement(prefix)
    table, time = listing.table, identifier(listing.table.time)
    bounds = Window(since_ms=min(times), until_ms=max(times) + 1)
    distinct = made.bind(sorted({*times}), "Array(Int64)")
    keys = made.bind(hashes, "Array(UInt64)")
    columns = [key_hash(table), *(_shown(table.column(name), listing) for name in listing.columns)]
    sql = (
        f"SELECT {', '.join(columns)} FROM {made.table(table, newest=True)} "
        f"WHERE {made.where(table, listing.where, bounds)}{made.of_batches(listing)} "
        f"AND {time} IN (SELECT fromUnixTimestamp64Milli(arrayJoin({distinct}), 'UTC')) "
        f"AND {key_hash(table)} IN (SELECT arrayJoin({keys}))"
    )
    return sql, made


def arrived(prefix: str, table: Table, where: Condition, window: Window, since_ms: int) -> tuple[str, Statement]:
    """Return the statement for the batches of rows that were ingested since then."""
    made = Statement(prefix)
    wanted = f"{made.where(table, where, window)} AND ingested_at >= {made.time(since_ms)}"
    columns = "batch_id, toUnixTimestamp64Milli(max(ingested_at))"
    return f"SELECT {columns} FROM {made.table(table, newest=False)} WHERE {wanted} GROUP BY batch_id", made


def text_indexes(prefix: str, table: Table) -> tuple[str, Statement]:
    """Return the statement for the number of text indexes of a table, also of the one under a Distributed one."""
    made = Statement(prefix)
    names = made.bind([prefix + table.name, prefix + LOCAL + table.name], "Array(String)")
    where = f"database = currentDatabase() AND has({names}, table) AND type = 'text'"
    return f"SELECT count() FROM system.data_skipping_indices WHERE {where}", made


def key_hash(table: Table) -> str:
    """Return the hash of a row's sorting key: keys of any length are named by it."""
    return f"sipHash64({identifiers(table.order_by)})"


def looked_up(prefix: str, lookup: Lookup) -> tuple[str, Statement]:
    """Return the statement for rows by id: of each id the version that was recorded last, in the order of time."""
    made = Statement(prefix)
    table = lookup.table
    columns = ", ".join(_read(table.column(name)) for name in lookup.columns)
    ids = identifiers([*lookup.id, "project_id"])
    names = [table.time, *(name for name in table.order_by if name not in {table.time, "project_id"})]
    inner = (
        f"SELECT * FROM {made.table(table, newest=True)} WHERE {made.where(table, lookup.where)} "
        f"ORDER BY recorded_at DESC, {identifiers(names)} LIMIT 1 BY {ids}"
    )
    return f"SELECT {columns} FROM ({inner}) ORDER BY {identifiers(names)} LIMIT {lookup.limit:d}", made


def counted(prefix: str, table: Table, where: Condition, window: Window) -> tuple[str, Statement]:
    """Return the statement for the number of rows."""
    made = Statement(prefix)
    return f"SELECT count() FROM {made.table(table, newest=True)} WHERE {made.where(table, where, window)}", made


def distinct(prefix: str, asked: Distinct) -> tuple[str, Statement]:
    """Return the statement for the values that occur."""
    made = Statement(prefix)
    column = asked.table.column(asked.field.column)
    value = made.field(asked.field)
    if asked.keys:
        value = f"arrayJoin(JSONExtractKeys({value}))"
    elif column.kind is Kind.TEXTS and asked.field.key is None:
        value = f"arrayJoin({value})"
    elif asked.field.key is None:
        value = _text(column, value)
    inner = f"SELECT {value} AS found FROM {made.table(asked.table, newest=True)}"
    where = made.where(asked.table, asked.where, asked.window)
    prefixed = f"startsWith(found, {made.bind(asked.prefix, 'String')})" if asked.prefix else "1"
    found = f"({inner} WHERE {where}) WHERE notEmpty(found) AND {prefixed}"
    return f"SELECT DISTINCT found FROM {found} ORDER BY found LIMIT {asked.limit:d}", made


def _text(column: Column, value: str) -> str:
    return f"toString({value})" if column.kind is Kind.CHOICE else value


def _read(column: Column) -> str:
    """Return a column as the query side has it: times are ms."""
    name = identifier(column.name)
    return f"toUnixTimestamp64Milli({name})" if column.kind is Kind.TIME else name


def _shown(column: Column, listing: Listing) -> str:
    if column.name in listing.previews:
        return f"substringUTF8({identifier(column.name)}, 1, {PREVIEW})"
    return _read(column)
