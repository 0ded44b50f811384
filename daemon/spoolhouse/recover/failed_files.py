"""Files of `failed/` once more: what of them has not landed goes back to where they were dropped.

The ledger knows what has landed of a file. Where it does not know the file at all, or several may be meant, nobody can
tell, and the file is left alone: a line that lands twice cannot be taken back.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

from spoolhouse.errors import SpoolError
from spoolhouse.failpoints import reach
from spoolhouse.recover.archive_remainder import Rest, rest_of
from spoolhouse.recover.processed_files import ProcessedFiles
from spoolhouse.recover.verify import verify
from spoolhouse.spool import fs, instance_dirs, layout
from spoolhouse.spool.archive import settled
from spoolhouse.spool.layout import Encoding, Place
from spoolhouse.store.clickhouse.landing.ledger_read import Traced, of_files, one_taking
from spoolhouse.store.clickhouse.landing.row_diff import MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """Where a file is now, or would be, and where its rest is, if only that went back; relative to the spool."""

    file: PurePath
    rest: PurePath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The `failed/` folders of a spool. Methods raise `StoreError`."""

    archive: ProcessedFiles

    @property
    def spool(self) -> Path:
        """The spool's folder."""
        return self.archive.spool

    def all(self) -> Iterator[Path]:
        """Yield the files that are there, their notes left out. Blocks on the disk. Raises OSError."""
        for entry in settled(self.spool, (layout.FAILED,)):
            if layout.encoding(entry.name) is not None:
                yield Path(entry.path)

    async def retry(self, path: Path, *, dry_run: bool) -> Retried:
        """Bring a file back, or its rest; return where they are now, or would be.

        Raises `SpoolError` if it is to be left alone, and says why.
        """
        relative, status = await asyncio.to_thread(self._look, path)
        places = layout.dropped_at(relative)
        await self.archive.await_ledger()
        traced = await self._traced(*places)
        try:
            taken = one_taking(traced, status.st_ino)
        except LookupError as error:
            raise SpoolError(f"{path}: nobody can tell what of it has landed: {error}") from error
        _expect_known(path, taken)
        await asyncio.to_thread(self._expect_nothing_under_way, path, status, taken)
        instance = relative.parent.parent
        if layout.encoding(relative.name) is Encoding.PLAIN:
            _expect_nothing_landed(path, taken)
        elif (rest := rest_of(self.spool / relative, taken)) is not None:
            gone = await self._drop(rest, dry_run=dry_run)
            file = await asyncio.to_thread(self._move, relative, instance / layout.PROCESSED, dry_run)
            return Retried(file=file, rest=rest.place.relative if gone else None)
        return Retried(file=await asyncio.to_thread(self._move, relative, instance, dry_run))

    async def _drop(self, rest: Rest, *, dry_run: bool) -> bool:
        """Drop the rest of an archive, unless there is none, or that was done before; return whether it goes now."""
        async for verified in verify(self.archive, [rest.archive]):
            if verified.error is not None:
                raise verified.error
            for wanted, verdict in ((wanted, one) for wanted, verdicts in verified.batches for one in verdicts):
                if verdict.verdict == MISSING:
                    raise SpoolError(
                        f"{rest.archive}: {verdict.rows} rows of {wanted.table.name} in the first {rest.start} bytes of"
                        " its content, which have landed, are missing in ClickHouse: it is not the file that it was,"
                        " or spoolhouse replay brings them back first"
                    )
        if await asyncio.to_thread(rest.is_on_its_way, self.spool) or await self._traced(rest.place):
            return False
        return bool(await asyncio.to_thread(rest.size if dry_run else partial(rest.drop, self.spool)))

    async def _traced(self, *places: Place) -> list[Traced]:
        return await of_files(self.archive.driver, [str(place) for place in places], prefix=self.archive.prefix)

    def _look(self, path: Path) -> tuple[PurePath, os.stat_result]:
        absolute = Path(os.path.normpath(path.absolute()))
        if not absolute.is_relative_to(self.spool):
            raise SpoolError(f"{path}: not in the spool {self.spool} (spool.storage_path, spool.base_path)")
        relative = absolute.relative_to(self.spool)
        if relative.parent.name != layout.FAILED or not layout.dropped_at(relative):
            raise SpoolError(f"{path}: what failed is named {{type}}/{{project}}/{layout.FAILED}/{{name}}")
        try:
            status = absolute.lstat()
        except OSError as error:
            raise SpoolError(f"{path}: {error.strerror}") from error
        if not stat.S_ISREG(status.st_mode) or layout.encoding(relative.name) is None:
            raise SpoolError(f"{path}: no file of events")
        return relative, status

    def _expect_nothing_under_way(self, path: Path, status: os.stat_result, taken: list[Traced]) -> None:
        """Raise `SpoolError` if an instance may be shipping bytes that were appended to this very file."""
        written_ms = status.st_mtime_ns // 1_000_000
        appended = any(line.inode == status.st_ino and written_ms > line.claimed_ms for line in taken)
        if appended and instance_dirs.names(self.spool):
            raise SpoolError(
                f"{path}: it was written to after it had been claimed, and a daemon may be shipping that:"
                " put a mended copy in its place, or let the daemons finish and stop them"
            )

    def _move(self, relative: PurePath, instance: PurePath, dry_run: bool) -> PurePath:  # noqa: FBT001  # an executor passes by position
        """Rename the file into the folder `home`, durably, and take its note away. Blocks on the disk."""
        below = self.spool
        with (
            fs.opened_folders(below / relative.parent, below=below) as failed,
            fs.opened_folders(below / instance, below=below) as pending,
        ):
            number = 0
            while fs.exists(Path(layout.numbered(relative.name, number)), folder=pending):
                number += 1
            if dry_run:
                return instance / layout.numbered(relative.name, number)
            while True:
                name = layout.numbered(relative.name, number)
                try:
                    fs.rename_without_clobber(Path(relative.name), Path(name), folder=failed, target_folder=pending)
                except FileExistsError:
                    number += 1
                    continue
                break
            reach("replay.retried")
            os.fsync(pending)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(layout.reason_name(relative.name), dir_fd=failed)
            os.fsync(failed)
            return instance / name


def _expect_known(path: Path, taken: list[Traced]) -> None:
    if not taken:
        raise SpoolError(
            f"{path}: the ledger does not know it, so nobody can tell what of it has landed;"
            " if nothing has, drop it into the spool again"
        )


def _expect_nothing_landed(path: Path, taken: list[Traced]) -> None:
    rows = sum(line.rows for line in taken)
    if rows:
        start, end = min(line.start for line in taken if line.rows), max(line.end for line in taken if line.rows)
        raise SpoolError(
            f"{path}: {rows} rows from bytes {start} to {end} of it have landed, and would land twice;"
            f" drop what else there is as a file of its own (spoolhouse trace-file shows all of it)"
        )
