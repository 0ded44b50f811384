"""The stores that one suite judges, each with what a test does to it from outside: refuse, stall, break."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import duckdb
import pytest

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import TransientError
from spoolhouse.events.declaration import Table
from spoolhouse.pipeline.ports import Store
from spoolhouse.spool.batch import BatchToLand
from spoolhouse.store.clickhouse.store import ClickHouseStore
from spoolhouse.store.duckdb.quoting import literal
from spoolhouse.store.duckdb.schema import bring_up_to_date
from spoolhouse.store.duckdb.store import DuckDbStore
from tests.contract.memory_store import MemoryStore
from tests.contract.place import Place
from tests.contract.proxy import Proxy
from tests.contract.tables import create_table, log_pieces, stream

INSERTS_UNDER_WAY = "SELECT query_id FROM system.processes WHERE query_kind = 'Insert' AND query ILIKE '%logs%'"


class Stand(Protocol):
    """A store under test."""

    @property
    def store(self) -> Store: ...

    def create(self, table: Table) -> None:
        """Make the table that rows of `table` land in."""

    def refuse(self, text: str) -> None:
        """Let rows of logs with this text be refused from now on; none, where it is empty."""

    def stall(self, table: Table) -> AbstractAsyncContextManager[None]:
        """Let a table that has rows take no more within the block."""

    async def break_off(self, batch: BatchToLand) -> None:
        """Land a batch over a connection that breaks before all is sent."""

    async def lose_answer(self, batch: BatchToLand) -> None:
        """Land a batch whose rows arrive, and whose answer does not."""

    def count(self, table: Table) -> tuple[int, int]:
        """Return how many rows a table holds, and how many different ones."""

    def others(self) -> list[str]:
        """Return the tables besides the one of logs."""


@dataclass(slots=True)
class InMemory:
    """The store that is written for the tests."""

    store: MemoryStore = field(default_factory=MemoryStore)

    def create(self, table: Table) -> None:
        self.store.tables[table.name] = {}

    def refuse(self, text: str) -> None:
        self.store.refused = text.encode()

    @asynccontextmanager
    async def stall(self, table: Table) -> AsyncGenerator[None]:
        self.store.busy.add(table.name)
        yield
        self.store.busy.remove(table.name)

    async def break_off(self, batch: BatchToLand) -> None:
        self.store.breaks_off = True
        with pytest.raises(TransientError):
            await self.store.land(batch)

    async def lose_answer(self, batch: BatchToLand) -> None:
        self.store.loses_answer = True
        with pytest.raises(TransientError):
            await self.store.land(batch)

    def count(self, table: Table) -> tuple[int, int]:
        lines = [line for batch in self.store.tables[table.name].values() for line in batch]
        return len(lines), len(set(lines))

    def others(self) -> list[str]:
        return [name for name in self.store.tables if name != "logs"]


@dataclass(slots=True)
class OnServer:
    """A real ClickHouse, behind a proxy that can be cut."""

    store: ClickHouseStore
    place: Place
    proxy: Proxy

    def create(self, table: Table) -> None:
        self.place.query(create_table(table, table.name))

    def refuse(self, text: str) -> None:
        """Let a constraint refuse it."""
        self.place.query("ALTER TABLE logs DROP CONSTRAINT IF EXISTS no")
        if text:
            self.place.query(f"ALTER TABLE logs ADD CONSTRAINT no CHECK position(message, '{text}') = 0")

    @asynccontextmanager
    async def stall(self, table: Table) -> AsyncGenerator[None]:
        """Let it have too many parts."""
        name = table.name
        self.place.query(f"SYSTEM STOP MERGES {name}")
        self.place.query(f"ALTER TABLE {name} MODIFY SETTING parts_to_delay_insert = 1, parts_to_throw_insert = 1")
        yield
        self.place.query(f"ALTER TABLE {name} RESET SETTING parts_to_delay_insert, parts_to_throw_insert")
        self.place.query(f"SYSTEM START MERGES {name}")

    async def break_off(self, batch: BatchToLand) -> None:
        """Cut the connection before the last rows."""
        with _before_the_last(batch, self.proxy.cut), pytest.raises(TransientError):
            await self.store.land(batch)
        await self._until(lambda: True)

    async def lose_answer(self, batch: BatchToLand) -> None:
        """Drop what the server says from the last rows on, and cut the connection once it has them."""
        with _before_the_last(batch, self.proxy.deaf.set):
            landing = asyncio.create_task(self.store.land(batch))
            await self.proxy.deaf.wait()
            # To the end of the query, not only of its rows: natively, the test engine aborts if it cannot answer.
            await self._until(lambda: self.count(batch.table)[0] > 0)
            self.proxy.cut()
            with pytest.raises(TransientError):
                await landing
        self.proxy.deaf.clear()

    async def _until(self, happened: Callable[[], bool]) -> None:
        """Return once something has happened, and no insert runs."""
        while self.place.query(INSERTS_UNDER_WAY) or not happened():  # noqa: ASYNC110  # no events
            await asyncio.sleep(0)  # the question takes its own time

    def count(self, table: Table) -> tuple[int, int]:
        ((rows, different),) = self.place.query(
            f"SELECT count(), uniqExact(({', '.join(table.order_by)})) FROM {table.name}"
        )
        return rows, different

    def others(self) -> list[str]:
        return [name for (name,) in self.place.query("SHOW TABLES") if name != "logs"]


@dataclass(slots=True)
class InFile:
    """A DuckDB file, which this process has open."""

    store: DuckDbStore

    def create(self, table: Table) -> None:
        with self._connection() as connection:
            bring_up_to_date(connection, [table], prefix="")

    def refuse(self, text: str) -> None:
        """Let a constraint refuse it: DuckDB takes one only when a table is made."""
        with self._connection() as connection:
            ((made,),) = connection.execute("SELECT sql FROM duckdb_tables() WHERE table_name = 'logs'").fetchall()
            plain = made.partition(", CHECK")[0].removesuffix(";").removesuffix(")")
            check = f", CHECK (NOT contains(message, {literal(text)}))" if text else ""
            connection.execute("CREATE TEMP TABLE kept AS FROM logs")
            connection.execute(f"DROP TABLE logs; {plain}{check}); INSERT INTO logs FROM kept; DROP TABLE kept")

    @asynccontextmanager
    async def stall(self, table: Table) -> AsyncGenerator[None]:
        """Have another transaction change it."""
        with self._connection() as connection:
            connection.begin()
            connection.execute(f"ALTER TABLE {table.name} ADD COLUMN more INTEGER")
            yield
            connection.rollback()

    async def break_off(self, batch: BatchToLand) -> None:
        """Let it have no memory."""
        self._set("memory_limit", "1MB")
        with pytest.raises(TransientError):
            await self.store.land(batch)
        self._set("memory_limit", "1GB")

    async def lose_answer(self, batch: BatchToLand) -> None:
        """Give up waiting once the rows are there."""
        landing = asyncio.create_task(self.store.land(batch))
        while self.count(batch.table)[0] == 0:  # noqa: ASYNC110  # no events
            await asyncio.sleep(0)  # the question takes its own time
        landing.cancel()
        await asyncio.gather(landing, return_exceptions=True)

    def count(self, table: Table) -> tuple[int, int]:
        keys = ", ".join(table.order_by)
        with self._connection() as connection:
            found = connection.execute(f"SELECT count(*), count(DISTINCT ({keys})) FROM {table.name}").fetchall()
        rows, different = found[0]
        return rows, different

    def others(self) -> list[str]:
        with self._connection() as connection:
            found = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        return [name for (name,) in found if name not in {"logs", "batches", "tombstones"}]

    def _set(self, name: str, value: str) -> None:
        with self._connection() as connection:
            connection.execute(f"SET GLOBAL {name} = '{value}'")

    def _connection(self) -> duckdb.DuckDBPyConnection:
        connection = self.store.database._connection
        assert connection is not None
        return connection.cursor()


@contextmanager
def _before_the_last(batch: BatchToLand, happens: Callable[[], None]) -> Iterator[None]:
    """Let something happen before the last rows of the batch are sent."""
    whole = batch.rows

    @asynccontextmanager
    async def opened() -> AsyncGenerator[AsyncIterator[Rows]]:
        async def disturbed() -> AsyncGenerator[Rows]:
            async with whole() as pieces:
                last = await anext(pieces)
                async for rows in pieces:
                    yield last
                    last = rows
            happens()
            yield last

        yield disturbed()

    batch.rows = opened
    try:
        yield
    finally:
        batch.rows = whole


@asynccontextmanager
async def rows_of(count: int, first: int) -> AsyncGenerator[AsyncIterator[Rows]]:
    """Open the rows of so many logs."""
    yield stream(log_pieces(count, first=first, per_piece=min(count, 1000)))
