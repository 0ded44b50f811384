"""A file of the spool while it is written: hidden, locked by its writer, and empty or gone once it has failed.

It grows in a folder of this machine, and becomes visible by a move of the storage.
"""

import contextlib
import fcntl
import os
import uuid
from collections.abc import Callable
from functools import partial
from io import FileIO
from pathlib import Path

from spoolhouse.file_names import DRAFT
from spoolhouse.spool.storage import LocalFileStorage

_BUFFER_BYTES = 1 << 18
_LONGEST_NAME = 255
_RESERVED = frozenset({"processed", "failed", "rejected"})
"""Folders of the daemon; a type of this name would be taken for one of them."""


class Draft:
    """A file that is being written and has a hidden name.

    Its lock ends with its process: a draft without one is that of a dead writer. It has a buffer of its own: Python's
    would be flushed when the object is freed, in a forked child as well.
    """

    def __init__(self, folder: Path, storage: LocalFileStorage, name: str = "") -> None:
        """Be a draft in `folder`, relative to the storage; there is no file yet. `name` is its final one, if known."""
        self._folder, self._storage, self._name = folder, storage, name
        # Its name is known before it is there: an interruption in between leaves no file behind.
        self._path = self._new_path()
        self._file: FileIO | None = None
        self._buffer = bytearray()
        self.size = 0
        """Bytes."""
        self.lines = 0
        self.visible: Path | None = None
        """Its final name, once it has it."""
        self.error: OSError | None = None
        """Why it has failed: nothing of it is shown."""

    def open(self) -> None:
        """Create the file. After an error, or an interruption, the draft is to be discarded."""
        while True:
            with self._storage.made_folder(self._folder) as folder:
                self._file = FileIO(self._path.name, "x", opener=partial(os.open, mode=0o666, dir_fd=folder))
            if self._is_locked():
                return
            self.discard()
            self._path = self._new_path()

    def _new_path(self) -> Path:
        # With its final name: whoever takes up the draft of a dead writer gives it that.
        known = f".{self._name}" if self._name else ""
        return self._storage.root / self._folder / f".{uuid.uuid4().hex}{known}{DRAFT}"

    def _is_locked(self) -> bool:
        """Take the lock; return false if `check` has just found the file without one."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # no locks on this file system: the daemon refuses it, too
            return True
        return os.path.lexists(self._path)  # else `check --fix` has removed it

    @property
    def _descriptor(self) -> int:
        if self._file is None:
            raise ValueError("the draft has no file")
        return self._file.fileno()

    def add(self, line: bytes) -> None:
        """Append a line. After an OSError the draft is to be discarded."""
        self._buffer += line
        if len(self._buffer) >= _BUFFER_BYTES:
            self._write()
        self.size += len(line)
        self.lines += 1

    def finish(self, now_ms: int, new_id: Callable[[], str]) -> None:
        """Make the file visible under a unique name. After an error it is not visible, and is to be discarded."""
        self._write()
        os.fsync(self._descriptor)
        while True:
            name = self._name or f"{now_ms}_{new_id()}.jsonl"
            try:
                self._storage.move(*((self._folder / one).as_posix() for one in (self._path.name, name)))
            except FileExistsError:
                self._name = ""
                continue
            break
        self.visible = self._path.with_name(name)
        self.abandon()

    def discard(self) -> None:
        """Remove the file, unless it is visible. It is emptied first: what cannot be removed shows nothing later."""
        with contextlib.suppress(OSError, ValueError):
            if os.path.lexists(self._path):
                os.ftruncate(self._descriptor, 0)
        self.abandon()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Close the file, and leave it unchanged."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def _write(self) -> None:
        left = memoryview(self._buffer)
        while left:
            left = left[os.write(self._descriptor, left) :]
        left.release()
        self._buffer = bytearray()


def folder_name(what: str, name: str) -> str:
    """Return `name` if it can be the name of a folder in the spool. Raises ValueError with the reason if it cannot.

    `what` is "type" or "project", for the message.
    """
    if not name:
        reason = "is empty"
    elif name.startswith("."):
        reason = "begins with a dot: hidden folders are ignored"
    elif any(char in name for char in "/\\\0"):
        reason = "holds a path separator or NUL"
    elif any(ord(char) < ord(" ") for char in name):
        reason = "holds a control character"
    elif what == "type" and name in _RESERVED:
        reason = "is the name of a folder of the daemon's own"
    elif len(name.encode("utf-8", "surrogateescape")) > _LONGEST_NAME:
        reason = f"is longer than {_LONGEST_NAME} bytes"
    else:
        return name
    raise ValueError(f"{what} {name!r:.100} cannot be a folder's name: it {reason}")
