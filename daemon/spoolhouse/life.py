"""One life of the daemon, from its settings to its exit code: signals, the grace, and what ends it."""

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import structlog

from spoolhouse import declarations, memory, terms
from spoolhouse.errors import SpoolhouseError
from spoolhouse.figures import Figures
from spoolhouse.http import looked_at
from spoolhouse.landing.persistence import GivenUpError
from spoolhouse.pipeline.arrivals import check
from spoolhouse.pipeline.disk import Disk
from spoolhouse.progress import Progress, Silent
from spoolhouse.service import EXIT_CRASH, EXIT_OUT_OF_TIME, EXIT_UNAVAILABLE, Service
from spoolhouse.settings import Settings
from spoolhouse.signals import reload_on_signal, stop_on_signal
from spoolhouse.spool.home import Home
from spoolhouse.stages import Stages
from spoolhouse.startup import open_servers

log = structlog.get_logger(__name__)


async def run(
    settings: Settings, *, once: bool, progress: Progress | None = None, reread: Callable[[], Settings] | None = None
) -> int:
    """Run the daemon until SIGTERM or SIGINT, or with `once` until nothing is pending; return the exit code.

    A SIGHUP reads the settings again with `reread`, where that is given; it raises `BadSettingError`.

    0: stopped cleanly, or all is ingested. 1: something is left over, or a stage crashed. 69: ClickHouse cannot be
    used, with `once`. 75: the grace period ended before all was drained; the rest is recoverable. Raises
    `BadSettingError` and `SpoolError` before anything is touched.
    """
    root = settings.spool.root
    events = await asyncio.to_thread(declarations.load, settings.events.folder)
    driver = open_servers(settings)
    figures = Figures(settings=settings, events=events)
    try:
        await asyncio.to_thread(check, root)
        memory.spare_what_is_there()
        memory.keep_what_is_freed()
        async with looked_at(settings.http, figures, once=once) as url:
            instance = f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(4)}"
            disk = Disk(figures.health, terms.persistence(settings, once=once))
            home = await disk.persist(root, partial(Home.create, root, instance))
            stages = Stages(
                settings=settings,
                driver=driver,
                home=home,
                once=once,
                events=events,
                progress=progress or Silent(),
                figures=figures,
                disk=disk,
            )
            service = Service(stages=stages, reread=reread)
            await disk.persist(home.folder, partial(home.announce, url))
            return await _until_out_of_time(service)
    finally:
        figures.close()
        await driver.close()


async def _until_out_of_time(service: Service) -> int:
    """Live until a stop is complete, or its grace over."""
    deadline = asyncio.timeout(None)

    def request_stop() -> None:
        service.stop.set()
        service.stages.wake.set()
        grace = service.stages.settings.shutdown.grace
        deadline.reschedule(asyncio.get_running_loop().time() + grace)
        service.notifier.stopping(grace, str(service.standing()))

    try:
        async with deadline:
            with ExitStack() as signals:
                signals.enter_context(stop_on_signal(request_stop))
                if service.reread is not None:
                    signals.enter_context(reload_on_signal(service.hangup.set))
                return await _live(service)
    except TimeoutError:
        if not deadline.expired():
            raise
        grace = service.stages.settings.shutdown.grace
        log.warning("out_of_time", grace=grace, mend="the next start goes on where this one ended")
        return EXIT_OUT_OF_TIME


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
    stall = round(stages.figures.stalls.longest * 1000)
    log.info("stopped", exit_code=code, files=stages.settler.outcome.files, longest_stall_ms=stall)
    return code


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]
