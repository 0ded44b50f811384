"""Figures as ClickHouse's SQL: from rows, or from a rollup's whole hours with the edges from rows."""

from spoolhouse.events.declaration import Grain, Rollup
from spoolhouse.events.naming import target_name
from spoolhouse.query.plan import GRAIN_MS, whole
from spoolhouse.query.questions import Aggregate, All, Compare, Condition, Field, Figure, Measured, Op, Window
from spoolhouse.query.sql import grouped, seconds
from spoolhouse.store.clickhouse.query import dialect
from spoolhouse.store.clickhouse.query.dialect import Layout
from spoolhouse.store.clickhouse.quoting import identifier
from spoolhouse.store.clickhouse.schema import aggregates

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


def rendered(prefix: str, asked: Aggregate, layout: Layout) -> tuple[str, "Statement"]:
    """Return the statement for figures: groups, the bucket in ms (where there are intervals), figures."""
    made = Statement(prefix, layout)
    return made.figures(asked), made


class Statement(dialect.Statement):
    """A statement for figures, which a rollup may have."""

    def aggregated(self, asked: Aggregate) -> str:
        """Return the statement for the figures, in any order."""
        if asked.rollup is None:
            return super().aggregated(asked)
        figures = [self._of_parts(asked, asked.rollup, one) for one in asked.figures]
        shown = [f"g{number}" for number in range(len(asked.by))] + (["bucket"] if asked.every_ms else [])
        shown += [f"{figure} AS f{number}" for number, figure in enumerate(figures)]
        parts = self._parts(asked, asked.rollup, " ".join(figures))
        return f"SELECT {', '.join(shown)} FROM ({parts}){grouped(asked)}"

    def _of_parts(self, asked: Aggregate, rollup: Rollup, figure: Figure) -> str:
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
        return _OF_PARTS[figure.measured].format(failed=self.failed(figure), seconds=seconds(asked), **names)

    def _parts(self, asked: Aggregate, rollup: Rollup, figures: str) -> str:
        """Return the rollup's rows for the whole hours, and the same aggregates of the rows at the edges.

        `figures` is what is computed of them: of the aggregates only those that occur there are read.
        """
        table = asked.table
        first, last = whole(asked.window, GRAIN_MS[rollup.grain])
        every = aggregates.aggregates(table, rollup)
        columns = [one for one in every if one.column == aggregates.LINES or identifier(one.column) in figures]
        keys = [*rollup.keys, *rollup.trailing_keys]
        time = identifier(rollup.grain.value)
        start = f"{time} >= {self._of_grain(first, rollup.grain)} AND {time} < {self._of_grain(last, rollup.grain)}"
        failed = {one.failed[0] for one in asked.figures if one.measured is not Measured.COUNT}
        status = [identifier(name) for name in keys if name in failed]
        shown = [*self.groups(asked), *status]
        at = f"toInt64(toUInt32({time})) * 86400000" if rollup.grain is Grain.DAY else f"toUnixTimestamp({time}) * 1000"
        of_rollup = (
            f"SELECT {', '.join([*shown, *self.buckets(asked, at), *(identifier(one.column) for one in columns)])} "
            f"FROM {identifier(target_name(rollup, prefix=self._prefix))} "
            f"WHERE {self.condition(table, asked.rollup_where)} AND {start}"
        )
        edges = [
            Window(since_ms=asked.window.since_ms, until_ms=first),
            Window(since_ms=last, until_ms=asked.window.until_ms),
        ]
        ragged = [edge for edge in edges if edge.since_ms < edge.until_ms]
        if not ragged:
            return of_rollup
        shown += self.buckets(asked, self.read(table.column(table.time)))
        times = " OR ".join(" AND ".join(self._bounds(table, edge)) for edge in ragged)
        of_rows = (
            f"SELECT {', '.join([*shown, *(f'{one.of_lines} AS {identifier(one.column)}' for one in columns)])} "
            f"FROM {self.table(table)} WHERE {self.where(table, _counted(asked, rollup), of_key=[f'({times})'])}"
            + grouped(asked, *status)
        )
        return f"{of_rollup} UNION ALL {of_rows}"

    def _of_grain(self, ms: int, grain: Grain) -> str:
        return f"{'toDate' if grain is Grain.DAY else 'toDateTime'}({self.time(ms)}, 'UTC')"


def _counted(asked: Aggregate, rollup: Rollup) -> Condition:
    """Return the condition for the rows that the rollup would count."""
    parts = [asked.where, *(Compare(Field(column), Op.IN, values) for column, values in rollup.only.items())]
    if rollup.count_when:
        parts.append(Compare(Field(rollup.count_when), Op.EXISTS))
    return All(tuple(parts))
