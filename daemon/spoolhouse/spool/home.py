"""An instance's own folder: its lock, its journal, and the files that it has claimed.

A running daemon has one of its own, and holds the homes that it has adopted from dead instances until they are empty.
All methods block on the disk; call them from a worker thread.
"""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from spoolhouse.core.shipment import FileStats
from spoolhouse.errors import JournalError
from spoolhouse.spool import files, layout
from spoolhouse.spool.journal import Contents, FileState, Journal, JournalledFile
from spoolhouse.spool.layout import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A file that is ours now."""

    place: Place
    size: int
    device: int
    inode: int


class Home:
    """A locked instance folder."""

    def __init__(self, spool: Path, instance: str, lock: int, journal: Journal) -> None:
        """Use `create` or `adopt` instead."""
        self.spool = spool
        self.instance = instance
        self.folder = layout.state_folder(spool) / instance
        self.claimed = self.folder / layout.CLAIMED
        self.journal = journal
        self.files: dict[int, JournalledFile] = {}
        """What the journal says of each file, kept in step with it."""
        self.unacknowledged: dict[int, int] = {}
        """By file: how many planned shipments cover some of it."""
        self._lock = lock
        self._numbers = 0

    @classmethod
    def create(cls, spool: Path, instance: str) -> "Home":
        """Make the folder of a new instance, durably, with an empty journal. Raises `SpoolError`, OSError."""
        folder = layout.state_folder(spool) / instance
        files.make_folders(folder, below=spool)
        files.check_locks_lock(folder)
        lock = files.lock(folder / layout.LOCK)
        if lock is None:
            raise FileExistsError(f"{folder} belongs to a running instance")
        journal = Journal(folder / layout.JOURNAL, instance, create=True)
        (folder / layout.CLAIMED).mkdir()
        files.sync_folder(folder)
        return cls(spool, instance, lock, journal)

    @classmethod
    def adopt(cls, spool: Path, instance: str) -> "Home | None":
        """Take over the folder of an instance that is gone; None if it runs, or is gone altogether.

        A folder without a journal and without claimed files died at birth and is removed. Raises `JournalError` if
        files are claimed but the journal is missing or damaged: then they are left as they are.
        """
        folder = layout.state_folder(spool) / instance
        try:
            lock = files.lock(folder / layout.LOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if lock is None:
            return None
        try:
            journal = Journal(folder / layout.JOURNAL, instance, create=False)
        except JournalError:
            try:
                if any(_walk(folder / layout.CLAIMED)):
                    raise
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
            return None
        return cls(spool, instance, lock, journal)

    def load(self) -> Contents:
        """Read the journal back into memory and return it."""
        contents = self.journal.load()
        self.files = {file.number: file for file in contents.files}
        self._numbers = max(self.files, default=0)
        self.unacknowledged = {}
        for shipment in contents.planned:
            for number in {segment.file for segment in shipment.segments}:
                self.unacknowledged[number] = self.unacknowledged.get(number, 0) + 1
        return contents

    def claim(self, places: Sequence[Place]) -> list[tuple[Place, Claim | OSError]]:
        """Take files by renaming them here, durably; say for each what came of it.

        FileNotFoundError: another instance was faster, or the file is gone. FileExistsError: a file of the same name
        is still in flight, this one has to wait.
        """
        results: list[tuple[Place, Claim | OSError]] = []
        touched = set()
        for place in places:
            source, target = self.spool / place.relative, self.claimed / place.relative
            try:
                # What we cannot read stays where it is: in `failed/` nobody would look for a missing permission.
                os.close(files.open_regular(source))
                files.make_folders(target.parent, below=self.folder)
                files.rename_without_clobber(source, target)
                status = target.lstat()
            except OSError as error:
                results.append((place, error))
                continue
            touched |= {source.parent, target.parent}
            claim = Claim(place=place, size=status.st_size, device=status.st_dev, inode=status.st_ino)
            results.append((place, claim))
        files.sync_folders(touched)
        return results

    def add(self, claim: Claim, now_ms: int) -> JournalledFile:
        """Give a claimed file its number. It is in the journal once a shipment of it is planned."""
        self._numbers += 1
        file = JournalledFile(
            number=self._numbers,
            place=claim.place,
            device=claim.device,
            inode=claim.inode,
            planned_to=0,
            claimed_ms=now_ms,
            stats=FileStats(),
        )
        self.files[file.number] = file
        return file

    def path(self, number: int) -> Path:
        """Return where file `number` is now."""
        file = self.files[number]
        if file.state is FileState.FINAL and file.target is not None:
            return self.spool / file.target
        return self.claimed / file.place.relative

    def release(self, place: Place) -> PurePath:
        """Put a claimed file that was never journalled back where it was dropped; return its name there."""
        source = self.claimed / place.relative
        folder = self.spool / place.relative.parent
        files.make_folders(folder, below=self.spool)
        number = 0
        while True:
            target = folder / layout.numbered(place.name, number)
            try:
                files.rename_without_clobber(source, target)
            except FileExistsError:
                number += 1
                continue
            files.sync_folders([source.parent, folder])
            return target.relative_to(self.spool)

    def listing(self) -> list[Place]:
        """Return the files that are in `claimed/` now."""
        return [
            Place(type=path.parts[0], project=path.parts[1], name=path.parts[2])
            for path in _walk(self.claimed)
            if len(path.parts) == layout.PENDING_DEPTH
        ]

    def is_empty(self) -> bool:
        """Tell whether nothing is left to do for any file here."""
        return not self.files and not any(_walk(self.claimed))

    def remove(self) -> None:
        """Delete the folder, under its lock; only when `is_empty`."""
        self.journal.close()
        shutil.rmtree(self.folder)
        files.sync_folder(self.folder.parent)
        os.close(self._lock)

    def close(self) -> None:
        """Let go of the folder as it is; whoever comes next adopts it."""
        self.journal.close()
        os.close(self._lock)


def _walk(folder: Path) -> Iterator[PurePath]:
    """Yield all that is no folder below `folder`, as relative paths; nothing if it does not exist."""
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            if not stat.S_ISDIR(path.lstat().st_mode):
                yield path.relative_to(folder)


def instances(spool: Path) -> list[str]:
    """Return the names of all instance folders of a spool, dead or alive."""
    state = layout.state_folder(spool)
    try:
        return sorted(entry.name for entry in os.scandir(state) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
