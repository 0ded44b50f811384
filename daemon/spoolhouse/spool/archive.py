"""The archive: the `processed/` folders of a spool, and `failed/` where a function says so. Blocks on the disk.

Only regular files with accepted names, reached through no link, are ever counted or deleted.
"""

import contextlib
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePath

from spoolhouse.failpoints import reach
from spoolhouse.file_names import FileNames
from spoolhouse.spool import fs, layout
from spoolhouse.spool.archive_limits import Archived

_DEFAULT_NAMES = FileNames()


def archived(spool: Path, names: FileNames) -> Iterator[Archived]:
    """Yield all files of the archive whose names are taken, now or by default.

    Folders that cannot be listed are skipped.
    """
    for kind in _folders(spool):
        for project in _folders(spool / kind):
            for folder in _below(spool, PurePath(kind, project, layout.PROCESSED)):
                yield from _in(spool, folder, kind, names)


def settled(
    spool: Path, folders: Sequence[str], instances: Collection[str] | None = None
) -> Iterator["os.DirEntry[str]"]:
    """Yield the files in these folders of `homes` (`{type}/{project}`, as text), or of all projects.

    Raises OSError for a folder that may not be listed: for a person that differs from an empty one.
    """
    kinds = None if instances is None else {instance.partition("/")[0] for instance in instances}
    for kind in listed(spool):
        if kind.name == layout.REJECTED or (kinds is not None and layout.text(PurePath(kind.name)) not in kinds):
            continue
        for project in listed(Path(kind.path)):
            if instances is None or layout.text(PurePath(kind.name, project.name)) in instances:
                for folder in folders:
                    yield from listed(Path(project.path, folder))


def listed(folder: Path) -> list["os.DirEntry[str]"]:
    """Return the entries of a folder by name, without hidden ones; none if there is no such folder. Raises OSError."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _folders(folder: Path) -> Iterator[str]:
    """Yield the names of the folders in `folder`, without links and our own folders."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            ours = entry.name.startswith(".") or entry.name == layout.REJECTED
            if not ours and entry.is_dir(follow_symlinks=False):
                yield entry.name


def _below(spool: Path, folder: PurePath) -> Iterator[PurePath]:
    """Yield `folder`, if it is one, and the folders in it."""
    if (spool / folder).is_dir() and not (spool / folder).is_symlink():
        yield folder
        for name in _folders(spool / folder):
            yield from _below(spool, folder / name)


def _in(spool: Path, folder: PurePath, kind: str, names: FileNames) -> Iterator[Archived]:
    with contextlib.suppress(OSError), os.scandir(spool / folder) as entries:
        for entry in entries:
            if not names.take(kind, entry.name) and not _DEFAULT_NAMES.take(kind, entry.name):
                continue
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield Archived(
                        since=max(status.st_ctime, status.st_mtime),
                        path=str(folder / entry.name),
                        size=status.st_size,
                        inode=status.st_ino,
                        written=status.st_mtime,
                    )


def delete(spool: Path, file: Archived) -> bool:
    """Delete a file of the archive, and the folders below `processed/` that are empty afterwards.

    Return false if the file has changed since it was listed, or is gone. Raises OSError.
    """
    path = PurePath(file.path)
    try:
        with _opened(spool, path.parent) as folder:
            status = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
            seen = (file.inode, file.size, file.since)
            if (status.st_ino, status.st_size, max(status.st_ctime, status.st_mtime)) != seen:
                return False
            reach("archive.delete")
            os.unlink(path.name, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        return False
    for parent in path.parents:
        if parent.name == layout.PROCESSED:
            break
        try:
            with _opened(spool, parent.parent) as folder:
                os.rmdir(parent.name, dir_fd=folder)
        except OSError:
            break  # not empty, or gone
    return True


@contextlib.contextmanager
def _opened(spool: Path, folder: PurePath) -> Iterator[int]:
    """Open a folder of the spool, through no link."""
    descriptor = fs.open_folder(spool)
    try:
        for part in folder.parts:
            try:
                inner = fs.open_folder(Path(part), folder=descriptor)
            except OSError as error:
                raise NotADirectoryError(error.errno, "not a folder", part) from error
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)
