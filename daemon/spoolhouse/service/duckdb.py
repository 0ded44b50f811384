"""DuckDB as the store of a run."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from spoolhouse.clock import now_ms
from spoolhouse.errors import OperatorError
from spoolhouse.events.declaration import EventType, Table, tables
from spoolhouse.events.ledger import LEDGER
from spoolhouse.events.tombstones import TOMBSTONES
from spoolhouse.service.backend import DiffersError, OwnFile
from spoolhouse.settings import Settings
from spoolhouse.spool.lineage import Entry
from spoolhouse.store.duckdb.database import Database
from spoolhouse.store.duckdb.errors import missing
from spoolhouse.store.duckdb.query.connections import Connections
from spoolhouse.store.duckdb.query.reader import DuckDbReader
from spoolhouse.store.duckdb.store import DuckDbStore

_HOUR = 3600.0


def tables_of(events: Mapping[str, EventType]) -> tuple[Table, ...]:
    """Return every table of the event types, and our own."""
    return (*tables(events).values(), LEDGER, TOMBSTONES)


def open_database(settings: Settings, path: Path) -> Database:
    """Return the file at `path` for a command. Raises `OperatorError` if there is none: a command makes none."""
    if not path.exists():
        raise missing(path)
    return Database(path, memory=settings.duckdb.memory)


class DuckDbBackend:
    """A DuckDB file as a run's store; it satisfies `service.backend.Backend`."""

    title = "DuckDB"
    patience = 0.0

    def __init__(self, settings: Settings, path: Path, *, fingerprint: str) -> None:
        """Land in the file at `path`."""
        self._migrates = settings.clickhouse.migrate
        # DuckDB's own threads, as they work on a question, do not give way to landing: there are few of them.
        half = max((os.cpu_count() or 1) // 2, 1)
        database, prefix = Database(path, memory=settings.duckdb.memory, threads=half), settings.clickhouse.table_prefix
        self.store = DuckDbStore(database, prefix=prefix, fingerprint=fingerprint)
        self.sent = self.store
        reader = DuckDbReader(Connections(path, database.another, at_once=half, gives_way=True), prefix)
        self.own_file = OwnFile(path=path, table_prefix=prefix, reader=reader)
        self._expire_at = 0.0

    def take_over(
        self,
        settings: Settings,  # noqa: ARG002  # the protocol's
        *,
        fingerprint: str,
    ) -> None:
        """Put the fingerprint in force: no live setting concerns the file."""
        self.store.fingerprint = fingerprint

    async def ping(self) -> None:
        """Return once the file is open."""
        await self.store.database.run(lambda connection: connection.execute("SELECT 1"))

    async def prepare(self, events: Mapping[str, EventType]) -> Mapping[str, OperatorError]:
        """Make missing tables and columns, where wanted; delete what is older than its TTL."""
        found: dict[str, OperatorError] = {}
        for refusal in await self.store.prepare(tables_of(events)) if self._migrates else ():
            hint = "see `spoolhouse migrate --check`, or set clickhouse.migrate = false"
            found.setdefault(refusal.name, DiffersError(f"the schema differs: {refusal}", hint=hint))
        await self.maintain(events)
        return found

    async def maintain(self, events: Mapping[str, EventType]) -> None:
        """Delete what is older than its TTL, once an hour."""
        if time.monotonic() >= self._expire_at:
            await self.store.expire(tables_of(events), now_ms())
            self._expire_at = time.monotonic() + _HOUR

    async def unsafe_tables(
        self,
        events: Mapping[str, EventType],  # noqa: ARG002  # the protocol's
        refused: Mapping[str, OperatorError],
    ) -> Mapping[str, OperatorError]:
        """Return those that are refused: a transaction makes all others safe."""
        return refused

    async def record(self, entries: Sequence[Entry]) -> None:
        """Write entries of the ledger."""
        await self.store.record(entries)

    async def first_row(self, table: Table) -> tuple[str, Mapping[str, object]] | None:
        """Return a table's name, and a row of it."""
        row = await self.store.first_row(table)
        return None if row is None else (self.store.name(table), row)

    async def close(self) -> None:
        """Close the file."""
        await self.store.database.close()
