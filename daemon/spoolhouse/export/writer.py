"""Writes events into files of the spool; each file becomes visible when it is whole and durable.

    with SpoolWriter(Path("/var/spool/observability")) as spool:
        spool.write("span", "shop", [{"type": "span", "id": "s1", …}])

A file is written under a hidden name, which the daemon ignores. Its bytes are synced to the disk, then it is renamed
to `{root}/{type}/{project}/{timestamp}_{id}.jsonl`, which no other file can have, then the rename is synced. A producer
that dies leaves a hidden file that is never claimed, and no partial events.
"""

import contextlib
import errno
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

MAX_BYTES = 64 * 1024 * 1024
MAX_LINES = 250_000
_BUFFER_BYTES = 1 << 18
_LONGEST_NAME = 255
_RESERVED = frozenset({"processed", "failed", "rejected"})
"""Folders of the daemon; a type of this name would be taken for one of them."""

Event = Mapping[str, object] | bytes | bytearray


class _Process:
    """Counts the forks that led to this process: a writer notices that it is in a child."""

    forks = 0

    @classmethod
    def is_forked(cls) -> None:
        """Count a fork, in the child."""
        cls.forks += 1


os.register_at_fork(after_in_child=_Process.is_forked)


class SpoolWriter:
    """Writes events to files of a spool, one open file for each type and project.

    `root` is the spool, and is created if it is missing. A file gets its final name when it holds `max_bytes` or
    `max_lines`, at `flush`, and at the end of the `with` block; if the block raises, files that are not yet visible are
    removed. `clock` gives milliseconds since 1970 and `new_id` the second half of a file's name, without separators.

    Not for use by several threads at once: give each its own writer. After a fork, the child's writer is empty: files
    that are not yet visible stay with the parent.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        max_bytes: int = MAX_BYTES,
        max_lines: int = MAX_LINES,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        """Create no file yet. Raises ValueError for a limit below 1."""
        if max_bytes < 1 or max_lines < 1:
            raise ValueError(f"max_bytes and max_lines must be at least 1, not {max_bytes} and {max_lines}")
        self._root = Path(root)
        self._max_bytes = max_bytes
        self._max_lines = max_lines
        self._clock = clock
        self._new_id = new_id
        self._open: dict[tuple[str, str], _Draft] = {}
        self._forks = _Process.forks

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Make all written files visible; or remove them if the block raised."""
        try:
            if kind is None:
                self.flush()
        finally:
            self.discard()

    def write(self, event_type: str, project: str, events: Iterable[Event]) -> list[Path]:
        """Write events of one type and project; return the files that became visible by this call.

        An event is a mapping, or a line of JSON that is already encoded. A line break at its end is not doubled.
        Raises ValueError for a type or project that cannot be a folder's name, for an encoded event that is empty
        or holds a line break inside, and for a mapping that is no JSON (NaN, an unknown type); the events before it
        are written. After an OSError the file in question is removed, and never visible in part.
        """
        self._leave_to_parent()
        folder = self._root / folder_name("type", event_type) / folder_name("project", project)
        done: list[Path] = []
        for event in events:
            line = _line(event)
            draft = self._open.get((event_type, project))
            if draft is not None and draft.size + len(line) > self._max_bytes:
                done.append(self._finish(event_type, project))
                draft = None
            if draft is None:
                draft = self._open[event_type, project] = _Draft(folder, self._root)
            try:
                draft.add(line)
            except BaseException:
                self._open.pop((event_type, project)).discard()
                raise
            if draft.lines >= self._max_lines:
                done.append(self._finish(event_type, project))
        return done

    def create_score(self, project: str, score: Event) -> Path:
        """Write one score; return its file, which is visible then. Raises as `write` and `flush`."""
        return self._create("score", project, score)

    def create_feedback(self, project: str, feedback: Event) -> Path:
        """Write one piece of feedback; return its file, which is visible then. Raises as `write` and `flush`.

        A value that is a number stays one: 5 and "5" are two things.
        """
        return self._create("feedback", project, feedback)

    def _create(self, event_type: str, project: str, event: Event) -> Path:
        done = self.write(event_type, project, [event])
        return self._finish(event_type, project) if (event_type, project) in self._open else done[-1]

    def flush(self) -> list[Path]:
        """Make everything visible that was written so far; return the new files."""
        self._leave_to_parent()
        return [self._finish(*key) for key in list(self._open)]

    def discard(self) -> None:
        """Remove all files that are not yet visible."""
        self._leave_to_parent()
        while self._open:
            self._open.popitem()[1].discard()

    def _leave_to_parent(self) -> None:
        """In a forked child, forget the files that the parent is writing, and leave them unchanged."""
        if self._forks != _Process.forks:
            self._forks = _Process.forks
            self._open.clear()

    def _finish(self, event_type: str, project: str) -> Path:
        draft = self._open.pop((event_type, project))
        try:
            return draft.finish(self._clock(), self._new_id)
        except BaseException:
            draft.discard()
            raise


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


def _line(event: Event) -> bytes:
    if isinstance(event, Mapping):
        return json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    line = bytes(event).rstrip(b"\r\n")
    if not line or b"\n" in line or b"\r" in line:
        raise ValueError(f"an encoded event must be one line of JSON, not {bytes(event)[:60]!r}")
    return line + b"\n"


class _Draft:
    """A file that is being written and has a hidden name.

    It has a buffer of its own: Python's would be flushed when the object is freed, in a forked child as well.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        _make_folders(folder, root)
        self._folder = folder
        self._path = folder / f".{uuid.uuid4().hex}.tmp"
        self._file = FileIO(self._path, "x")
        self._buffer = bytearray()
        self.size = 0
        self.lines = 0

    def add(self, line: bytes) -> None:
        self._buffer += line
        if len(self._buffer) >= _BUFFER_BYTES:
            self._write()
        self.size += len(line)
        self.lines += 1

    def finish(self, now_ms: int, new_id: Callable[[], str]) -> Path:
        """Make the file visible under a unique name, and return that. If it raises, the file is not visible."""
        self._write()
        os.fsync(self._file.fileno())
        self._file.close()
        while True:
            path = self._folder / f"{now_ms}_{new_id()}.jsonl"
            try:
                _rename_without_clobber(self._path, path)
            except FileExistsError:
                continue
            try:
                _sync_folder(self._folder)
            except OSError:
                if _is_taken_back(path):
                    raise
            return path

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        left = memoryview(self._buffer)
        while left:
            left = left[self._file.write(left) :]
        left.release()
        self._buffer = bytearray()


def _is_taken_back(path: Path) -> bool:
    """Remove the file again; return false if a daemon has claimed it by now."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _rename_without_clobber(source: Path, target: Path) -> None:
    """Rename the file atomically. Raises FileExistsError if another file has the name.

    The second name is created before the first one is removed, so the file always has one. An error creates none.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP}:
            raise
        # A file system without hard links. Names hold a fresh id, so that a check before the rename is enough.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        source.rename(target)
        return
    with contextlib.suppress(OSError):  # the file is visible; its hidden second name is harmless
        source.unlink()


def _make_folders(folder: Path, root: Path) -> None:
    """Create the folder and its parents, and sync each to the disk, from the top down."""
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(missing):
        _sync_folder(path.parent)
    if folder.resolve(strict=True) != root.resolve(strict=True) / folder.relative_to(root):
        raise OSError(errno.ELOOP, f"{folder} leads out of the spool: a part of it is a symbolic link")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
