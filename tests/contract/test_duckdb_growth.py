"""The size of a DuckDB file to which as much is added as expires."""

from functools import partial
from pathlib import Path

import duckdb
import pytest
from msgspec.structs import replace

from spoolhouse.clock import now_ms
from spoolhouse.events.builtin import SPANS
from spoolhouse.store.duckdb.database import Database
from spoolhouse.store.duckdb.schema import DAY_MS
from spoolhouse.store.duckdb.store import DuckDbStore

TTL_DAYS = 2
ROWS = 130_000
"""Of a day: a little more than a row group, of which the room is used again once its last row is deleted."""
DAYS = 8


def add(time: str, connection: duckdb.DuckDBPyConnection) -> None:
    """Insert the rows of a day; `time` is an expression of a row's number."""
    connection.execute(
        "INSERT INTO spans BY NAME SELECT 'p' AS project_id, md5(range::VARCHAR) AS span_id,"
        f" md5((range // 9)::VARCHAR) AS trace_id, repeat(md5({time}::VARCHAR || range), 3) AS attributes,"
        f" {time}::TIMESTAMP_MS AS start_time FROM range({ROWS})"
    )


@pytest.mark.parametrize("late_days", [0, TTL_DAYS], ids=["in order", "in any order"])
async def test_the_file_stops_growing(tmp_path: Path, late_days: int) -> None:
    """Rows come in the order of their times, or up to as late as they expire."""
    database = Database(tmp_path / "events.db", memory=1 << 27, threads=1)
    store, table = DuckDbStore(database, prefix=""), replace(SPANS, ttl_days=TTL_DAYS)
    await store.prepare([table])
    begin, lateness = now_ms(), late_days * DAY_MS + 1000
    sizes = []
    for day in range(DAYS):
        today = begin + day * DAY_MS
        await database.run(partial(add, f"make_timestamp_ms({today} - (hash(range) % {lateness})::BIGINT)"))
        await store.expire([table], today)
        sizes.append(database.path.stat().st_size)
    await database.close()
    with duckdb.connect(database.path, read_only=True) as connection:
        [(rows,)] = connection.execute("SELECT count(*) FROM spans").fetchall()
    assert ROWS <= rows <= (TTL_DAYS + 1) * ROWS
    assert max(sizes[DAYS // 2 :]) <= 1.25 * max(sizes[: DAYS // 2]), sizes
