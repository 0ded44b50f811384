"""Drops the staging tables that killed processes have left.

Nothing tells which process made a staging table: a repair or a check names it by the batch, and `spoolhouse verify`
takes a new name each time. So the table's age decides. If a process still uses an old table, its next statement fails,
and it begins anew with another one; rows that a repair has brought to the real table by then are found there.
"""

import structlog

from spoolhouse.errors import StoreError
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.landing.presence import STAGING
from spoolhouse.store.clickhouse.quoting import identifier
from spoolhouse.store.clickhouse.typed_rows import typed

log = structlog.get_logger(__name__)

AGE = 24 * 3600
"""Seconds after which a staging table is abandoned: a batch, or the rows that are verified together, take minutes."""

_NEXT = """
    SELECT name FROM system.tables
    WHERE database = currentDatabase() AND engine = 'MergeTree' AND name > {last:String}
        AND startsWith(name, {begin:String}) AND match(substring(name, length({begin:String}) + 1), '^[0-9a-f]{16}$')
        AND metadata_modification_time <= now() - toIntervalSecond({age:UInt32})
    ORDER BY name LIMIT 1
"""


async def drop_abandoned(driver: Driver, *, prefix: str) -> None:
    """Drop the old staging tables of a server whose names begin with `prefix`, by its own clock.

    A declared table stays, whatever its name: it has another engine. Raises the `StoreError` of the first table that
    could not be dropped, after the others.
    """
    name, failure = "", None
    # One by one: a daemon may make a table anew under a name that was old when the sweep began.
    while found := await driver.execute(_NEXT, {"begin": prefix + STAGING, "age": AGE, "last": name}):
        [(name,)] = typed(found, tuple[str])
        try:
            # Not SYNC: that would wait for a statement that still reads it.
            await driver.execute(f"DROP TABLE IF EXISTS {identifier(name)}")
        except StoreError as error:
            failure = failure or error
        else:
            log.info("staging_dropped", table=name, hint="a process that was killed had left it")
    if failure is not None:
        raise failure
