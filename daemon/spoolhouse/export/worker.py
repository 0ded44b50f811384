"""The daemon from code: `Worker` runs the service within another program, in a thread with an event loop of its own.

    async with Worker("/var/spool", "clickhouse://db:9000") as worker:
        …
        print(worker.get_status().total_files_processed)

It needs `spoolhouse[daemon]`. It is the same service as `spoolhouse ingest`, with the same promises; it takes no
signals, and has no HTTP address unless `http.listen` is given. A program that ends without `stop` is to it what a crash
is to the daemon: the next run goes on where this one ended.
"""

import asyncio
import importlib.util
import logging
import threading
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from msgspec import Struct, field

from spoolhouse.errors import BadSettingError, SpoolhouseError, StoreError
from spoolhouse.events import registry
from spoolhouse.export.settings import settings_of
from spoolhouse.monitoring import logs
from spoolhouse.monitoring.progress import Silent
from spoolhouse.monitoring.status_model import RecentFile
from spoolhouse.monitoring.systemd import Notifier
from spoolhouse.service.options import make_options
from spoolhouse.service.run import Run
from spoolhouse.service.service import EXIT_OK, EXIT_OUT_OF_TIME, EXIT_UNAVAILABLE
from spoolhouse.service.shared import Shared
from spoolhouse.service.status_reporter import StatusReporter
from spoolhouse.service.stores import open_backend
from spoolhouse.settings import Settings
from spoolhouse.spool.storage import FileStorageProvider, LocalFileStorage

MOST_ERRORS = 100
_MILLISECONDS = 1000
_LEFT = "something is left in the spool, or a stage has failed: the log says what"
_ENDS = {
    EXIT_OUT_OF_TIME: "the grace ended before all was finished: the next run goes on there",
    EXIT_UNAVAILABLE: "the store is unavailable",
}


class ProcessingError(Struct, frozen=True, kw_only=True):
    """A file that is in `failed/`, or the reason why nothing could be done."""

    file_path: str
    """Where the file was dropped, relative to the spool; empty if no file is at fault."""
    message: str
    error: Exception
    retry_count: int = 0
    """How often it was tried again. A damaged file is not: it would be read the same."""


class ProcessingResult(Struct, frozen=True, kw_only=True):
    """The result of `process_once`."""

    files_processed: int = 0
    """Files in their final place."""
    events_ingested: int = 0
    """Lines that the store has acknowledged all rows of."""
    events_by_type: dict[str, int] = field(default_factory=dict)
    errors: list[ProcessingError] = field(default_factory=list)
    """The last 100."""
    duration_ms: float = 0.0


class WorkerStatus(Struct, frozen=True, kw_only=True):
    """The state of a worker. Totals are those since it was made."""

    is_running: bool
    """Started, and not stopped."""
    is_processing: bool
    """Files are under way."""
    last_processed_at: datetime | None
    """When the last file came to its final place."""
    total_files_processed: int
    total_events_ingested: int
    total_events_by_type: dict[str, int]
    current_errors: list[ProcessingError]
    """Those of the run that is under way, else of the last one: the last 100."""
    started_at: datetime | None


class Worker:
    """Lands the files of a spool in a store.

    `file_storage`, a folder or a `LocalFileStorage`, holds the spool, in its folder `base_path`. `store` is a URL:
    `clickhouse://…`, `http://…`, `chdb:///…` or `duckdb:///…`. Times are in milliseconds. `batch_size` is the number of
    files that travel together, `insert_batch_size` that of the rows of an insert. `settings` are others by their dotted
    names, as `docs/configuration.md` lists them; neither the environment nor a file is read. Raises `BadSettingError`.

    Events are logged through structlog as the program has configured it. While it has not, they go to `logging`, as
    the logger `spoolhouse`; what the program itself logs is left alone. `debug` sets that logger's level.
    """

    def __init__(
        self,
        file_storage: FileStorageProvider | Path | str,
        store: str,
        *,
        base_path: str = "observability",
        poll_interval_ms: int = 10_000,
        batch_size: int | None = None,
        insert_batch_size: int | None = None,
        delete_after_process: bool = False,
        retry_delay_ms: int | None = None,
        project_id: str | None = None,
        debug: bool = False,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """Check the settings, and touch nothing yet."""
        given: dict[str, object] = {
            "spool.storage_path": _folder(file_storage),
            "spool.base_path": base_path,
            "spool.poll_interval_ms": poll_interval_ms,
            "spool.delete_after_process": delete_after_process,
            "spool.project_id": project_id,
            "batch.max_files": batch_size,
            "batch.max_rows": insert_batch_size,
            "retry.first": None if retry_delay_ms is None else retry_delay_ms / _MILLISECONDS,
        }
        self._settings = settings_of(store, {**given, **(settings or {})})
        logs.pass_to_logging(self._settings.secrets())
        if debug:
            logging.getLogger(logs.OWN).setLevel(logging.DEBUG)
        self._running: _Cycle | None = None
        self._cycle: _Cycle | None = None
        """The last one, or the one that is under way."""
        self._before = _Totals()
        """Those of the cycles before it."""
        self._started_at: datetime | None = None

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    async def init(self) -> None:
        """Bring the store's schema up to date. Raises `StoreError` if it is away, or a table must not be used."""
        await asyncio.to_thread(asyncio.run, _prepare(self._settings))

    async def start(self) -> None:
        """Start to land files, now and as they come; return at once. To start again does nothing.

        What ends the run later is in `get_status().current_errors`; a store that is away is waited for.
        """
        if self._running is None:
            self._started_at = datetime.now(UTC)
            self._running = self._begin(once=False)

    async def stop(self) -> None:
        """Claim nothing more, finish what is claimed within `shutdown.grace`, and return; the rest is recoverable."""
        if self._running is not None:
            running, self._running = self._running, None
            running.request_stop()
            await running.wait()

    async def process_once(self) -> ProcessingResult:
        """Land all that is pending, and return.

        A worker that is started does so by itself: then this does nothing, and the result is empty.
        """
        if self._running is not None:
            return ProcessingResult()
        start = monotonic()
        cycle = self._begin(once=True)
        try:
            await cycle.wait()
        except asyncio.CancelledError:
            cycle.request_stop()
            raise
        totals = cycle.totals()
        return ProcessingResult(
            files_processed=totals.files,
            events_ingested=sum(totals.lines.values()),
            events_by_type=totals.lines,
            errors=cycle.errors(),
            duration_ms=round((monotonic() - start) * _MILLISECONDS, 3),
        )

    def get_status(self) -> WorkerStatus:
        """Return the state, from any thread."""
        totals = self._totals()
        return WorkerStatus(
            is_running=self._running is not None and self._running.is_alive(),
            is_processing=self._cycle is not None and self._cycle.is_processing(),
            last_processed_at=totals.last,
            total_files_processed=totals.files,
            total_events_ingested=sum(totals.lines.values()),
            total_events_by_type=totals.lines,
            current_errors=[] if self._cycle is None else self._cycle.errors(),
            started_at=self._started_at,
        )

    def _begin(self, *, once: bool) -> "_Cycle":
        self._before = self._totals()
        self._cycle = _Cycle(self._settings, once=once)
        return self._cycle

    def _totals(self) -> "_Totals":
        return self._before if self._cycle is None else self._before.plus(self._cycle.totals())


class _Totals(Struct, frozen=True):
    """The counts of one cycle or several."""

    files: int = 0
    lines: dict[str, int] = field(default_factory=dict)
    last: datetime | None = None

    def plus(self, other: "_Totals") -> "_Totals":
        names = self.lines.keys() | other.lines.keys()
        lines = {name: self.lines.get(name, 0) + other.lines.get(name, 0) for name in sorted(names)}
        return _Totals(self.files + other.files, lines, other.last or self.last)


class _Cycle:
    """One run of the service, in a thread."""

    def __init__(self, settings: Settings, *, once: bool) -> None:
        self._settings, self._once = settings, once
        self.progress = _Progress()
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._run: Run | None = None
        self._is_stopping = False
        self._error: Exception | None = None
        self._code = EXIT_OK
        self._thread = threading.Thread(target=self._main, name="spoolhouse", daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def is_processing(self) -> bool:
        stages = None if self._run is None else self._run.reporter.stages
        return self.is_alive() and stages is not None and not stages.is_idle()

    def totals(self) -> _Totals:
        stages = None if self._run is None else self._run.reporter.stages
        lines = {} if stages is None else {name: n for name, n in stages.settler.outcome.lines.items() if n}
        return _Totals(self.progress.files, lines, self.progress.last)

    def errors(self) -> list[ProcessingError]:
        """Return the files that have failed; and why the run has ended, or makes no progress."""
        found = list(self.progress.errors)
        others: list[tuple[Exception, int]] = []
        """With how often they were tried again."""
        if self._error is not None:
            others.append((self._error, 0))
        elif self._run is not None and self._run.shared.health.troubles:
            reasons, retries_of = self._run.reporter.readiness().reasons, self._run.shared.health.retries
            others += [(StoreError(trouble.summary), retries_of(trouble.scope)) for trouble in reasons]
        if self._code != EXIT_OK and not (found or others):
            others.append((SpoolhouseError(_ENDS.get(self._code, _LEFT)), 0))
        return found + [
            ProcessingError(file_path="", message=str(error) or repr(error), error=error, retry_count=retries)
            for error, retries in others
        ]

    def request_stop(self) -> None:
        """Ask for a stop, from any thread, also before the run has begun."""
        with self._guard:
            self._is_stopping = True
            if self._loop is not None and self._run is not None and self.is_alive():
                self._loop.call_soon_threadsafe(self._run.request_stop)

    async def wait(self) -> None:
        await asyncio.to_thread(self._thread.join)

    def _main(self) -> None:
        factory = None
        if importlib.util.find_spec("uvloop") is not None:
            factory = importlib.import_module("uvloop").new_event_loop
        try:
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(self._serve())
        except Exception as error:  # noqa: BLE001  # whatever ends the thread: else nothing would seem to be pending
            self._error = error

    async def _serve(self) -> None:
        events = registry.load(self._settings.events)
        shared = Shared(settings=self._settings, events=events, once=self._once, progress=self.progress)
        with closing(StatusReporter(shared=shared)) as reporter:
            run = Run(
                shared=shared,
                reporter=reporter,
                owns_process=False,
                notifier=Notifier({}),
            )
            with self._guard:
                self._loop, self._run = asyncio.get_running_loop(), run
                if self._is_stopping:
                    self._loop.call_soon(run.request_stop)
            try:
                self._code = await run.run()
            finally:
                with self._guard:
                    self._loop = None


class _Progress(Silent):
    """Counts settled files, and keeps the reasons of those that failed."""

    def __init__(self) -> None:
        self.files = 0
        self.last: datetime | None = None
        self.errors: list[ProcessingError] = []

    def settled(self, file: RecentFile, /) -> None:
        self.last = datetime.now(UTC)
        if file.failure:
            error = ProcessingError(
                file_path=file.path, message=file.failure, error=SpoolhouseError(file.failure), retry_count=file.retries
            )
            self.errors = [*self.errors[1 - MOST_ERRORS :], error]
        else:
            self.files += 1


def _folder(storage: FileStorageProvider | Path | str) -> Path:
    if isinstance(storage, LocalFileStorage):
        return storage.root
    if isinstance(storage, Path | str):
        return Path(storage)
    raise BadSettingError(f"a spool cannot be in a storage of the kind {storage.type!r} yet: give a local one")


async def _prepare(settings: Settings) -> None:
    events = registry.load(settings.events)
    backend = open_backend(settings, fingerprint=make_options(settings, events, once=True).fingerprint)
    try:
        for refusal in (await backend.prepare(events)).values():
            raise refusal
    finally:
        await backend.close()
