"""Connections to ask over: each question has one of its own, in a thread of its own, and can write nothing."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import duckdb
from msgspec import Struct

from spoolhouse.errors import StoreError
from spoolhouse.store.duckdb.errors import store_error

T = TypeVar("T")

AT_ONCE = 4
"""Questions that run side by side at the most; others wait for them."""
_MEMORY = 2 << 30
_NICENESS = 10
"""A tenth of the weight of other threads: with much less, one that holds Python's lock would keep them waiting."""
_AGAIN = 0.1
"""Seconds between two interruptions: one that comes between two statements of a question is lost."""


def open_to_read(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a file that no other process has; it may reach no other file. Raises `duckdb.Error`."""
    return duckdb.connect(
        path,
        read_only=True,
        config={
            "memory_limit": f"{_MEMORY}B",
            "enable_external_access": False,
            # Nothing is fetched from the network.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )


def _give_way() -> None:
    """Lower the priority of this thread. Linux has one for each thread; elsewhere it would be the process's."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


class _Asked(Struct):
    """A question that is being answered."""

    connection: duckdb.DuckDBPyConnection | None = None
    is_cancelled: bool = False


class Connections:
    """Runs questions. Between them the file is closed, unless this process has it open for something else."""

    def __init__(
        self,
        path: Path,
        connect: Callable[[], duckdb.DuckDBPyConnection],
        *,
        at_once: int = AT_ONCE,
        gives_way: bool = False,
    ) -> None:
        """Ask the file at `path`; `connect` returns a new connection to it, in any thread.

        `gives_way`: where the processor is short, the rest of the process comes first.
        """
        self._path = path
        self._connect = connect
        self._threads = ThreadPoolExecutor(
            min(at_once, AT_ONCE), thread_name_prefix="duckdb-question", initializer=_give_way if gives_way else None
        )

    async def run(self, work: Callable[[duckdb.DuckDBPyConnection], T], begun: Callable[[], object]) -> T:
        """Run `work` in one transaction, which sees one state of the file. Raises `StoreError`.

        `begun` is called, in the event loop, once no other question has to end first. A cancellation interrupts the
        work, and waits for its end.
        """
        asked = _Asked()
        begins = partial(asyncio.get_running_loop().call_soon_threadsafe, begun)
        running = self._threads.submit(partial(self._answer, work, asked, begins))
        answer = asyncio.wrap_future(running)
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            asked.is_cancelled = True
            if not running.cancel():  # it has begun
                await _break_off(answer, asked)
            raise

    async def close(self) -> None:
        """Return once the threads are to end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _answer(self, work: Callable[[duckdb.DuckDBPyConnection], T], asked: _Asked, begins: Callable[[], object]) -> T:
        begins()
        try:
            with self._connect() as connection:
                asked.connection = connection
                connection.execute("SET TimeZone = 'UTC'")
                connection.execute("BEGIN TRANSACTION READ ONLY")
                if asked.is_cancelled:
                    raise duckdb.InterruptException("cancelled")
                return work(connection)
        except duckdb.Error as error:
            # Not chained: its frames would keep the rows.
            raise store_error(error, self._path) from None


async def _break_off(answer: asyncio.Future[Any], asked: _Asked) -> None:
    while not answer.done():
        if asked.connection is not None:
            with suppress(duckdb.Error):  # it is closed
                asked.connection.interrupt()
        await asyncio.wait([answer], timeout=_AGAIN)
    with suppress(StoreError, OSError):
        answer.result()
