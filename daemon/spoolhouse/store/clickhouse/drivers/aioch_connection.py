"""One native connection on clickhouse-driver, whose blocking calls aioch runs in a thread of the connection's own.

It sends the same statements in the same blocks as `asynch_connection`: a batch begun over one may be repeated over the
other. clickhouse-driver is the oldest and most used of the native clients.
"""

import asyncio
import select
import socket
import ssl
import struct
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from aioch import Client
from clickhouse_driver import Client as BlockingClient
from clickhouse_driver.block import ColumnOrientedBlock, RowOrientedBlock
from clickhouse_driver.errors import Error, ServerException, UnexpectedPacketFromServerError, UnknownTypeError
from clickhouse_driver.result import QueryInfo

from spoolhouse.store.clickhouse.driver import Setting
from spoolhouse.store.clickhouse.drivers.native_connection import Answer, NativeConnection
from spoolhouse.store.clickhouse.drivers.transport import Compression, Transport
from spoolhouse.store.clickhouse.drivers.url import Address

T = TypeVar("T")


class AiochConnection(NativeConnection):
    """A connection whose calls run in a thread of its own."""

    server_error = ServerException
    unknown_type = UnknownTypeError
    unexpected_packet = UnexpectedPacketFromServerError
    broken = (OSError, EOFError, Error, struct.error, IndexError, UnicodeDecodeError, ValueError)
    """A closed socket is a ValueError."""

    def __init__(self, address: Address, transport: Transport, tls: ssl.SSLContext | None) -> None:
        """Prepare a connection, through `tls` if the address is secure. An event loop must be running."""
        super().__init__(address, transport)
        compression = transport.compression
        blocking = BlockingClient(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            database="",  # the user's own; see open()
            secure=address.secure,
            connect_timeout=transport.connect_timeout,
            send_receive_timeout=transport.timeout,
            sync_request_timeout=transport.connect_timeout,
            client_name="spoolhouse",
            compression=False if compression is Compression.NONE else compression.value,
            settings={"strings_as_bytes": True},
        )
        # Any: neither library has types.
        self._client: Any = blocking
        self._connection: Any = blocking.connection
        # The library's own context takes its authorities from certifi, not from the system.
        self._connection._create_ssl_context = lambda _: tls  # noqa: SLF001  # there is no other way to set it
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="aioch")
        self._aioch: Any = Client(_client=blocking, executor=self._thread, loop=asyncio.get_running_loop())
        self._sample: Any = None
        """The columns of the input, as the server named them."""

    def drop(self) -> None:
        """Close the connection at once; a thread that is using it gets an error."""
        connected: socket.socket | None = self._connection.socket
        if connected is not None:
            # The plain shutdown, also under TLS: TLS's own is not safe across two threads.
            with suppress(OSError):
                socket.socket.shutdown(connected, socket.SHUT_RDWR)
        # Queued: a thread that is still connecting has no socket to shut down yet.
        self._thread.submit(self._connection.disconnect)
        self._thread.shutdown(wait=False)

    async def begin_insert(self, sql: str, query_id: str, settings: Mapping[str, Setting]) -> None:
        """Send the INSERT; return when the server waits for its rows. If this fails, nothing has landed."""
        with self._failing(ambiguous=False):
            self._sample = await self._in_thread(lambda: self._begin_insert(sql, query_id, settings))

    async def send(self, parts: list[bytes]) -> None:
        """Send a block of one column, whose values are `parts`."""
        with self._failing(ambiguous=True):
            await self._in_thread(lambda: self._send(parts))

    async def finish_insert(self) -> None:
        """Send the end of the rows; return when the server has acknowledged them."""
        with self._failing(ambiguous=True):
            await self._in_thread(self._finish)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        result: T = await self._aioch.run_in_executor(work)
        return result

    async def _connect(self) -> None:
        # Not connect(): it replaces the cause (an untrusted certificate, for one) by an error of its own.
        connect = self._connection._init_connection  # noqa: SLF001  # see above
        await self._in_thread(lambda: connect(*self._connection.hosts[0]))

    async def _ping(self) -> bool:
        alive: bool = await self._in_thread(self._connection.ping)
        return alive

    async def _ask(self, sql: str, settings: Mapping[str, Setting], query_id: str) -> Answer:
        return await self._in_thread(lambda: self._answer(sql, settings, query_id))

    # The methods below run in the thread.

    def _answer(self, sql: str, settings: Mapping[str, Setting], query_id: str) -> Answer:
        data: list[Sequence[object]] = []
        columns: Sequence[tuple[str, str]] = ()
        self._begin(sql, settings, query_id)
        while packet := self._client.receive_packet():
            block = getattr(packet, "block", None)
            if block is not None:
                columns = columns or block.columns_with_types
                data += block.get_rows()
        return columns, data

    def _begin(self, sql: str, settings: Mapping[str, Setting], query_id: str) -> None:
        self._client.make_query_settings(settings)
        self._client.last_query = QueryInfo()
        self._connection.send_query(sql, query_id=query_id)
        self._connection.send_external_tables([])

    def _begin_insert(self, sql: str, query_id: str, settings: Mapping[str, Setting]) -> object:
        self._begin(sql, settings, query_id)
        sample: object = self._client.receive_sample_block().columns_with_types
        return sample

    def _send(self, parts: list[bytes]) -> None:
        while self._has_answered():
            self._client.receive_packet()
        self._connection.send_data(ColumnOrientedBlock(self._sample, [parts]))

    def _finish(self) -> None:
        self._connection.send_data(RowOrientedBlock())
        while self._client.receive_packet():
            pass

    def _has_answered(self) -> bool:
        """Return whether a packet is waiting: an exception must be read before a write meets a closed socket."""
        buffered, connected = self._connection.fin, self._connection.socket
        if buffered.position < buffered.current_buffer_size:
            return True
        if isinstance(connected, ssl.SSLSocket) and connected.pending():
            return True
        # poll, not select: select fails for descriptors above 1023.
        poll = select.poll()
        poll.register(connected, select.POLLIN)
        return bool(poll.poll(0))
