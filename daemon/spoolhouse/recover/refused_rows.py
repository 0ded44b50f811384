"""Rows that ClickHouse has refused, once more: they are brought back under the number that they had in their batch."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.reject import Reason
from spoolhouse.decode.rows import Rows
from spoolhouse.errors import RejectedDataError, SpoolError
from spoolhouse.recover.processed_files import ProcessedFiles
from spoolhouse.recover.rejected_lines import Rejects, Selection
from spoolhouse.recover.restore import Wanted, bring_back
from spoolhouse.spool.reject_records import bytes_of
from spoolhouse.spool.row_ranges import RowRange, overlap
from spoolhouse.store.clickhouse.landing.ledger_read import of_batch


async def bring_back_refused(
    archive: ProcessedFiles, rejects: Rejects, selection: Selection
) -> tuple[frozenset[tuple[str, int]], dict[str, int]]:
    """Bring the selected refused rows back; return these, by batch and row, and why others stay refused, counted.

    Raises `StoreError`, `SpoolError`. What was brought back before that is found there by the next attempt.
    """
    done: set[tuple[str, int]] = set()
    refusals: dict[str, int] = {}
    clocks: dict[str, int] = {}
    for record in await asyncio.to_thread(list, _refused(rejects, selection)):
        batch, number = str(record["batch"]), int(str(record["row"]))
        if batch not in clocks:
            traced = await of_batch(archive.driver, batch, prefix=archive.prefix)
            if not traced:
                raise SpoolError(f"{rejects.path}: the ledger does not know the batch {batch}")
            clocks[batch] = max(line.shipped_ms for line in traced)
        try:
            raw = await asyncio.to_thread(bytes_of, archive.spool, record)
            wanted = _wanted(archive, record, raw, clocks[batch])
            await bring_back(archive.repairer, wanted, dry_run=False)
        except RejectedDataError as error:
            refusals[error.message] = refusals.get(error.message, 0) + 1
        else:
            done.add((batch, number))
    return frozenset(done), refusals


def _refused(rejects: Rejects, selection: Selection) -> list[dict[str, object]]:
    return [record for record in rejects.records() if record["reason"] == Reason.REFUSED and selection.has(record)]


def _wanted(archive: ProcessedFiles, record: dict[str, object], raw: bytes, clock_ms: int) -> Wanted:
    batch, number = str(record["batch"]), int(str(record["row"]))
    name = batch.partition(":")[2].partition(".")[0]
    origin = archive.origin(str(record["file"]).split("/")[1], clock_ms)
    rows = archive.decoder.decode(Piece(offset=0, data=raw + b"\n"), origin).rows.get(name)
    nth = int(str(record["nth"]))
    row = None if rows is None else overlap(rows, 0, RowRange(first=nth, end=nth + 1))
    if row is None:
        raise RejectedDataError(f"the line is no valid event of {name} any more")
    part = RowRange(first=number, end=number + 1).id(batch)
    return Wanted(table=archive.tables[name], landed_as=part, id=part, clock_ms=clock_ms, rows=partial(_once, row))


async def _once(rows: Rows) -> AsyncIterator[Rows]:
    yield rows
