"""Retries files of `failed/`: the lines that have not landed go back to where the file was dropped.

The ledger knows which lines of a file have landed. A file that it does not know, or that may be one of several, is left
alone: a line that lands twice cannot be removed again.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePath

from msgspec import Struct

from spoolhouse.errors import SpoolError
from spoolhouse.failpoints import reach
from spoolhouse.file_names import is_passing
from spoolhouse.recover.ports import MISSING, LedgerRow
from spoolhouse.recover.processed_files import ProcessedFiles, one_claim
from spoolhouse.recover.remainder import Remainder, remainder_of
from spoolhouse.recover.verify import verify
from spoolhouse.spool import fs, instance_dirs, layout
from spoolhouse.spool.archive import settled
from spoolhouse.spool.free_names import free_name, rename_to_free_name
from spoolhouse.spool.layout import Place


class Retried(Struct, frozen=True, kw_only=True):
    """Where a file is now, or would be, and where its remainder is if only that went back; relative to the spool."""

    file: PurePath
    rest: PurePath | None = None


class FailedFiles(Struct, frozen=True, kw_only=True):
    """The `failed/` folders of a spool. Methods raise `StoreError`."""

    files: ProcessedFiles

    @property
    def spool(self) -> Path:
        """The spool's folder."""
        return self.files.spool

    def all(self) -> Iterator[Path]:
        """Yield the files in them, without their reason files. Blocks on the disk. Raises OSError."""
        for entry in settled(self.spool, (layout.FAILED,)):
            if not layout.is_reason(entry.name):
                yield Path(entry.path)

    async def retry(self, path: Path, *, dry_run: bool) -> Retried:
        """Move a file, or its remainder, back to where it was dropped; return where they are now, or would be.

        Raises `SpoolError`, with the reason, if the file is left alone.
        """
        relative, status = await asyncio.to_thread(self._identify, path)
        await self.files.sync_ledger()
        try:
            ledger = one_claim(await self._ledger(*layout.dropped_at(relative)), status.st_ino)
        except LookupError as error:
            raise SpoolError(f"{path}: it is not known which of its lines have landed: {error}") from error
        _expect_known(path, ledger)
        await asyncio.to_thread(self._expect_nothing_under_way, path, status, ledger)
        folder = relative.parent.parent
        if (rest := remainder_of(self.spool / relative, ledger)) is not None:
            dropped = await self._drop(rest, dry_run=dry_run)
            file = await asyncio.to_thread(self._move, relative, folder / layout.PROCESSED, dry_run)
            return Retried(file=file, rest=rest.place.relative if dropped else None)
        return Retried(file=await asyncio.to_thread(self._move, relative, folder, dry_run))

    async def _drop(self, rest: Remainder, *, dry_run: bool) -> bool:
        """Drop the remainder of a file into the spool; return false if it is empty, or was dropped before."""
        async for verified in verify(self.files, [rest.file]):
            if verified.error is not None:
                raise verified.error
            for batch, diff in ((batch, diff) for batch, diffs in verified.batches for diff in diffs):
                if diff.verdict == MISSING:
                    raise SpoolError(
                        f"{rest.file}: {diff.rows} rows of {batch.table.name} in the first {rest.start} bytes of"
                        " its content, which have landed, are missing in ClickHouse: either it is another file now,"
                        " or run `spoolhouse replay` first, which brings them back"
                    )
        if await asyncio.to_thread(rest.is_on_its_way, self.spool):
            return False
        await self.files.sync_ledger()  # it may have settled meanwhile
        if await self._ledger(rest.place):
            return False
        return bool(await asyncio.to_thread(rest.size if dry_run else partial(rest.drop, self.spool)))

    async def _ledger(self, *places: Place) -> list[LedgerRow]:
        return await self.files.store.ledger_of_files([str(place) for place in places])

    def _identify(self, path: Path) -> tuple[PurePath, os.stat_result]:
        absolute = Path(os.path.normpath(path.absolute()))
        if not absolute.is_relative_to(self.spool):
            raise SpoolError(f"{path}: not in the spool {self.spool} (spool.storage_path, spool.base_path)")
        relative = absolute.relative_to(self.spool)
        if relative.parent.name != layout.FAILED or not layout.dropped_at(relative):
            raise SpoolError(f"{path}: failed files are named {{type}}/{{project}}/{layout.FAILED}/{{name}}")
        try:
            status = absolute.lstat()
        except OSError as error:
            raise SpoolError(f"{path}: {error.strerror}") from error
        if not stat.S_ISREG(status.st_mode) or is_passing(relative.name) or layout.is_reason(relative.name):
            raise SpoolError(f"{path}: no file of events")
        return relative, status

    def _expect_nothing_under_way(self, path: Path, status: os.stat_result, ledger: list[LedgerRow]) -> None:
        """Raise `SpoolError` if an instance may be shipping bytes that were appended to this file."""
        written_ms = status.st_mtime_ns // 1_000_000
        appended = any(line.inode == status.st_ino and written_ms > line.claimed_ms for line in ledger)
        if appended and instance_dirs.names(self.spool):
            raise SpoolError(
                f"{path}: bytes were appended to it after it had been claimed, and a daemon may be shipping them:"
                " put a repaired copy in its place, or let the daemons finish and stop them"
            )

    def _move(self, relative: PurePath, target: PurePath, dry_run: bool) -> PurePath:  # noqa: FBT001  # an executor passes by position
        """Rename the file into the folder `target`, durably, and remove its reason file. Blocks on the disk."""
        below = self.spool
        with (
            fs.opened_folders(below / relative.parent, below=below) as failed,
            fs.opened_folders(below / target, below=below) as pending,
        ):
            if dry_run:
                return target / free_name(relative.name, pending)
            name = rename_to_free_name(relative.name, Path(relative.name), folder=failed, target_folder=pending)
            reach("replay.retried")
            os.fsync(pending)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(layout.reason_name(relative.name), dir_fd=failed)
            os.fsync(failed)
            return target / name


def _expect_known(path: Path, ledger: list[LedgerRow]) -> None:
    if not ledger:
        raise SpoolError(
            f"{path}: the ledger does not know it, so it is not known which of its lines have landed;"
            " if none has, drop it into the spool again"
        )
