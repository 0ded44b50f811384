"""An instance's own folder: its lock, its journal, and its claimed files.

A running daemon has one instance folder, and holds those that it has adopted from dead instances until they are empty.
All methods block on the disk; call them in a worker thread.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath

import structlog
from msgspec import structs

from spoolhouse.errors import JournalError
from spoolhouse.failpoints import reach
from spoolhouse.spool import fs, instance_dirs, layout, process_notes
from spoolhouse.spool.claims import Claim, Claiming
from spoolhouse.spool.free_names import rename_to_free_name
from spoolhouse.spool.journal import Contents, Journal
from spoolhouse.spool.journal_files import FileState, JournalledFile, SettledFile
from spoolhouse.spool.layout import Place
from spoolhouse.spool.lineage import Entry
from spoolhouse.spool.read_extents import Readings
from spoolhouse.spool.shipment import FileStats, Shipment

log = structlog.get_logger(__name__)


class Instance:
    """A locked instance folder."""

    def __init__(
        self, spool: Path, instance: str, lock: int, journal: Journal, contents: Contents | None = None
    ) -> None:
        """Use `create` or `adopt` instead."""
        self.spool = spool
        self.id = instance
        self.folder = layout.state_folder(spool) / instance
        self.claimed = self.folder / layout.CLAIMED
        self._roots = os.fspath(spool), os.fspath(self.claimed)
        self.leaving: set[int] = set()
        """Files that were set aside on their way to their end."""
        self.journal = journal
        self.files: dict[int, JournalledFile] = {}
        """The journal's state of each file, kept in step with it."""
        self.settled: dict[int, SettledFile] = {}
        """The files that are only watched for appended bytes."""
        self.unacknowledged: dict[int, int] = {}
        """By file: the number of planned shipments that cover some of it."""
        self.readings = Readings(journal)
        self.durable: set[PurePath] = set()
        """Final folders whose names this process has made durable."""
        self.users = 0
        """The number of stages that work on it now although none of its shipments is under way."""
        self._claim_syncs = fs.FolderSyncs()
        self._contents = contents
        """The journal's contents as read at the adoption, until `load` returns them."""
        self._lock = lock
        self._numbers = 0
        # Held during each rename: a thread that outlives its cancelled task must not claim after the lock is released.
        self._guard = threading.Lock()
        self._closed = False

    @classmethod
    def create(cls, spool: Path, instance: str) -> "Instance":
        """Make the folder of a new instance, durably, with an empty journal. Raises `SpoolError`, OSError."""
        folder = layout.state_folder(spool) / instance
        lock = instance_dirs.lock_new(folder, spool)
        try:
            reach("instance.locked")
            fs.sync_folder(folder.parent)
            with contextlib.ExitStack() as failing:
                journal = Journal(folder / layout.JOURNAL, instance, create=True)
                failing.callback(journal.close)
                reach("instance.journal_made")
                fs.sync_folder(folder)
                (folder / layout.CLAIMED).mkdir()  # last: once it exists, the journal is durable
                fs.sync_folder(folder)
                reach("instance.made")
                failing.pop_all()
        except BaseException:
            # Nothing is claimed yet, so nothing may be left: the next try uses the same name.
            with contextlib.suppress(OSError):
                instance_dirs.delete(folder)
            os.close(lock)
            raise
        return cls(spool, instance, lock, journal)

    @classmethod
    def adopt(cls, spool: Path, instance: str) -> "Instance | None":
        """Take over the folder of a dead instance; None if it runs, or its folder is gone.

        A folder without a journal and claimed files was only half made or half removed, and is removed.
        Raises `JournalError` if files are claimed but the journal is missing, if it is damaged or of another version,
        or if we may not open the folder; `DiskError` if it cannot be read now. Then everything is left as it is.
        """
        folder = layout.state_folder(spool) / instance
        try:
            lock = fs.lock(folder / layout.LOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise JournalError(f"{folder}: {error.strerror}") from error
        if lock is None:
            return None
        try:
            with contextlib.ExitStack() as failing:
                journal = Journal(folder / layout.JOURNAL, instance, create=False)
                failing.callback(journal.close)
                contents = journal.load(())  # an unreadable journal is reported here, not half-way
                process_notes.note_adopter(folder)
                failing.pop_all()
            return cls(spool, instance, lock, journal, contents)
        except JournalError:
            try:
                if not instance_dirs.holds_nothing(folder):
                    raise
                instance_dirs.delete(folder)
            finally:
                os.close(lock)
            return None
        except BaseException:
            os.close(lock)
            raise

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Count as a user: meanwhile it is not closed to give another instance a turn."""
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1

    def load(self) -> Contents:
        """Read the journal into memory and return it, without the files that were deleted as intended."""
        contents, self._contents = self._contents or self.journal.load(()), None
        deleted = [file.number for file in contents.files if file.state is FileState.FINAL and file.target is None]
        if deleted:
            self.journal.forget(deleted)
            kept = tuple(file for file in contents.files if file.number not in set(deleted))
            contents = structs.replace(contents, files=kept)
        # A disk's number may change with a reboot, or on another machine; a file renamed within the spool has stayed on
        # its disk.
        device = self.folder.stat().st_dev
        for file in contents.files:
            file.device = device
        self.files = {file.number: file for file in contents.files}
        self.settled = {file.number: file for file in contents.settled}
        self.readings.load(contents)
        self.leaving = set()
        for path in instance_dirs.walk(self.folder / layout.REMOVING):
            if path.name.isdecimal() and int(path.name) in self.files:
                self.leaving.add(int(path.name))
        self._numbers = max((*self.files, *self.settled), default=0)
        self.unacknowledged = {}
        for shipment in contents.planned:
            for number in {segment.file for segment in shipment.segments}:
                self.unacknowledged[number] = self.unacknowledged.get(number, 0) + 1
        return contents

    def claim(self, places: Sequence[Place]) -> list[tuple[Place, Claim | OSError]]:
        """Claim files by renaming them here; return a claim or an error for each.

        FileNotFoundError: another instance was faster, or the file is gone. FileExistsError: a file of the same name is
        still in flight, and this one has to wait.
        """
        return Claiming(self.spool, self.folder, self._still_open, self.release, self._claim_syncs).claim(places)

    def sync(self) -> None:
        """Make the claims durable: no journal entry of them may come earlier."""
        self._claim_syncs.finish()
        reach("instance.claims_synced")

    def add(self, claim: Claim, now_ms: int) -> JournalledFile:
        """Give a claimed file its number. The journal gets it with the first shipment of it."""
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

    def acknowledge(self, shipment: Shipment, stats: Mapping[int, FileStats], entries: Iterable[Entry] = ()) -> None:
        """Record that all of a shipment is in ClickHouse: it is not read again, and the ledger gets `entries`."""
        self.journal.acknowledge(shipment.id, stats, entries)
        self.readings.forget(shipment.id)

    def path(self, number: int) -> Path:
        """Return the present path of file `number`."""
        return Path(self.location(number))

    def location(self, number: int) -> str:
        """Return the same as text, which costs less."""
        spool, claimed = self._roots
        file = self.files.get(number)
        if file is None:
            return f"{spool}/{self.settled[number].target}"
        if file.state is FileState.FINAL and file.target is not None:
            return f"{spool}/{file.target}"
        return os.fspath(self._aside(number)) if number in self.leaving else f"{claimed}/{file.place.path}"

    def _aside(self, number: int) -> Path:
        return self.folder / layout.REMOVING / str(number)

    def settle(self, number: int) -> SettledFile:
        """Keep only the fields of a final file that its watch needs, and return them."""
        file = self.files[number]
        self.settled[number] = settled = SettledFile(
            number=number,
            target=file.target or "",
            inode=file.inode,
            planned_to=file.planned_to,
            watch_until_ms=file.watch_until_ms,
        )
        del self.files[number]
        return settled

    def grown(self, files: Iterable[SettledFile]) -> list[int]:
        """Return the numbers of those files that have bytes which no shipment covers, or cannot be looked at now."""
        grown: dict[int, int] = {}
        for file in files:
            try:
                is_grown = self.size(file.number) > file.planned_to
            except OSError as error:
                is_grown = error.errno in fs.MAY_PASS
            if is_grown:
                grown[file.inode] = file.number
        # A file system gives the inode of a deleted file to a new one: it belongs to the last that was claimed with it.
        known: list[JournalledFile | SettledFile] = [*self.settled.values(), *self.files.values()] if grown else []
        replaced = {one.inode for one in known if one.number > grown.get(one.inode, one.number)}
        return [number for inode, number in grown.items() if inode not in replaced]

    def reopen(self, numbers: Sequence[int]) -> None:
        """Read settled files that have grown from the journal again."""
        wanted = frozenset(numbers)
        for file in self.journal.load(wanted).files if wanted else ():
            if file.number in wanted:
                self.files[file.number] = file
                self.settled.pop(file.number, None)

    def forget(self, numbers: Sequence[int]) -> None:
        """Drop files that are watched no more. First the journal: without files in memory the folder may be removed."""
        self.journal.forget(numbers)
        for number in numbers:
            self.files.pop(number, None)
            self.settled.pop(number, None)

    def move_to_removing(self, number: int) -> Path:
        """Set a claimed file aside, under its number, durably; return its path.

        FileNotFoundError if it is gone. The next file of its name may then be claimed.
        """
        aside = self._aside(number)
        if number not in self.leaving:
            self.size(number)
            source = self.path(number)
            with self._still_open():
                fs.make_folders(aside.parent, below=self.folder)
                fs.rename_without_clobber(source, aside)
                self.leaving.add(number)
            fs.sync_folders([source.parent, aside.parent])
        return aside

    def stands(self, number: int) -> bool:
        """Return whether file `number` itself, and no other of its name, is at `path`."""
        try:
            self.size(number)
        except FileNotFoundError:
            return False
        return True

    def open(self, number: int) -> int:
        """Open file `number` for reading; FileNotFoundError if it is gone, even if another file has its name now."""
        try:
            return self._open(number)
        except OSError:
            if self.stands(number) or not self.rename_back([number]):
                raise
        return self._open(number)

    def _open(self, number: int) -> int:
        location = self.location(number)
        descriptor, status = fs.open_regular(location)
        if status.st_ino != self.files[number].inode:
            os.close(descriptor)
            raise FileNotFoundError(errno.ENOENT, "another file has its name", location)
        return descriptor

    def size(self, number: int) -> int:
        """Return the size of file `number`; FileNotFoundError as in `open`."""
        location = self.location(number)
        reach("instance.look")
        status = os.lstat(location)
        if status.st_ino != (self.files.get(number) or self.settled[number]).inode:
            raise FileNotFoundError(errno.ENOENT, "another file has its name", location)
        return status.st_size

    def release(self, place: Place) -> PurePath:
        """Put a claimed file that was never journalled back to its pending place; return its name there."""
        source = self.claimed / place.relative
        with self._still_open(), fs.opened_folders(self.spool / place.relative.parent, below=self.spool) as descriptor:
            reach("instance.before_release")
            name = rename_to_free_name(source, Path(place.name), target_folder=descriptor)
            reach("instance.released")
            fs.sync_folder(source.parent)
            os.fsync(descriptor)
        return place.relative.with_name(name)

    def rename_back(self, numbers: Iterable[int]) -> bool:
        """Undo renames of these files within `claimed/` by other programs; return true if there were any.

        Otherwise such a file would count as never sent, and land a second time. A file is identified by its inode, and
        by an unchanged mtime since its claim: the inode number may belong to a new file meanwhile.
        """
        lost = {self.files[n].inode: self.files[n] for n in numbers if n not in self.leaving and not self.stands(n)}
        lost = {inode: file for inode, file in lost.items() if file.state is not FileState.FINAL}
        known = {file.place.relative for file in list(self.files.values()) if file.inode not in lost}
        found = False
        for path in instance_dirs.walk(self.claimed) if lost else ():
            status = (self.claimed / path).lstat()
            file = lost.get(status.st_ino)
            if file is None or path in known or status.st_mtime_ns // 1_000_000 > file.claimed_ms:
                continue
            del lost[file.inode]
            target = self.claimed / file.place.relative
            with self._still_open():
                if os.path.lexists(target):
                    # The file in its place was never claimed: it is one more file.
                    fs.rename_without_clobber(target, target.with_name(layout.numbered(file.place.name, file.number)))
                fs.make_folders(target.parent, below=self.folder)
                reach("instance.before_renaming_back")
                fs.rename_without_clobber(self.claimed / path, target)
            fs.sync_folders([target.parent, (self.claimed / path).parent])
            log.warning("file_renamed_back", path=str(file.place), found=os.fspath(path))
            found = True
        return found

    def listing(self) -> list[Place]:
        """Return the files in `claimed/`."""
        return [
            Place(type=path.parts[0], project=path.parts[1], name=path.parts[2])
            for path in instance_dirs.walk(self.claimed)
            if len(path.parts) == layout.PENDING_DEPTH
        ]

    def is_empty(self) -> bool:
        """Return whether nothing is left to do for any file here, and the ledger has all entries."""
        folders = (self.claimed, self.folder / layout.REMOVING)
        return (
            not self.files
            and not self.settled
            and not self.journal.ledger.unwritten
            and not any(any(instance_dirs.walk(folder)) for folder in folders)
        )

    def remove(self) -> None:
        """Delete the folder, under its lock; only when `is_empty`.

        No claimed file is ever deleted: if one has come since, the folder is closed as it is.
        """
        with self._guard:
            if not self._closed:
                self._closed = True
                self.journal.close()
                try:
                    instance_dirs.delete(self.folder)
                finally:
                    os.close(self._lock)

    def close(self) -> None:
        """Release the lock and keep the folder, for another instance to adopt. Closing twice is the same as once."""
        with self._guard:
            if not self._closed:
                self._closed = True
                self.journal.close()
                os.close(self._lock)

    @contextlib.contextmanager
    def _still_open(self) -> Iterator[None]:
        """Keep the folder open for the duration; OSError if it is closed."""
        with self._guard:
            if self._closed:
                raise OSError(errno.ESHUTDOWN, "the instance's folder is closed", os.fspath(self.folder))
            yield
