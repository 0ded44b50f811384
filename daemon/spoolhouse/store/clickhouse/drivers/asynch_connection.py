"""One native connection on asynch's protocol layer: streams an insert, and turns each failure into a `StoreError`.

asynch's own `execute` wants all rows of an insert at once, and leaves an `INSERT … SELECT FROM input()` half read. Its
timeouts are not used either: they rest on `asyncio.wait_for`, which loses cancellations before Python 3.12.
"""

import asyncio
import ssl
import struct
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from asynch.errors import (
    ClickHouseException,
    ServerException,
    UnexpectedPacketFromServerError,
    UnknownTypeError,
)
from asynch.proto.block import ColumnOrientedBlock, RowOrientedBlock
from asynch.proto.connection import Connection
from asynch.proto.result import QueryInfo

from spoolhouse.errors import StoreError, TransientError
from spoolhouse.failpoints import reach
from spoolhouse.store.clickhouse import codes
from spoolhouse.store.clickhouse.driver import Setting
from spoolhouse.store.clickhouse.drivers import result_types
from spoolhouse.store.clickhouse.drivers.transport import Compression, Transport
from spoolhouse.store.clickhouse.drivers.url import Address
from spoolhouse.store.clickhouse.quoting import identifier

_READ_AHEAD = 1 << 16
_UNKNOWN_TYPE = 50
_WRONG_PORT = 217
_BROKEN = (OSError, EOFError, ClickHouseException, struct.error, IndexError, UnicodeDecodeError)
"""Errors that asynch raises when a conversation breaks off, in mid-packet too; TimeoutError is an OSError."""

_END: Any = RowOrientedBlock()
"""The empty block, which ends the rows."""


class _Connection(Connection):
    """asynch's connection with our TLS context: asynch's own takes no client certificate."""

    def __init__(self, tls: ssl.SSLContext | None, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]  # asynch's
        self._tls = tls

    def _get_ssl_context(self) -> ssl.SSLContext | None:
        return self._tls


class AsynchConnection:
    """A connection for one task at a time. It is dropped after any exception."""

    def __init__(self, address: Address, transport: Transport, tls: ssl.SSLContext | None) -> None:
        """Prepare a connection, through `tls` if the address is secure."""
        self._where = address.shown
        self._database = address.database
        self._connect_timeout = transport.connect_timeout
        self._timeout = transport.timeout
        compression = transport.compression
        # Any: asynch's stubs lack most of the methods used here.
        self._connection: Any = _Connection(
            tls,
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            database="",  # the user's own; see open()
            secure=address.secure,
            connect_timeout=None,  # asyncio.timeout is used instead
            send_receive_timeout=None,
            sync_request_timeout=None,
            client_name="spoolhouse",
            compression=False if compression is Compression.NONE else compression.value,
            settings={"strings_as_bytes": True},
        )
        self._sample: object = None
        """The columns of the input, as the server named them."""

    async def open(self) -> None:
        """Connect, log in, and select the database.

        In two steps: with a missing database the login would fail without a usable error.
        """
        try:
            with self._failing(ambiguous=False):
                async with asyncio.timeout(self._connect_timeout):
                    await self._connection.connect()
        except TransientError as error:
            if isinstance(error.__cause__, UnexpectedPacketFromServerError):
                raise codes.error(_WRONG_PORT, f"{self._where} is no native port of ClickHouse") from error
            raise
        await self.ask(f"USE {identifier(self._database)}", {})

    async def is_alive(self) -> bool:
        """Return whether an idle connection still answers."""
        try:
            with self._failing(ambiguous=False):
                async with asyncio.timeout(self._connect_timeout):
                    alive: bool = await self._connection.ping()
        except StoreError:
            return False
        return alive

    def drop(self) -> None:
        """Close the connection at once, without waiting; data that is not acknowledged is abandoned."""
        connection = self._connection
        if connection.writer is not None:
            # Not close(): it would first send the buffered data, to a server that may never read it.
            connection.writer.writer.transport.abort()
        connection.reset_state()

    async def ask(self, sql: str, settings: Mapping[str, Setting], query_id: str = "") -> list[tuple[object, ...]]:
        """Run one statement and return its rows."""
        data: list[Sequence[object]] = []
        columns: Sequence[tuple[str, str]] = ()
        with self._failing(ambiguous=True):
            await self._begin(sql, settings, query_id)
            while packet := await self._packet():
                block = getattr(packet, "block", None)
                if block is not None:
                    columns = columns or block.columns_with_types
                    data += block.get_rows()
        return result_types.rows((kind for _, kind in columns), data)

    async def begin_insert(self, sql: str, query_id: str, settings: Mapping[str, Setting]) -> None:
        """Send the INSERT; return when the server waits for its rows. If this fails, nothing has landed."""
        with self._failing(ambiguous=False):
            await self._begin(sql, settings, query_id)
            async with asyncio.timeout(self._timeout):
                self._sample = (await self._connection.receive_sample_block()).columns_with_types

    async def send(self, parts: list[bytes]) -> None:
        """Send a block of one column, whose values are `parts`."""
        with self._failing(ambiguous=True):
            while await self._has_answered():
                await self._packet()
            await self._block(ColumnOrientedBlock(columns_with_types=self._sample, data=[parts]))

    async def finish_insert(self) -> None:
        """Send the end of the rows; return when the server has acknowledged them."""
        with self._failing(ambiguous=True):
            await self._block(_END)
            reach("native.all_sent")
            while await self._packet():
                pass

    async def _begin(self, sql: str, settings: Mapping[str, Setting], query_id: str = "") -> None:
        self._connection.make_query_settings(settings)
        self._connection.last_query = QueryInfo(None)
        self._connection.is_query_executing = True
        async with asyncio.timeout(self._timeout):
            await self._connection.send_query(sql, query_id)
        await self._block(_END)  # no external tables

    async def _block(self, block: object) -> None:
        async with asyncio.timeout(self._timeout):
            await self._connection.send_block(block)

    async def _packet(self) -> object:
        """Return the next packet, True for one without rows, False at the end of the answer."""
        async with asyncio.timeout(self._timeout):
            packet: object = await self._connection.receive_packet()
        return packet

    async def _has_answered(self) -> bool:
        """Return whether a packet is waiting: an exception must be read before a write meets a closed socket."""
        buffered = self._connection.reader
        if buffered.position < buffered.current_buffer_size:
            return True
        try:
            async with asyncio.timeout(0):
                piece = await buffered.reader.read(_READ_AHEAD)
        except TimeoutError:
            return False
        if not piece:
            raise ConnectionResetError("the server closed the connection")
        buffered.buffer, buffered.position, buffered.current_buffer_size = bytearray(piece), 0, len(piece)
        return True

    @contextmanager
    def _failing(self, *, ambiguous: bool) -> Generator[None]:
        try:
            yield
        except ServerException as error:
            raise codes.error(error.code or 0, error.message) from None
        except UnknownTypeError as error:
            raise codes.error(_UNKNOWN_TYPE, str(error)) from None
        except _BROKEN as error:
            raise codes.unreachable(self._where, error, ambiguous=ambiguous) from error
