"""Rows that the store has refused: each is restored under the number that it had in its batch."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.rows import Rows
from spoolhouse.errors import RejectedDataError, SpoolError
from spoolhouse.recover.ports import BatchRows
from spoolhouse.recover.processed_files import ProcessedFiles
from spoolhouse.recover.rejected_lines import RejectsFile, Selection
from spoolhouse.spool.layout import Place
from spoolhouse.spool.reject_records import RejectRecord, bytes_of
from spoolhouse.spool.row_ranges import RowRange, overlap


async def restore_refused(
    files: ProcessedFiles, rejects: RejectsFile, selection: Selection
) -> tuple[frozenset[tuple[str, int]], dict[str, int]]:
    """Restore the selected refused rows; return these, by batch and row, and why others stay refused, counted.

    A row that an earlier run has restored is found, and not restored twice. Raises `StoreError`, `SpoolError`.
    """
    done: set[tuple[str, int]] = set()
    refusals: dict[str, int] = {}
    clocks: dict[str, int] = {}
    for record, where in await asyncio.to_thread(_refused, rejects, selection):
        batch = where[0]
        if batch not in clocks:
            ledger = await files.store.ledger_of_batch(batch)
            if not ledger:
                raise SpoolError(f"{rejects.path}: the ledger does not know the batch {batch}")
            clocks[batch] = max(line.shipped_ms for line in ledger)
        try:
            raw = await asyncio.to_thread(bytes_of, files.spool, record)
            await files.store.restore(_row(files, record, where, raw, clocks[batch]), dry_run=False)
        except RejectedDataError as error:
            refusals[error.message] = refusals.get(error.message, 0) + 1
        else:
            done.add(where)
    return frozenset(done), refusals


def _refused(rejects: RejectsFile, selection: Selection) -> list[tuple[RejectRecord, tuple[str, int]]]:
    """Return the selected refused rows, each with its batch and its number there."""
    return [(record, record.refused) for record in rejects.records() if record.refused and selection.has(record)]


def _row(files: ProcessedFiles, record: RejectRecord, where: tuple[str, int], raw: bytes, clock_ms: int) -> BatchRows:
    batch, number = where
    name = batch.partition(":")[2].partition(".")[0]
    origin = files.origin(_place(record.file), clock_ms)
    piece = Piece(offset=record.offset, data=raw + b"\n")
    rows = files.decoder.decode(piece, origin).rows.get(name)
    nth = record.nth or 0
    row = None if rows is None else overlap(rows, 0, RowRange(first=nth, end=nth + 1))
    if row is None:
        raise RejectedDataError(f"the line is no valid event of {name} any more")
    part = RowRange(first=number, end=number + 1).id(batch)
    return BatchRows(table=files.tables[name], landed_as=part, id=part, clock_ms=clock_ms, rows=partial(_once, row))


async def _once(rows: Rows) -> AsyncIterator[Rows]:
    yield rows


def _place(file: str) -> Place:
    kind, project, name = file.split("/")
    return Place(type=kind, project=project, name=name)
