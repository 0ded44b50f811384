"""The daemon as a process: signals, the grace period of a stop, and the exit code."""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Collection
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import structlog
from msgspec import Struct, field

from spoolhouse.errors import DiskError, LeftError, SpoolhouseError
from spoolhouse.events import registry
from spoolhouse.monitoring.http import serve
from spoolhouse.monitoring.progress import Progress
from spoolhouse.monitoring.systemd import Notifier, keep_notifying
from spoolhouse.pipeline.disk_retry import DiskRetry, refusal, to_its_end
from spoolhouse.pipeline.scan import Ignored, has_other_than
from spoolhouse.pipeline.scan import beside as beside_the_spool
from spoolhouse.retry import GivenUpError
from spoolhouse.service import runtime_tuning
from spoolhouse.service.backend import Backend
from spoolhouse.service.questions import Questions, questions
from spoolhouse.service.service import (
    EXIT_CRASH,
    EXIT_LEFT_OVER,
    EXIT_OK,
    EXIT_OUT_OF_TIME,
    EXIT_UNAVAILABLE,
    Service,
    beside,
)
from spoolhouse.service.shared import Shared
from spoolhouse.service.signals import let_in, reload_on_signal, stop_on_signal
from spoolhouse.service.status_reporter import StatusReporter
from spoolhouse.service.stores import open_backend
from spoolhouse.service.wiring import Stages
from spoolhouse.settings import Settings
from spoolhouse.spool import descriptor_limit, process_notes
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.root import make_ready

log = structlog.get_logger(__name__)


async def run(
    settings: Settings,
    *,
    once: bool,
    progress: Progress | None = None,
    reread: Callable[[], Settings] | None = None,
) -> int:
    """Run the daemon until SIGTERM or SIGINT, or with `once` until nothing is pending; return the exit code.

    A SIGHUP reads the settings again with `reread`, where that is given; it raises `BadSettingError`.

    0: stopped cleanly, or all is ingested. 1: something is left over, or a stage crashed. 69: the store cannot be
    used, with `once`. 75: the grace period ended before all was drained; the rest is recoverable. Raises
    `BadSettingError` and `SpoolError` before anything is touched; `DiskError` with `once`, where the spool's disk takes
    nothing for as long as the grace lasts.
    """
    descriptor_limit.raise_limit()
    events = await asyncio.to_thread(registry.load, settings.events)
    shared = Shared(settings=settings, events=events, once=once, progress=progress)
    with closing(StatusReporter(shared=shared)) as reporter:
        return await Run(shared=shared, reporter=reporter, reread=reread).run()


class Run(Struct, kw_only=True):
    """Signals, the grace, and the order of start and end."""

    shared: Shared
    reporter: StatusReporter
    reread: Callable[[], Settings] | None = None
    owns_process: bool = True
    """Whether signals, the collector and the service manager are this run's: not so within another program."""
    notifier: Notifier = field(default_factory=Notifier)
    hangup: asyncio.Event = field(default_factory=asyncio.Event)
    deadline: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    """Set at the stop: the end of the grace."""

    async def run(self) -> int:
        """Run until a stop is complete, or its grace over."""
        try:
            async with self.deadline:
                with ExitStack() as handlers:
                    if self.owns_process:
                        handlers.enter_context(stop_on_signal(self.request_stop))
                        if self.reread is not None:
                            handlers.enter_context(reload_on_signal(self.hangup.set))
                        let_in()
                    return await self._with_store()
        except TimeoutError:
            if not self.deadline.expired():
                raise
            log.warning("out_of_time", grace=self._grace, hint="the next start goes on where this one ended")
            return EXIT_OUT_OF_TIME

    @property
    def _grace(self) -> float:
        return self.shared.settings.shutdown.grace

    def request_stop(self) -> None:
        """Ask for a clean stop: what is claimed is finished within the grace. On the loop of the run, once it runs."""
        self.shared.request_stop()
        self.deadline.reschedule(asyncio.get_running_loop().time() + self._grace)
        self.notifier.stopping(self._grace, self.reporter.line())

    async def _with_store(self) -> int:
        shared, http, spool = self.shared, self.shared.settings.http, self.shared.settings.spool.root
        backend = open_backend(shared.settings, fingerprint=shared.options.value.fingerprint)
        shared.health.store = backend.title
        # A run with an end may share its settings with a daemon that has the port.
        is_named = "listen" in http.model_fields_set
        address = http.address if is_named or (self.owns_process and not shared.once) else None
        try:
            if self.owns_process:
                runtime_tuning.freeze_gc()
                runtime_tuning.tune_malloc()
            async with (
                questions(backend, spool=spool, is_served=address is not None) as asked,
                serve(
                    address,
                    self.reporter,
                    names=http.names,
                    required=is_named and not shared.once,
                    routes=() if asked is None else asked.routes(shared.recent.texts),
                    serves=() if asked is None else asked.api.serves,
                    before_end=(lambda: None) if asked is None else asked.api.end_streams,
                ) as url,
            ):
                if url is not None:
                    page = url if asked is None else asked.way(url).page
                    shared.progress.note(f"In a browser: {page}")
                return await self._with_spool(backend, asked, url)
        finally:
            await backend.close()

    async def _with_spool(self, backend: Backend, asked: Questions | None, url: str | None) -> int:
        shared, disk = self.shared, DiskRetry(self.shared.health, self.shared.options, self.shared.stop)
        instance = await self._make_instance(url, disk)
        if instance is None:
            log.info("stopped", exit_code=EXIT_OK, files=0, left=0)
            return EXIT_OK
        await asyncio.to_thread(_log_type_folder_beside, shared.settings, shared.events)
        stages = Stages(shared=shared, backend=backend, instance=instance, disk=disk)
        self.reporter.stages = stages
        service = Service(
            shared=shared,
            stages=stages,
            reporter=self.reporter,
            reread=self.reread,
            hangup=self.hangup,
            notifier=self.notifier,
            announce=None if asked is None else partial(asked.announce, url),
        )
        try:
            code = await _run_service(service)
        finally:
            if asked is not None:
                await asyncio.to_thread(asked.withdraw)
        if shared.once:
            code = max(code, await asyncio.to_thread(self._report_left, stages))
        lag = round(self.reporter.loop_lag.longest * 1000)
        files, left = stages.settler.outcome.files, stages.count_unsettled()
        log.info("stopped", exit_code=code, files=files, left=left, longest_stall_ms=lag)
        return code

    def _report_left(self, stages: Stages) -> int:
        """Log what the run has not taken; return the exit code, which is not 0 if there are files beside the spool."""
        settings, events = self.shared.settings, self.shared.events
        named, count = list(stages.in_flight.not_taken_named), stages.in_flight.not_taken
        found = _type_folder_beside(settings, events)
        is_left = found is not None and has_other_than(
            (), Path(found.path).parent, events, settings.spool.project_id, self.shared.options.value.scan.names
        )
        if found is not None:
            named, count = [f"{found.path}: {found.reason}", *named], count + 1
        if count:
            hint = "" if found is None else found.hint
            log.warning("left_untaken", count=count, first=named, hint=hint or "see spool.names, and the event types")
        return EXIT_LEFT_OVER if is_left else EXIT_OK

    async def _make_instance(self, url: str | None, disk: DiskRetry) -> Instance | None:
        """Return this instance's folder once the spool's disk allows it; None after a stop. Raises `SpoolError`.

        A disk that is full, read-only or away is waited for like a server that is down, and is no failed start: the
        service manager is notified at the first refusal.
        """
        shared, root = self.shared, self.shared.settings.spool.root
        make = partial(_make_instance_folder, root, url)

        async def make_or_wait() -> Instance:
            try:
                return await to_its_end(make)
            except (OSError, DiskError) as error:
                shared.health.bad(str(root), refusal(root, error))
                self.notifier.ready(self.reporter.line())
            instance = await disk.persist(root, make)
            shared.health.good(str(root))
            return instance

        notifying = keep_notifying(self.notifier, shared.heartbeat, self.reporter.line)
        try:
            return await beside(make_or_wait(), notifying)
        except LeftError:
            return None


def _make_instance_folder(root: Path, url: str | None) -> Instance:
    """Make the folder of this instance, all of it or nothing. Blocks on the disk.

    Each attempt uses a new name: a folder that could not be removed again counts as a dead instance's.
    """
    make_ready(root)
    instance_id = f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(4)}"
    instance = Instance.create(root, instance_id)
    try:
        process_notes.note_address(instance.folder, url)
    except BaseException:
        with contextlib.suppress(OSError):
            instance.remove()
        raise
    return instance


def _type_folder_beside(settings: Settings, events: Collection[str]) -> Ignored | None:
    """Return a type folder beside the spool; None also where that cannot be read."""
    with contextlib.suppress(OSError):
        return beside_the_spool(settings.spool.root, settings.spool.base_path, events)
    return None


def _log_type_folder_beside(settings: Settings, events: Collection[str]) -> None:
    """Warn of a type folder beside the spool, where no daemon would ever take its files."""
    if (found := _type_folder_beside(settings, events)) is not None:
        log.warning("not_taken", path=found.path, reason=found.reason, hint=found.hint)


async def _run_service(service: Service) -> int:
    try:
        code = await service.run()
    except* GivenUpError:
        code = EXIT_UNAVAILABLE
    except* Exception as errors:  # noqa: BLE001  # the last handler: it reports and ends the process
        for error in _leaves(errors):
            details = {} if isinstance(error, SpoolhouseError | OSError) else {"exc_info": error}
            log.critical("stage_failed", error=str(error) or type(error).__name__, **details)
        code = EXIT_CRASH
    finally:
        await service.close()
    return code


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]
