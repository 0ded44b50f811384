"""SIGTERM and SIGINT: the first asks for a clean stop, the second kills. SIGHUP asks for a reload.

Signals are blocked until the handlers are installed, and delivered then: during a slow start a reload does not kill,
and a stop is clean.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger(__name__)

STOPPING = (signal.SIGTERM, signal.SIGINT)
RELOADING = (signal.SIGHUP,)
_INIT = 1


@contextmanager
def held_back(numbers: Collection[signal.Signals]) -> Iterator[None]:
    """Have these signals wait until `let_in`, or the end of the context."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_in() -> None:
    """Take in the signals that were held back, now that there are handlers for them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*STOPPING, *RELOADING))


@contextmanager
def stop_on_signal(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at the first SIGTERM or SIGINT, and give both back to the system at once.

    The second one then ends the process as if there were no handler: everything that it leaves is recoverable.
    """
    loop = asyncio.get_running_loop()

    def release() -> None:
        for number in STOPPING:
            loop.remove_signal_handler(number)
            # Python's own handler for SIGINT raises KeyboardInterrupt wherever the program is; the system's ends it.
            signal.signal(number, signal.SIG_DFL)

    def release_to_die() -> None:
        release()
        if os.getpid() == _INIT:
            # The kernel spares the first process of a container the signals that it has no handler for.
            for number in STOPPING:
                loop.add_signal_handler(number, os._exit, 128 + number)

    def first(number: signal.Signals) -> None:
        release_to_die()
        log.info("stop_requested", signal=number.name)
        stop()

    previous = {number: signal.getsignal(number) for number in STOPPING}
    for number in STOPPING:
        loop.add_signal_handler(number, first, number)
    try:
        yield
    finally:
        release()
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def reload_on_signal(reload: Callable[[], None]) -> Iterator[None]:
    """Call `reload` at each SIGHUP."""
    loop = asyncio.get_running_loop()
    previous = signal.getsignal(signal.SIGHUP)
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, previous)
