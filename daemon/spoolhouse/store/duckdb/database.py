"""One DuckDB file that this process has open. Its statements run one after the other, in one thread of their own."""

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import duckdb

from spoolhouse.errors import OperatorError, StoreError, TransientError
from spoolhouse.store.duckdb.errors import ENDS_THE_CONNECTION, is_damage, store_error

T = TypeVar("T")

_LOG_SHARE = 8
"""The log of the file may become this part of the memory until a checkpoint: its rows are in memory until then."""
IN_MEMORY = Path(":memory:")
"""A database of this process alone, without a file."""


class Database:
    """The file at `path`; it is opened, and made where it is missing, at the first use."""

    def __init__(self, path: Path, *, memory: int, threads: int | None = None, read_only: bool = False) -> None:
        """Let DuckDB take `memory` bytes at the most; `read_only`: change nothing, and reach no other file.

        `threads`: so many may work on a statement (default: one for each processor), the caller's among them.
        """
        self.path = path
        self._memory = memory
        self._threads = threads or os.cpu_count() or 1
        self._read_only = read_only
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="duckdb")
        self._connection: duckdb.DuckDBPyConnection | None = None

    async def run(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Run `work` as one transaction, committed at its end, and return its result. Raises `StoreError`.

        A cancellation interrupts it and waits for its end: it has happened as a whole, or not at all.
        """
        running = self._thread.submit(partial(self._transaction, work))
        try:
            return await asyncio.shield(asyncio.wrap_future(running))
        except asyncio.CancelledError:
            await self._break_off(running)
            raise

    async def checkpoint(self) -> None:
        """Write the log into the file, and let the room of deleted rows be used again. Raises `StoreError`.

        DuckDB does so by itself once its log is long; rows of large batches are not in the log.
        """
        await asyncio.wrap_future(self._thread.submit(self._checkpoint))

    async def close(self) -> None:
        """Write what is left to the file, and let other processes have it."""
        await asyncio.wrap_future(self._thread.submit(self._close))
        self._thread.shutdown(wait=False)

    async def _break_off(self, running: "Future[T]") -> None:
        if running.cancel():
            return  # it has not begun
        connection = self._connection  # its thread closes a broken one meanwhile
        if connection is not None:
            with suppress(duckdb.Error):
                connection.interrupt()
        with suppress(StoreError, OSError):
            await asyncio.wrap_future(running)

    def _transaction(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        with self._translated():
            connection = self._open()
            connection.begin()
            try:
                result = work(connection)
                connection.commit()
            except BaseException:
                with suppress(duckdb.Error):
                    connection.rollback()
                raise
        return result

    def _checkpoint(self) -> None:
        with self._translated():
            self._open().execute("CHECKPOINT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise DuckDB's errors as `StoreError`; close the file after those that it does not go on after."""
        try:
            yield
        except duckdb.Error as error:
            if isinstance(error, ENDS_THE_CONNECTION) or is_damage(error):
                self._close()
            # Not chained: its frames would keep the rows.
            raise store_error(error, self.path) from None

    def another(self) -> duckdb.DuckDBPyConnection:
        """Return one more connection to the open file, for any thread. Raises `StoreError`, `duckdb.Error`."""
        if self._connection is None:
            raise TransientError(f"{self.path} is not open at the moment")
        return self._connect()

    def _open(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            if not self._read_only:
                self._make_folder()
            self._connection = self._connect()
            self._connection.execute("SET GLOBAL TimeZone = 'UTC'")
            if self._read_only:
                self._connection.execute("SET GLOBAL enable_external_access = false; SET lock_configuration = true")
        return self._connection

    def _connect(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(
            self.path,
            read_only=self._read_only,
            config={
                "memory_limit": f"{self._memory}B",
                "threads": self._threads,
                # A checkpoint writes the last rows of each table anew: rarely, it is a small part of the work.
                "checkpoint_threshold": f"{self._memory // _LOG_SHARE}B",
                # Else each checkpoint writes most rows anew to merge a few groups of them: two thirds more work.
                "max_vacuum_tasks": 0,
                # A format that is released: that of a new library may not be.
                "storage_compatibility_version": "v1.5.0",
                # Nothing is fetched from the network.
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"{self.path} cannot be made: {error.strerror}"
            raise OperatorError(message, hint="check store.url, and the rights on its folder") from error

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(duckdb.Error):
                self._connection.close()
            self._connection = None
