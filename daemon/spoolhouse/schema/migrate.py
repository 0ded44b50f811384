"""Bringing a live database up to its declaration."""

from spoolhouse.core.ports import Driver
from spoolhouse.errors import StoreError
from spoolhouse.schema.live import read_live
from spoolhouse.schema.plan import Plan, Refusal, plan
from spoolhouse.schema.render import Schema

__all__ = ["Plan", "Refusal", "apply", "check", "migrate", "plan"]

_DONE_BY_ANOTHER = frozenset({15, 57, 82})
"""ClickHouse: the column, the table, the database exists already."""


async def check(schema: Schema, driver: Driver) -> Plan:
    """Return what is missing, or refused, in the live database; change nothing. Raises `StoreError`."""
    return plan(schema, await read_live(schema, driver))


async def apply(todo: Plan, driver: Driver) -> None:
    """Run the statements of `todo`, in order; what is refused is not run.

    Every name is qualified, so the driver may be connected to any database that exists, such as `default`: it
    creates the one that is wanted. Several instances may do this at once. An interruption or a `StoreError` leaves
    the first part done; plan and apply again to go on.
    """
    for statement in todo.statements:
        try:
            await driver.execute(statement)
        except StoreError as error:
            if error.code not in _DONE_BY_ANOTHER:
                raise


async def migrate(schema: Schema, driver: Driver) -> Plan:
    """Apply what is missing, and return what is left to do after that: nothing, but for refusals."""
    await apply(await check(schema, driver), driver)
    return await check(schema, driver)
