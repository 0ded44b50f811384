"""Asks a DuckDB file: one that no other process has, or one that this process lands in."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import duckdb
from msgspec.structs import replace

from spoolhouse.errors import (
    BadRequestError,
    OperatorError,
    QuestionTooLargeError,
    RejectedDataError,
    TooLargeError,
    TransientError,
)
from spoolhouse.events.declaration import Table
from spoolhouse.query.ports import Strategy
from spoolhouse.query.questions import Aggregate, Condition, Distinct, Listed, Listing, Lookup, Position, Row, Window
from spoolhouse.query.steps import windows
from spoolhouse.store.duckdb.query import dialect, statements
from spoolhouse.store.duckdb.query.connections import Connections, open_to_read
from spoolhouse.store.duckdb.quoting import identifier

T = TypeVar("T")

SECONDS = 15
MOST_BYTES = 64 << 20
"""Of the texts of an answer. A page of a list ends there; any other answer is refused."""
_AT_ONCE = 200
"""Rows that are fetched in one step: meanwhile no other thread runs Python."""
_PLAIN = frozenset(
    {
        "BIGINT", "BOOLEAN", "DOUBLE", "FLOAT", "INTEGER", "SMALLINT", "TINYINT", "UBIGINT", "UINTEGER", "USMALLINT",
        "UTINYINT", "VARCHAR",
    }
)  # fmt: skip
"""Types whose values are shown as they are; others as text."""
_WIDE = "HUGEINT"
"""The type of a sum of integers."""


class DuckDbReader:
    """Answers questions from one file, each from one state of it."""

    has_rollups = False
    strategy = Strategy(preferred="batch", supported=("realtime", "batch"))

    def __init__(self, connections: Connections, prefix: str, *, seconds: float = SECONDS) -> None:
        """`prefix` stands before the names of tables. A question waits for `seconds` at most, then takes no more."""
        self._connections = connections
        self._seconds = seconds
        self._prefix = prefix

    @classmethod
    def of_file(cls, path: Path, prefix: str) -> Self:
        """Read the file at `path`, which is open only while a question is answered."""
        return cls(Connections(path, partial(open_to_read, path)), prefix)

    async def page(self, listing: Listing) -> Listed:
        """Return one page of a listing."""
        return await self._run(partial(self._page, listing))

    def _page(self, listing: Listing, connection: duckdb.DuckDBPyConnection) -> Listed:
        wanted = listing.limit + 1  # one more, which says whether there are more
        width = 1 + len(listing.ids) + bool(listing.column)
        rows: list[tuple[Position, Row]] = []
        size = 0
        for window in [listing.window] if listing.column or listing.offset else windows(listing):
            step = replace(listing, window=window)
            sql, made = dialect.listed(self._prefix, step, listing.after, wanted - len(rows))
            found = connection.execute(sql, made.values)
            while size <= MOST_BYTES and (some := found.fetchmany(_AT_ONCE)):
                rows += [(_position(listing, row[:width]), row[width:]) for row in some]
                size += _size(some)
            if len(rows) >= wanted or size > MOST_BYTES:
                break
        kept = rows[: listing.limit]
        is_cut = len(rows) > len(kept) or size > MOST_BYTES
        return Listed(rows=[row for _, row in kept], next=kept[-1][0] if is_cut else None)

    async def arrived(self, table: Table, where: Condition, window: Window, since_ms: int) -> list[tuple[str, int]]:
        """Return the batches of rows that were ingested since then, with the time in ms."""
        made = dialect.Statement(self._prefix)
        rows: list[Any] = await self._ask(made.arrived(table, where, window, since_ms), made)
        return [(batch, ms) for batch, ms in rows]

    async def lookup(self, lookup: Lookup) -> list[Row]:
        """Return rows by their ids."""
        return await self._ask(*dialect.looked_up(self._prefix, lookup))

    async def count(self, table: Table, where: Condition, window: Window) -> int:
        """Return how many rows fulfil a condition."""
        made = dialect.Statement(self._prefix)
        [[number]] = await self._ask(made.counted(table, where, window), made)
        return int(number)  # type: ignore[arg-type]  # a count

    async def aggregate(self, aggregate: Aggregate) -> list[Row]:
        """Return figures."""
        made = dialect.Statement(self._prefix)
        return await self._ask(made.figures(aggregate), made)

    async def distinct(self, distinct: Distinct) -> list[str]:
        """Return different values."""
        made = dialect.Statement(self._prefix)
        return [str(value) for (value,) in await self._ask(made.distinct(distinct), made)]

    async def sql(self, text: str, limit: int) -> tuple[Sequence[str], list[Row]]:
        """Run a SELECT of the user's own; return the names of its columns, and its rows."""
        try:
            return await self._run(partial(_answered, text, limit))
        except (OperatorError, RejectedDataError) as error:
            raise BadRequestError(f"sql: {error.message}") from None

    async def close(self) -> None:
        """End the threads."""
        await self._connections.close()

    async def _ask(self, sql: str, made: dialect.Statement) -> list[Row]:
        return await self._run(lambda connection: _fetched(connection.execute(sql, made.values)))

    async def _run(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        loop, has_begun = asyncio.get_running_loop(), False

        def begun() -> None:
            nonlocal has_begun
            with suppress(RuntimeError):  # nobody waits any more
                limit.reschedule(loop.time() + self._seconds)
                has_begun = True

        try:
            async with asyncio.timeout(self._seconds) as limit:
                return await self._connections.run(work, begun)
        except TimeoutError:
            if not has_begun:
                message = "other questions are being answered"
                raise TransientError(message, hint="ask again in a moment") from None
            why = f"it takes longer than {self._seconds:g} seconds"
        except TooLargeError:
            why = "it needs too much memory"
        raise _too_large(why)


def _fetched(result: duckdb.DuckDBPyConnection) -> list[Row]:
    """Return all rows. Raises `QuestionTooLargeError`."""
    rows: list[Row] = []
    size = 0
    while some := result.fetchmany(_AT_ONCE):
        rows += some
        size += _size(some)
        if size > MOST_BYTES:
            raise _too_large("its answer is too large")
    return rows


def _size(rows: Sequence[Row]) -> int:
    return sum(len(value) for row in rows for value in row if isinstance(value, str))


def _too_large(why: str) -> QuestionTooLargeError:
    return QuestionTooLargeError(f"the question is too large: {why}; ask for a shorter time, or with more filters")


def _position(listing: Listing, keys: Sequence[Any]) -> Position:
    last = 1 + len(listing.ids)
    return Position(time_ms=keys[0], ids=tuple(keys[1:last]), value=keys[last] if listing.column else None)


def _answered(text: str, limit: int, connection: duckdb.DuckDBPyConnection) -> tuple[Sequence[str], list[Row]]:
    inner = f"(\n{statements.check(connection, text)}\n)"
    described = [(str(row[0]), str(row[1])) for row in connection.execute(f"DESCRIBE SELECT * FROM {inner}").fetchall()]
    shown = ", ".join(f"{identifier(name)}::{_shown_as(kind)}" for name, kind in described)
    rows = _fetched(connection.execute(f"SELECT {shown} FROM {inner} LIMIT {limit:d}"))
    if any(kind == _WIDE for _, kind in described):
        rows = [tuple(_json_number(value) for value in row) for row in rows]
    return [name for name, _ in described], rows


def _shown_as(kind: str) -> str:
    """Return the type that a column is cast to, so that JSON has it. Literals such as 1.5 are DECIMAL, too."""
    if kind in _PLAIN or kind == _WIDE:
        return kind
    return "DOUBLE" if kind.startswith("DECIMAL") else "VARCHAR"


def _json_number(value: Any) -> Any:
    """Return an integer that JSON's writers take; one beyond 64 bits as text."""
    return str(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value
