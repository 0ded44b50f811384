"""Figures as DuckDB's SQL: from rows, always."""

from spoolhouse.query.questions import Aggregate, Figure, Measured
from spoolhouse.store.duckdb.query.dialect import SIGNS, Statement, in_order
from spoolhouse.store.duckdb.quoting import identifier, literal

_OF_ROWS = {
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
}


def rendered(prefix: str, asked: Aggregate) -> tuple[str, Statement]:
    """Return the statement for figures: groups, the bucket in ms (where there are intervals), figures."""
    made = Statement(prefix)
    table, names = asked.table, {one.name: f"f{number}" for number, one in enumerate(asked.figures)}
    groups = [f"g{number}" for number in range(len(asked.by))]
    shown = [f"{made.field(one)} AS g{number}" for number, one in enumerate(asked.by)]
    if asked.every_ms:
        groups.append("bucket")
        shown.append(f"epoch_ms({identifier(table.time)}) // {asked.every_ms:d} * {asked.every_ms:d} AS bucket")
    shown += [f"{_figure(made, asked, one)} AS f{number}" for number, one in enumerate(asked.figures)]
    having = [f"{names[name]} {SIGNS[op]} {made.bind(value)}" for name, op, value in asked.having]
    order = [f"{names[asked.order]} {'DESC' if asked.descending else 'ASC'} NULLS LAST"] if asked.order else []
    order += ["bucket"] if asked.every_ms else []
    for number, one in enumerate(asked.by):
        value = f"g{number}" if one.key is not None else in_order(table.column(one.column), f"g{number}")
        order.append(f"{value} NULLS LAST")
    inner = (
        f"SELECT {', '.join(shown)} FROM {made.table(table)}"
        f" WHERE {made.where(table, asked.where, asked.window)}" + (f" GROUP BY {', '.join(groups)}" if groups else "")
    )
    return (
        f"FROM ({inner})"
        + (f" WHERE {' AND '.join(having)}" if having else "")
        + (f" ORDER BY {', '.join(order)}" if order else "")
        + f" LIMIT {asked.limit + 1:d}",
        made,
    )


def _figure(made: Statement, asked: Aggregate, figure: Figure) -> str:
    column, choices = figure.failed
    names = [asked.table.time, *asked.table.order_by]
    return _OF_ROWS[figure.measured].format(
        value="" if figure.field is None else made.field(figure.field),
        failed=f"{identifier(column)} IN ({', '.join(map(literal, choices))})" if choices else "false",
        seconds=(asked.every_ms or asked.window.until_ms - asked.window.since_ms) / 1000 or 1.0,
        level=figure.level,
        time=identifier(asked.table.time),
        key=", ".join(identifier(name) for name in names),
    )
