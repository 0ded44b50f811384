"""Whatever a producer writes: what comes out, ingested again, gives the same rows."""

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from spoolhouse.query import connect
from spoolhouse.query.signals import LISTS
from tests.engine import Database, Pool
from tests.integration.test_agent_events import agent_events
from tests.integration.test_flow import feedback, ingest, metrics, scores, spans
from tests.query.landed import rows
from tests.query.test_round_trip import TABLES

NAMES = {"spans": "span", "metrics": "metric", "scores": "score", "feedback": "feedback", "events": "prompt_call"}


class Drawn(list[tuple[str, dict[str, Any]]]):
    """Events by list; too many to be shown whole."""

    def __repr__(self) -> str:
        return f"{len(self)} events"


def named(name: str, drawn: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    key = "project_id" if name == "events" else "projectId"
    return drawn.map(lambda one: (name, {**one[0], key: "p"}))


events = st.one_of(
    named("spans", spans()), named("metrics", metrics()), named("scores", scores()), named("feedback", feedback()),
    named("events", agent_events()),
)  # fmt: skip


def land(database: Database, spool: Path, lines: dict[str, list[bytes]]) -> None:
    for name, some in lines.items():
        place = spool / NAMES[name] / "p"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{uuid.uuid4()}.jsonl").write_bytes(b"".join(line + b"\n" for line in some))
    assert ingest(database.native_url, spool) == 0
    assert not (spool / "rejected").exists()


async def out_of(database: Database) -> dict[str, list[bytes]]:
    found = {}
    async with connect(database.native_url) as q:
        for name in NAMES:
            page = await q.page(name, project="p", since="60d", limit=1000)
            assert not any(record.broken for record in page.records)
            found[name] = page.lines
    return found


@settings(max_examples=3, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(drawn=st.lists(events, min_size=30, max_size=80).map(Drawn))
def test_what_comes_out_can_go_in_again(database: Database, prepared: Pool, tmp_path: Path, drawn: Drawn) -> None:
    for emptied in {table.name for tables in TABLES.values() for table in tables}:
        database.query(f"TRUNCATE TABLE mastra_admin_{emptied}")
    given_lines: dict[str, list[bytes]] = {}
    for name, event in drawn:
        given_lines.setdefault(name, []).append(json.dumps(event, ensure_ascii=False).encode())
    land(database, tmp_path / uuid.uuid4().hex, given_lines)
    printed = asyncio.run(out_of(database))
    other = prepared.take()
    try:
        land(other, tmp_path / uuid.uuid4().hex, {name: lines for name, lines in printed.items() if lines})
        for name in NAMES:
            for table in TABLES[name]:
                columns = [column.name for column in table.columns]
                assert rows(other, table.name, columns) == rows(database, table.name, columns)
        assert asyncio.run(out_of(other)) == printed
    finally:
        prepared.give_back(other)


def test_every_list_is_drawn_but_traces_and_logs() -> None:
    """Those two have their own cases in test_round_trip."""
    assert {*LISTS} - {*NAMES} == {"traces", "logs"}
