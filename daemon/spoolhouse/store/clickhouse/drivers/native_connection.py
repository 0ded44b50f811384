"""The common half of the native connections: opening, an idle connection's check, a statement's rows, errors."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from spoolhouse.errors import StoreError, TransientError
from spoolhouse.store.clickhouse import codes
from spoolhouse.store.clickhouse.driver import Setting
from spoolhouse.store.clickhouse.drivers import result_types
from spoolhouse.store.clickhouse.drivers.transport import Transport
from spoolhouse.store.clickhouse.drivers.url import Address
from spoolhouse.store.clickhouse.quoting import identifier

_UNKNOWN_TYPE = 50
_WRONG_PORT = 217

Answer = tuple[Sequence[tuple[str, str]], list[Sequence[object]]]
"""The columns of an answer, with their types, and its rows."""


class NativeConnection(ABC):
    """A connection for one task at a time. It is dropped after any exception.

    Its methods raise the subclasses of `StoreError`, classified; `ambiguous` where a statement may have been executed.
    """

    server_error: ClassVar[type[Any]]
    """The library's error for an exception that the server reports."""
    unknown_type: ClassVar[type[Exception]]
    unexpected_packet: ClassVar[type[Exception]]
    broken: ClassVar[tuple[type[Exception], ...]]
    """Errors that the library raises when a conversation breaks off."""

    def __init__(self, address: Address, transport: Transport) -> None:
        """Prepare a connection."""
        self._where = address.shown
        self._database = address.database
        self._transport = transport

    async def open(self) -> None:
        """Connect, log in, and select the database.

        In two steps: with a missing database the login would fail without a usable error.
        """
        try:
            with self._failing(ambiguous=False):
                async with asyncio.timeout(self._transport.connect_timeout):
                    await self._connect()
        except TransientError as error:
            if isinstance(error.__cause__, self.unexpected_packet):
                raise codes.error(_WRONG_PORT, f"{self._where} is no native port of ClickHouse") from error
            raise
        await self.ask(f"USE {identifier(self._database)}", {})

    async def is_alive(self) -> bool:
        """Return whether an idle connection still answers."""
        try:
            with self._failing(ambiguous=False):
                return await self._ping()
        except StoreError:
            return False

    async def ask(self, sql: str, settings: Mapping[str, Setting], query_id: str = "") -> list[tuple[object, ...]]:
        """Run one statement and return its rows."""
        with self._failing(ambiguous=True):
            columns, data = await self._ask(sql, settings, query_id)
        return result_types.rows((kind for _, kind in columns), data)

    @abstractmethod
    def drop(self) -> None:
        """Close the connection at once, without waiting; data that is not acknowledged is abandoned."""

    @abstractmethod
    async def begin_insert(self, sql: str, query_id: str, settings: Mapping[str, Setting]) -> None:
        """Send the INSERT; return when the server waits for its rows. If this fails, nothing has landed."""

    @abstractmethod
    async def send(self, parts: list[bytes]) -> None:
        """Send a block of one column, whose values are `parts`."""

    @abstractmethod
    async def finish_insert(self) -> None:
        """Send the end of the rows; return when the server has acknowledged them."""

    @abstractmethod
    async def _connect(self) -> None: ...

    @abstractmethod
    async def _ping(self) -> bool: ...

    @abstractmethod
    async def _ask(self, sql: str, settings: Mapping[str, Setting], query_id: str) -> Answer: ...

    @contextmanager
    def _failing(self, *, ambiguous: bool) -> Generator[None]:
        """Raise the library's errors as `StoreError`."""
        try:
            yield
        except self.server_error as error:
            raise codes.error(error.code or 0, error.message) from None
        except self.unknown_type as error:
            raise codes.error(_UNKNOWN_TYPE, str(error)) from None
        except self.broken as error:
            raise codes.unreachable(self._where, error, ambiguous=ambiguous) from error
