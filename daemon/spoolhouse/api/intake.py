"""Scores and feedback that come over HTTP: each becomes a file of the spool, and lands exactly once like all others."""

import asyncio
import errno
import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from spoolhouse.api.access import ForbiddenError, Projects
from spoolhouse.api.errors import BusyError, NoSpoolError, SpoolAwayError, SpoolFullError
from spoolhouse.errors import BadRequestError
from spoolhouse.producer.writer import SpoolWriter
from spoolhouse.query.wire import Fields, Written

KINDS: Mapping[str, str] = {"scores": "score", "feedback": "feedback"}
"""The types that can be written, by route."""
AT_ONCE = 4
"""Events that are written at the same time. A write goes on, and counts, when its client has gone away."""
_REMEMBERED = 10_000
"""Events of which it is known what was written last."""
_REMEMBERED_SECONDS = 600.0
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Intake:
    """Takes scores and feedback, and writes them into a spool."""

    def __init__(self, spool: Path | None) -> None:
        """Write into `spool`; None: refuse all."""
        self._spool = spool
        self._writer: SpoolWriter | None = None
        self._opening = threading.Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="spoolhouse-intake")
        self._running = 0
        self._changed = threading.Condition()
        """Guards what follows."""
        self._writing: set[bytes] = set()
        self._written: dict[bytes, tuple[bytes, float]] = {}
        """What was written last of each event, and when: the oldest first."""

    @property
    def is_open(self) -> bool:
        """Tell whether there is a spool to write into."""
        return self._spool is not None

    def close(self) -> None:
        """Return once the last file is written. Blocks on the disk."""
        self._pool.shutdown()

    async def take(self, route: str, body: bytes, projects: Projects) -> bytes:
        """Write an event, and return the answer once it is durable. Raises `SpoolhouseError`.

        A call that is cancelled may still write.
        """
        if self._spool is None:
            raise NoSpoolError(
                "no spool is known here; set spool.storage_path (--file-storage-path) where this server is started"
            )
        if self._running >= AT_ONCE:
            raise BusyError(f"{AT_ONCE} events are being written; send it again in a moment")
        self._running += 1
        written = asyncio.get_running_loop().run_in_executor(
            self._pool, self._write, self._spool, route, body, projects
        )
        written.add_done_callback(self._is_done)
        return await asyncio.shield(written)

    def _is_done(self, written: asyncio.Future[bytes]) -> None:
        self._running -= 1
        if not written.cancelled():
            written.exception()  # if the caller is gone, nobody else asks for it, and asyncio would log that

    def _write(self, spool: Path, route: str, body: bytes, projects: Projects) -> bytes:
        project, event = _event(KINDS[route], body, projects)
        try:
            if not spool.is_dir():
                raise SpoolAwayError("the spool's folder is missing; start its daemon, or correct spool.storage_path")
            writer = self._opened(spool)
            create = writer.create_score if route == "scores" else writer.create_feedback
            self._write_once(_digest(route, project, event["id"]), _digest(body), lambda: create(project, event))
        except ValueError as error:
            raise BadRequestError(str(error)) from None
        except OSError as error:
            if error.errno in _FULL:
                raise SpoolFullError("the spool's disk is full; free space on it, and send this again") from None
            reason = error.strerror or type(error).__name__
            raise SpoolAwayError(f"the spool cannot be written to: {reason}; send this again later") from None
        return msgspec.json.encode(Written(id=event["id"], timestamp=event["timestamp"]))

    def _write_once(self, event: bytes, content: bytes, write: Callable[[], object]) -> None:
        """Write an event, unless this is what was written of it last, and lately. One thread at a time writes it."""
        with self._changed:
            self._changed.wait_for(lambda: event not in self._writing)
            last, at = self._written.get(event, (b"", 0.0))
            if last == content and time.monotonic() - at < _REMEMBERED_SECONDS:
                return
            self._writing.add(event)
            self._written.pop(event, None)
        try:
            write()
            with self._changed:
                self._written[event] = (content, time.monotonic())
                if len(self._written) > _REMEMBERED:
                    del self._written[next(iter(self._written))]
        finally:
            with self._changed:
                self._writing.remove(event)
                self._changed.notify_all()

    def _opened(self, spool: Path) -> SpoolWriter:
        """Return the writer, which refuses events that would be rejected, and makes each durable at once."""
        with self._opening:
            if self._writer is None:
                self._writer = SpoolWriter(spool, max_age=None, validate=True)
            return self._writer


def _digest(*parts: str | bytes) -> bytes:
    """Return a short name for these parts."""
    return hashlib.sha256(msgspec.json.encode(parts)).digest()


def _event(kind: str, body: bytes, projects: Projects) -> tuple[str, Fields]:
    """Return the project and the event. Raises `SpoolhouseError`."""
    try:
        fields = msgspec.json.decode(body, type=Fields)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise BadRequestError(f"the {kind} is no JSON object: {error}") from None
    project = fields.get("projectId", fields.get("project_id"))
    if not isinstance(project, str):
        raise BadRequestError("projectId: the project is required")
    if projects is not None and project not in projects:
        raise ForbiddenError(f"this token is for other projects; it accepts {', '.join(sorted(projects))}")
    if fields.get("type", kind) != kind:
        raise BadRequestError(f"type: {kind} is accepted here")
    own = {"type": kind}
    if "id" not in fields:
        own |= {"id": uuid.uuid4().hex, "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds")}
    elif not (isinstance(fields["id"], str) and fields["id"]) or "timestamp" not in fields:
        raise BadRequestError("id: a text is accepted, with a timestamp: an event that is sent again has the same two")
    return project, {**own, **fields}
