"""Compares processed files with the store, row by row, many files at once."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from pathlib import Path

from msgspec import Struct

from spoolhouse.errors import SpoolError
from spoolhouse.recover.ports import BatchRows, LedgerRow, RowDiff
from spoolhouse.recover.processed_files import ProcessedFiles, one_claim

_FILES_AT_ONCE = 100
"""Their names are one parameter of a statement."""
_ROWS_AT_ONCE = 500_000


class Verified(Struct, frozen=True, kw_only=True):
    """The verdicts on a file's rows, batch by batch; or why it could not be verified."""

    path: Path
    batches: tuple[tuple[BatchRows, tuple[RowDiff, ...]], ...] = ()
    error: SpoolError | None = None


async def verify(files: ProcessedFiles, paths: Sequence[Path]) -> AsyncIterator[Verified]:
    """Compare each row of the files with its table; yield the verdicts on each file. Raises `StoreError`."""
    await files.sync_ledger()
    rest = iter(paths)
    while some := list(islice(rest, _FILES_AT_ONCE)):
        batches, errors = await _batches(files, some)
        verdicts: dict[str, Sequence[RowDiff]] = {}
        unread: dict[str, SpoolError] = {}
        for group in _groups(batches):
            found = await files.store.compare(group)
            verdicts |= found.diffs
            unread |= found.errors
        for path in some:
            own = batches.get(path, [])
            error = errors.get(path) or next((unread[one.id] for one in own if one.id in unread), None)
            judged = tuple((one, tuple(verdicts.get(one.id, ()))) for one in own)
            yield Verified(path=path, batches=() if error is not None else judged, error=error)


async def _batches(
    files: ProcessedFiles, paths: Sequence[Path]
) -> tuple[dict[Path, list[BatchRows]], dict[Path, SpoolError]]:
    """Return the batches of each file, and why other files have none."""
    batches: dict[Path, list[BatchRows]] = {}
    errors: dict[Path, SpoolError] = {}
    known = {}
    for path in paths:
        try:
            known[path] = await asyncio.to_thread(files.identify, path)
        except SpoolError as error:
            errors[path] = error
    places = {str(place) for some, _ in known.values() for place in some}
    ledger: dict[str, list[LedgerRow]] = {}
    for line in await files.store.ledger_of_files(sorted(places)):
        ledger.setdefault(line.file, []).append(line)
    for path, (some, inode) in known.items():
        try:
            own = one_claim([line for place in some for line in ledger.get(str(place), ())], inode)
            batches[path] = [batch async for batch in files.batches(path, own)]
        except LookupError as error:
            errors[path] = SpoolError(f"{path}: {error}")
        except SpoolError as error:
            errors[path] = error
    return batches, errors


def _groups(batches: dict[Path, list[BatchRows]]) -> Iterator[list[BatchRows]]:
    """Yield batches of one table together, at most `_ROWS_AT_ONCE` rows unless one batch has more."""
    by_table: dict[str, list[BatchRows]] = {}
    rows: dict[str, int] = {}
    for one in (one for some in batches.values() for one in some):
        name = one.table.name
        if rows.get(name, 0) + one.count > _ROWS_AT_ONCE and name in by_table:
            yield by_table.pop(name)
            rows[name] = 0
        by_table.setdefault(name, []).append(one)
        rows[name] = rows.get(name, 0) + one.count
    yield from by_table.values()
