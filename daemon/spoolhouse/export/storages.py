"""What `DefaultExporter` writes to: the protocol of a storage, and the spool as one. The standard library alone."""

import sys
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from spoolhouse.file_names import Spilled
from spoolhouse.producer.encoding import Event, lenient
from spoolhouse.producer.writer import SpoolWriter

Record = Mapping[str, object]
"""An event of ours (`spoolhouse types` lists the fields), or of a shape that the daemon reads."""
REMEMBERED = 16
"""Calls that have failed and may be repeated: a storage remembers what it knows of them."""
_PROJECT_KEYS = ("projectId", "project_id")
_BITS_AFTER_TIME, _VERSION = 80, 7
"""A UUID of version 7 begins with its time, in ms; 80 bits follow it."""


class Strategy(NamedTuple):
    """How spans may be written.

    `realtime`: each event at once. `batch`: started, updated and ended spans in batches; the newest version of a span
    counts. `insert-only`: ended spans alone.
    """

    preferred: str
    supported: tuple[str, ...]


class Capabilities(NamedTuple):
    """The signals that a storage takes."""

    tracing: bool = True
    logs: bool = True
    metrics: bool = True
    scores: bool = True
    feedback: bool = True


class RejectedRecordsError(ValueError):
    """Some records are no valid events; the others of the batch are stored."""

    def __init__(self, count: int, first: str) -> None:
        """Say how many, and the reason of the first one."""
        super().__init__(f"{count} records are rejected: {first}")
        self.count = count


class ObservabilityStorage(Protocol):
    """Takes records. `batch` names the records of a call for all time: repeated after an error, they count once.

    It is a UUID of version 7 (`new_batch`), and so says when the batch was made.

    `project` is that of records that name none. Methods raise ValueError for what is not to be repeated, of which
    `RejectedRecordsError` says that the rest is stored, and any other error for what is.
    """

    @property
    def capabilities(self) -> Capabilities:
        """The signals that it takes."""

    @property
    def tracing_strategy(self) -> Strategy:
        """How spans may be written."""

    async def batch_create_spans(self, spans: Sequence[Record], *, project: str, batch: str) -> None:
        """Store spans."""

    async def batch_create_logs(self, logs: Sequence[Record], *, project: str, batch: str) -> None:
        """Store logs."""

    async def batch_record_metrics(self, metrics: Sequence[Record], *, project: str, batch: str) -> None:
        """Store metrics."""

    async def create_score(self, score: Record, *, project: str, batch: str) -> None:
        """Store a score."""

    async def create_feedback(self, feedback: Record, *, project: str, batch: str) -> None:
        """Store a piece of feedback."""

    async def close(self) -> None:
        """Release what it has opened."""


def new_batch() -> str:
    """Return a name for a batch: a UUID of version 7."""
    now_ms, random = time.time_ns() // 1_000_000, uuid.uuid4().int % (1 << _BITS_AFTER_TIME)
    # The random bits have version 4; 4 | 7 is 7.
    return str(uuid.UUID(int=now_ms << _BITS_AFTER_TIME | random | _VERSION << (_BITS_AFTER_TIME - 4)))


def spilled(batch: str) -> Spilled:
    """Return the name that the file of a batch has in a spool.

    Raises ValueError for a name that `new_batch` would not return.
    """
    name = uuid.UUID(batch)
    if name.version != _VERSION:
        raise ValueError(f"a batch is named by a UUID of version 7, not {batch}")
    return Spilled(str(name), name.int >> _BITS_AFTER_TIME)


def by_project(records: Iterable[Record], project: str) -> dict[str, list[Event]]:
    """Return lines by project; `project` is that of records that name none. Raises ValueError if there is none."""
    found: dict[str, list[Event]] = {}
    for record in records:
        own = project_of(record) or project
        if not own:
            raise ValueError("a record names no project, and none is given")
        found.setdefault(own, []).append(lenient(record))
    return found


def project_of(record: Record) -> str:
    """Return the project that a record names; empty if it names none."""
    return next((str(record[key]) for key in _PROJECT_KEYS if record.get(key)), "")


class SpoolStorage:
    """The spool: a call returns once its file is visible and durable, and a daemon lands it exactly once."""

    capabilities = Capabilities()
    tracing_strategy = Strategy("insert-only", ("insert-only", "batch", "realtime"))

    def __init__(self, root: Path | str) -> None:
        """Write into the spool at `root`."""
        self._root = root
        self._failed: OrderedDict[str, set[str]] = OrderedDict()
        """By batch, the projects whose records are in the spool."""

    def write(  # records, and what is known of them
        self, event_type: str, records: Sequence[Record], project: str, done: set[str], *, batch: str = ""
    ) -> None:
        """Write records of one type, one file for each project. Blocks on the disk. Raises OSError and ValueError.

        Projects in `done` are left out; those whose file is visible are added, also where another one's fails. If
        `batch` is given, another storage may have landed them under that name: a daemon on its store lands the rest.
        """
        with ExitStack() as stack:
            writers: dict[str, SpoolWriter] = {}
            for name, lines in by_project(records, project).items():
                if name not in done:
                    writers[name] = stack.enter_context(self._writer(batch))
                    writers[name].write(event_type, name, lines)
            for name, writer in writers.items():
                writer.close()
                done.add(name)

    def forget(self, batch: str) -> set[str]:
        """Forget a failed batch, which is not repeated; return the projects whose records are in the spool."""
        return self._failed.pop(batch, set())

    def _writer(self, batch: str) -> SpoolWriter:
        """Return a writer of one file, whatever its size: of two, the second one may fail."""
        writer = partial(SpoolWriter, self._root, max_bytes=sys.maxsize, max_lines=sys.maxsize, max_age=None)
        if not batch:
            return writer()
        # Its name tells, with the content, under which id the batch may have landed.
        return writer(first_name=spilled(batch).file_name)

    def _write(self, event_type: str, records: Sequence[Record], project: str, batch: str) -> None:
        """Write records; repeated after an error, what is in the spool is not written again."""
        done = self._failed.setdefault(batch, set())
        while len(self._failed) > REMEMBERED:
            self._failed.popitem(last=False)
        self.write(event_type, records, project, done)
        self._failed.pop(batch, None)

    async def batch_create_spans(self, spans: Sequence[Record], *, project: str, batch: str) -> None:
        """Write spans."""
        self._write("span", spans, project, batch)

    async def batch_create_logs(self, logs: Sequence[Record], *, project: str, batch: str) -> None:
        """Write logs."""
        self._write("log", logs, project, batch)

    async def batch_record_metrics(self, metrics: Sequence[Record], *, project: str, batch: str) -> None:
        """Write metrics."""
        self._write("metric", metrics, project, batch)

    async def create_score(self, score: Record, *, project: str, batch: str) -> None:
        """Write a score."""
        self._write("score", [score], project, batch)

    async def create_feedback(self, feedback: Record, *, project: str, batch: str) -> None:
        """Write a piece of feedback."""
        self._write("feedback", [feedback], project, batch)

    async def close(self) -> None:
        """Do nothing: no file stays open."""
