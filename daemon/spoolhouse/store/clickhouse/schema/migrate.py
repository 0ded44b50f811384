"""Bringing a live database up to its declaration."""

from spoolhouse.errors import OperatorError, StoreError
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.schema.backfill import Backfill
from spoolhouse.store.clickhouse.schema.introspect import read_live
from spoolhouse.store.clickhouse.schema.migration_progress import Report, Unreported
from spoolhouse.store.clickhouse.schema.migration_steps import Change, Fill, Plan, Refusal
from spoolhouse.store.clickhouse.schema.plan import plan
from spoolhouse.store.clickhouse.schema.render import Schema

__all__ = ["Plan", "Refusal", "apply", "check", "migrate", "plan"]

_DONE_BY_ANOTHER = frozenset({15, 57, 82})
"""ClickHouse: the column, the table, the database exists already."""

_NO_KEEPER = frozenset({139, 392})
"""ClickHouse: a macro is missing; such a statement cannot be run."""
_KEEPER = (
    "set clickhouse.keeper = false if the cluster has no ClickHouse Keeper; else configure distributed_ddl, and the"
    " macros shard and replica, on each server"
)


async def check(schema: Schema, driver: Driver) -> Plan:
    """Return what is missing, or refused, in the live database; change nothing. Raises `StoreError`."""
    return plan(schema, await read_live(schema, driver))


async def apply(todo: Plan, driver: Driver, *, report: Report | None = None, most_rows: int | None = None) -> None:
    """Do the steps of `todo`, in order; what is refused is not done.

    Every name is qualified, so the driver may be connected to any database that exists, such as `default`: it
    creates the one that is wanted. Several instances may do this at once. An interruption or a `StoreError` leaves
    the first part done; plan and apply again to go on.

    With `most_rows`, a rollup that lacks more rows than that, or that ClickHouse does not let be filled, is left as it
    is: nothing else must wait for it.
    """
    report = report or Unreported()
    for step in todo.steps:
        if isinstance(step, Change):
            await _change(step, driver, report)
        elif await _fill(step, driver, report, most_rows):
            for change in step.then:
                await _change(change, driver, report)


async def _change(change: Change, driver: Driver, report: Report) -> None:
    try:
        await driver.execute(change.statement)
    except StoreError as error:
        if error.code in _NO_KEEPER and " ON CLUSTER " in change.statement:
            raise OperatorError(error.message, code=error.code, hint=_KEEPER) from error
        if error.code not in _DONE_BY_ANOTHER:
            raise
    report.changed(change)


async def _fill(step: Fill, driver: Driver, report: Report, most_rows: int | None) -> bool:
    backfill = Backfill(step.filling, driver, report)
    try:
        if most_rows is not None and await backfill.left() > most_rows:
            return False
        await backfill.run()
    except StoreError as error:
        if most_rows is None or error.code is None:
            raise
        report.unfilled(step.name, error)
        return False
    return True


async def migrate(
    schema: Schema, driver: Driver, *, report: Report | None = None, most_rows: int | None = None
) -> Plan:
    """Do what is missing, and return what is left to do after that: nothing, but for refusals and large rollups."""
    await apply(await check(schema, driver), driver, report=report, most_rows=most_rows)
    return await check(schema, driver)
