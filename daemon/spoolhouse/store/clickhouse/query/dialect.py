"""Questions as ClickHouse's SQL. Pure."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from spoolhouse.events.declaration import Table
from spoolhouse.events.naming import LOCAL
from spoolhouse.query import sql
from spoolhouse.query.questions import Listing, Lookup, Measured, Position, Window
from spoolhouse.query.sql import Dialect
from spoolhouse.store.clickhouse.quoting import identifier, identifiers, literal

_MOST_TOKENS = 64
"""That one call of the server's function takes."""

_RAW = "JSONExtractRaw({column}, {key})"
"""Of a missing key it is empty. Each other function would read the whole object once more."""
_TEXT = f"startsWith({_RAW}, '\"'), JSONExtractString({_RAW})"
DIALECT = Dialect(
    identifier=identifier,
    literal=literal,
    placeholder="{{{name}:{kind}}}",
    kinds={str: "String", bool: "Int64", int: "Int64", float: "Float64", list: "Array(String)"},
    time="fromUnixTimestamp64Milli({ms}, 'UTC')",
    ms="toUnixTimestamp64Milli({time})",
    bucket="intDiv(toInt64({ms}), {every:d}) * {every:d}",
    label=f"multiIf({_RAW} IN ('', 'null'), NULL, {_TEXT}, {_RAW})",
    choice="toString({field})",
    contains="position({field}, {value})",
    prefix="startsWith({field}, {value})",
    has="has({field}, {value})",
    batches="batch_id IN {value}",
    preview="substringUTF8({field}, 1, {size:d})",
    each="arrayJoin({field})",
    bin="if(isNull({field}), NULL, arrayCount(edge -> edge <= assumeNotNull({field}), {edges}))",
    keys="JSONExtractKeys({field})",
    figures={
        Measured.COUNT: "count()",
        Measured.RATE: "count() / {seconds}",
        Measured.ERRORS: "countIf({failed})",
        Measured.ERROR_RATE: "countIf({failed}) / count()",
        Measured.ERROR_PERCENT: "100 * countIf({failed}) / count()",
        Measured.SUM: "ifNull(sum(toFloat64({value})), 0)",
        Measured.AVG: "avgOrNull({value})",
        Measured.MIN: "minOrNull({value})",
        Measured.MAX: "maxOrNull({value})",
        Measured.LAST: "argMaxOrNull({value}, ({key}))",
        Measured.COUNT_DISTINCT: "uniqExact({value})",
        Measured.PERCENTILE: "quantileExactInclusiveOrNull({level})({value})",
        Measured.EARLIEST: "toUnixTimestamp64Milli(min({time}))",
        Measured.LATEST: "toUnixTimestamp64Milli(max({time}))",
        Measured.PRESENT: "count({value})",
        Measured.EACH: "arraySort(groupUniqArray(1000)({value}))",
    },
)


class Layout(Struct, frozen=True, kw_only=True):
    """What a database has, by the names of its tables."""

    distributed: frozenset[str] = frozenset()
    """Tables over several servers: FINAL finds the newest version of a row on each of them."""
    text_indexed: frozenset[str] = frozenset()
    """Tables whose words are looked up in an index."""


class Statement(sql.Statement):
    """A statement for ClickHouse."""

    dialect = DIALECT

    def __init__(self, prefix: str, layout: Layout, *, by_index: bool = False) -> None:
        """`prefix` stands before the names of tables. `by_index`: words are looked up in one, where there is one."""
        super().__init__(prefix)
        self._layout = layout
        self._by_index = by_index

    def _is_distributed(self, table: Table) -> bool:
        return self._prefix + table.name in self._layout.distributed

    def table(self, table: Table, *, newest: bool = True) -> str:
        """Return what follows FROM; `newest`: `where` finds the newest version of each row alone."""
        return f"{identifier(self._prefix + table.name)}{' FINAL' if newest else ''}"

    def newest(self, table: Table, of_key: Sequence[str], *, is_all: bool) -> Iterable[str]:
        """Return the condition that no other server has a newer version; of one server's versions FINAL finds it."""
        del is_all
        if not self._is_distributed(table):
            return ()
        newest = "max(toUnixTimestamp64Milli(recorded_at) * 65536 + _shard_num) % 65536"
        others = f"arrayFilter(shard -> shard != {newest}, range(min(_shard_num), max(_shard_num) + 1))"
        superseded = (
            f"SELECT _key, arrayJoin({others}) FROM {self.table(table, newest=False)} "
            f"WHERE {' AND '.join(of_key) or '1'} "
            f"GROUP BY {key_hash(table)} AS _key HAVING min(_shard_num) < max(_shard_num)"
        )
        return [f"({key_hash(table)}, _shard_num) GLOBAL NOT IN ({superseded})"]

    def within(self, table: Table) -> str:
        """Return the operator for what is in a SELECT from a table: one server's answer is for all of them."""
        return "GLOBAL IN" if self._is_distributed(table) else "IN"

    def words(self, table: Table, field: str, words: Sequence[str], *, is_prose: bool) -> str:
        """Return the condition that a text has each of these words, in any case."""
        if not (is_prose and self._by_index and self._prefix + table.name in self._layout.text_indexed):
            found = [f"hasTokenCaseInsensitive({field}, {self.bind(one)})" for one in words]
        else:
            # As the server's lower(): of ASCII alone.
            lower = [one.encode().lower().decode() for one in words]
            some = (lower[start : start + _MOST_TOKENS] for start in range(0, len(lower), _MOST_TOKENS))
            found = [f"hasAllTokens(lower({field}), {self.bind(one)})" for one in some]
        return f"({' AND '.join(found)})"


def candidates(
    prefix: str, listing: Listing, position: Position | None, limit: int, layout: Layout
) -> tuple[str, Statement]:
    """Return the narrow step: where rows may be that fulfil a listing, in its order: time, hash, ids and value.

    It sees superseded versions too, except where the order is not that of the table's key: FINAL costs less there than
    what else would have to be read again.
    """
    newest = bool(listing.column) or listing.offset > 0
    made = Statement(prefix, layout, by_index=not newest)
    keys, order = made.place(listing)
    once = f"LIMIT 1 BY {identifiers([listing.table.time, *listing.ids, 'project_id'])}"
    offset = f" OFFSET {listing.offset:d}" if listing.offset else ""
    return (
        f"SELECT {', '.join([key_hash(listing.table), *keys])} FROM {made.table(listing.table, newest=newest)} "
        f"WHERE {made.listed(listing, position, newest=newest)} ORDER BY {order} {once} LIMIT {limit:d}{offset}"
    ), made


def verified(
    prefix: str, listing: Listing, hashes: Sequence[int], times: Sequence[int], layout: Layout
) -> tuple[str, Statement]:
    """Return the wide step: the newest versions of these keys that fulfil the listing, in any order: hash, columns."""
    made = Statement(prefix, layout)
    table = listing.table
    bounds = Window(since_ms=min(times), until_ms=max(times) + 1)
    distinct, keys = made.bind(sorted({*times}), "Array(Int64)"), made.bind(hashes, "Array(UInt64)")
    of_key = [
        f"{identifier(table.time)} IN (SELECT fromUnixTimestamp64Milli(arrayJoin({distinct}), 'UTC'))",
        f"{key_hash(table)} IN (SELECT arrayJoin({keys}))",
    ]
    return (
        f"SELECT {', '.join([key_hash(table), *made.shown(listing)])} FROM {made.table(table)} "
        f"WHERE {made.where(table, listing.where, bounds, of_key=of_key)}{made.of_batches(listing)}"
    ), made


def layout(prefix: str) -> tuple[str, Statement]:
    """Return the statement for the tables that the user may see: name, engine, whether words of it are indexed."""
    made = Statement(prefix, Layout())
    own, local = made.bind(prefix), made.bind(prefix + LOCAL)
    return (
        # Words of a Distributed table are indexed in the one under it. The list of indexes needs a right of its own.
        f"SELECT if(startsWith(name, {local}), concat({own}, substring(name, length({local}) + 1)), name) AS _name,"
        " max(engine = 'Distributed'), max(position(create_table_query, ' TYPE text(') > 0)"
        f" FROM system.tables WHERE database = currentDatabase() AND startsWith(name, {own}) GROUP BY _name"
    ), made


def key_hash(table: Table) -> str:
    """Return the hash of a row's sorting key: keys of any length are named by it."""
    return f"sipHash64({identifiers(table.order_by)})"


def looked_up(prefix: str, lookup: Lookup, layout: Layout) -> tuple[str, Statement]:
    """Return the statement for rows by id: of each id the version that was recorded last, in the order of time."""
    made = Statement(prefix, layout)
    table = lookup.table
    columns = ", ".join(made.read(table.column(name)) for name in lookup.columns)
    ids = identifiers([*lookup.id, "project_id"])
    names = [table.time, *(name for name in table.order_by if name not in {table.time, "project_id"})]
    inner = (
        f"SELECT * FROM {made.table(table)} WHERE {made.where(table, lookup.where, newest=False)} "
        f"ORDER BY recorded_at DESC, {identifiers(names)} LIMIT 1 BY {ids}"
    )
    return f"SELECT {columns} FROM ({inner}) ORDER BY {identifiers(names)} LIMIT {lookup.limit:d}", made
