"""One native connection on asynch's protocol layer: streams an insert, and turns each failure into a `StoreError`.

asynch's own `execute` wants all rows of an insert at once, and leaves an `INSERT … SELECT FROM input()` half read. Its
timeouts are not used either: they rest on `asyncio.wait_for`, which loses cancellations before Python 3.12.
"""

import asyncio
import ssl
import struct
from collections.abc import Mapping, Sequence
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

from spoolhouse.failpoints import reach
from spoolhouse.store.clickhouse.driver import Setting
from spoolhouse.store.clickhouse.drivers.native_connection import Answer, NativeConnection
from spoolhouse.store.clickhouse.drivers.transport import Compression, Transport
from spoolhouse.store.clickhouse.drivers.url import Address

_READ_AHEAD = 1 << 16
_END: Any = RowOrientedBlock()
"""The empty block, which ends the rows."""


class _Connection(Connection):
    """asynch's connection with our TLS context: asynch's own takes no client certificate."""

    def __init__(self, tls: ssl.SSLContext | None, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]  # asynch's
        self._tls = tls

    def _get_ssl_context(self) -> ssl.SSLContext | None:
        return self._tls


class AsynchConnection(NativeConnection):
    """A connection on the event loop."""

    server_error = ServerException
    unknown_type = UnknownTypeError
    unexpected_packet = UnexpectedPacketFromServerError
    broken = (OSError, EOFError, ClickHouseException, struct.error, IndexError, UnicodeDecodeError)
    """It may break off in mid-packet, too. TimeoutError is an OSError."""

    def __init__(self, address: Address, transport: Transport, tls: ssl.SSLContext | None) -> None:
        """Prepare a connection, through `tls` if the address is secure."""
        super().__init__(address, transport)
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

    def drop(self) -> None:
        """Close the connection at once, without waiting; data that is not acknowledged is abandoned."""
        connection = self._connection
        if connection.writer is not None:
            # Not close(): it would first send the buffered data, to a server that may never read it.
            connection.writer.writer.transport.abort()
        connection.reset_state()

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

    async def _connect(self) -> None:
        await self._connection.connect()

    async def _ping(self) -> bool:
        async with asyncio.timeout(self._transport.connect_timeout):
            alive: bool = await self._connection.ping()
        return alive

    async def _ask(self, sql: str, settings: Mapping[str, Setting], query_id: str) -> Answer:
        data: list[Sequence[object]] = []
        columns: Sequence[tuple[str, str]] = ()
        await self._begin(sql, settings, query_id)
        while packet := await self._packet():
            block = getattr(packet, "block", None)
            if block is not None:
                columns = columns or block.columns_with_types
                data += block.get_rows()
        return columns, data

    async def _begin(self, sql: str, settings: Mapping[str, Setting], query_id: str) -> None:
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
