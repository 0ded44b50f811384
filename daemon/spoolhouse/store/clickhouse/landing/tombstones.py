"""Tombstones: written before rows are deleted; rows that are sent again, or missed, are held against them."""

import uuid
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import OperatorError
from spoolhouse.events.declaration import Table
from spoolhouse.events.tombstones import DELETABLE, TOMBSTONES
from spoolhouse.store.clickhouse.driver import BATCH_ID, Driver, RowsInsert
from spoolhouse.store.clickhouse.quoting import identifier, identifiers, literal
from spoolhouse.store.clickhouse.typed_rows import typed

_UNKNOWN_TABLE = 60
_encode_lines = msgspec.json.Encoder().encode_lines


async def write(
    driver: Driver, table: str, *, project: str, what: str, batches: Mapping[str, Collection[str]], deleted_ms: int
) -> None:
    """Return once there is a tombstone for each id, with the batches that brought its rows. Raises `StoreError`.

    `table` is the name of the tombstones' table, with its prefix.
    """
    at = datetime.fromtimestamp(deleted_ms / 1000, UTC)
    rows = [(project, what, one, sorted(some), at, at) for one, some in batches.items()]
    batch_id = f"tombstones:{uuid.uuid4()}"
    insert = RowsInsert(table=table, columns=TOMBSTONES.columns, batch_id=batch_id, token=batch_id, clock_ms=deleted_ms)
    await driver.insert_rows(insert, _one(Rows(data=_encode_lines(rows), count=len(rows))))


async def _one(rows: Rows) -> AsyncIterator[Rows]:
    yield rows


async def batches_of(
    driver: Driver, *, project: str, what: str, ids: Sequence[str], prefix: str
) -> dict[str, set[str]]:
    """Return the batches in the tombstones of these ids, by id. Raises `StoreError`."""
    found = await driver.execute(
        f"SELECT id, groupUniqArrayArray(batches) FROM {identifier(prefix + TOMBSTONES.name)}"  # noqa: S608  # declared names
        " WHERE project_id = {project:String} AND deleted = {what:String} AND id IN {ids:Array(String)} GROUP BY id",
        {"project": project, "what": what, "ids": list(ids)},
    )
    return {one: set(batches) for one, batches in typed(found, tuple[str, list[str]])}


async def may_cover(driver: Driver, table: Table, insert: RowsInsert, *, prefix: str, landed: bool = False) -> bool:
    """Tell whether rows of a batch may have been deleted on request. Raises `StoreError`.

    `landed`: only rows that had landed count, and not those that were sent at that time.
    """
    if not any(target.name == table.name for targets in DELETABLE.values() for target, _ in targets):
        return False
    stones, time = identifier(prefix + TOMBSTONES.name), "fromUnixTimestamp64Milli({shipped:Int64}, 'UTC')"
    try:
        # Empty for any batch.
        named = "({batch:String} = '' OR has(batches, {batch:String}))"
        sql = f"SELECT 1 FROM {stones} WHERE deleted_at >= {time} AND {named} LIMIT 1"  # noqa: S608  # declared names
        batch = insert.batch_id if landed else ""
        return bool(await driver.execute(sql, {"shipped": insert.clock_ms, "batch": batch}))
    except OperatorError as error:
        # The schema is older than the command that deletes.
        if error.code != _UNKNOWN_TABLE:
            raise
        return False


def is_deleted(table: Table, own: str, *, prefix: str) -> str:
    """Return the SQL condition that a row of `own` was deleted after it had been shipped.

    `own` is a table with rows of `table` that are, or are to be, in it.
    """
    keys = (*table.order_by, BATCH_ID.name)
    parts = [
        _deleted_keys(own, keys, what, column, prefix=prefix)
        for what, targets in DELETABLE.items()
        for target, column in targets
        if target.name == table.name
    ]
    return f"({identifiers(keys)}) IN ({' UNION ALL '.join(parts)})" if parts else "0"


def _deleted_keys(own: str, keys: Sequence[str], what: str, column: str, *, prefix: str) -> str:
    # Global: `own` is on this server alone.
    ids = f"(project_id, id) GLOBAL IN (SELECT project_id, {identifier(column)} FROM {identifier(own)})"  # noqa: S608  # declared names
    stones = (
        f"SELECT project_id AS _project, id AS _id, max(deleted_at) AS _at FROM {identifier(prefix + TOMBSTONES.name)}"  # noqa: S608  # declared names
        f" WHERE deleted = {literal(what)} AND {ids} GROUP BY project_id, id"
    )
    names, one = ", ".join(f"_own.{identifier(key)}" for key in keys), f"_own.{identifier(column)}"
    return (
        f"SELECT {names} FROM {identifier(own)} AS _own"  # noqa: S608  # declared names
        f" INNER JOIN ({stones}) AS _stone ON _own.project_id = _stone._project AND {one} = _stone._id"
        " WHERE _own.ingested_at <= _stone._at"
    )


async def leave_out_deleted(driver: Driver, table: Table, own: str, *, prefix: str) -> int:
    """Delete the rows from `own` that were deleted from `table`; return their number. Raises `StoreError`."""
    condition = is_deleted(table, own, prefix=prefix)
    [(count,)] = typed(await driver.execute(f"SELECT countIf({condition}) FROM {identifier(own)}"), tuple[int])  # noqa: S608  # declared names
    if count:
        await driver.execute(f"ALTER TABLE {identifier(own)} DELETE WHERE {condition} SETTINGS mutations_sync = 1")
    return count
