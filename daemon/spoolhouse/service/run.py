"""One life of the daemon, from its settings to its exit code: signals, the grace, and what ends it."""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog

from spoolhouse.errors import DiskError, SpoolhouseError
from spoolhouse.events import registry
from spoolhouse.monitoring.health import Complaint
from spoolhouse.monitoring.http import serve
from spoolhouse.monitoring.progress import Progress, Silent
from spoolhouse.monitoring.status_line import StatusLine
from spoolhouse.monitoring.systemd import Notifier, keep_telling
from spoolhouse.pipeline.disk_retry import DiskRetry, refusal, to_its_end
from spoolhouse.pipeline.scan import beside as beside_the_spool
from spoolhouse.retry import GivenUpError
from spoolhouse.service import options, runtime_tuning
from spoolhouse.service.prepare import open_servers
from spoolhouse.service.service import EXIT_CRASH, EXIT_OK, EXIT_OUT_OF_TIME, EXIT_UNAVAILABLE, Service, beside
from spoolhouse.service.signals import let_in, reload_on_signal, stop_on_signal
from spoolhouse.service.status_reporter import StatusReporter
from spoolhouse.service.wiring import Stages
from spoolhouse.settings import Settings
from spoolhouse.spool import descriptor_limit
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.root import make_ready

log = structlog.get_logger(__name__)


async def run(
    settings: Settings, *, once: bool, progress: Progress | None = None, reread: Callable[[], Settings] | None = None
) -> int:
    """Run the daemon until SIGTERM or SIGINT, or with `once` until nothing is pending; return the exit code.

    A SIGHUP reads the settings again with `reread`, where that is given; it raises `BadSettingError`.

    0: stopped cleanly, or all is ingested. 1: something is left over, or a stage crashed. 69: ClickHouse cannot be
    used, with `once`. 75: the grace period ended before all was drained; the rest is recoverable. Raises
    `BadSettingError` and `SpoolError` before anything is touched; `DiskError` with `once`, where the spool's disk takes
    nothing for as long as the grace lasts.
    """
    descriptor_limit.raise_limit()
    return await _Life(settings=settings, once=once, progress=progress or Silent(), reread=reread).run()


@dataclass(slots=True, kw_only=True)
class _Life:
    """What a signal concerns from the first moment on, whatever has been made by then."""

    settings: Settings
    once: bool
    progress: Progress
    reread: Callable[[], Settings] | None
    notifier: Notifier = field(default_factory=Notifier)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hangup: asyncio.Event = field(default_factory=asyncio.Event)
    deadline: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    service: Service | None = None
    """None until the spool can be worked with."""

    async def run(self) -> int:
        """Live until a stop is complete, or its grace over."""
        try:
            async with self.deadline:
                with ExitStack() as handlers:
                    handlers.enter_context(stop_on_signal(self._request_stop))
                    if self.reread is not None:
                        handlers.enter_context(reload_on_signal(self.hangup.set))
                    let_in()
                    return await self._from_the_start()
        except TimeoutError:
            if not self.deadline.expired():
                raise
            log.warning("out_of_time", grace=self._grace, hint="the next start goes on where this one ended")
            return EXIT_OUT_OF_TIME

    @property
    def _grace(self) -> float:
        """The grace in force."""
        return (self.settings if self.service is None else self.service.stages.settings).shutdown.grace

    def _request_stop(self) -> None:
        self.stop.set()
        if self.service is not None:
            self.service.stages.wake.set()
            self.service.stages.health.stopping()
        self.deadline.reschedule(asyncio.get_running_loop().time() + self._grace)
        self.notifier.stopping(
            self._grace, str(self._standing({}) if self.service is None else self.service.standing())
        )

    async def _from_the_start(self) -> int:
        settings, root = self.settings, self.settings.spool.root
        events = await asyncio.to_thread(registry.load, settings.events.folder)
        driver = open_servers(settings)
        reporter = StatusReporter(settings=settings, events=events, stop=self.stop)
        try:
            runtime_tuning.freeze_gc()
            runtime_tuning.tune_malloc()
            async with serve(settings.http, reporter, once=self.once) as url:
                disk = DiskRetry(
                    reporter.health,
                    options.retry_policy(settings, once=self.once),
                    options.min_free(settings),
                    settings.spool.read_error_wait,
                )
                instance = await self._await_home(partial(_make_home, root, url), reporter, disk)
                if instance is None:
                    log.info("stopped", exit_code=EXIT_OK, files=0, left=0)
                    return EXIT_OK
                await asyncio.to_thread(_name_what_stands_beside, settings, events)
                stages = Stages(
                    settings=settings,
                    driver=driver,
                    instance=instance,
                    once=self.once,
                    events=events,
                    progress=self.progress,
                    reporter=reporter,
                    disk=disk,
                )
                self.service = Service(stages=stages, reread=self.reread, hangup=self.hangup, notifier=self.notifier)
                return await _live(self.service)
        finally:
            reporter.close()
            await driver.close()

    async def _await_home(
        self, make: Callable[[], Instance], reporter: StatusReporter, disk: DiskRetry
    ) -> Instance | None:
        """Return what `make` makes, once the spool's disk lets it; None after a stop. Raises `SpoolError`.

        As a server that is down, a disk that is full, read-only or away is something to wait for, not a start that
        failed: the service manager is told at the first refusal.
        """
        root, health = self.settings.spool.root, reporter.health

        async def opened() -> Instance:
            try:
                return await to_its_end(make)
            except (OSError, DiskError) as error:
                self.notifier.ready(str(self._standing({str(root): refusal(root, error)})))
            return await disk.persist(root, make, stop=self.stop)

        telling = keep_telling(self.notifier, reporter.heartbeat, lambda: str(self._standing(health.troubles)))
        try:
            return await beside(opened(), telling)
        except DiskError:
            if not self.stop.is_set():
                raise
            return None

    def _standing(self, troubles: Mapping[str, Complaint]) -> StatusLine:
        """Return how things are before there is a service."""
        return StatusLine(
            prepared=False,
            stopping=self.stop.is_set(),
            grace=self._grace,
            waiting=None,
            claimed=0,
            settled=0,
            rejected=0,
            troubles=troubles,
            outage=None,
            paused=None,
            stuck={},
        )


def _make_home(root: Path, url: str | None) -> Instance:
    """Make the folder of this instance, all of it or nothing. Blocks on the disk.

    What a failing disk did not let us take away is a dead instance's; so each attempt has a name of its own.
    """
    make_ready(root)
    instance_id = f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(4)}"
    instance = Instance.create(root, instance_id)
    try:
        instance.announce(url)
    except BaseException:
        with contextlib.suppress(OSError):
            instance.remove()
        raise
    return instance


def _name_what_stands_beside(settings: Settings, events: Collection[str]) -> None:
    found = None
    with contextlib.suppress(OSError):
        found = beside_the_spool(settings.spool.root, settings.spool.base_path, events)
    if found is not None:
        log.warning("not_taken", path=found.path, reason=found.reason, hint=found.hint)


async def _live(service: Service) -> int:
    try:
        code = await service.live()
    except* GivenUpError:
        code = EXIT_UNAVAILABLE
    except* Exception as errors:  # noqa: BLE001  # the last handler: it reports and ends the process
        for error in _leaves(errors):
            told = {} if isinstance(error, SpoolhouseError | OSError) else {"exc_info": error}
            log.critical("stage_failed", error=str(error) or type(error).__name__, **told)
        code = EXIT_CRASH
    finally:
        await service.close()
    stages = service.stages
    stall = round(stages.reporter.stalls.longest * 1000)
    files, left = stages.settler.outcome.files, stages.count_unsettled()
    log.info("stopped", exit_code=code, files=files, left=left, longest_stall_ms=stall)
    return code


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]
