"""A settled file once more: each of its rows that ClickHouse has lost is brought back."""

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spoolhouse.decode.line_decoder import LineDecoder, Origin, ProjectPolicy, TimePolicy
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.rows import Rows
from spoolhouse.errors import SpoolError
from spoolhouse.events.declaration import EventType, Table, tables
from spoolhouse.events.ledger import LEDGER
from spoolhouse.recover.restore import Outcome, Wanted, bring_back
from spoolhouse.settings import Settings
from spoolhouse.spool import fs, layout
from spoolhouse.spool.archive import settled
from spoolhouse.spool.layout import Encoding, Place
from spoolhouse.spool.row_ranges import RowRange, overlap
from spoolhouse.spool.segment_reader import CORRUPT, Read, SegmentReader
from spoolhouse.spool.shipment import CHUNK_BYTES
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.landing.ledger_read import Traced, files_since, of_files, one_taking
from spoolhouse.store.clickhouse.landing.repair import Repairer
from spoolhouse.store.clickhouse.landing.replica_sync import sync_replica


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessedFiles:
    """The settled files of a spool, and how they were read when they were shipped."""

    spool: Path
    driver: Driver
    prefix: str
    """That of the ledger."""
    repairer: Repairer
    tables: Mapping[str, Table]
    decoder: LineDecoder
    max_line: int
    policy: ProjectPolicy
    expired: TimePolicy
    future: TimePolicy

    def origin(self, project: str, clock_ms: int) -> Origin:
        """Return what a line of the project's folder was read by, at the shipment's clock."""
        return Origin(project=project, policy=self.policy, clock_ms=clock_ms, expired=self.expired, future=self.future)

    async def await_ledger(self) -> None:
        """Return once the server has all of the ledger: a line that is on another replica yet is none that is missing.

        Raises `StoreError`.
        """
        await sync_replica(self.driver, [self.repairer.prefix + LEDGER.name])

    async def trace(self, path: Path) -> list[Traced]:
        """Return what the ledger says of the file at `path`, which need not be there any more.

        Raises `SpoolError` if it is no file of the spool, or if several may be meant; `StoreError`.
        """
        places, inode = await asyncio.to_thread(self.identify, path)
        found = await of_files(self.driver, [str(place) for place in places], prefix=self.prefix)
        return self.taking(path, found, inode)

    @staticmethod
    def taking(path: Path, traced: Sequence[Traced], inode: int | None) -> list[Traced]:
        """Return those lines of the ledger that are of the file at `path`, of all that were dropped under its name."""
        try:
            return one_taking(traced, inode)
        except LookupError as error:
            raise SpoolError(f"{path}: {error}") from error

    def identify(self, path: Path) -> tuple[tuple[Place, ...], int | None]:
        """Return where a file may have been dropped, and its inode, if it is there."""
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

    async def replay(self, path: Path, *, dry_run: bool) -> AsyncIterator[Outcome]:
        """Bring back what is missing of the file at `path`, batch by batch; say of each what became of it.

        Raises `SpoolError` if the file is not as it was shipped, before anything of that batch is touched.
        """
        async for wanted in self._wanted(path):
            yield await bring_back(self.repairer, wanted, dry_run=dry_run)

    async def taken_since(self, since_ms: int) -> AsyncIterator[Path]:
        """Yield the files that were claimed since then, the first one first, if still in `processed/` or `failed/`."""
        await self.await_ledger()
        taken = dict.fromkeys(await files_since(self.driver, since_ms, prefix=self.prefix))
        paths = await asyncio.to_thread(self._paths, taken.keys())
        for path in (paths[file] for file in taken if file in paths):
            if await asyncio.to_thread(os.path.lexists, path):
                yield path

    def _paths(self, taken: Collection[tuple[str, int]]) -> dict[tuple[str, int], Path]:
        """Return where these files, given by place and inode, are now. Each folder is listed once."""
        instances = {place.rpartition("/")[0] for place, _ in taken}
        return {
            (str(place), entry.inode()): Path(entry.path)
            for entry in settled(self.spool, (layout.PROCESSED, layout.FAILED), instances)
            for place in layout.dropped_at(Path(entry.path).relative_to(self.spool))
            if (str(place), entry.inode()) in taken
        }

    async def _wanted(self, path: Path) -> AsyncIterator[Wanted]:
        """Yield what the file at `path` has brought, batch by batch, each part on its own."""
        await self.await_ledger()
        async for wanted in self.wanted(path, await self.trace(path)):
            yield wanted

    async def wanted(self, path: Path, traced: Sequence[Traced]) -> AsyncIterator[Wanted]:
        """Yield what the file at `path` has brought by these lines of the ledger, each part on its own."""
        if not traced:
            raise SpoolError(f"{path}: the ledger does not know it; drop it into the spool to have it ingested")
        for line in traced:
            if line.rows:
                await self._expect_as_shipped(path, line)
                # Rows that ClickHouse has refused are in no part: they are in rejected/.
                for part in line.parts or (None,):
                    own = RowRange(first=line.first, end=line.first + line.rows)
                    if part is not None:
                        own = RowRange(first=max(part.first, own.first), end=min(part.end, own.end))
                    if own.rows > 0:
                        yield self._of_batch(path, line, own, line.batch if part is None else part.id(line.batch))

    async def _expect_as_shipped(self, path: Path, line: Traced) -> None:
        if line.table not in self.tables:
            raise SpoolError(f"{path}: no event type lands in {line.table} any more")
        count = 0
        async for rows in self._rows(path, line):
            count += rows.count
        if count != line.rows:
            raise SpoolError(
                f"{path}: bytes {line.start} to {line.end} hold {count} rows of {line.table}, {line.rows} were shipped;"
                " the file was changed, or spool.project, expired or future is another one now"
            )

    def _of_batch(self, path: Path, line: Traced, own: RowRange, landed_as: str) -> Wanted:
        return Wanted(
            table=self.tables[line.table],
            landed_as=landed_as,
            # Others' rows in the same batch are not ours to bring back: the file is part of the id.
            id=f"{landed_as}/{line.claimed_ms:x}-{line.inode:x}",
            clock_ms=line.shipped_ms,
            rows=partial(self._rows, path, line, own),
            count=own.rows,
        )

    async def _rows(self, path: Path, line: Traced, part: RowRange | None = None) -> AsyncIterator[Rows]:
        """Yield the rows that a line of the ledger stands for, or those of them that are in `part` of the batch."""
        before = line.first
        reading = self._read(path, line)
        while (rows := await asyncio.to_thread(next, reading, None)) is not None:
            own = rows if part is None else overlap(rows, before, part)
            before += rows.count
            if own is not None:
                yield own

    def _read(self, path: Path, line: Traced) -> Iterator[Rows]:
        kind, project, name = line.file.split("/")
        place = Place(type=kind, project=project, name=name)
        origin = self.origin(project, line.shipped_ms)
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
            return  # what stands before the damage was shipped

    def _within(self, line: Traced, step: Read, origin: Origin) -> Rows | None:
        """Return the rows of a piece that are the line's. A mended archive may be packed, and come in pieces, anew."""
        piece, decoded = step.piece, step.decoded
        low, high = max(line.start - piece.offset, 0), min(line.end - piece.offset, len(piece.data))
        if low >= high:
            return None
        if high - low < len(piece.data):
            decoded = self.decoder.decode(Piece(offset=piece.offset + low, data=piece.data[low:high]), origin)
        return decoded.rows.get(line.table)


def _steps(reader: SegmentReader, path: Path, start: int, end: int | None) -> Iterator[object]:
    descriptor = fs.open_regular(path)
    try:
        at = start
        while chunk := os.pread(descriptor, CHUNK_BYTES if end is None else min(CHUNK_BYTES, end - at), at):
            at += len(chunk)
            yield from reader.feed(chunk)
        yield from reader.finish()
    finally:
        os.close(descriptor)


def archive(settings: Settings, driver: Driver, events: Mapping[str, EventType]) -> ProcessedFiles:
    """Return the settled files of a spool, as a replay reads them."""
    clickhouse = settings.clickhouse
    return ProcessedFiles(
        spool=Path(os.path.abspath(settings.spool.root)),  # noqa: PTH100  # links stay as they are named
        driver=driver,
        prefix=clickhouse.table_prefix,
        repairer=Repairer(driver=driver, prefix=clickhouse.insert_prefix, shards=clickhouse.shards),
        tables=tables(events),
        decoder=LineDecoder(events),
        max_line=settings.spool.max_line,
        policy=settings.spool.project,
        expired=settings.spool.expired,
        future=settings.spool.future,
    )
