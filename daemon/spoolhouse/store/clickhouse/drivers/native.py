"""The driver for ClickHouse's native protocol."""

import ssl
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from spoolhouse.decode.rows import Rows
from spoolhouse.failpoints import reach
from spoolhouse.store.clickhouse.driver import Parameter, RowsInsert, insert_query_id
from spoolhouse.store.clickhouse.drivers import query_settings
from spoolhouse.store.clickhouse.drivers.blocks import Blocks
from spoolhouse.store.clickhouse.drivers.parameters import bind
from spoolhouse.store.clickhouse.drivers.query_settings import Setting
from spoolhouse.store.clickhouse.drivers.statements import native_insert
from spoolhouse.store.clickhouse.drivers.transport import Transport
from spoolhouse.store.clickhouse.drivers.url import Address


class Connected(Protocol):
    """A connection for one task at a time. After any exception that it raised, it can only be dropped.

    Its methods raise the subclasses of `StoreError`, classified; `ambiguous` where a statement may have been done.
    """

    async def open(self) -> None:
        """Connect, log in, and go to the database."""

    async def is_alive(self) -> bool:
        """Tell whether it still answers after a time without use."""

    def drop(self) -> None:
        """Close it at once: whatever was not acknowledged is abandoned, and nothing is waited for."""

    async def ask(self, sql: str, settings: Mapping[str, Setting], query_id: str = "") -> list[tuple[object, ...]]:
        """Run one statement and return its rows."""

    async def begin_insert(self, sql: str, query_id: str, settings: Mapping[str, Setting]) -> None:
        """Send an INSERT, and return when the server waits for its rows."""

    async def send(self, parts: list[bytes]) -> None:
        """Send a block of one column, whose values are `parts`."""

    async def finish_insert(self) -> None:
        """Send the end of the rows, and return when the server acknowledged them."""


Make = Callable[[Address, Transport, ssl.SSLContext | None], Connected]


class NativeDriver:
    """Speaks to one server over as many connections as it has concurrent users; idle ones are kept.

    Rows travel as they are, many lines in one String; the server cuts and parses them, and this process spends a third
    of the time that it would need to cut them itself. The server's parser is lenient here (a malformed row becomes
    defaults, which times and choices then refuse): decode has validated the rows before.
    """

    def __init__(self, address: Address, transport: Transport, make: Make) -> None:
        """Connect to nothing yet; `make` makes each connection. Raises `BadSettingError`."""
        self._make = make
        self._address = address
        self._transport = transport
        self._tls = transport.tls.context() if address.secure else None
        self._idle: list[Connected] = []
        self._known: frozenset[str] | None = None
        """The settings that the server knows; asked once, and again after an error: it may be another version."""

    async def ping(self) -> None:
        """Return once the server answers a trivial query."""
        await self.execute("SELECT 1")

    async def execute(
        self, sql: str, parameters: Mapping[str, Parameter] | None = None, *, query_id: str = ""
    ) -> list[tuple[object, ...]]:
        """Run one statement and return its rows, as `values` describes them."""
        bound = bind(sql, parameters or {})
        async with self._wire() as wire:
            known = await self._settings_known(wire)
            return await wire.ask(bound, query_settings.for_reading(known), query_id)

    async def insert_rows(self, insert: RowsInsert, rows: AsyncIterable[Rows]) -> None:
        """Stream `rows` into one atomic insert; see `core.ports.Driver`."""
        blocks = Blocks(aiter(rows))
        # The first block is awaited before a connection is taken: it may be long in coming, and there may be none.
        block = await blocks.next()
        if not block:
            return
        async with self._wire() as wire:
            known = await self._settings_known(wire)
            query_id, settings = insert_query_id(insert.batch_id), query_settings.for_insert(insert, known)
            await wire.begin_insert(native_insert(insert), query_id, settings)
            while block:
                await wire.send(block)
                reach("native.block_sent")
                block = await blocks.next()
            await wire.finish_insert()

    async def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.pop().drop()

    @asynccontextmanager
    async def _wire(self) -> AsyncGenerator[Connected]:
        """Lend a connection; any exception or cancellation inside drops it, so that a broken one is never lent."""
        wire = await self._living()
        try:
            yield wire
        except BaseException:
            wire.drop()
            self._known = None
            raise
        self._idle.append(wire)

    async def _living(self) -> Connected:
        while self._idle:
            wire = self._idle.pop()
            alive = False
            try:
                alive = await wire.is_alive()
            finally:
                if not alive:
                    wire.drop()
            if alive:
                return wire
        wire = self._make(self._address, self._transport, self._tls)
        try:
            await wire.open()
        except BaseException:
            wire.drop()
            raise
        return wire

    async def _settings_known(self, wire: Connected) -> frozenset[str]:
        if self._known is None:
            sql = bind(query_settings.KNOWN_SQL, {"names": query_settings.NAMES})
            self._known = frozenset(str(name) for (name,) in await wire.ask(sql, {}))
        return self._known
