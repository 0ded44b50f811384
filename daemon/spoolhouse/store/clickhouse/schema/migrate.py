"""Migrate a live database to its declaration."""

from spoolhouse.errors import OperatorError, StoreError
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.schema.backfill import Backfill
from spoolhouse.store.clickhouse.schema.introspect import read_live
from spoolhouse.store.clickhouse.schema.migration_progress import MigrationProgress, NoProgress
from spoolhouse.store.clickhouse.schema.migration_steps import BackfillStep, Plan
from spoolhouse.store.clickhouse.schema.plan import plan
from spoolhouse.store.clickhouse.schema.render import Schema
from spoolhouse.store.migration import Change, Refusal

__all__ = ["Plan", "Refusal", "apply", "check", "migrate", "plan"]

_DONE_BY_ANOTHER = frozenset({15, 57, 82})
"""ClickHouse's codes for a column, table or database that exists already."""

_NO_KEEPER = frozenset({139, 392})
"""ClickHouse's codes for a missing macro, and for a statement that the user may not run."""
_KEEPER = (
    "set clickhouse.keeper = false if the cluster has no ClickHouse Keeper; else configure distributed_ddl, and the"
    " macros shard and replica, on each server"
)


async def check(schema: Schema, driver: Driver) -> Plan:
    """Return the steps and refusals for the live database; change nothing. Raises `StoreError`."""
    return plan(schema, await read_live(schema, driver))


async def apply(
    todo: Plan, driver: Driver, *, progress: MigrationProgress | None = None, most_rows: int | None = None
) -> None:
    """Do the steps of `todo` in order; leave the refusals.

    Every name is qualified, so the driver may be connected to any database that exists, such as `default`: the steps
    create the wanted one. Several instances may do this at once. After an interruption or a `StoreError` the first
    steps are done; plan and apply again to continue.

    With `most_rows`, a rollup that lacks more rows, or that ClickHouse refuses to fill, is left incomplete: nothing
    else may wait for it.
    """
    progress = progress or NoProgress()
    for step in todo.steps:
        if isinstance(step, Change):
            await _change(step, driver, progress)
        elif await _fill(step, driver, progress, most_rows):
            for change in step.then:
                await _change(change, driver, progress)


async def _change(change: Change, driver: Driver, progress: MigrationProgress) -> None:
    try:
        await driver.execute(change.statement)
    except StoreError as error:
        if error.code in _NO_KEEPER and " ON CLUSTER " in change.statement:
            raise OperatorError(error.message, code=error.code, hint=_KEEPER) from error
        if error.code not in _DONE_BY_ANOTHER:
            raise
    progress.changed(change)


async def _fill(step: BackfillStep, driver: Driver, progress: MigrationProgress, most_rows: int | None) -> bool:
    backfill = Backfill(step.backfill, driver, progress)
    try:
        if most_rows is not None and await backfill.left() > most_rows:
            return False
        await backfill.run()
    except StoreError as error:
        if most_rows is None or error.code is None:
            raise
        progress.unfilled(step.name, error)
        return False
    return True


async def migrate(
    schema: Schema, driver: Driver, *, progress: MigrationProgress | None = None, most_rows: int | None = None
) -> Plan:
    """Apply all missing steps, and return what is left: refusals, and rollups over `most_rows`."""
    todo = await check(schema, driver)
    if not todo.steps:
        return todo
    await apply(todo, driver, progress=progress, most_rows=most_rows)
    return await check(schema, driver)
