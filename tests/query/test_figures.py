"""A rollup with ragged edges from rows says what the rows say, of whatever window, group and interval."""

import asyncio
import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from spoolhouse.query import connect
from tests.engine import Database
from tests.query.landed import PREFIX, land, span

START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=60)
MS = 60 * 3_600_000
moments = st.integers(0, MS - 1) | st.integers(0, 59).map(lambda hour: hour * 3_600_000)


def insert(database: Database, starts: list[int]) -> None:
    lines = []
    for number, ms in enumerate(starts):
        start = START + timedelta(milliseconds=ms)
        text = f"{start:%Y-%m-%d %H:%M:%S}.{start.microsecond // 1000:03}"
        lines.append(
            json.dumps(
                {
                    "trace_id": f"t{number}", "project_id": "shop", "name": "n", "status": ("ok", "error")[number % 2],
                    "deployment_id": f"d{number % 3}", "start_time": text, "duration_ms": number, "batch_id": "b",
                    # One that has not ended is in the rows, and not in the rollup.
                    "end_time": None if number % 7 == 0 else text, "recorded_at": text, "ingested_at": text,
                }
            )
        )  # fmt: skip
    database.query(f"INSERT INTO {PREFIX}traces FORMAT JSONEachRow\n" + "\n".join(lines))


@settings(max_examples=8, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(
    starts=st.lists(moments, min_size=20, max_size=200),
    windows=st.lists(st.tuples(moments, moments), min_size=3, max_size=3),
    by=st.sampled_from([(), ("status",), ("deployment", "status")]),
    every=st.sampled_from([None, "1h", "6h"]),
    filters=st.sampled_from([{}, {"status": "error"}, {"deployment": ["d0", "d1"]}]),
)
def test_a_rollup_says_what_the_rows_say(
    database: Database,
    *,
    starts: list[int],
    windows: list[tuple[int, int]],
    by: tuple[str, ...],
    every: str | None,
    filters: dict[str, Any],
) -> None:
    for table in ("traces", "traces_hourly"):
        database.query(f"TRUNCATE TABLE {PREFIX}{table}")
    insert(database, starts)
    ended = {"field": "end_time", "op": "exists"}

    async def check() -> None:
        async with connect(database.native_url) as q:
            for one, other in windows:
                first, last = sorted((one, other))
                asked: dict[str, Any] = {
                    "project": "shop", "by": by, "every": every, **filters,
                    "since": START + timedelta(milliseconds=first), "until": START + timedelta(milliseconds=last),
                    "of": ("count", "errors", "error_rate", "sum", "avg", "min", "max"),
                }  # fmt: skip
                whole = -(-first // 3_600_000) < last // 3_600_000
                if not whole:
                    continue
                rollup = await q.figures("trace", **asked, using="rollup")
                rows = await q.figures("trace", **asked, where=ended, using="rows")
                assert rollup.source.startswith("rollup traces_hourly_stats")
                assert [(row.time, row.by) for row in rollup.rows] == [(row.time, row.by) for row in rows.rows]
                for near, exact in zip(rollup.rows, rows.rows, strict=True):
                    for name, value in exact.values.items():
                        found = near.values[name]
                        if isinstance(value, float) and isinstance(found, int | float):
                            assert math.isclose(found, value, abs_tol=1e-9), name
                        else:
                            assert (found or 0) == (value or 0), name

    asyncio.run(check())


def test_cost_and_tokens_by_model_are_in_a_rollup(database: Database, tmp_path: Path) -> None:
    """Over three days: older hours from the rollup, the hour that has begun from rows."""
    calls = [
        span(
            number * 60 if number % 2 else number, model=f"model {number % 3}", provider="p", costUsd=number / 8,
            inputTokens=number, outputTokens=None if number % 5 == 0 else 2,
        )
        for number in range(1, 30)
    ]  # fmt: skip
    land(database, tmp_path, [*calls, span(31), span(32, model="model 1", endTime=None)])
    of = ("count", "errors", "sum:cost_usd", "sum:input_tokens", "sum:output_tokens", "avg", "max")

    async def check() -> None:
        async with connect(database.native_url) as q:
            for by in ("model", ("provider", "model")):
                asked: dict[str, Any] = {"project": "shop", "since": "3d", "by": by, "of": of}
                found = await q.figures("span", **asked)
                assert found.source.startswith("rollup spans_hourly_models")
                rows = await q.figures("span", **asked, where={"field": "end_time", "op": "exists"}, using="rows")
                assert [(row.by, row.values) for row in found.rows] == [(row.by, row.values) for row in rows.rows]
                assert sum(float(row.values["sum:cost_usd"] or 0) for row in found.rows) == sum(range(1, 30)) / 8

    asyncio.run(check())
