"""Processed files: their lines are read as they were shipped, and rows that the store has lost are restored."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct

from spoolhouse.decode.line_decoder import LineDecoder, Origin, ProjectPolicy, TimePolicy, UnknownPolicy
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.rows import Rows
from spoolhouse.errors import SpoolError
from spoolhouse.events.declaration import EventType, Table, tables
from spoolhouse.recover.ports import BatchRows, ClaimedFile, LedgerRow, RecoveryStore, Restored
from spoolhouse.settings import Settings
from spoolhouse.spool import fs, layout, ledger_lag
from spoolhouse.spool.archive import settled
from spoolhouse.spool.layout import Encoding, Place
from spoolhouse.spool.replay_origins import first_places
from spoolhouse.spool.row_ranges import RowRange, overlap
from spoolhouse.spool.segment_reader import CORRUPT, Read, SegmentReader
from spoolhouse.spool.shipment import CHUNK_BYTES

_PATIENCE = 5.0
_PAUSE = 0.05
"""Seconds that entries of a daemon are waited for, and between two looks."""


class ProcessedFiles(Struct, frozen=True, kw_only=True):
    """The processed and failed files of a spool, and how they were decoded when they were shipped."""

    spool: Path
    store: RecoveryStore
    tables: Mapping[str, Table]
    decoder: LineDecoder
    max_line: int
    policy: ProjectPolicy
    expired: TimePolicy
    future: TimePolicy
    unknown: UnknownPolicy

    def origin(self, place: Place, clock_ms: int) -> Origin:
        """Return the decoder's arguments for lines of the file dropped at `place`, at the shipment's clock."""
        return Origin(
            project=place.project,
            policy=self.policy,
            clock_ms=clock_ms,
            expired=self.expired,
            future=self.future,
            type=place.type,
            file=str(place),
            unknown=self.unknown,
            first_places=first_places(self.spool, place),
        )

    async def sync_ledger(self) -> None:
        """Return once the store has all of the ledger: a row that only another replica has yet is not missing.

        Neither is one that a daemon has journalled and not written yet: it is waited for, for a few seconds.
        Raises `StoreError`; `SpoolError` if the ledger is behind.
        """
        entries = await asyncio.to_thread(ledger_lag.journalled, self.spool)
        deadline = time.monotonic() + _PATIENCE
        while behind := await asyncio.to_thread(ledger_lag.unwritten, self.spool, entries):
            if time.monotonic() >= deadline:
                raise SpoolError(
                    f"the ledger is behind: {behind} entries are in the journals of {self.spool} and not in the store"
                    " yet; a running daemon writes them, and says in its log why it cannot"
                )
            await asyncio.sleep(_PAUSE)
        await self.store.sync_ledger()

    async def trace(self, path: Path) -> list[LedgerRow]:
        """Return the ledger's rows of the file at `path`, which need not exist any more.

        Raises `SpoolError` if it is no file of the spool, or if several may be meant; `StoreError`.
        """
        places, inode = await asyncio.to_thread(self.identify, path)
        found = await self.store.ledger_of_files([str(place) for place in places])
        try:
            return one_claim(found, inode)
        except LookupError as error:
            raise SpoolError(f"{path}: {error}") from error

    def identify(self, path: Path) -> tuple[tuple[Place, ...], int | None]:
        """Return where a file may have been dropped, and its inode if it exists. Raises `SpoolError`."""
        absolute = Path(os.path.normpath(path.absolute()))
        if not absolute.is_relative_to(self.spool):
            raise SpoolError(f"{path}: not in the spool {self.spool} (spool.storage_path, spool.base_path)")
        places = layout.dropped_at(absolute.relative_to(self.spool))
        if not places:
            raise SpoolError(f"{path}: files of events are named {{type}}/{{project}}/processed/{{name}}")
        try:
            return places, path.lstat().st_ino
        except OSError:
            return places, None

    async def replay(self, path: Path, *, dry_run: bool) -> AsyncIterator[Restored]:
        """Restore the missing rows of the file at `path`, batch by batch; yield the result of each.

        Raises `SpoolError` if the file is not as it was shipped, before anything of that batch is changed.
        """
        await self.sync_ledger()
        async for batch in self.batches(path, await self.trace(path)):
            yield await self.store.restore(batch, dry_run=dry_run)

    async def claimed_since(self, since_ms: int) -> AsyncIterator[Path]:
        """Yield the files that were claimed since then, the first one first, if still in `processed/` or `failed/`."""
        await self.sync_ledger()
        claimed = dict.fromkeys(await self.store.files_since(since_ms))
        paths = await asyncio.to_thread(self._paths, claimed.keys())
        for path in (paths[file] for file in claimed if file in paths):
            if await asyncio.to_thread(os.path.lexists, path):
                yield path

    def _paths(self, claimed: Collection[ClaimedFile]) -> dict[ClaimedFile, Path]:
        """Return where these files are now. Each folder is listed once."""
        folders = {file.place.rpartition("/")[0] for file in claimed}
        return {
            file: Path(entry.path)
            for entry in settled(self.spool, (layout.PROCESSED, layout.FAILED), folders)
            for place in layout.dropped_at(Path(entry.path).relative_to(self.spool))
            if (file := ClaimedFile(place=str(place), inode=entry.inode())) in claimed
        }

    async def batches(self, path: Path, ledger: Sequence[LedgerRow]) -> AsyncIterator[BatchRows]:
        """Yield the rows that the file at `path` has brought by these ledger rows, each part of a batch on its own.

        Raises `SpoolError` if the file is not as it was shipped.
        """
        if not ledger:
            raise SpoolError(f"{path}: the ledger does not know it; drop it into the spool to have it ingested")
        for line in ledger:
            if line.rows:
                await self._expect_as_shipped(path, line)
                # Rows that ClickHouse has refused are in no part: they are in rejected/.
                for part in line.parts or (None,):
                    own = RowRange(first=line.first, end=line.first + line.rows)
                    if part is not None:
                        own = RowRange(first=max(part.first, own.first), end=min(part.end, own.end))
                    if own.rows > 0:
                        yield self._of_batch(path, line, own, line.batch if part is None else part.id(line.batch))

    async def _expect_as_shipped(self, path: Path, line: LedgerRow) -> None:
        if line.table not in self.tables:
            raise SpoolError(f"{path}: no event type lands in {line.table} any more")
        count = 0
        async for rows in self._rows(path, line):
            count += rows.count
        if count != line.rows:
            raise SpoolError(
                f"{path}: bytes {line.start} to {line.end} hold {count} rows of {line.table}, {line.rows} were shipped;"
                " the file was changed, or one of spool.project, expired, future and events.traces_from_root_spans"
            )

    def _of_batch(self, path: Path, line: LedgerRow, own: RowRange, landed_as: str) -> BatchRows:
        return BatchRows(
            table=self.tables[line.table],
            landed_as=landed_as,
            # The rows of other files in the same batch are not restored with it: the file is part of the id.
            id=f"{landed_as}/{line.claimed_ms:x}-{line.inode:x}",
            clock_ms=line.shipped_ms,
            rows=partial(self._rows, path, line, own),
            count=own.rows,
        )

    async def _rows(self, path: Path, line: LedgerRow, part: RowRange | None = None) -> AsyncIterator[Rows]:
        """Yield the rows that a ledger row stands for, or those of them that are in `part` of the batch."""
        before = line.first
        reading = self._read(path, line)
        while (rows := await asyncio.to_thread(next, reading, None)) is not None:
            own = rows if part is None else overlap(rows, before, part)
            before += rows.count
            if own is not None:
                yield own

    def _read(self, path: Path, line: LedgerRow) -> Iterator[Rows]:
        kind, project, name = line.file.split("/")
        place = Place(type=kind, project=project, name=name)
        origin = self.origin(place, line.shipped_ms)
        plain = place.encoding is Encoding.PLAIN
        start = line.start if plain else 0
        reader = SegmentReader(start, place.encoding, self.decoder, origin, self.max_line)
        try:
            for step in _steps(reader, path, start, line.end if plain else None):
                rows = self._within(line, step, origin) if isinstance(step, Read) else None
                if rows is not None:
                    yield rows
        except OSError as error:
            raise SpoolError(f"{path}: {error.strerror}") from error
        except CORRUPT:
            return  # only the lines before the damage were shipped

    def _within(self, line: LedgerRow, step: Read, origin: Origin) -> Rows | None:
        """Return the rows of a piece that belong to a ledger row.

        A repaired archive may be compressed anew, and then comes in other pieces.
        """
        piece, decoded = step.piece, step.decoded
        low, high = max(line.start - piece.offset, 0), min(line.end - piece.offset, len(piece.data))
        if low >= high:
            return None
        if high - low < len(piece.data):
            decoded = self.decoder.decode(Piece(offset=piece.offset + low, data=piece.data[low:high]), origin)
        return decoded.rows.get(line.table)


def _steps(reader: SegmentReader, path: Path, start: int, end: int | None) -> Iterator[object]:
    descriptor, _ = fs.open_regular(path)
    try:
        at = start
        while chunk := os.pread(descriptor, CHUNK_BYTES if end is None else min(CHUNK_BYTES, end - at), at):
            at += len(chunk)
            yield from reader.feed(chunk)
        yield from reader.finish()
    finally:
        os.close(descriptor)


def one_claim(ledger: Sequence[LedgerRow], inode: int | None) -> list[LedgerRow]:
    """Return the rows of the one file that is meant, of all files that were dropped under its name.

    That is the last one with that inode, or the only one there is. Raises LookupError if several are left.
    """
    claims = dict.fromkeys(line.claim for line in ledger)
    same = [claim for claim in claims if claim[2] == inode]
    if not same and len(claims) > 1:
        raise LookupError(f"{len(claims)} files were dropped under this name, and this is none of them, by its inode")
    chosen = max(same or claims, key=lambda claim: claim[1], default=None)
    return [line for line in ledger if line.claim == chosen]


def processed_files(settings: Settings, store: RecoveryStore, events: Mapping[str, EventType]) -> ProcessedFiles:
    """Return the processed and failed files of the spool that the settings name."""
    return ProcessedFiles(
        spool=Path(os.path.abspath(settings.spool.root)),  # noqa: PTH100  # links stay as they are named
        store=store,
        tables=tables(events),
        decoder=LineDecoder(events),
        max_line=settings.spool.max_line,
        policy=settings.spool.project,
        expired=settings.spool.expired,
        future=settings.spool.future,
        unknown=settings.events.unknown,
    )
