"""Lists, counts and figures against a model in Python: whatever was delivered again, merged or not."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from spoolhouse.query import Traces, connect
from tests.engine import Database
from tests.query.landed import PREFIX

BASE = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
PROJECTS = ("shop", "o'ther")
NAMES = ("checkout", "check%", "a_b", "ä")
STATUSES = ("unset", "ok", "error")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One delivery of a trace."""

    project: str
    time: datetime
    id: str
    recorded: int
    name: str
    status: str
    duration: float | None
    region: str | None

    @property
    def key(self) -> tuple[str, datetime, str]:
        return self.project, self.time, self.id

    def as_json(self) -> str:
        recorded = self.time + timedelta(seconds=self.recorded)
        return json.dumps(
            {
                "trace_id": self.id, "project_id": self.project, "name": self.name, "status": self.status,
                "start_time": _text(self.time), "duration_ms": self.duration, "recorded_at": _text(recorded),
                "metadata": json.dumps({} if self.region is None else {"region": self.region}), "batch_id": "b",
                "ingested_at": _text(recorded),
            }
        )  # fmt: skip


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}"


# Few times, so that many rows share one; some lie in other windows of the search.
moments = st.sampled_from([0.0, 0.001, 1.0, 3600.0, 3 * 3600.0, 10 * 3600.0, 40 * 3600.0]).map(
    lambda ago: BASE - timedelta(seconds=ago)
)
deliveries = st.builds(
    Row,
    project=st.sampled_from(PROJECTS),
    time=moments,
    id=st.integers(0, 30).map(lambda number: f"t{number}"),
    recorded=st.integers(0, 3),
    name=st.sampled_from(NAMES),
    status=st.sampled_from(STATUSES),
    duration=st.sampled_from([None, 0.0, 0.1, 5.0, 1e6]),
    region=st.sampled_from([None, "", "eu"]),
)
questions = st.fixed_dictionaries(
    {"project": st.sampled_from(PROJECTS), "page_size": st.sampled_from([4, 9, 1000])},
    optional={
        "limit": st.sampled_from([1, 9, 20]),
        "name": st.sampled_from(["check", "%", "_", "ä", ""]),
        "status": st.sampled_from(STATUSES) | st.lists(st.sampled_from(STATUSES), max_size=3),
        "trace": st.integers(0, 30).map(lambda number: f"t{number}"),
        "min": st.sampled_from([0, 0.1, 5]),
        "max": st.sampled_from([0, 0.1, 5]),
        "label": st.sampled_from([{"region": "eu"}, {"region": ""}, {"other": "eu"}]),
        "order": st.sampled_from(["time", "-time", "duration_ms", "-duration_ms", "name"]),
        "since": st.sampled_from([BASE - timedelta(hours=3), BASE - timedelta(days=5)]),
        "until": st.sampled_from([BASE, BASE - timedelta(seconds=1)]),
    },
)


def newest(rows: Sequence[Row]) -> list[Row]:
    """Return the version of each row that was recorded last; of two at one time that which came later."""
    found: dict[tuple[str, datetime, str], Row] = {}
    for row in rows:
        if row.key not in found or row.recorded >= found[row.key].recorded:
            found[row.key] = row
    return list(found.values())


def matches(row: Row, asked: dict[str, Any]) -> bool:
    """Tell whether a list has a row."""
    status = asked.get("status", STATUSES)
    low, high = asked.get("min"), asked.get("max")
    label = asked.get("label", {})
    return (
        row.project == asked["project"]
        and asked.get("since", BASE - timedelta(days=1)) <= row.time <= asked.get("until", BASE + timedelta(days=1))
        and asked.get("name", "") in row.name
        and row.status in ([status] if isinstance(status, str) else status)
        and asked.get("trace", row.id) == row.id
        and (low is None or (row.duration is not None and row.duration >= low))
        and (high is None or (row.duration is not None and row.duration <= high))
        and all(({} if row.region is None else {"region": row.region}).get(key) == one for key, one in label.items())
    )


def in_order(rows: Sequence[Row], order: str) -> list[Row]:
    """Return rows in an order: ties by time and id the same way, missing values last."""
    column, down = order.removeprefix("-"), order.startswith("-")
    kept = sorted(rows, key=lambda row: (row.time, row.id.encode()), reverse=down)
    if column == "time":
        return kept
    values: Any = {"duration_ms": lambda row: row.duration, "name": lambda row: row.name.encode()}[column]
    there = sorted((row for row in kept if values(row) is not None), key=values, reverse=down)
    return [*there, *(row for row in kept if values(row) is None)]


def insert(database: Database, rows: Sequence[Row]) -> None:
    lines = "\n".join(row.as_json() for row in rows)
    database.query(f"INSERT INTO {PREFIX}traces FORMAT JSONEachRow\n{lines}", optimize_on_insert=0)


@settings(max_examples=15, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(deliveries, min_size=1, max_size=40), min_size=1, max_size=3),
    asked=st.lists(questions, min_size=2, max_size=3),
    merged=st.booleans(),
)
def test_a_list_is_what_the_model_says(
    database: Database, batches: list[list[Row]], asked: list[dict[str, Any]], *, merged: bool
) -> None:
    database.query(f"TRUNCATE TABLE {PREFIX}traces")
    database.query(f"SYSTEM STOP MERGES {PREFIX}traces")
    for batch in batches:
        insert(database, batch)
    if merged:
        database.query(f"SYSTEM START MERGES {PREFIX}traces")
        database.query(f"OPTIMIZE TABLE {PREFIX}traces FINAL")
    rows = newest([row for batch in batches for row in batch])

    async def check() -> None:
        async with connect(database.native_url) as q:
            for one in asked:
                # Without it the window ends now, and begins a day before that.
                one.setdefault("until", BASE + timedelta(hours=1))
                one.setdefault("since", BASE - timedelta(hours=23))
                wanted = in_order([row for row in rows if matches(row, one)], one.get("order", "-time"))
                request = Traces(**one)
                first = wanted[: one.get("limit")]
                found = [trace async for trace in q.traces(request)]
                assert [(trace.trace_id, trace.start_time) for trace in found] == [(row.id, row.time) for row in first]
                assert [(trace.name, trace.duration_ms) for trace in found] == [
                    (row.name, row.duration) for row in first
                ]
                assert await q.count("traces", request) == len(wanted)
                filters = {name: value for name, value in one.items() if name not in {"limit", "page_size", "order"}}
                filters["until"] += timedelta(milliseconds=1)
                [answer] = (await q.figures("trace", **filters, of=("count", "errors", "sum"), using="rows")).rows
                assert answer.values == {
                    "count": len(wanted),
                    "errors": sum(row.status == "error" for row in wanted),
                    # Rows are added up in another order.
                    "sum": pytest.approx(sum(row.duration or 0 for row in wanted)),
                }

    asyncio.run(check())
