"""Bring claimed files to their end: to `processed/` or `failed/`, or delete them. Blocks on the disk.

Promises: each step is journalled before it is taken; no file is overwritten; after a kill at any moment, a file is in
one place, whole. A file that is to be deleted is first renamed to a name that no producer knows, and checked once more,
so that bytes appended meanwhile are not lost.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath

import structlog

from spoolhouse.failpoints import reach
from spoolhouse.monitoring import heartbeat
from spoolhouse.spool import fs, layout
from spoolhouse.spool.free_names import free_name
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal_files import FileState, JournalledFile

log = structlog.get_logger(__name__)
_MOST_DURABLE = 10_000
"""So many folders are remembered as durable; one that is forgotten is synced once more."""


class _GrownError(Exception):
    """Bytes were appended that no shipment covers: the file is not finished."""


class _TakenError(Exception):
    """The name of the target is taken."""


class _FolderGoneError(Exception):
    """The opened folder has no name any more."""


class Finalizer:
    """Some files of one instance, and their progress."""

    def __init__(
        self,
        instance: Instance,
        numbers: Iterable[int],
        *,
        delete: bool,
        append_watch_ms: int,
        now_ms: Callable[[], int],
    ) -> None:
        """Bring the files `numbers` to their end; with `delete`, those are deleted that could be read and that do not
        alone hold rejected lines.
        """
        self._instance = instance
        self._delete = delete
        self._append_watch_ms = append_watch_ms
        self._now_ms = now_ms
        self._left = dict.fromkeys(numbers)
        """Files without a target, then files whose target is not journalled, then files to be moved."""
        self._targets: dict[int, str | None] = {}
        self._steps = [self._choose_targets, self._tell_journal, self._end_all, self._sync, self._finish]
        self._syncs = fs.FolderSyncs()
        self._taken: list[int] = []
        """Files whose targets were taken, and that have got others."""
        self.done: list[int] = []
        self.grown: list[int] = []
        """Not moved, because there is more to ship."""
        self.refused: dict[int, OSError] = {}
        """Not moved, because their folders refuse them at present."""

    def go_on(self) -> None:
        """Do all remaining steps. After OSError or `DiskError`, a second call continues."""
        while self._steps:
            self._steps[0]()
            del self._steps[0]

    def _choose_targets(self) -> None:
        """Choose the target of each file: its own name, which is nearly always free. Make their folders durable."""
        groups = self._by_folder(self._left)
        for folder, numbers in groups.items():
            for number in numbers:
                name = self._instance.files[number].place.name
                self._targets[number] = None if folder is None else f"{folder}/{name}"
        self._make_durable({folder: numbers for folder, numbers in groups.items() if folder is not None})
        reach("settle.targets")

    def _make_durable(self, groups: Mapping[PurePath, list[int]]) -> None:
        """Make the folders of targets, and sync their names, once in this process.

        Those that are there are synced, too: a process may have made them, and died before it synced their names.
        """
        spool, durable = self._instance.spool, self._instance.durable
        made: list[PurePath] = []
        syncs, shared = fs.FolderSyncs(), set[Path]()
        for folder, numbers in groups.items():
            if folder in durable:
                continue
            try:
                with fs.opened_folders(spool / folder, below=spool, unsynced=set()):
                    made.append(folder)
            except OSError as error:
                self._refuse(numbers, error)
                continue
            own, *others = (spool / parent for parent in folder.parents)
            shared.update(others)
            syncs.changed(own)
            syncs.begin()
        # Only now, because each new folder may have changed them again.
        for parent in shared:
            syncs.changed(parent)
        syncs.finish()
        if len(durable) >= _MOST_DURABLE:
            durable.clear()
        durable.update(made)

    def _tell_journal(self) -> None:
        self._instance.journal.moving({n: target for n in self._left if (target := self._targets[n]) is not None})

    def _end_all(self) -> None:
        for folder, numbers in self._by_folder(self._left).items():
            if folder is None:
                for number in numbers:
                    self._try(number, self._end_by_deletion)
            else:
                self._end_in(folder, numbers)
                self._syncs.begin()
        if self._taken:
            self._left, self._taken = dict.fromkeys(self._taken), []
            self._steps[1:1] = [self._tell_journal, self._end_all]

    def _end_in(self, folder: PurePath, numbers: list[int]) -> None:
        """Move files to a folder, which is created if it is missing, and again if it disappears meanwhile."""
        spool = self._instance.spool
        while left := [number for number in numbers if number in self._left]:
            try:
                with fs.opened_folders(spool / folder, below=spool) as descriptor:
                    self._syncs.changed(spool / folder)
                    for number in left:
                        self._try(number, lambda file: self._end_by_move(file, descriptor))  # called at once
            except _FolderGoneError:
                continue
            except OSError as error:
                self._refuse(left, error)

    def _refuse(self, numbers: Iterable[int], error: OSError) -> None:
        """Leave files where they are for now."""
        self.refused.update(dict.fromkeys(numbers, error))
        for number in numbers:
            self._left.pop(number, None)

    def _try(self, number: int, end: Callable[[JournalledFile], None]) -> None:
        heartbeat.beat()  # files of many shipments may be moved together, and a disk may be slow
        try:
            reach("settle.before_move")
            end(self._instance.files[number])
            self.done.append(number)
        except _GrownError:
            self.grown.append(number)
        except _TakenError:
            self._taken.append(number)
        except OSError as error:
            self.refused[number] = error
        del self._left[number]

    def _sync(self) -> None:
        reach("settle.moved")
        self._syncs.finish()
        reach("settle.synced")

    def _finish(self) -> None:
        """Record the finished files, and forget those that need no watch."""
        instance = self._instance
        _record(instance, self.done, self._now_ms() + self._append_watch_ms)
        reach("settle.recorded")
        unwatched = [n for n in self.done if instance.files[n].target is None or self._append_watch_ms == 0]
        if unwatched:
            instance.journal.forget(unwatched)

    def _by_folder(self, numbers: Iterable[int]) -> dict[PurePath | None, list[int]]:
        """Group files by their final folder; None is for deleted files."""
        groups: dict[tuple[str, str, bool] | None, list[int]] = {}
        for number in numbers:
            file = self._instance.files[number]
            failed = bool(file.stats.failure)
            is_needed = failed or file.stats.left_out
            names = None if self._delete and not is_needed else (file.place.type, file.place.project, failed)
            groups.setdefault(names, []).append(number)
        files = self._instance.files
        return {
            None if names is None else layout.final_folder(files[some[0]].place, failed=names[2]): some
            for names, some in groups.items()
        }

    def _end_by_deletion(self, file: JournalledFile) -> None:
        try:
            self._refuse_growth(file, self._instance.size(file.number))
            aside = self._instance.move_to_removing(file.number)
            self._refuse_growth(file, aside.lstat().st_size)
            reach("settle.before_deletion")
            aside.unlink()
            reach("settle.deleted")
            self._syncs.changed(aside.parent)
        except FileNotFoundError:
            if self._instance.rename_back([file.number]):
                self._end_by_deletion(file)
                return
            self._syncs.changed((self._instance.claimed / file.place.relative).parent)
        self._instance.leaving.discard(file.number)
        file.target = None

    def _end_by_move(self, file: JournalledFile, folder: int) -> None:
        target = self._targets[file.number]
        assert target is not None  # noqa: S101  # `_by_folder` says so
        parent, _, name = target.rpartition("/")
        source = self._instance.location(file.number)
        while True:
            try:
                self._move(file, source, name, folder)
            except FileExistsError:
                # The next name is journalled first.
                self._targets[file.number] = f"{parent}/{free_name(file.place.name, folder, 1)}"
                raise _TakenError from None
            except FileNotFoundError:
                if self._instance.rename_back([file.number]):
                    continue
                if self._instance.stands(file.number) or not os.path.lexists(self._instance.spool / parent):
                    # Not the file is missing, but its target folder.
                    raise _FolderGoneError from None
                log.error("file_vanished", path=str(file.place), hint="it was taken out of the claimed folder by hand")
                file.target = None
                self._syncs.changed(source.rpartition("/")[0])
                return
            break
        reach("settle.renamed")
        file.target = target
        if file.stats.failure:
            _write_reason(name, folder, file)
        self._syncs.changed(source.rpartition("/")[0])

    def _move(self, file: JournalledFile, source: str, name: str, folder: int) -> None:
        """Move one file; raises FileExistsError if the name is taken, and FileNotFoundError if the file is gone.

        `_GrownError` if there is more to ship.

        OSError (EXDEV) if the folder is on another disk: a copy is not the file that its writer still has open.
        """
        self._refuse_growth(file, self._instance.size(file.number))
        reach("files.move")
        fs.rename_without_clobber(source, name, target_folder=folder)
        self._instance.leaving.discard(file.number)

    @staticmethod
    def _refuse_growth(file: JournalledFile, size: int) -> None:
        if size > file.planned_to and not file.stats.failure:
            raise _GrownError


def finish_moves(instance: Instance, numbers: Sequence[int], watch_until_ms: int) -> None:
    """Take the remaining steps for files that a dead process has moved, and not recorded. May be repeated."""
    folders = set[Path | str]()
    for number in numbers:
        file = instance.files[number]
        assert file.target is not None  # noqa: S101  # the file is there
        target = PurePath(file.target)
        folder = instance.spool / target.parent
        if file.stats.failure:
            with fs.opened_folders(folder, below=instance.spool) as descriptor:
                _write_reason(target.name, descriptor, file)
        # With the names of its folders: the dead process may have made them, and not synced.
        folders.update(instance.spool / parent for parent in target.parents)
        folders.add((instance.claimed / file.place.relative).parent)
    fs.sync_folders(folders)
    _record(instance, numbers, watch_until_ms)


def _record(instance: Instance, numbers: Sequence[int], watch_until_ms: int) -> None:
    """Record that files are in their final place, durably."""
    instance.journal.moved(dict.fromkeys(numbers, watch_until_ms))
    for number in numbers:
        instance.files[number].state = FileState.FINAL
        instance.files[number].watch_until_ms = watch_until_ms


def _write_reason(name: str, folder: int, file: JournalledFile) -> None:
    """Write the note beside a file in `failed/`: the reason, and how much of the file landed."""
    reason = layout.reason_name(name)
    rows, rejected = sum(file.stats.rows.values()), file.stats.rejected
    # A file of a shipment that was given up has neither.
    landed = f"; {rows} rows of it landed, {rejected} lines were rejected" if file.stats.lines else ""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(reason, dir_fd=folder)  # an old note, or a link that would lead out of the spool
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(reason, flags, 0o666, dir_fd=folder), "w", encoding="utf-8") as note:  # noqa: PTH123  # by descriptor
            note.write(f"{when} {file.stats.failure}{landed}; after a repair: spoolhouse retry\n")
        reach("settle.reasoned")
    except OSError as error:
        log.warning("reason_not_written", path=str(file.place), error=error.strerror)
