"""Syncs a replica before a batch is looked up on it: it must have all that any of the servers has taken.

A part that one replica has committed is not on the others until they have fetched it, and they answer a repeated
token with "done" all the same. So absence on one replica proves nothing, unless it has fetched all.
"""

import asyncio
from collections.abc import Collection

from spoolhouse.errors import AwayError
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.quoting import identifier

_PATIENCE = 20.0
"""Seconds that fetching may take; then it is tried again later."""
_REPLICATED = """
SELECT table FROM system.replicas WHERE database = currentDatabase() AND has({names:Array(String)}, table)
"""
# Tried in vain: parts that are on their way are waited for.
_MISSED = """
SELECT table FROM system.replication_queue
WHERE database = currentDatabase() AND has({names:Array(String)}, table) AND type IN ('GET_PART', 'ATTACH_PART')
    AND last_exception != ''
LIMIT 1
"""


async def sync_replica(driver: Driver, tables: Collection[str]) -> None:
    """Return once a server has every part of those of `tables` that replicate. Raises `AwayError`, `StoreError`.

    `tables` are names in the driver's database.
    """
    names = {"names": list(tables)}
    for (name,) in await driver.execute(_MISSED, names):
        raise _unfetched(name)
    for (name,) in await driver.execute(_REPLICATED, names):
        try:
            async with asyncio.timeout(_PATIENCE):
                await driver.execute(f"SYSTEM SYNC REPLICA {identifier(str(name))} LIGHTWEIGHT")
        except TimeoutError as error:
            raise _unfetched(name) from error


def _unfetched(name: object) -> AwayError:
    return AwayError(
        f"parts of {name} are on another replica, and not fetched yet",
        hint="let all replicas of it run; SYSTEM DROP REPLICA for one that is gone for good",
    )
