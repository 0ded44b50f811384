"""Asks ClickHouse. Lists go in two steps: narrow keys without FINAL, then exactly those rows with it.

FINAL over an open range reads and merges every column of all its rows; a plain read counts versions that are
superseded. The first step finds where the rows may be, the second decides.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from spoolhouse.errors import BadRequestError, OperatorError, QuestionTooLargeError, RejectedDataError, StoreError
from spoolhouse.events.declaration import Table
from spoolhouse.query.ports import Strategy
from spoolhouse.query.questions import (
    Aggregate,
    Condition,
    Distinct,
    Listed,
    Listing,
    Lookup,
    Position,
    Row,
    Window,
)
from spoolhouse.query.steps import windows
from spoolhouse.store.clickhouse.driver import Driver, Setting
from spoolhouse.store.clickhouse.drivers.connect import connect
from spoolhouse.store.clickhouse.failover import urls_of
from spoolhouse.store.clickhouse.query import dialect, figures
from spoolhouse.store.clickhouse.quoting import identifier
from spoolhouse.store.clickhouse.replicas import FirstThatAnswers

SECONDS = 15
_SETTINGS: dict[str, Setting] = {
    "readonly": 1,
    "max_execution_time": SECONDS,
    "max_memory_usage": 2 << 30,
    "max_result_rows": 100_000,
    # The answer is in this process's memory, too.
    "max_result_bytes": 512 << 20,
    "max_query_size": 4 << 20,
    "cancel_http_readonly_queries_on_client_close": 1,
    # A row's versions have one time, and so one partition.
    "do_not_merge_across_partitions_select_final": 1,
    # An index over a column that a newer version may have changed must not hide that version.
    "use_skip_indexes_if_final": 1,
    "use_skip_indexes_if_final_exact_mode": 1,
    # Of conditions on the sorting key, which hold for all versions of a row: else long columns of all rows are read.
    "optimize_move_to_prewhere_if_final": 1,
}
_LIMITS = {
    158: "it reads too many rows", 159: f"it takes longer than {SECONDS} seconds",
    160: f"it would take longer than {SECONDS} seconds", 241: "it needs too much memory on the server",
    307: "it reads too many bytes", 396: "its answer is too large",
}  # fmt: skip
_MORE = 10
"""Candidates beyond what is wanted: some of them are superseded."""
_SYNTAX = re.compile(r"Syntax error: failed at position \d+ \((.*?)\) \(line (\d+), col (\d+)\).*", re.DOTALL)
_PLAIN = re.compile(r"(LowCardinality\()?(Nullable\()?(String|Float32|Float64|Bool|U?Int\d+|Date|Date32)\)*")


def open_reader(
    url: str, *, username: str | None, password: str | None, database: str | None, table_prefix: str
) -> "ClickHouseReader":
    """Return the reader of the server, or of the first that answers, in `url`. Raises `BadSettingError`."""
    made = [connect(one, username=username, password=password, database=database) for one in urls_of(url)]
    return ClickHouseReader(made[0] if len(made) == 1 else FirstThatAnswers(made), table_prefix)


class ClickHouseReader:
    """Answers questions over one driver; it sends SELECT alone."""

    has_rollups = True
    strategy = Strategy(preferred="insert-only", supported=("insert-only",))

    def __init__(self, driver: Driver, prefix: str) -> None:
        """`prefix` stands before the names of tables; the driver is closed with the reader."""
        self._driver = driver
        self._prefix = prefix
        self._known: dialect.Layout | None = None
        """Of the tables, once there are any."""

    async def page(self, listing: Listing) -> Listed:
        """Return one page of a listing."""
        wanted = listing.limit + 1  # one more, which says whether there are more
        rows: list[tuple[Position, Row]] = []
        for window in [listing.window] if listing.column or listing.offset else windows(listing):
            position = rows[-1][0] if rows else listing.after
            step = replace(listing, window=window)
            while True:
                asked = wanted - len(rows) + _MORE
                found = await self._keys(step, position, asked)
                rows += await self._verified(step, found)
                if len(rows) >= wanted or len(found) < asked or listing.offset:
                    break
                position = found[-1][1]
            if len(rows) >= wanted:
                break
        kept = rows[: listing.limit]
        return Listed(rows=[row for _, row in kept], next=kept[-1][0] if len(rows) > len(kept) else None)

    async def _keys(self, listing: Listing, position: Position | None, limit: int) -> list[tuple[int, Position]]:
        asked = dialect.candidates(self._prefix, listing, position, limit, await self._layout())
        rows: list[Any] = await self._ask(*asked)
        last = len(listing.ids) + 2
        return [
            (row[0], Position(time_ms=row[1], ids=tuple(row[2:last]), value=row[last] if listing.column else None))
            for row in rows
        ]

    async def _layout(self) -> dialect.Layout:
        if self._known is not None:
            return self._known
        rows: list[Any] = await self._ask(*dialect.layout(self._prefix))
        found = dialect.Layout(
            distributed=frozenset(name for name, is_distributed, _ in rows if is_distributed),
            text_indexed=frozenset(name for name, _, is_indexed in rows if is_indexed),
        )
        self._known = found if rows else None
        return found

    async def _made(self) -> dialect.Statement:
        return dialect.Statement(self._prefix, await self._layout())

    async def _verified(self, listing: Listing, found: Sequence[tuple[int, Position]]) -> list[tuple[Position, Row]]:
        """Return those candidates whose newest version fulfils the listing, in their order."""
        if not found:
            return []
        hashes, times = [key for key, _ in found], [position.time_ms for _, position in found]
        rows = await self._ask(*dialect.verified(self._prefix, listing, hashes, times, await self._layout()))
        by_hash = {row[0]: row[1:] for row in rows}
        return [(position, by_hash[key]) for key, position in found if key in by_hash]

    async def arrived(self, table: Table, where: Condition, window: Window, since_ms: int) -> list[tuple[str, int]]:
        """Return the batches of rows that were ingested since then, with the time in ms."""
        made = await self._made()
        rows: list[Any] = await self._ask(made.arrived(table, where, window, since_ms), made)
        return [(batch, ms) for batch, ms in rows]

    async def lookup(self, lookup: Lookup) -> list[Row]:
        """Return rows by their ids."""
        return await self._ask(*dialect.looked_up(self._prefix, lookup, await self._layout()))

    async def count(self, table: Table, where: Condition, window: Window) -> int:
        """Return how many rows fulfil a condition."""
        made = await self._made()
        [[number]] = await self._ask(made.counted(table, where, window), made)
        return int(number)  # type: ignore[arg-type]  # a count

    async def aggregate(self, aggregate: Aggregate) -> list[Row]:
        """Return figures."""
        return await self._ask(*figures.rendered(self._prefix, aggregate, await self._layout()))

    async def distinct(self, distinct: Distinct) -> list[str]:
        """Return different values."""
        made = await self._made()
        return [str(value) for (value,) in await self._ask(made.distinct(distinct), made)]

    async def sql(self, text: str, limit: int) -> tuple[Sequence[str], list[Row]]:
        """Run a SELECT of the user's own; return the names of its columns, and its rows."""
        inner = f"(\n{text.strip().rstrip(';')}\n)"
        made = dialect.Statement(self._prefix, dialect.Layout())
        try:
            described = await self._ask(f"DESCRIBE TABLE {inner}", made)
        except (OperatorError, RejectedDataError) as error:
            raise BadRequestError(f"sql: {_in_statement(error.message)}") from None
        names = [str(row[0]) for row in described]
        if not names:
            raise BadRequestError("sql: a SELECT is accepted")
        shown = ", ".join(
            identifier(str(name)) if _PLAIN.fullmatch(str(kind)) else f"toString({identifier(str(name))})"
            for name, kind, *_ in described
        )
        rows = await self._ask(f"SELECT {shown} FROM {inner} LIMIT {limit:d}", made)
        return names, rows

    async def close(self) -> None:
        """Close all connections."""
        await self._driver.close()

    async def _ask(self, sql: str, made: dialect.Statement) -> list[Row]:
        try:
            # The server's own limit comes first, unless the user may not set it.
            async with asyncio.timeout(SECONDS + 5):
                return await self._driver.execute(sql, made.values, settings=_SETTINGS)  # type: ignore[return-value]  # values of the columns' kinds
        except TimeoutError:
            why = _LIMITS[159]
        except StoreError as error:
            if error.code not in _LIMITS:
                raise
            why = _LIMITS[error.code]
        raise QuestionTooLargeError(f"the question is too large: {why}; ask for a shorter time, or with more filters")


def _in_statement(message: str) -> str:
    """Return why a statement is refused; of a syntax error the place, without all the words that may stand there."""
    found = _SYNTAX.search(message)
    if found is None:
        return message
    near, line, column = found.groups()
    # The statement begins in the second line of what is sent, and the bracket behind it is not the user's.
    place = "at its end" if near == ")" else f"near {near!r} in line {int(line) - 1}, column {column}"
    return f"syntax error {place}; one SELECT is accepted"
