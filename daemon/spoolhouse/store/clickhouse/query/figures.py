"""Figures as ClickHouse's SQL: from rows, or from a rollup's whole hours with the edges from rows."""

from spoolhouse.events.declaration import Grain, Rollup
from spoolhouse.events.naming import target_name
from spoolhouse.query.plan import GRAIN_MS, whole
from spoolhouse.query.questions import Aggregate, All, Compare, Condition, Field, Figure, Measured, Op, Window
from spoolhouse.store.clickhouse.query.dialect import SIGNS, Statement
from spoolhouse.store.clickhouse.quoting import identifier, identifiers, literal
from spoolhouse.store.clickhouse.schema import aggregates


def rendered(prefix: str, asked: Aggregate) -> tuple[str, Statement]:
    """Return the statement for figures: groups, the bucket in ms (where there are intervals), figures."""
    made = Statement(prefix)
    groups = [f"g{number}" for number in range(len(asked.by))]
    if asked.every_ms:
        groups.append("bucket")
    if asked.rollup is None:
        source = made.table(asked.table, newest=True)
        where = made.where(asked.table, asked.where, asked.window)
        shown = [f"{made.field(one)} AS g{number}" for number, one in enumerate(asked.by)]
        if asked.every_ms:
            shown.append(
                f"{_bucket(f'toUnixTimestamp64Milli({identifier(asked.table.time)})', asked.every_ms)} AS bucket"
            )
        figures = [_of_rows(made, asked, one) for one in asked.figures]
        text = f"FROM {source} WHERE {where}"
    else:
        shown = list(groups)
        figures = [_of_parts(asked, asked.rollup, one) for one in asked.figures]
        text = f"FROM ({_parts(made, prefix, asked, asked.rollup, ' '.join(figures))})"
    shown += [f"{figure} AS f{number}" for number, figure in enumerate(figures)]
    names = {one.name: f"f{number}" for number, one in enumerate(asked.figures)}
    having = [f"{names[name]} {SIGNS[op]} {made.bind(value, 'Float64')}" for name, op, value in asked.having]
    order = [f"{names[asked.order]} {'DESC' if asked.descending else 'ASC'} NULLS LAST"] if asked.order else []
    order += [*(["bucket"] if asked.every_ms else []), *(f"{name} NULLS LAST" for name in groups if name != "bucket")]
    return (
        f"SELECT {', '.join(shown)} {text}"
        + (f" GROUP BY {', '.join(groups)}" if groups else "")
        + (f" HAVING {' AND '.join(having)}" if having else "")
        + (f" ORDER BY {', '.join(order)}" if order else "")
        + f" LIMIT {asked.limit + 1:d}",
        made,
    )


def _bucket(ms: str, every_ms: int) -> str:
    """Return the start of the interval that a time is in: floored to the epoch, whatever the server's zone."""
    return f"intDiv(toInt64({ms}), {every_ms:d}) * {every_ms:d}"


def _seconds(asked: Aggregate) -> float:
    return (asked.every_ms or asked.window.until_ms - asked.window.since_ms) / 1000 or 1.0


def _failed(figure: Figure) -> str:
    column, choices = figure.failed
    return f"ifNull({identifier(column)} IN ({', '.join(map(literal, choices))}), 0)" if choices else "0"


_OF_ROWS = {
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
}
_OF_PARTS = {
    Measured.COUNT: "sum(lines)",
    Measured.RATE: "sum(lines) / {seconds}",
    Measured.ERRORS: "sumIf(lines, {failed})",
    Measured.ERROR_RATE: "sumIf(lines, {failed}) / sum(lines)",
    Measured.ERROR_PERCENT: "100 * sumIf(lines, {failed}) / sum(lines)",
    Measured.SUM: "toFloat64(sum({total}))",
    Measured.AVG: "toFloat64(sum({total})) / nullIf(sum({counted}), 0)",
    Measured.MIN: "min({least})",
    Measured.MAX: "max({most})",
    # Kept within the smallest and the largest value, as the rollup's view does.
    Measured.PERCENTILE: "if(isFinite({merged}), "
    "greatest(least({merged}, toFloat64(max({most}))), toFloat64(min({least}))), NULL)",
}
"""Of the columns that rollup targets have."""


def _of_rows(made: Statement, asked: Aggregate, figure: Figure) -> str:
    """Return a figure of rows."""
    return _OF_ROWS[figure.measured].format(
        value="" if figure.field is None else made.field(figure.field),
        failed=_failed(figure),
        seconds=_seconds(asked),
        level=figure.level,
        time=identifier(asked.table.time),
        key=identifiers([asked.table.time, *asked.table.order_by]),
    )


def _of_parts(asked: Aggregate, rollup: Rollup, figure: Figure) -> str:
    """Return a figure of a rollup's rows."""
    column = "" if figure.field is None else figure.field.column
    tally = next((one.name for one in rollup.tallies if one.column == column and not one.only), "")
    names = {"total": identifier(tally) if tally else ""}
    if (measure := rollup.measure) is not None and measure.column == column:
        merge, state = aggregates.SKETCH.format("Merge"), aggregates.quantiles_column(measure)
        place = aggregates.LEVELS.index(figure.level) + 1 if figure.level in aggregates.LEVELS else 1
        names = {
            "total": identifier(aggregates.sum_column(measure)),
            "counted": identifier(aggregates.count_column(measure)),
            "least": identifier(aggregates.min_column(measure)),
            "most": identifier(aggregates.max_column(measure)),
            "merged": f"{merge}({identifier(state)})[{place}]",
        }
    return _OF_PARTS[figure.measured].format(failed=_failed(figure), seconds=_seconds(asked), **names)


def _parts(made: Statement, prefix: str, asked: Aggregate, rollup: Rollup, figures: str) -> str:
    """Return the rollup's rows for the whole hours, and the same aggregates of the rows at the edges.

    `figures` is what is computed of them: of the aggregates only those that occur there are read.
    """
    table = asked.table
    grain = GRAIN_MS[rollup.grain]
    first, last = whole(asked.window, grain)
    every = aggregates.aggregates(table, rollup)
    columns = [one for one in every if one.column == aggregates.LINES or identifier(one.column) in figures]
    keys = [*rollup.keys, *rollup.trailing_keys]
    time = identifier(rollup.grain.value)
    start = f"{time} >= {_of_grain(made, first, rollup.grain)} AND {time} < {_of_grain(made, last, rollup.grain)}"
    by = [f"{identifier(one.column)} AS g{number}" for number, one in enumerate(asked.by)]
    status = {one.failed[0] for one in asked.figures if one.failed[0] in keys and one.measured is not Measured.COUNT}
    shown = [*by, *(identifier(name) for name in status)]
    at = [f"{_bucket(f'toUnixTimestamp({time}) * 1000', asked.every_ms)} AS bucket"] if asked.every_ms else []
    if asked.every_ms and rollup.grain is Grain.DAY:
        at = [f"{_bucket(f'toInt64(toUInt32({time})) * 86400000', asked.every_ms)} AS bucket"]
    of_rollup = (
        f"SELECT {', '.join([*shown, *at, *(identifier(one.column) for one in columns)])} "
        f"FROM {identifier(target_name(rollup, prefix=prefix))} "
        f"WHERE {made.condition(table, asked.rollup_where)} AND {start}"
    )
    edges = [
        Window(since_ms=asked.window.since_ms, until_ms=first), Window(since_ms=last, until_ms=asked.window.until_ms)
    ]  # fmt: skip
    ragged = [edge for edge in edges if edge.since_ms < edge.until_ms]
    if not ragged:
        return of_rollup
    row_time = identifier(table.time)
    at = [f"{_bucket(f'toUnixTimestamp64Milli({row_time})', asked.every_ms)} AS bucket"] if asked.every_ms else []
    times = " OR ".join(
        f"({row_time} >= {made.time(edge.since_ms)} AND {row_time} < {made.time(edge.until_ms)})" for edge in ragged
    )
    groups = [f"g{number}" for number in range(len(asked.by))] + [identifier(name) for name in status]
    groups += ["bucket"] if asked.every_ms else []
    of_rows = (
        f"SELECT {', '.join([*shown, *at, *(f'{one.of_lines} AS {identifier(one.column)}' for one in columns)])} "
        f"FROM {made.table(table, newest=True)} WHERE {made.where(table, _counted(asked, rollup))} AND ({times})"
        + (f" GROUP BY {', '.join(groups)}" if groups else "")
    )
    return f"{of_rollup} UNION ALL {of_rows}"


def _counted(asked: Aggregate, rollup: Rollup) -> Condition:
    """Return the condition for the rows that the rollup would count."""
    parts = [asked.where, *(Compare(Field(column), Op.IN, values) for column, values in rollup.only.items())]
    if rollup.count_when:
        parts.append(Compare(Field(rollup.count_when), Op.EXISTS))
    return All(tuple(parts))


def _of_grain(made: Statement, ms: int, grain: Grain) -> str:
    moment = made.time(ms)
    return f"toDate({moment}, 'UTC')" if grain is Grain.DAY else f"toDateTime({moment}, 'UTC')"
