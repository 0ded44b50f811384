"""Settled files beside what ClickHouse holds of them, row by row, many files at once.

The rows of some files are put into one table of their own, each file's batches under ids of their own, and compared
with the real one in one statement: a dozen statements for each file took far longer than its rows.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from spoolhouse.errors import SpoolError
from spoolhouse.recover.processed_files import ProcessedFiles
from spoolhouse.recover.restore import Wanted
from spoolhouse.store.clickhouse.driver import RowsInsert
from spoolhouse.store.clickhouse.landing.ledger_read import Traced, of_files
from spoolhouse.store.clickhouse.landing.presence import require_no_running_attempt
from spoolhouse.store.clickhouse.landing.replica_sync import sync_replica
from spoolhouse.store.clickhouse.landing.row_diff import RowDiff, compare

_FILES_AT_ONCE = 100
"""Each of them is an insert into the table of their own, and a part at least."""
_ROWS_AT_ONCE = 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """How the rows of a file fare, batch by batch; or why it could not be verified."""

    path: Path
    batches: tuple[tuple[Wanted, tuple[RowDiff, ...]], ...] = ()
    error: SpoolError | None = None


async def verify(archive: ProcessedFiles, paths: Sequence[Path]) -> AsyncIterator[Verified]:
    """Compare each row of the files with its table; yield what comes of each file. Raises `StoreError`."""
    await archive.await_ledger()
    rest = iter(paths)
    while some := list(islice(rest, _FILES_AT_ONCE)):
        wanted, errors = await _wanted(archive, some)
        verdicts: dict[str, list[RowDiff]] = {}
        for group in _groups(wanted):
            found, failed = await _compared(archive, group)
            verdicts |= found
            errors = {**failed, **errors}
        for path in some:
            batches = tuple((one, tuple(verdicts.get(one.id, ()))) for one in wanted.get(path, ()))
            error = errors.get(path)
            yield Verified(path=path, batches=() if error is not None else batches, error=error)


async def _wanted(
    archive: ProcessedFiles, paths: Sequence[Path]
) -> tuple[dict[Path, list[Wanted]], dict[Path, SpoolError]]:
    """Return what each file has brought; and what is wrong with others."""
    wanted: dict[Path, list[Wanted]] = {}
    errors: dict[Path, SpoolError] = {}
    known = {}
    for path in paths:
        try:
            known[path] = await asyncio.to_thread(archive.identify, path)
        except SpoolError as error:
            errors[path] = error
    places = {str(place) for some, _ in known.values() for place in some}
    lines: dict[str, list[Traced]] = {}
    for line in await of_files(archive.driver, sorted(places), prefix=archive.prefix):
        lines.setdefault(line.file, []).append(line)
    for path, (some, inode) in known.items():
        try:
            traced = archive.taking(path, [line for place in some for line in lines.get(str(place), ())], inode)
            wanted[path] = [one async for one in archive.wanted(path, traced)]
        except SpoolError as error:
            errors[path] = error
    return wanted, errors


def _groups(wanted: dict[Path, list[Wanted]]) -> Iterator[list[tuple[Path, Wanted]]]:
    """Yield batches of one table together, not too many rows at once."""
    by_table: dict[str, list[tuple[Path, Wanted]]] = {}
    rows: dict[str, int] = {}
    for path, batches in wanted.items():
        for one in batches:
            name = one.table.name
            if rows.get(name, 0) + one.count > _ROWS_AT_ONCE and name in by_table:
                yield by_table.pop(name)
                rows[name] = 0
            by_table.setdefault(name, []).append((path, one))
            rows[name] = rows.get(name, 0) + one.count
    yield from by_table.values()


async def _compared(
    archive: ProcessedFiles, group: list[tuple[Path, Wanted]]
) -> tuple[dict[str, list[RowDiff]], dict[Path, SpoolError]]:
    """Return the verdicts on some batches of one table, by their ids; and which files could not be read again."""
    repairer, table = archive.repairer, group[0][1].table
    errors: dict[Path, SpoolError] = {}
    ids = [wanted.id for _, wanted in group]
    await require_no_running_attempt(repairer.driver, ids, prefix=repairer.prefix, shards=repairer.shards)
    await sync_replica(repairer.driver, [repairer.prefix + table.name])
    # Of this run alone: others may be looking at the same files.
    run = secrets.token_hex(16)
    try:
        own = await repairer.staging(table, run)
        for path, wanted in group:
            try:
                await repairer.stage_more(own, _marked(wanted.insert(repairer.prefix), run), wanted.rows())
            except SpoolError as error:
                errors[path] = error
        found = await compare(repairer, table, own)
    finally:
        await repairer.drop_staging(run)
    return {batch.removesuffix(f"/{run}"): verdicts for batch, verdicts in found.items()}, errors


def _marked(insert: RowsInsert, run: str) -> RowsInsert:
    return replace(insert, batch_id=f"{insert.batch_id}/{run}")
