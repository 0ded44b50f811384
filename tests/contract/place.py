"""Where a driver works during one test."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.drivers.connect import connect
from spoolhouse.store.clickhouse.drivers.transport import Compression, Tls, Transport

NO_TLS = Tls()
SCHEMES = {"native": "clickhouse", "aioch": "clickhouse+aioch", "http": "http"}
SECURE_SCHEMES = {"native": "clickhouses", "aioch": "clickhouses+aioch", "http": "https"}
"""Of each driver that needs a network."""
Query = Callable[[str], list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A database that exists for one test, the way to it, and an oracle that shares no code with the driver."""

    kind: str
    url: str
    database: str
    query: Query

    def count(self, table: str) -> int:
        """Return the number of rows that `table` holds, one for each line."""
        number: int = self.query(f"SELECT count() FROM {table}")[0][0]
        return number


@asynccontextmanager
async def connected(
    url: str,
    *,
    database: str | None = None,
    connecting: float = 10,
    patience: float = 60,
    tls: Tls = NO_TLS,
    compression: Compression = Compression.NONE,
) -> AsyncGenerator[Driver]:
    """Lend a driver, and close it whatever happens; `connecting` and `patience` are its two timeouts."""
    transport = Transport(connect_timeout=connecting, timeout=patience, tls=tls, compression=compression)
    driver = connect(url, database=database, transport=transport)
    try:
        yield driver
    finally:
        await driver.close()
