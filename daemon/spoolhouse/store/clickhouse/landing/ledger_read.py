"""Reading the ledger: from a file to its batches, and from a batch to its files."""

from collections.abc import Collection, Sequence

import msgspec

from spoolhouse.events.ledger import LEDGER
from spoolhouse.recover.ports import ClaimedFile, LedgerRow
from spoolhouse.spool.ledger_rows import parts_of
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.quoting import identifier, identifiers
from spoolhouse.store.clickhouse.typed_rows import typed


class _Row(msgspec.Struct, array_like=True, frozen=True):
    """The columns that are read, in their order."""

    file: str
    inode: int
    claimed_ms: int
    batch: str
    table: str
    start: int
    end: int
    first: int
    rows: int
    parts: str
    shipped_ms: int


_COLUMNS = (
    "file, inode, toUnixTimestamp64Milli(claimed_at), batch, table_name, range_start, range_end, first_row, row_count,"
    " parts, toUnixTimestamp64Milli(shipped_at)"
)


async def of_files(driver: Driver, places: Sequence[str], *, prefix: str) -> list[LedgerRow]:
    """Return the ledger's rows of all files that were ever dropped at `places`. Raises `StoreError`."""
    where = "file IN {places:Array(String)} ORDER BY claimed_at, batch, range_start"
    return await _rows(driver, where, {"places": list(places)}, prefix=prefix)


async def of_batch(driver: Driver, batch: str, *, prefix: str) -> list[LedgerRow]:
    """Return the ledger's rows of a batch, in the order of the batch's rows. Raises `StoreError`."""
    where = "batch IN {batches:Array(String)} ORDER BY first_row"
    return await _rows(driver, where, {"batches": [batch]}, prefix=prefix)


async def files_since(driver: Driver, since_ms: int, *, prefix: str) -> list[ClaimedFile]:
    """Return the files that were claimed since then, the first one first. Raises `StoreError`."""
    found = await driver.execute(
        f"SELECT file, inode FROM {identifier(prefix + LEDGER.name)}"  # noqa: S608  # declared names
        " WHERE claimed_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC') GROUP BY file, inode, claimed_at"
        " ORDER BY claimed_at, file",
        {"since": since_ms},
    )
    return [ClaimedFile(place=file, inode=_inode(inode)) for file, inode in typed(found, tuple[str, int])]


async def complete(driver: Driver, shipments: Collection[str], *, prefix: str) -> set[str]:
    """Return those of `shipments` that the ledger knows. Raises `StoreError`."""
    found = await driver.execute(
        f"SELECT DISTINCT splitByChar(':', batch)[1] AS shipment FROM {identifier(prefix + LEDGER.name)}"  # noqa: S608  # declared names
        " WHERE shipment IN {shipments:Array(String)}",
        {"shipments": list(shipments)},
    )
    return {shipment for (shipment,) in typed(found, tuple[str])}


async def _rows(driver: Driver, where: str, values: dict[str, list[str]], *, prefix: str) -> list[LedgerRow]:
    table, once = identifier(prefix + LEDGER.name), identifiers(LEDGER.order_by)
    # A row that was written twice may be on two shards, where nothing merges the two.
    found = await driver.execute(f"SELECT {_COLUMNS} FROM {table} FINAL WHERE {where} LIMIT 1 BY {once}", {**values})  # noqa: S608  # declared names
    return [
        LedgerRow(
            file=row.file,
            inode=_inode(row.inode),
            claimed_ms=row.claimed_ms,
            batch=row.batch,
            table=row.table,
            start=row.start,
            end=row.end,
            first=row.first,
            rows=row.rows,
            parts=parts_of(row.parts),
            shipped_ms=row.shipped_ms,
        )
        for row in typed(found, _Row)
    ]


def _inode(stored: int) -> int:
    """Return an inode as the system gives it: the column is signed."""
    return stored % 2**64
