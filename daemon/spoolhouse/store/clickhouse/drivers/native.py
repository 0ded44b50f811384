"""The driver for ClickHouse's native protocol."""

import ssl
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
from contextlib import asynccontextmanager

from spoolhouse.decode.rows import Rows
from spoolhouse.failpoints import reach
from spoolhouse.store.clickhouse.driver import Parameter, RowsInsert, Setting, insert_query_id
from spoolhouse.store.clickhouse.drivers import query_settings
from spoolhouse.store.clickhouse.drivers.blocks import Blocks
from spoolhouse.store.clickhouse.drivers.native_connection import NativeConnection
from spoolhouse.store.clickhouse.drivers.parameters import bind
from spoolhouse.store.clickhouse.drivers.statements import native_insert
from spoolhouse.store.clickhouse.drivers.transport import Transport
from spoolhouse.store.clickhouse.drivers.url import Address

Make = Callable[[Address, Transport, ssl.SSLContext | None], NativeConnection]


class NativeDriver:
    """Talks to one server over one connection for each concurrent user; idle connections are kept.

    Rows travel as text, many lines in one String; the server splits and parses them, at a third of this process's cost
    of splitting. The server's parser is lenient here (a malformed row becomes defaults, which times and choices then
    refuse): decode has validated the rows before.
    """

    def __init__(self, address: Address, transport: Transport, make: Make) -> None:
        """Prepare the driver; connect to nothing yet. `make` makes each connection. Raises `BadSettingError`."""
        self._make = make
        self._address = address
        self._transport = transport
        self._tls = transport.tls.context() if address.secure else None
        self._idle: list[NativeConnection] = []
        self._known: frozenset[str] | None = None
        """The settings that the server knows; queried once, and again after an error: the version may have changed."""

    async def ping(self) -> None:
        """Return once the server answers a trivial query."""
        await self.execute("SELECT 1")

    async def execute(
        self,
        sql: str,
        parameters: Mapping[str, Parameter] | None = None,
        *,
        query_id: str = "",
        settings: Mapping[str, Setting] | None = None,
    ) -> list[tuple[object, ...]]:
        """Run one statement and return its rows, as `result_types` describes them."""
        bound = bind(sql, parameters or {})
        async with self._connection() as connection:
            known = await self._settings_known(connection)
            return await connection.ask(bound, query_settings.for_reading(known, settings), query_id)

    async def insert_rows(self, insert: RowsInsert, rows: AsyncIterable[Rows]) -> None:
        """Stream `rows` into one atomic insert; see `Driver`."""
        blocks = Blocks(aiter(rows))
        # The first block is awaited before a connection is taken: it may take long, and there may be none.
        block = await blocks.next()
        if not block:
            return
        async with self._connection() as connection:
            known = await self._settings_known(connection)
            query_id, settings = insert_query_id(insert.batch_id), query_settings.for_insert(insert, known)
            await connection.begin_insert(native_insert(insert), query_id, settings)
            while block:
                await connection.send(block)
                reach("native.block_sent")
                block = await blocks.next()
            await connection.finish_insert()

    async def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.pop().drop()

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[NativeConnection]:
        """Lend a connection; any exception or cancellation inside drops it, so that a broken one is never lent."""
        connection = await self._idle_or_new()
        try:
            yield connection
        except BaseException:
            connection.drop()
            self._known = None
            raise
        self._idle.append(connection)

    async def _idle_or_new(self) -> NativeConnection:
        while self._idle:
            connection = self._idle.pop()
            alive = False
            try:
                alive = await connection.is_alive()
            finally:
                if not alive:
                    connection.drop()
            if alive:
                return connection
        connection = self._make(self._address, self._transport, self._tls)
        try:
            await connection.open()
        except BaseException:
            connection.drop()
            raise
        return connection

    async def _settings_known(self, connection: NativeConnection) -> frozenset[str]:
        if self._known is None:
            sql = bind(query_settings.KNOWN_SQL, query_settings.KNOWN_PARAMETERS)
            self._known = frozenset(str(name) for (name,) in await connection.ask(sql, {}))
        return self._known
