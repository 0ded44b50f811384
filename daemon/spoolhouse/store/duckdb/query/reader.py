"""Asks a DuckDB file, which it opens to read alone."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import duckdb
from msgspec.structs import replace

from spoolhouse.errors import BadRequestError, OperatorError, QuestionTooLargeError, RejectedDataError, TooLargeError
from spoolhouse.events.declaration import Table
from spoolhouse.query.questions import Aggregate, Condition, Distinct, Listed, Listing, Lookup, Position, Row, Window
from spoolhouse.query.steps import windows
from spoolhouse.store.duckdb.database import Database
from spoolhouse.store.duckdb.query import dialect, figures
from spoolhouse.store.duckdb.quoting import identifier

T = TypeVar("T")

SECONDS = 15
MEMORY = 2 << 30
_PLAIN = frozenset(
    {
        "BIGINT", "BOOLEAN", "DOUBLE", "FLOAT", "INTEGER", "SMALLINT", "TINYINT", "UBIGINT", "UINTEGER", "USMALLINT",
        "UTINYINT", "VARCHAR",
    }
)  # fmt: skip
"""Types whose values are shown as they are; others as text."""


class DuckDbReader:
    """Answers questions from one file."""

    has_rollups = False

    def __init__(self, path: Path, prefix: str) -> None:
        """Read the file at `path`; `prefix` stands before the names of tables."""
        self._database = Database(path, memory=MEMORY, read_only=True)
        self._prefix = prefix

    async def page(self, listing: Listing) -> Listed:
        """Return one page of a listing."""
        wanted = listing.limit + 1  # one more, which says whether there are more
        width = 1 + len(listing.ids) + bool(listing.column)
        rows: list[tuple[Position, Row]] = []
        for window in [listing.window] if listing.column or listing.offset else windows(listing):
            step = replace(listing, window=window)
            found = await self._ask(*dialect.listed(self._prefix, step, listing.after, wanted - len(rows)))
            rows += [(_position(listing, row[:width]), row[width:]) for row in found]
            if len(rows) >= wanted:
                break
        kept = rows[: listing.limit]
        return Listed(rows=[row for _, row in kept], next=kept[-1][0] if len(rows) > len(kept) else None)

    async def arrived(self, table: Table, where: Condition, window: Window, since_ms: int) -> list[tuple[str, int]]:
        """Return the batches of rows that were ingested since then, with the time in ms."""
        rows: list[Any] = await self._ask(*dialect.arrived(self._prefix, table, where, window, since_ms))
        return [(batch, ms) for batch, ms in rows]

    async def lookup(self, lookup: Lookup) -> list[Row]:
        """Return rows by their ids."""
        return await self._ask(*dialect.looked_up(self._prefix, lookup))

    async def count(self, table: Table, where: Condition, window: Window) -> int:
        """Return how many rows fulfil a condition."""
        [[number]] = await self._ask(*dialect.counted(self._prefix, table, where, window))
        return int(number)  # type: ignore[arg-type]  # a count

    async def aggregate(self, aggregate: Aggregate) -> list[Row]:
        """Return figures."""
        return await self._ask(*figures.rendered(self._prefix, aggregate))

    async def distinct(self, distinct: Distinct) -> list[str]:
        """Return different values."""
        return [str(value) for (value,) in await self._ask(*dialect.distinct(self._prefix, distinct))]

    async def sql(self, text: str, limit: int) -> tuple[Sequence[str], list[Row]]:
        """Run a SELECT of the user's own; return the names of its columns, and its rows."""
        inner = f"(\n{text.strip().rstrip(';')}\n)"
        try:
            described = await self._run(partial(_described, f"SELECT * FROM {inner}"))
            shown = ", ".join(
                identifier(name) if kind in _PLAIN else f"{identifier(name)}::VARCHAR" for name, kind in described
            )
            rows = await self._ask(f"SELECT {shown} FROM {inner} LIMIT {limit:d}", dialect.Statement(self._prefix))
        except (OperatorError, RejectedDataError) as error:
            raise BadRequestError(f"sql: {error.message}") from None
        return [name for name, _ in described], rows

    async def close(self) -> None:
        """Close the file."""
        await self._database.close()

    async def _ask(self, sql: str, made: dialect.Statement) -> list[Row]:
        return await self._run(lambda connection: connection.execute(sql, made.values).fetchall())

    async def _run(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        try:
            async with asyncio.timeout(SECONDS):
                return await self._database.run(work)
        except TimeoutError:
            why = f"it takes longer than {SECONDS} seconds"
        except TooLargeError:
            why = "it needs too much memory"
        raise QuestionTooLargeError(f"the question is too large: {why}; ask for a shorter time, or with more filters")


def _position(listing: Listing, keys: Sequence[Any]) -> Position:
    last = 1 + len(listing.ids)
    return Position(time_ms=keys[0], ids=tuple(keys[1:last]), value=keys[last] if listing.column else None)


def _described(sql: str, connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Return the columns of a statement with their types. Raises `BadRequestError` if it is no single SELECT."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type is not duckdb.StatementType.SELECT:
        raise BadRequestError("sql: one SELECT is accepted")
    return [(str(name), str(kind)) for name, kind, *_ in connection.execute(f"DESCRIBE {sql}").fetchall()]
