"""Whatever decode may hand over is in a DuckDB file as the value that was written, for every kind of column."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from msgspec.structs import replace

from spoolhouse.decode.rows import Rows
from spoolhouse.events.builtin import RECORDED_AT
from spoolhouse.spool.batch import BatchToLand
from spoolhouse.spool.shipment import Limits, Shipment
from spoolhouse.store.duckdb.database import Database
from spoolhouse.store.duckdb.quoting import identifier
from spoolhouse.store.duckdb.store import DuckDbStore
from tests.contract.tables import CLOCK_MS, encoded, stream
from tests.contract.test_values import ALL_KINDS, ROWS, ROWS_OF_EXTREMES, ROWS_OF_NULLS, TEXTS, as_stored

TABLE = replace(ALL_KINDS, columns=(*ALL_KINDS.columns, RECORDED_AT))
SHIPPED = datetime.fromtimestamp(CLOCK_MS / 1000, UTC)
LIMITS = Limits(max_rows=1000, max_insert_bytes=10**6, side_bytes=10**6, max_line=10**6, project="trust")


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[DuckDbStore]:
    """Make a file without tables."""
    database = Database(tmp_path / "rows.db", memory=1 << 30)
    yield DuckDbStore(database, prefix="")
    await database.close()


@given(rows=ROWS, batch=TEXTS)
@example(rows=ROWS_OF_EXTREMES, batch="it's \\ a batch")
@example(rows=ROWS_OF_NULLS, batch="nulls")
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
async def test_all_values_arrive_as_they_are(store: DuckDbStore, rows: list[tuple[object, ...]], batch: str) -> None:
    numbered = [(number, *row[1:], SHIPPED) for number, row in enumerate(rows)]

    @asynccontextmanager
    async def opened() -> AsyncGenerator[AsyncIterator[Rows]]:
        half = len(numbered) // 2
        yield stream(encoded(part) for part in (numbered[:half], numbered[half:]) if part)

    shipment = Shipment(
        id="s", instance="own", type="t", segments=(), clock_ms=CLOCK_MS, fingerprint="f", limits=LIMITS
    )
    await store.database.run(lambda own: own.execute("DROP VIEW IF EXISTS all_kinds_latest"))
    await store.database.run(lambda own: own.execute("DROP TABLE IF EXISTS all_kinds; DROP TABLE IF EXISTS batches"))
    await store.prepare([TABLE])
    await store.land(BatchToLand(id=batch, table=TABLE, shipment=shipment, rows=opened))
    names = ", ".join(identifier(column.name) for column in TABLE.columns)
    sql = f"SELECT {names}, batch_id, ingested_at FROM all_kinds ORDER BY number"
    stored = await store.database.run(lambda own: own.execute(sql).fetchall())
    assert [tuple(map(text_of, row)) for row in stored] == [
        (*map(as_stored, row), batch, as_stored(SHIPPED)) for row in numbered
    ]


def text_of(value: object) -> object:
    """Return a time as `as_stored` writes it."""
    return as_stored(value.replace(tzinfo=UTC)) if isinstance(value, datetime) else value
