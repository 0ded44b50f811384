"""Canonical rows on their way into DuckDB: a nameless file, which it reads in one statement."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from msgspec import Struct

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import TransientError
from spoolhouse.events.declaration import Column, Kind
from spoolhouse.failpoints import reach
from spoolhouse.monitoring import heartbeat
from spoolhouse.store.duckdb.quoting import literal
from spoolhouse.store.duckdb.schema import TYPES

_LEAST_BUFFER = 1 << 20


class RowsFile(Struct, kw_only=True):
    """Rows of one table, in a file that ends with its last user, also if the process is killed."""

    file: IO[bytes]
    count: int = 0
    longest: int = _LEAST_BUFFER
    """Bytes that no row is longer than: DuckDB takes twice as many for each of its threads."""

    @property
    def sql(self) -> str:
        """A table in SQL: each row's values as the texts `row[1]`, `row[2]` …, or NULL."""
        path = literal(f"/dev/fd/{self.file.fileno()}")
        return (
            f"read_json({path}, format = 'newline_delimited', records = false, columns = {{'row': 'VARCHAR[]'}},"
            f" compression = 'none', maximum_object_size = {self.longest})"
        )


@asynccontextmanager
async def written(rows: AsyncIterator[Rows], folder: Path) -> AsyncGenerator[RowsFile]:
    """Write rows to a file of their own in `folder`. Raises `StoreError`.

    A transaction that waited for the rows instead would keep all others from being checkpointed.
    """
    try:
        file = await asyncio.to_thread(tempfile.TemporaryFile, "w+b", dir=folder)
        try:
            own = RowsFile(file=file)
            async for piece in rows:
                heartbeat.beat()
                reach("duckdb.rows")
                await asyncio.to_thread(file.write, piece.data)
                own.count += piece.count
                own.longest = max(own.longest, len(piece.data))  # a row is in one piece
            await asyncio.to_thread(file.flush)
            yield own
        finally:
            # A disk may take seconds to free a hundred megabytes.
            await asyncio.to_thread(file.close)
    except OSError as error:
        message = f"{folder} cannot be written to: {error.strerror}"
        raise TransientError(message, hint="free or add disk space there") from error


def value(column: Column, number: int) -> str:
    """Return the expression of a column, which is the row's value number `number`, from 1."""
    text = f"row[{number}]"
    kind = TYPES[column.kind]
    match column.kind:
        case Kind.TIME:
            # A cast to milliseconds alone would round them, and drop the offset.
            return f"make_timestamp_ms(epoch_us({text}::TIMESTAMPTZ) // 1000)::{kind}"
        case Kind.NUMBERS | Kind.COUNTS | Kind.TEXTS:
            form = f'["{kind.removesuffix("[]")}"]'
            return f"from_json({text}::JSON, {literal(form)})"
        case _:
            return text if kind == "VARCHAR" else f"{text}::{kind}"
