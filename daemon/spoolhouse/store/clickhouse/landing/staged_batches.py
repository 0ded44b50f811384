"""Rows of many batches in one temporary table, each with its batch's id and time, to be compared with the real table.

One insert takes the rows of many batches: an insert costs the server more than the rows of a small file.
"""

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

import msgspec
from msgspec import Struct, field

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import SpoolError
from spoolhouse.recover.ports import BatchRows
from spoolhouse.store.clickhouse.driver import BATCH_ID, INGESTED_AT, Driver, RowsInsert
from spoolhouse.store.clickhouse.landing.presence import staging_name
from spoolhouse.store.clickhouse.quoting import identifier

_INSERT_BYTES = 32 << 20
"""The server gathers an insert in memory; a piece of rows more than this is taken at most."""


class StagedBatches(Struct, frozen=True, kw_only=True):
    """A table that holds the rows of batches, and the batches that could not be read to their end, by id."""

    name: str
    errors: dict[str, SpoolError] = field(default_factory=dict)


@asynccontextmanager
async def staged(driver: Driver, batches: Sequence[BatchRows], *, prefix: str) -> AsyncIterator[StagedBatches]:
    """Yield a table with the rows of batches of one table; it is dropped after. Raises `StoreError`."""
    # Of this run alone: another process may compare the same batches.
    run, table = secrets.token_hex(16), batches[0].table
    own = StagedBatches(name=staging_name(run, prefix=prefix))
    try:
        await driver.execute(
            # Of one partition: files of many months come in one insert.
            f"CREATE TABLE {identifier(own.name)} AS {identifier(prefix + table.name)}"
            " ENGINE = MergeTree PARTITION BY tuple() ORDER BY tuple()"
        )
        async with aclosing(_rows_of_all(batches, own.errors)) as rows:
            number = 0
            while (first := await anext(rows, None)) is not None:
                number += 1
                insert = RowsInsert(
                    table=own.name,
                    columns=(*table.columns, INGESTED_AT, BATCH_ID),
                    batch_id=f"{run}-{number}",
                    token=f"{run}-{number}",
                    clock_ms=0,  # each row has its own
                )
                await driver.insert_rows(insert, _limited(first, rows))
        yield own
    finally:
        await driver.execute(f"DROP TABLE IF EXISTS {identifier(own.name)} SYNC")


async def _rows_of_all(batches: Sequence[BatchRows], errors: dict[str, SpoolError]) -> AsyncGenerator[Rows]:
    """Yield the rows of all batches, each row with its batch's time and id as its last values."""
    for batch in batches:
        # A row ends its line; the text in it has no newline of its own.
        clock = datetime.fromtimestamp(batch.clock_ms / 1000, UTC)
        ending = b"," + msgspec.json.encode(clock) + b"," + msgspec.json.encode(batch.id) + b"]\n"
        try:
            async for rows in batch.rows():
                yield Rows(data=rows.data.replace(b"]\n", ending), count=rows.count)
        except SpoolError as error:
            errors[batch.id] = error


async def _limited(first: Rows, rest: AsyncIterator[Rows]) -> AsyncIterator[Rows]:
    """Yield pieces until they are as many bytes as one insert takes."""
    yield first
    size = len(first.data)
    while size < _INSERT_BYTES and (rows := await anext(rest, None)) is not None:
        yield rows
        size += len(rows.data)
