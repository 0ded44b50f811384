"""Reading the ledger of a DuckDB file: from a file of the spool to its batches, and from a batch to its files."""

from collections.abc import Collection, Sequence
from typing import Any

import duckdb

from spoolhouse.events.ledger import LEDGER
from spoolhouse.recover.ports import ClaimedFile, LedgerRow
from spoolhouse.spool.ledger_rows import parts_of
from spoolhouse.store.duckdb.quoting import identifier
from spoolhouse.store.duckdb.schema import LATEST

_COLUMNS = (
    "file, inode, epoch_ms(claimed_at), batch, table_name, range_start, range_end, first_row, row_count, parts,"
    " epoch_ms(shipped_at)"
)


def of_files(connection: duckdb.DuckDBPyConnection, places: Sequence[str], *, prefix: str) -> list[LedgerRow]:
    """Return the ledger's rows of all files that were ever dropped at `places`. Raises `duckdb.Error`."""
    where = "file IN (SELECT unnest(?::VARCHAR[])) ORDER BY claimed_at, batch, range_start"
    return _rows(connection, where, list(places), prefix=prefix)


def of_batch(connection: duckdb.DuckDBPyConnection, batch: str, *, prefix: str) -> list[LedgerRow]:
    """Return the ledger's rows of a batch, in the order of the batch's rows. Raises `duckdb.Error`."""
    return _rows(connection, "batch = ? ORDER BY first_row", batch, prefix=prefix)


def files_since(connection: duckdb.DuckDBPyConnection, since_ms: int, *, prefix: str) -> list[ClaimedFile]:
    """Return the files that were claimed since then, the first one first. Raises `duckdb.Error`."""
    found = connection.execute(
        f"SELECT file, inode FROM {_ledger(prefix)} WHERE epoch_ms(claimed_at) >= ? GROUP BY file, inode, claimed_at"
        " ORDER BY claimed_at, file",
        [since_ms],
    )
    return [ClaimedFile(place=file, inode=_inode(inode)) for file, inode in found.fetchall()]


def complete(connection: duckdb.DuckDBPyConnection, shipments: Collection[str], *, prefix: str) -> set[str]:
    """Return those of `shipments` that the ledger knows. Raises `duckdb.Error`."""
    found = connection.execute(
        f"SELECT DISTINCT split_part(batch, ':', 1) AS shipment FROM {_ledger(prefix)}"
        " WHERE shipment IN (SELECT unnest(?::VARCHAR[]))",
        [list(shipments)],
    )
    return {shipment for (shipment,) in found.fetchall()}


def files_of(connection: duckdb.DuckDBPyConnection, batches: Collection[str], *, prefix: str) -> list[str]:
    """Return the files that these batches came from. Raises `duckdb.Error`."""
    found = connection.execute(
        f"SELECT DISTINCT file FROM {_ledger(prefix)} WHERE batch IN (SELECT unnest(?::VARCHAR[])) ORDER BY file",
        [list(batches)],
    )
    return [file for (file,) in found.fetchall()]


def _rows(connection: duckdb.DuckDBPyConnection, where: str, value: Any, *, prefix: str) -> list[LedgerRow]:
    found = connection.execute(f"SELECT {_COLUMNS} FROM {_ledger(prefix)} WHERE {where}", [value]).fetchall()
    return [
        LedgerRow(
            file=file,
            inode=_inode(inode),
            claimed_ms=claimed_ms,
            batch=batch,
            table=table,
            start=start,
            end=end,
            first=first,
            rows=rows,
            parts=parts_of(parts),
            shipped_ms=shipped_ms,
        )
        for file, inode, claimed_ms, batch, table, start, end, first, rows, parts, shipped_ms in found
    ]


def _ledger(prefix: str) -> str:
    """Return its view: an entry may be written twice."""
    return identifier(prefix + LEDGER.name + LATEST)


def _inode(stored: int) -> int:
    """Return an inode as the system gives it: the column is signed."""
    return stored % 2**64
