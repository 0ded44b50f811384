"""What the query side needs of a store."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from spoolhouse.events.declaration import Table
from spoolhouse.query.questions import Aggregate, Condition, Distinct, Listed, Listing, Lookup, Row, Window


class Strategy(Struct, frozen=True, kw_only=True):
    """How a store is best written to: `realtime`, `batch` or `insert-only`; and how else it may be."""

    preferred: str
    supported: tuple[str, ...]


class Reader(Protocol):
    """Answers questions from the rows of a store. It needs no right but to read.

    Every answer counts on the newest version of each row. Limits of time, memory and rows raise a `StoreError`; a
    cancelled call ends the store's work on it, too.
    """

    @property
    def has_rollups(self) -> bool:
        """Whether figures may come from rollups; else all come from the rows."""

    @property
    def strategy(self) -> Strategy:
        """How the store is best written to, which is told to whoever asks."""

    async def page(self, listing: Listing) -> Listed:
        """Return one page of a listing."""

    async def arrived(self, table: Table, where: Condition, window: Window, since_ms: int) -> list[tuple[str, int]]:
        """Return the batches of rows that were ingested since then, with the time in ms."""

    async def lookup(self, lookup: Lookup) -> list[Row]:
        """Return rows by their ids."""

    async def count(self, table: Table, where: Condition, window: Window) -> int:
        """Return how many rows fulfil a condition."""

    async def aggregate(self, aggregate: Aggregate) -> list[Row]:
        """Return figures."""

    async def distinct(self, distinct: Distinct) -> list[str]:
        """Return different values."""

    async def sql(self, text: str, limit: int) -> tuple[Sequence[str], list[Row]]:
        """Run a statement of the user's own, which may only read; return the names of its columns, and its rows."""

    async def close(self) -> None:
        """Close all connections."""
