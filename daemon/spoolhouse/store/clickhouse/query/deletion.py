"""Deletes events by id, within a project: the rows of every table that has any, for good."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from spoolhouse.errors import BadRequestError, StoreError
from spoolhouse.events.ledger import LEDGER
from spoolhouse.query.questions import All, Compare, Field, Op
from spoolhouse.query.signals import FEEDBACK, LOGS, SCORES, SPANS, TRACES, Signal
from spoolhouse.spool.row_ranges import whole_of
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.query.dialect import Statement
from spoolhouse.store.clickhouse.quoting import identifier
from spoolhouse.store.clickhouse.schema.ddl import placed
from spoolhouse.store.clickhouse.schema.render import Schema

MOST_IDS = 1000
_CHUNK = 100
TARGETS: Mapping[str, tuple[tuple[Signal, str], ...]] = {
    "traces": tuple((signal, "trace_id") for signal in (TRACES, SPANS, LOGS, SCORES, FEEDBACK)),
    "scores": ((SCORES, "id"),),
    "feedback": ((FEEDBACK, "id"),),
}
"""By what is deleted: the tables that have rows of it, and the column of the id."""


class Deleted(Struct, frozen=True, kw_only=True):
    """What is gone, and where its bytes still are."""

    rows: Mapping[str, int]
    """By table; versions that were superseded count, too."""
    files: Sequence[str]
    """The files of the spool that brought the rows, as they were called when they were dropped."""


async def delete(
    driver: Driver, schema: Schema, prefix: str, what: str, *, project: str, ids: Sequence[str]
) -> Deleted:
    """Delete events; return once the server has rewritten the tables. Harmless for what is not there.

    Figures in rollups stay: they name nobody. Raises `StoreError`.
    """
    if what not in TARGETS:
        raise BadRequestError(f"delete: {what!r} is not one of {', '.join(TARGETS)}")
    if not project or not ids or len(ids) > MOST_IDS:
        raise BadRequestError(f"delete: a project, and 1 to {MOST_IDS} ids, are accepted")
    rows = {signal.name: 0 for signal, _ in TARGETS[what]}
    batches: set[str] = set()
    for start in range(0, len(ids), _CHUNK):
        some = tuple(ids[start : start + _CHUNK])
        for signal, column in TARGETS[what]:
            where = All((Compare(Field("project_id"), Op.EQ, project), Compare(Field(column), Op.IN, some)))
            found = await _batches(driver, prefix, signal, where)
            rows[signal.name] += sum(found.values())
            batches |= found.keys()
            if found:
                await _delete(driver, schema, prefix, signal, where)
    return Deleted(rows=rows, files=await _files(driver, prefix, sorted(map(whole_of, batches))))


async def _batches(driver: Driver, prefix: str, signal: Signal, where: All) -> dict[str, int]:
    made = Statement(prefix)
    table = made.table(signal.table, newest=False)
    sql = f"SELECT batch_id, count() FROM {table} WHERE {made.where(signal.table, where)} GROUP BY batch_id"
    return {str(batch): int(str(count)) for batch, count in await driver.execute(sql, made.values)}


async def _delete(driver: Driver, schema: Schema, prefix: str, signal: Signal, where: All) -> None:
    made = Statement(prefix)
    [own] = [one.table for one in schema.tables if one.name == prefix + signal.table.name]
    table = placed(schema.database, own.name, schema.on_cluster)
    condition = made.where(signal.table, where)
    # 2: on all replicas. A mutation rewrites the parts that have such a row.
    await driver.execute(f"ALTER TABLE {table} DELETE WHERE {condition} SETTINGS mutations_sync = 2", made.values)
    left = await _batches(driver, prefix, signal, where)
    if left:
        raise StoreError(
            f"{sum(left.values())} rows of {prefix}{signal.table.name} came while they were deleted",
            hint="run the command again once their files have landed",
        )


async def _files(driver: Driver, prefix: str, batches: Sequence[str]) -> list[str]:
    files: set[str] = set()
    for start in range(0, len(batches), _CHUNK):
        made = Statement(prefix)
        some = made.bind(batches[start : start + _CHUNK], "Array(String)")
        sql = f"SELECT DISTINCT file FROM {identifier(prefix + LEDGER.name)} WHERE batch IN {some}"
        files |= {str(file) for (file,) in await driver.execute(sql, made.values)}
    return sorted(files)
