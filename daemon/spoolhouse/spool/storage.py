"""The port to where the files of a spool are, and the local folder behind it. All operations block.

Paths are relative to the storage, with `/` between their parts. `docs/architecture.md` says which of the spool's
promises stand on more than these operations, and what would replace that in an object store. The standard library
alone: producers import it.
"""

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import ClassVar, NamedTuple, Protocol

from spoolhouse.spool import fs
from spoolhouse.spool.rename import exists


class FileInfo(NamedTuple):
    """A file of a storage."""

    path: str
    size: int
    """Bytes."""
    last_modified: datetime


class FileStorageProvider(Protocol):
    """Where files are. All methods raise OSError; ValueError for a path that leads out of the storage."""

    @property
    def type(self) -> str:
        """The kind: `local`."""

    def write(self, path: str, content: bytes | str) -> None:
        """Create a file, whole and durable, or not at all. Raises FileExistsError: nothing is replaced."""

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError."""

    def list(self, prefix: str) -> Sequence[FileInfo]:
        """Return the files whose paths begin with `prefix`, the oldest first; no hidden ones."""

    def delete(self, path: str) -> None:
        """Remove a file, durably. One that is not there is no error."""

    def move(self, source: str, target: str) -> None:
        """Give a file another path, whole and durably, or not at all: of several movers one wins.

        Raises FileNotFoundError without a `source`, and FileExistsError if there is a `target`.
        """

    def exists(self, path: str) -> bool:
        """Return whether there is a file of this path."""


class LocalFileStorage:
    """A folder of this machine, which may be a link. No link is followed below it, and no path leads out of it."""

    type: ClassVar[str] = "local"

    def __init__(self, root: Path | str) -> None:
        """Use the folder `root`, which is created by the first write."""
        self.root = Path(root)

    def write(self, path: str, content: bytes | str) -> None:
        """Create a file, whole and durable, or not at all."""
        folder, name = self._split(path)
        data = content.encode() if isinstance(content, str) else content
        with self.made_folder(folder) as opened:
            hidden = f".{uuid.uuid4().hex}.tmp"
            descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=opened)
            try:
                with open(descriptor, "wb") as file:  # noqa: PTH123  # a descriptor, not a path
                    file.write(data)
                    file.flush()
                    os.fsync(descriptor)
                _move(hidden, name, opened, opened)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(hidden, dir_fd=opened)
                raise

    def read(self, path: str) -> bytes:
        """Return a file's content."""
        folder, name = self._split(path)
        with self._opened(folder) as opened:
            descriptor, _ = fs.open_regular(name, folder=opened)
            with open(descriptor, "rb") as file:  # noqa: PTH123  # a descriptor, not a path
                return file.read()

    def list(self, prefix: str) -> Sequence[FileInfo]:
        """Return the files whose paths begin with `prefix`, the oldest first."""
        start = self._inside(PurePosixPath(prefix if prefix.endswith("/") else prefix.rpartition("/")[0]))
        try:
            with self._opened(start):
                found = [one for one in self._files(self.root / start) if one.path.startswith(prefix)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found, key=lambda one: (one.last_modified, one.path))

    def delete(self, path: str) -> None:
        """Remove a file, durably."""
        folder, name = self._split(path)
        with contextlib.suppress(FileNotFoundError), self._opened(folder) as opened:
            os.unlink(name, dir_fd=opened)
            os.fsync(opened)

    def move(self, source: str, target: str) -> None:
        """Give a file another path, whole and durably, or not at all. What cannot be made durable is moved back.

        A file that a daemon has claimed by then cannot be moved back: it was visible, and this is no error.
        """
        (old_folder, old_name), (new_folder, new_name) = self._split(source), self._split(target)
        with contextlib.ExitStack() as stack:
            old = stack.enter_context(self._opened(old_folder))
            new = old if new_folder == old_folder else stack.enter_context(self.made_folder(new_folder))
            if not stat.S_ISREG(os.stat(old_name, dir_fd=old, follow_symlinks=False).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", source)
            _move(old_name, new_name, old, new)

    def exists(self, path: str) -> bool:
        """Return whether there is a file of this path."""
        folder, name = self._split(path)
        try:
            with self._opened(folder) as opened:
                return exists(name, folder=opened)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _split(self, path: str) -> tuple[Path, str]:
        inside = self._inside(PurePosixPath(path))
        if not inside.parts:
            raise ValueError(f"{path!r} names no file")
        return inside.parent, inside.name

    def _inside(self, path: PurePosixPath) -> Path:
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{str(path)!r} leads out of the storage")
        return Path(path)

    @contextlib.contextmanager
    def made_folder(self, folder: Path) -> Iterator[int]:
        """Make the root and a folder below it, durably, where they are missing; open it through no link."""
        root = self.root.resolve()
        with contextlib.ExitStack() as stack:
            try:
                for path in reversed([path for path in (root, *root.parents) if not path.is_dir()]):
                    path.mkdir(exist_ok=True)
                    fs.sync_folder(path.parent)
                opened = stack.enter_context(fs.opened_folders(root / folder, below=root))
            except (FileExistsError, NotADirectoryError) as error:
                reason = "Not a directory, or a symbolic link, which may lead anywhere"
                raise NotADirectoryError(errno.ENOTDIR, reason, str(root / folder)) from error
            yield opened

    @contextlib.contextmanager
    def _opened(self, folder: Path) -> Iterator[int]:
        """Open a folder through no link. Raises FileNotFoundError, and NotADirectoryError for a link."""
        descriptor = fs.open_folder(self.root.resolve())
        try:
            for part in folder.parts:
                try:
                    inner = fs.open_folder(part, folder=descriptor)
                except OSError as error:
                    if error.errno != errno.ELOOP:
                        raise
                    raise NotADirectoryError(errno.ENOTDIR, "not a folder", part) from error
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _files(self, folder: Path) -> Iterator[FileInfo]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                with contextlib.suppress(FileNotFoundError):  # moved or removed meanwhile
                    if entry.is_dir(follow_symlinks=False):
                        yield from self._files(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        yield FileInfo(
                            path=Path(entry.path).relative_to(self.root).as_posix(),
                            size=status.st_size,
                            last_modified=datetime.fromtimestamp(status.st_mtime_ns / 1e9, UTC),
                        )


def _move(source: str, target: str, old: int, new: int) -> None:
    """Rename a file from the open folder `old` to `new`, durably, as `LocalFileStorage.move` promises."""
    fs.rename_without_clobber(source, target, folder=old, target_folder=new)
    try:
        os.fsync(new)
        if new != old:
            os.fsync(old)
    except OSError:
        try:
            fs.rename_without_clobber(target, source, folder=new, target_folder=old)
        except FileNotFoundError:
            return  # a reader has moved it on, durably
        except OSError:
            pass
        raise
