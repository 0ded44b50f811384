"""Writes events into files of the spool; each file becomes visible when it is whole and durable.

    with SpoolWriter("/var/spool/observability") as spool:
        spool.write("span", "shop", {"id": "s1", …})

A file is written under a hidden name, which the daemon ignores. Its bytes are synced to the disk, then it is renamed
to `{root}/{type}/{project}/{timestamp}_{id}.jsonl`, which no other file can have, then the rename is synced. A producer
that dies leaves a hidden file that is never claimed, and no partial events; `spoolhouse check` reports it.

The standard library alone, but for `validate=True`.
"""

import atexit
import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self
from weakref import WeakSet

from spoolhouse.producer.draft import Draft, folder_name
from spoolhouse.producer.encoding import Event, line
from spoolhouse.spool.storage import LocalFileStorage

if TYPE_CHECKING:
    from spoolhouse.producer.validation import Validator

_log = logging.getLogger(__name__)

MAX_BYTES = 64 * 1024 * 1024
MAX_LINES = 250_000
MAX_AGE = 1.0
_ENCODED = (bytes, bytearray, str)

_Key = tuple[str, str]
"""Type and project."""


class SpoolWriter:
    """Writes events to files of a spool, one open file for each type and project. Threads may share it.

    `root` is the spool, and is created if it is missing. A file gets its final name when it holds `max_bytes` or
    `max_lines`; when `max_age` seconds have passed since the first event that is not visible yet (a thread does this;
    None: never); at `flush` and `close`; and when the interpreter ends. The end of a `with` block closes the writer; if
    the block raises, files that are not yet visible are removed.

    An OSError is raised by the call that meets it, and that of the background flush by the next call. The file in
    question is removed, and nothing of it is shown later: its events are to be written again, or lost. What cannot be
    shown when the main thread ends is logged too, as there may be no next call.

    After a fork, the child's writer is empty: files that are not yet visible stay with the parent.

    `validate` checks each event against the declarations of event types, those of the TOML files in `declarations`
    too, and refuses an event that would be rejected, or has a field that no column takes. It needs
    `spoolhouse[daemon]`, and time. `clock` gives milliseconds since 1970 and `new_id` the second half of a file's name.
    `first_name` is the name of the first file.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        max_bytes: int = MAX_BYTES,
        max_lines: int = MAX_LINES,
        max_age: float | None = MAX_AGE,
        validate: bool = False,
        declarations: Path | str | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        first_name: str = "",
    ) -> None:
        """Create no file yet. Raises ValueError for a limit below 1, an age below 0, and wrong declarations."""
        if max_bytes < 1 or max_lines < 1:
            raise ValueError(f"max_bytes and max_lines must be at least 1, not {max_bytes} and {max_lines}")
        if max_age is not None and max_age < 0:
            raise ValueError(f"max_age must be None or at least 0, not {max_age}")
        self._storage = LocalFileStorage(root)
        self._max_bytes, self._max_lines, self._max_age = max_bytes, max_lines, max_age
        self._clock, self._new_id, self._first_name = clock, new_id, first_name
        self._validator = _validator(declarations) if validate else None
        self._is_closed = False
        self._start_empty()
        _Process.writers.add(self)

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        """Guards all that follows."""
        self._finishing = threading.Lock()
        """Held while files are made visible, which takes the disk's time: other threads still write events."""
        self._validating = threading.Lock()
        self._open: dict[_Key, Draft] = {}
        self._retired: deque[Draft] = deque()
        """To be made visible. The first one stays here until it is."""
        self._timer: threading.Timer | None = None
        self._lost: Exception | None = None
        """The error of the background flush, for the next call."""

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Make all written files visible; or remove them if the block raised."""
        if kind is not None:
            self.discard()
        self.close()

    def write(self, event_type: str, project: str, events: Event | Iterable[Event]) -> list[Path]:
        """Write one event or many of one type and project; return the files that became visible by this call.

        An event is a mapping, or a line of JSON that is already encoded; `encoding.line` says what a mapping may hold.
        Raises OSError, and ValueError for a type or project that cannot be a folder's name, for an event that is no
        JSON or no one line, for one that `validate` refuses, and for a closed writer; the events before it are written.
        """
        key = (folder_name("type", event_type), folder_name("project", project))
        self._raise_lost()
        finished: list[Draft] = []
        for event in _each(events):
            data = self._line(key, event)
            full: list[Draft] = []
            try:
                self._append(key, data, full)
            finally:
                if full:
                    self._finish(full)
            finished += full
        return [draft.visible for draft in finished if draft.visible is not None]

    def create_score(self, project: str, score: Event) -> Path:
        """Write one score; return its file, which is visible then. Raises as `write` and `flush`."""
        return self._create(("score", folder_name("project", project)), score)

    def create_feedback(self, project: str, feedback: Event) -> Path:
        """Write one piece of feedback; return its file, which is visible then. Raises as `write` and `flush`.

        A value that is a number stays one: 5 and "5" are two things.
        """
        return self._create(("feedback", folder_name("project", project)), feedback)

    def flush(self) -> list[Path]:
        """Make everything visible that was written so far, by any thread; return the new files. Raises OSError."""
        drafts = self._retire_all()
        self._finish(drafts)
        self._raise_lost()
        return [draft.visible for draft in drafts if draft.visible is not None]

    def close(self) -> list[Path]:
        """Flush, and take no more events; return the new files. To close again does nothing. Raises OSError."""
        with self._lock:
            self._is_closed = True
        return self.flush()

    def flush_in_background(self) -> Exception | None:
        """Flush as well as it goes, and raise nothing; return the error that the next call raises."""
        try:
            self._finish(self._retire_all())
        except Exception as error:  # noqa: BLE001  # `clock` and `new_id` are the caller's, and may raise anything
            self._lost = error
        return self._lost

    def discard(self) -> None:
        """Remove all files that are not yet visible."""
        with self._finishing, self._lock:
            self._stop_timer()
            for draft in (*self._retired, *self._open.values()):
                draft.discard()
            self._retired.clear()
            self._open.clear()
            self._lost = None

    def _create(self, key: _Key, event: Event) -> Path:
        self._raise_lost()
        data = self._line(key, event)
        full: list[Draft] = []
        try:
            draft = self._append(key, data, full)
            with self._lock:
                if self._open.get(key) is draft:
                    self._retire(key)
            full.append(draft)
        finally:
            self._finish(full)
        if draft.visible is None:
            raise ValueError("the file was discarded by another thread")
        return draft.visible

    def _line(self, key: _Key, event: Event) -> bytes:
        data = line(event)
        if self._validator is not None:
            with self._validating:
                self._validator.check(*key, data)
        return data

    def _append(self, key: _Key, data: bytes, full: list[Draft]) -> Draft:
        """Add a line to the open file; return that. Files that are full are retired, and added to `full`.

        The caller finishes `full`, also after an error: nobody else raises what these files meet.
        """
        with self._lock:
            if self._is_closed:
                raise ValueError("the writer is closed")
            draft = self._open.get(key)
            if draft is not None and draft.size + len(data) > self._max_bytes:
                full.append(self._retire(key))
                draft = None
            try:
                if draft is None:
                    draft = self._open[key] = Draft(Path(*key), self._storage, self._first_name)
                    self._first_name = ""
                    draft.open()
                draft.add(data)
            except BaseException:
                if key in self._open:
                    self._open.pop(key).discard()
                raise
            if draft.lines >= self._max_lines or _Process.is_ending or not self._has_timer():
                full.append(self._retire(key))
            return draft

    def _retire(self, key: _Key) -> Draft:
        draft = self._open.pop(key)
        self._retired.append(draft)
        return draft

    def _retire_all(self) -> list[Draft]:
        """Return all drafts that are not visible yet, also those that another thread makes visible now."""
        with self._lock:
            self._stop_timer()
            self._retired.extend(self._open.values())
            self._open.clear()
            return list(self._retired)

    def _finish(self, drafts: Iterable[Draft]) -> None:
        """Make all retired files visible; raise the first error that one of `drafts` has met."""
        with self._finishing:
            while self._retired:
                self._finish_one(self._retired[0])
        for draft in drafts:
            if draft.error is not None:
                raise draft.error

    def _finish_one(self, draft: Draft) -> None:
        try:
            draft.finish(self._clock(), self._new_id)
        except OSError as error:
            draft.error = error
        finally:
            self._retired.popleft()
            if draft.visible is None:
                draft.discard()

    def _has_timer(self) -> bool:
        """Start the timer, where one is wanted and none runs; return false if no thread can be started."""
        if self._timer is None and self._max_age is not None:
            timer = threading.Timer(self._max_age, self.flush_in_background)
            timer.daemon = True
            try:
                timer.start()
            except RuntimeError:  # the interpreter ends, or the process may have no more threads
                return False
            self._timer = timer
        return True

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _raise_lost(self) -> None:
        with self._lock:
            error, self._lost = self._lost, None
        if error is not None:
            raise error

    def leave_to_parent(self) -> None:
        """In a forked child, forget the files that the parent is writing, and leave them unchanged."""
        drafts = (*self._retired, *self._open.values())
        self._start_empty()
        for draft in drafts:
            draft.abandon()


def _each(events: Event | Iterable[Event]) -> Iterable[Event]:
    return (events,) if isinstance(events, (Mapping, *_ENCODED)) else events


def _validator(declarations: Path | str | None) -> "Validator":
    try:
        from spoolhouse.producer.validation import Validator  # noqa: PLC0415  # it needs more than the standard library
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"validate=True needs {error.name}: pip install 'spoolhouse[daemon]'") from error
    return Validator(None if declarations is None else Path(declarations))


class _Process:
    """The writers of this process."""

    writers: ClassVar[WeakSet[SpoolWriter]] = WeakSet()
    is_ending = False
    """The interpreter ends: each event is made visible at once, because no thread would do so later."""

    @classmethod
    def is_forked(cls) -> None:
        for writer in list(cls.writers):
            writer.leave_to_parent()

    @classmethod
    def threads_are_ending(cls) -> None:
        """Raise nothing: Python would wait for no other thread, and executors would drop the work they have taken."""
        for writer in list(cls.writers):
            error = writer.flush_in_background()
            if error is not None:
                _log.error("events are lost: %s", error)

    @classmethod
    def ends(cls) -> None:
        cls.is_ending = True
        first = None
        for writer in list(cls.writers):
            try:
                writer.flush()
            except OSError as error:
                first = first or error
        if first is not None:
            raise first


os.register_at_fork(after_in_child=_Process.is_forked)
# A child that `multiprocessing` has forked runs this hook of `threading`, and not `atexit`. Its threads may still write
# after that, so `is_ending` is left to `atexit`.
try:
    getattr(threading, "_register_atexit", atexit.register)(_Process.threads_are_ending)
except RuntimeError:  # the main thread has ended before this import
    _Process.is_ending = True
atexit.register(_Process.ends)
