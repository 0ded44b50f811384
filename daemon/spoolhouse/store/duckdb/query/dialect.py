"""Questions as DuckDB's SQL. Pure."""

from collections.abc import Iterable, Sequence

from spoolhouse.events.declaration import Column, Kind, Table
from spoolhouse.query import sql
from spoolhouse.query.questions import Listing, Lookup, Measured, Position
from spoolhouse.query.sql import Dialect
from spoolhouse.store.duckdb.quoting import identifier, literal

_NO_LETTER = r"[^0-9A-Za-z\x{80}-\x{10FFFF}]"
"""What is between words."""


def _pointer(key: str) -> str:
    """Return a key as a JSON pointer: in a path it could be a wildcard."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


DIALECT = Dialect(
    identifier=identifier,
    literal=literal,
    placeholder="${name}",
    time="make_timestamp_ms({ms})::TIMESTAMP_MS",
    ms="epoch_ms({time})",
    bucket="{ms} // {every:d} * {every:d}",
    # What is no JSON has no keys.
    label="TRY(json_extract_string({column}, {key}))",
    to_key=_pointer,
    contains="contains({field}, {value})",
    prefix="starts_with({field}, {value})",
    has="list_contains({field}, {value})",
    batches="list_contains({value}, batch_id)",
    preview="substring({field}, 1, {size:d})",
    each="unnest({field})",
    bin="CASE WHEN {field} IS NOT NULL THEN len(list_filter({edges}, lambda edge: edge <= {field})) END",
    keys="TRY(json_keys({field}))",
    figures={
        Measured.COUNT: "count(*)",
        Measured.RATE: "count(*) / {seconds}",
        Measured.ERRORS: "count(*) FILTER ({failed})",
        Measured.ERROR_RATE: "count(*) FILTER ({failed}) / count(*)",
        Measured.ERROR_PERCENT: "100 * count(*) FILTER ({failed}) / count(*)",
        Measured.SUM: "coalesce(sum({value}::DOUBLE), 0)",
        Measured.AVG: "avg({value})",
        Measured.MIN: "min({value})",
        Measured.MAX: "max({value})",
        Measured.LAST: "arg_max({value}, row({key}))",
        Measured.COUNT_DISTINCT: "count(DISTINCT {value})",
        Measured.PERCENTILE: "quantile_cont({value}, {level})",
        Measured.EARLIEST: "epoch_ms(min({time}))",
        Measured.LATEST: "epoch_ms(max({time}))",
        Measured.PRESENT: "count({value})",
        Measured.EACH: "coalesce(list_sort(array_agg(DISTINCT {value}) FILTER ({value} IS NOT NULL))[:1000], [])",
    },
)


class Statement(sql.Statement):
    """A statement for DuckDB."""

    dialect = DIALECT

    def table(self, table: Table, *, newest: bool = True) -> str:
        """Return the name of a table."""
        del newest
        return identifier(self._prefix + table.name)

    def newest(self, table: Table, of_key: Sequence[str], *, is_all: bool) -> Iterable[str]:
        """Return the condition that there is no newer version.

        Of few rows each is looked for among all. Of all rows, those that have several versions are found first, by a
        hash of their keys: that takes a third of the time.
        """
        name, key, within = self.table(table), self.names(table.order_by), " AND ".join(of_key) or "true"
        if is_all:
            several = (
                f"SELECT hash_ FROM (SELECT hash({key}) AS hash_ FROM {name} WHERE {within})"
                " GROUP BY hash_ HAVING count(*) > 1"
            )
            older = (
                f"SELECT rowid AS older_ FROM {name} WHERE {within} AND hash({key}) IN ({several})"
                f" QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY recorded_at DESC, rowid DESC) > 1"
            )
            return [f"NOT EXISTS (SELECT 1 FROM ({older}) WHERE older_ = {name}.rowid)"]
        same = [f"newer.{identifier(column)} = {name}.{identifier(column)}" for column in table.order_by]
        later = f"(newer.recorded_at, newer.rowid) > ({name}.recorded_at, {name}.rowid)"
        versions = f"SELECT *, rowid FROM {name} WHERE {within}"
        return [f"NOT EXISTS (SELECT 1 FROM ({versions}) AS newer WHERE {' AND '.join([*same, later])})"]

    def words(self, table: Table, field: str, words: Sequence[str], *, is_prose: bool) -> str:
        """Return the condition that a text has each of these words, in any case."""
        del table, is_prose
        found = (f"regexp_matches({field}, {self.bind(_whole_word(one))})" for one in words)
        return f"({' AND '.join(found)})"

    def sorted_by(self, column: Column, value: str) -> str:
        """Return what a group's value is sorted by: choices have the order of their numbers."""
        if column.kind is not Kind.CHOICE:
            return value
        names = sorted(column.choices, key=lambda name: column.choices[name])
        return f"list_position([{', '.join(map(literal, names))}], {value})"


def listed(prefix: str, listing: Listing, position: Position | None, limit: int) -> tuple[str, Statement]:
    """Return the statement for rows of a listing, in its order: time, ids, the value of its order, and the columns."""
    made = Statement(prefix)
    keys, order = made.place(listing)
    offset = f" OFFSET {listing.offset:d}" if listing.offset else ""
    return (
        f"SELECT {', '.join([*keys, *made.shown(listing)])} FROM {made.table(listing.table)}"
        f" WHERE {made.listed(listing, position)} ORDER BY {order} LIMIT {limit:d}{offset}"
    ), made


def looked_up(prefix: str, lookup: Lookup) -> tuple[str, Statement]:
    """Return the statement for rows by id: of each id the version that was recorded last, in the order of time."""
    made = Statement(prefix)
    table = lookup.table
    columns = ", ".join(made.read(table.column(name)) for name in lookup.columns)
    ids = made.names([*lookup.id, "project_id"])
    order = made.names([table.time, *(name for name in table.order_by if name not in {table.time, "project_id"})])
    return (
        f"SELECT {columns} FROM {made.table(table)} WHERE {made.where(table, lookup.where)}"
        f" QUALIFY row_number() OVER (PARTITION BY {ids} ORDER BY recorded_at DESC, {order}) = 1"
        f" ORDER BY {order} LIMIT {lookup.limit:d}"
    ), made


def _whole_word(word: str) -> str:
    """Return the pattern of a word, its ASCII letters in either case. Words have nothing that a pattern gives sense."""
    letters = "".join(f"[{one.lower()}{one.upper()}]" if one.isascii() and one.isalpha() else one for one in word)
    return f"(^|{_NO_LETTER}){letters}($|{_NO_LETTER})"
