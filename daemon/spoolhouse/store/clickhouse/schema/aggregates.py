"""The aggregate columns of a rollup target: all columns that are not keys. All of them are additive.

The engine's own merge combines the values of several batches, or of the parts of a split batch, into those of all their
lines.
"""

from msgspec import Struct

from spoolhouse.events.declaration import Column, Measure, Only, Reckoning, Rollup, Table, Tally
from spoolhouse.store.clickhouse.quoting import identifier, literal
from spoolhouse.store.clickhouse.schema.tables import INGESTED_AT, TIME_TYPE, column_type

LINES = "lines"
LAST_INGESTED_AT = "last_ingested_at"

LEVELS = (0.5, 0.95, 0.99)
SKETCH = f"quantilesBFloat16{{}}({', '.join(map(str, LEVELS))})"
"""The quantiles function, with a placeholder for `State`, `Merge` or `MergeState`.

It counts values by their first 8 significant bits: the rank is exact, and the answer is less than 1/128 below the
value. The answer depends on the values alone, not on the order in which batches are merged; the state is bounded; and
no value breaks it. (A t-digest depends on the order; a DDSketch throws over values that lie too far apart, and from
then on every merge fails.)
"""


_EXTREMES = {Reckoning.FIRST: "min", Reckoning.LAST: "max"}


class Aggregate(Struct, frozen=True, kw_only=True):
    """One additive column: the expression over a batch's lines, and the expression that merges several values."""

    column: str
    type: str
    of_lines: str
    merged: str


def aggregates(table: Table, rollup: Rollup) -> tuple[Aggregate, ...]:
    """Return the aggregate columns of a rollup of `table`."""
    last = _simple(LAST_INGESTED_AT, "max", TIME_TYPE, f"max({identifier(INGESTED_AT)})")
    lines = _simple(LINES, "sum", "UInt64", "count()")
    tallied = (_tallied(table, tally) for tally in rollup.tallies)
    measured = () if rollup.measure is None else _measured(table.column(rollup.measure.column), rollup.measure)
    return (last, lines, *tallied, *measured)


def condition(only: Only) -> str:
    """Return the SQL condition for the lines that `only` selects."""
    return " AND ".join(
        f"{identifier(column)} IN ({', '.join(literal(value) for value in values)})" for column, values in only.items()
    )


def tally_total(tally: Tally) -> str:
    """Return the expression that totals a tally over rows of the target."""
    column = identifier(tally.name)
    match tally.reckoning:
        case Reckoning.DISTINCT:
            return f"uniqMerge({column})"
        case Reckoning.FIRST:
            return f"min({column})"
        case Reckoning.LAST:
            return f"max({column})"
    return f"sum({column})"


def count_column(measure: Measure) -> str:
    """Return the name of the column that counts the lines with a value."""
    return f"{measure.column}_count"


def sum_column(measure: Measure) -> str:
    """Return the name of the column that sums the values."""
    return f"{measure.column}_sum"


def min_column(measure: Measure) -> str:
    """Return the name of the column with the smallest value."""
    return f"{measure.column}_min"


def max_column(measure: Measure) -> str:
    """Return the name of the column with the largest value."""
    return f"{measure.column}_max"


def quantiles_column(measure: Measure) -> str:
    """Return the name of the quantile state; merged with `SKETCH`, it answers for any set of rows."""
    return f"{measure.column}_quantiles"


def _tallied(table: Table, tally: Tally) -> Aggregate:
    where = condition(tally.only)
    if tally.reckoning is Reckoning.COUNT:
        return _simple(tally.name, "sum", "UInt64", f"countIf({where})" if where else "count()")
    column = table.column(tally.column)
    value, kind = identifier(column.name), column_type(column)
    if tally.reckoning is Reckoning.SUM:
        wide, options = _options(column)
        return _simple(tally.name, "sum", wide, f"sumIf({options}, {where})" if where else f"sum({options})")
    if where:
        raise ValueError(f"aggregate {tally.name}: only COUNT and SUM can be limited to some lines")
    if tally.reckoning is Reckoning.DISTINCT:
        plain = kind.removeprefix("LowCardinality(").removesuffix(")") if column.low_cardinality else kind
        return Aggregate(
            column=tally.name,
            type=f"AggregateFunction(uniq, {plain})",
            # Without the cast the state has another type, although the values are the same.
            of_lines=f"uniqState(CAST({value}, {literal(plain)}))",
            merged=f"uniqMergeState({identifier(tally.name)})",
        )
    return _simple(tally.name, function := _EXTREMES[tally.reckoning], kind, f"{function}({value})")


def _options(column: Column) -> tuple[str, str]:
    """Return the type of a column's sum, and the expression to sum."""
    value, plain = identifier(column.name), column_type(column)
    # 64 bits would wrap silently after a few absurd durations.
    wide = "Int128" if plain.removeprefix("Nullable(").startswith("Int") else "Float64"
    return wide, f"to{wide}({f'ifNull({value}, 0)' if column.nullable else value})"


def _measured(column: Column, measure: Measure) -> tuple[Aggregate, ...]:
    value, plain = identifier(column.name), column_type(column)
    wide, options = _options(column)
    result = [
        _simple(count_column(measure), "sum", "UInt64", f"count({value})"),
        _simple(sum_column(measure), "sum", wide, f"sum({options})"),
        _simple(min_column(measure), "min", plain, f"min({value})"),
        _simple(max_column(measure), "max", plain, f"max({value})"),
    ]
    if measure.quantiles:
        state = quantiles_column(measure)
        result.append(
            Aggregate(
                column=state,
                type=f"AggregateFunction({SKETCH.format('')}, {plain})",
                of_lines=f"{SKETCH.format('State')}({value})",
                merged=f"{SKETCH.format('MergeState')}({identifier(state)})",
            )
        )
    return tuple(result)


def _simple(column: str, function: str, kind: str, of_lines: str) -> Aggregate:
    return Aggregate(
        column=column,
        type=f"SimpleAggregateFunction({function}, {kind})",
        of_lines=of_lines,
        merged=f"{function}({identifier(column)})",
    )
