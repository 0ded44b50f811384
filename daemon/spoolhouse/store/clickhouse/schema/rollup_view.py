"""The views that people read: one row for each combination of a rollup's keys.

`count` is the number of lines and `measured_count` the number of lines with a value. An average is total divided by
`measured_count`. It is NULL where there is no value, and so are the minimum, the maximum and the quantiles; the total
is 0 then. Counts and totals of several rows may be added up; their average is total by `measured_count`; quantiles
cannot be combined, so merge the states in the target (`aggregates.SKETCH`).

`status` is a key, so a rate of each row by itself would be 0 or 1. Instead `error_count` is the row's own number of
errors, which may be added up, and `error_rate` is that of all statuses together: in the same hour, for otherwise equal
keys, the same number in each of these rows. Over several hours it is `sum(error_count) / sum(count)`, of all statuses.
"""

from spoolhouse.events.declaration import Measure, Rollup
from spoolhouse.store.clickhouse.quoting import identifier, identifiers, literal
from spoolhouse.store.clickhouse.schema.aggregates import (
    LEVELS,
    LINES,
    SKETCH,
    count_column,
    max_column,
    min_column,
    quantiles_column,
    sum_column,
    tally_total,
)

STATUS = "status"
"""The key whose values include `Rollup.error_status`."""


def readable_select(rollup: Rollup, *, keys: tuple[str, ...], target: str) -> str:
    """Return the view's SELECT; `target` is the quoted name of the target table."""
    keys = keys if rollup.shown_by is None else rollup.shown_by
    shown = {rollup.count: f"sum({identifier(LINES)})"}
    shown |= {tally.name: tally_total(tally) for tally in rollup.tallies}
    if rollup.measure is not None:
        shown |= _measure_columns(rollup.measure)
    if rollup.error_status is None:
        return _grouped(keys, shown, target)
    is_error = f"{identifier(STATUS)} = {literal(rollup.error_status)}"
    shown["error_count"] = f"if({is_error}, sum({identifier(LINES)}), 0)"
    columns = ",\n    ".join(identifier(name) for name in (*keys, *shown))
    inner = _grouped(keys, shown, target).replace("\n", "\n    ")
    # A window, because a filter on the other keys passes through it to the table, and a filter on the status does not.
    return (
        f"SELECT\n    {columns},\n"
        "    sum(`error_count`) OVER same / sum(`count`) OVER same AS `error_rate`\n"
        f"FROM\n(\n    {inner}\n)\n"
        f"WINDOW same AS (PARTITION BY {identifiers(tuple(key for key in keys if key != STATUS))})"
    )


def _grouped(keys: tuple[str, ...], shown: dict[str, str], target: str) -> str:
    # A tally has the name of its column in the target: no other expression may use that name.
    columns = [f"    {identifier(key)}" for key in keys]
    columns += [f"    {expression} AS {identifier(name)}" for name, expression in shown.items()]
    return "SELECT\n" + ",\n".join(columns) + f"\nFROM {target}\nGROUP BY {identifiers(keys)}"


def _measure_columns(measure: Measure) -> dict[str, str]:
    count, total = f"sum({identifier(count_column(measure))})", f"sum({identifier(sum_column(measure))})"
    least, most = f"min({identifier(min_column(measure))})", f"max({identifier(max_column(measure))})"
    shown = {
        "measured_count": count,
        measure.total: total,
        measure.average: f"{total} / nullIf({count}, 0)",
    }
    if measure.minimum is not None:
        shown[measure.minimum] = least
    if measure.maximum is not None:
        shown[measure.maximum] = most
    if measure.quantiles:
        merged = f"{SKETCH.format('Merge')}({identifier(quantiles_column(measure))})"
        # NaN means no value. Infinity means beyond 3.4e38, the end of the sketch's range. The bounds keep the median of
        # equal values from falling below their minimum.
        bounded = f"greatest(least(q, toFloat64({most})), toFloat64({least}))"
        known = f"arrayMap(q -> if(isFinite(q), {bounded}, NULL), {merged})"
        for place, level in enumerate(LEVELS, start=1):
            shown[f"p{round(level * 100)}_{measure.column}"] = f"{known}[{place}]"
    return shown
