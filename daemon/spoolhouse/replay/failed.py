"""Files of `failed/` once more: those of which no row has landed go back to where they were dropped.

The ledger knows what has landed of a file. Where it does not know the file at all, or several may be meant, nobody can
tell, and the file is left alone: a line that lands twice cannot be taken back.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from spoolhouse.core.ports import Driver
from spoolhouse.errors import SpoolError
from spoolhouse.failpoints import reach
from spoolhouse.landing.lineage import Traced, of_files, one_taking
from spoolhouse.spool import files, instances, layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The `failed/` folders of a spool. Methods raise `StoreError`."""

    spool: Path
    driver: Driver
    prefix: str

    def all(self) -> Iterator[Path]:
        """Yield the files that are there, their notes left out. Blocks on the disk."""
        for path in sorted(self.spool.glob(f"*/*/{layout.FAILED}/*")):
            if layout.dropped_at(path.relative_to(self.spool)) and layout.encoding(path.name) is not None:
                yield path

    async def retry(self, path: Path, *, dry_run: bool) -> PurePath:
        """Bring a file back; return where it is now, or would be, relative to the spool.

        Raises `SpoolError` if it is to be left alone, and says why.
        """
        relative, status = await asyncio.to_thread(self._look, path)
        places = layout.dropped_at(relative)
        traced = await of_files(self.driver, [str(place) for place in places], prefix=self.prefix)
        try:
            taken = one_taking(traced, status.st_ino)
        except LookupError as error:
            raise SpoolError(f"{path}: nobody can tell what of it has landed: {error}") from error
        _expect_nothing_landed(path, taken)
        await asyncio.to_thread(self._expect_nothing_under_way, path, status, taken)
        return await asyncio.to_thread(self._move, relative, dry_run)

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
        if appended and instances.names(self.spool):
            raise SpoolError(
                f"{path}: it was written to after it had been claimed, and a daemon may be shipping that:"
                " put a mended copy in its place, or let the daemons finish and stop them"
            )

    def _move(self, relative: PurePath, dry_run: bool) -> PurePath:  # noqa: FBT001  # an executor passes by position
        """Rename the file to where it was dropped, durably, and take its note away. Blocks on the disk."""
        home = relative.parent.parent
        below = self.spool
        with (
            files.opened_folders(below / relative.parent, below=below) as failed,
            files.opened_folders(below / home, below=below) as pending,
        ):
            number = 0
            while files.exists(Path(layout.numbered(relative.name, number)), folder=pending):
                number += 1
            if dry_run:
                return home / layout.numbered(relative.name, number)
            while True:
                name = layout.numbered(relative.name, number)
                try:
                    files.rename_without_clobber(Path(relative.name), Path(name), folder=failed, target_folder=pending)
                except FileExistsError:
                    number += 1
                    continue
                break
            reach("replay.retried")
            os.fsync(pending)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(layout.reason_name(relative.name), dir_fd=failed)
            os.fsync(failed)
            return home / name


def _expect_nothing_landed(path: Path, taken: list[Traced]) -> None:
    if not taken:
        raise SpoolError(
            f"{path}: the ledger does not know it, so nobody can tell what of it has landed;"
            " if nothing has, drop it into the spool again"
        )
    rows = sum(line.rows for line in taken)
    if rows:
        start, end = min(line.start for line in taken if line.rows), max(line.end for line in taken if line.rows)
        what = "its content" if layout.encoding(path.name) is not layout.Encoding.PLAIN else "it"
        raise SpoolError(
            f"{path}: {rows} rows from bytes {start} to {end} of {what} have landed, and would land twice;"
            f" drop what else there is as a file of its own (spoolhouse trace-file shows all of it)"
        )
