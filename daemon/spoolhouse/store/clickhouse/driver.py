"""A connection to ClickHouse, as the rest of this folder uses it."""

from collections.abc import AsyncIterable, Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from spoolhouse.decode.rows import Rows
from spoolhouse.events.declaration import Column, Kind

ONE_BLOCK_ROWS = 1 << 30
"""Far above the largest batch: all rows of an insert are gathered into one block, which is what a token covers."""

BATCH_ID = Column(name="batch_id", kind=Kind.TEXT)
"""The column of each table that says which batch brought a row."""
INGESTED_AT = Column(name="ingested_at", kind=Kind.TIME)
"""The column of each table that says when a row was shipped."""

Parameter = str | int | float | Sequence[str] | Sequence[int] | Sequence[float]
Setting = str | int


class RowsInsert(Struct, frozen=True, kw_only=True):
    """One insert of canonical rows: where they go, and the token that makes a repeat harmless."""

    table: str
    """The table's full name (prefix included), in the connection's database; from declarations, never from data."""
    columns: tuple[Column, ...]
    batch_id: str
    """Stored in each row, unless `columns` has `BATCH_ID`: then each row has its own."""
    token: str
    """The deduplication token: the batch id, but for a batch whose first token was lost."""
    clock_ms: int
    """The shipment's journalled time, ms since 1970; stored in each row, unless `columns` has `INGESTED_AT`."""


def insert_query_id(batch_id: str) -> str:
    """Return the id of an insert's query, the same for each attempt: the server refuses a second one while one runs.

    Its answer is code 216, which is transient: so two attempts of a batch never race, even if the first is still open.
    """
    return f"spoolhouse:{batch_id}"


class Driver(Protocol):
    """One way to a ClickHouse. All methods raise the subclasses of `StoreError`, classified, and nothing else.

    A driver may be used by several tasks at once. After any error or cancellation it must not reuse the connection
    that was in use.
    """

    async def ping(self) -> None:
        """Return once the server answers a trivial query."""

    async def execute(
        self,
        sql: str,
        parameters: Mapping[str, Parameter] | None = None,
        *,
        query_id: str = "",
        settings: Mapping[str, Setting] | None = None,
    ) -> list[tuple[object, ...]]:
        """Run one statement and return its rows, with Python values.

        Values are written `{name:Type}` in `sql` (ClickHouse's own form, as `{id:String}`) and bound, never pasted.
        A `query_id` is a lock: a server refuses one that runs already (code 216). An embedded engine needs none.
        `settings`, of `query_settings.OPTIONAL`: those that the server knows, and lets the user change, hold for it.
        """

    async def insert_rows(self, insert: RowsInsert, rows: AsyncIterable[Rows]) -> None:
        """Insert all of `rows` as one atomic block (per partition), streaming; return when it is acknowledged.

        An exception that `rows` itself raises is passed on unchanged after the insert was abandoned: then nothing of
        it has landed. No rows at all: nothing is sent.
        """

    async def close(self) -> None:
        """Close all connections. The driver cannot be used after."""


class Servers(Protocol):
    """The servers that hold the same tables, as replicas of each other; nearly always it is one."""

    async def pick(self) -> Driver:
        """Return the one that new work goes to. Raises `StoreError`."""

    async def others(self, server: Driver) -> Collection[Driver]:
        """Return all but `server`. Raises `StoreError` for one that may not be used."""

    def pace(self, *, first: float, cap: float) -> None:
        """Ask one that is away again after pauses of these bounds, see `retry.delay`."""

    @property
    def are_several(self) -> bool:
        """Whether there are others."""

    @property
    def is_split(self) -> bool:
        """Whether some of them answer, and some do not."""


class OneServer:
    """The only server that there is."""

    are_several = False
    is_split = False

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def pick(self) -> Driver:
        """Return it."""
        return self._driver

    async def others(self, server: Driver) -> Collection[Driver]:  # noqa: ARG002  # the protocol's
        """Return no server."""
        return ()

    def pace(self, *, first: float, cap: float) -> None:
        """Change nothing: the insert stage pauses by itself."""
