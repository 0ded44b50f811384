"""Reading the ledger: from a file to its batches, and from a batch to its files."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from spoolhouse.events.ledger import LEDGER
from spoolhouse.spool.row_ranges import RowRange
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.landing.ledger_table import parts_of
from spoolhouse.store.clickhouse.schema.ddl import identifier, identifiers


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A line of the ledger: some rows of a batch, and the bytes of a file that they came from."""

    file: str
    """Where it was dropped, relative to the spool."""
    inode: int
    claimed_ms: int
    batch: str
    table: str
    """Without the prefix; empty for a file of which nothing was valid, and where a damaged archive broke off."""
    start: int
    end: int
    """A byte range of the file, or of what a compressed one holds."""
    first: int
    rows: int
    parts: tuple[RowRange, ...]
    shipped_ms: int

    @property
    def taking(self) -> tuple[str, int, int]:
        """What tells this file from others that were dropped under its name before or after it."""
        return self.file, self.claimed_ms, self.inode


_COLUMNS = (
    "file, inode, toUnixTimestamp64Milli(claimed_at), batch, table_name, range_start, range_end, first_row, row_count,"
    " parts, toUnixTimestamp64Milli(shipped_at)"
)


async def of_files(driver: Driver, places: Sequence[str], *, prefix: str) -> list[Traced]:
    """Return what the ledger says of all files that were ever dropped at `places`. Raises `StoreError`."""
    where = "file IN {places:Array(String)} ORDER BY claimed_at, batch, range_start"
    return await _traced(driver, where, {"places": list(places)}, prefix=prefix)


async def of_batch(driver: Driver, batch: str, *, prefix: str) -> list[Traced]:
    """Return what the ledger says of a batch, in the order of its rows. Raises `StoreError`."""
    return await _traced(
        driver, "batch IN {batches:Array(String)} ORDER BY first_row", {"batches": [batch]}, prefix=prefix
    )


async def files_since(driver: Driver, since_ms: int, *, prefix: str) -> list[tuple[str, int]]:
    """Return place and inode of each file that was claimed since then, the first one first. Raises `StoreError`."""
    found = await driver.execute(
        f"SELECT file, inode FROM {identifier(prefix + LEDGER.name)}"  # noqa: S608  # declared names
        " WHERE claimed_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC') GROUP BY file, inode, claimed_at"
        " ORDER BY claimed_at, file",
        {"since": since_ms},
    )
    return [(str(file), int(str(inode)) % 2**64) for file, inode in found]


async def settled(driver: Driver, shipments: Collection[str], *, prefix: str) -> set[str]:
    """Return which of `shipments` are complete: nothing of them will be sent, or rejected, any more."""
    found = await driver.execute(
        f"SELECT DISTINCT splitByChar(':', batch)[1] AS shipment FROM {identifier(prefix + LEDGER.name)}"  # noqa: S608  # declared names
        " WHERE shipment IN {shipments:Array(String)}",
        {"shipments": list(shipments)},
    )
    return {str(shipment) for (shipment,) in found}


async def _traced(driver: Driver, where: str, values: dict[str, list[str]], *, prefix: str) -> list[Traced]:
    table, once = identifier(prefix + LEDGER.name), identifiers(LEDGER.order_by)
    # A line that was written twice may be on two shards, where nothing makes one of it.
    found = await driver.execute(f"SELECT {_COLUMNS} FROM {table} FINAL WHERE {where} LIMIT 1 BY {once}", {**values})  # noqa: S608  # declared names
    return [_of_row(*map(str, row)) for row in found]


def _of_row(  # noqa: PLR0917  # one parameter a column of the row
    file: str,
    inode: str,
    claimed_ms: str,
    batch: str,
    table: str,
    start: str,
    end: str,
    first: str,
    rows: str,
    parts: str,
    shipped_ms: str,
) -> Traced:
    return Traced(
        file=file,
        inode=int(inode) % 2**64,
        claimed_ms=int(claimed_ms),
        batch=batch,
        table=table,
        start=int(start),
        end=int(end),
        first=int(first),
        rows=int(rows),
        parts=parts_of(parts),
        shipped_ms=int(shipped_ms),
    )


def one_taking(traced: Sequence[Traced], inode: int | None) -> list[Traced]:
    """Return the lines of the one file that is meant, of all that were dropped under its name.

    That is the last one with that inode, or the only one there is. Raises LookupError if that leaves a choice.
    """
    takings = dict.fromkeys(line.taking for line in traced)
    same = [taking for taking in takings if taking[2] == inode]
    if not same and len(takings) > 1:
        raise LookupError(f"{len(takings)} files were dropped under this name, and this is none of them, by its inode")
    chosen = max(same or takings, key=lambda taking: taking[1], default=None)
    return [line for line in traced if line.taking == chosen]
