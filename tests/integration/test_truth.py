"""What lands in ClickHouse is what lines say: of all types of ours and all foreign shapes, each in any legal form."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.declaration import Column, Kind, Table, tables
from tests.engine import Database
from tests.integration import build
from tests.integration.test_flow import PREFIX, drop, ingest
from tests.unit.written import How, Line, lines
from tests.unit.written_json_log import JsonLog, json_logs
from tests.unit.written_mastra import MastraLine, mastra_lines
from tests.unit.written_otlp import Document, documents

NOW = int(datetime.now(UTC).timestamp() * 1000)
RECENT = How(since=NOW - 20 * 86_400_000, until=NOW)
"""Not so long ago that a table deletes it."""
FOLDER = "log"
"""The only folder with all shapes."""


def value(column: Column, found: Any) -> object:
    """A value of a row, in one form whether the decoder or ClickHouse gives it."""
    if found is None:
        return None
    if column.kind is Kind.TIME:
        moment = datetime.fromisoformat(found)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    if column.kind in {Kind.NUMBER, Kind.NUMBERS}:
        return tuple(float(one) + 0.0 for one in found) if isinstance(found, list) else float(found) + 0.0
    return tuple(found) if isinstance(found, list) else found


def compared(table: Table) -> list[tuple[int, Column]]:
    """The columns that the shipment's clock does not fill."""
    return [(place, column) for place, column in enumerate(table.columns) if column.name != "recorded_at"]


def decoded(data: bytes, project: str) -> dict[str, set[tuple[object, ...]]]:
    """The rows that the lines of a file are, by table: `tests/unit/test_truth.py` compares them with the lines."""
    result = build.decoded(data, project, clock_ms=NOW, kind=FOLDER, file=f"{FOLDER}/{project}/a.jsonl")
    assert [(one.raw, one.reason, one.field) for one in result.rejects] == []
    every = tables(BUILT_IN)
    return {
        name: {
            tuple(value(column, json.loads(row)[place]) for place, column in compared(every[name]))
            for row in rows.data.splitlines()
        }
        for name, rows in result.rows.items()
    }


TAGGED = lines(RECENT).filter(lambda line: line.is_tagged)
"""Lines of all types stand in one folder."""


def test_what_was_written_arrives(database: Database, tmp_path: Path) -> None:
    """Rows of one key may collapse: then one of them is there."""
    written: list[bytes] = []

    @given(st.one_of(TAGGED, mastra_lines(RECENT), json_logs(RECENT), documents(RECENT)))
    @settings(max_examples=200, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
    def write(line: Line | MastraLine | JsonLog | Document) -> None:
        written.append(line.data)

    write()
    data = b"".join(written)
    expected = decoded(data, "p")
    drop(tmp_path, FOLDER, "p", data.decode())
    assert ingest(database.native_url, tmp_path) == 0
    assert len(expected) > 4
    for name, table in tables(BUILT_IN).items():
        columns = compared(table)
        names = ", ".join(f"`{column.name}`" for _, column in columns)
        found = {
            tuple(value(column, one) for (_, column), one in zip(columns, row, strict=True))
            for row in database.query(f"SELECT {names} FROM {PREFIX}{name}")
        }
        key = [place for place, (_, column) in enumerate(columns) if column.name in table.order_by]
        wanted = expected.get(name, set())
        assert found <= wanted, name
        assert {tuple(row[place] for place in key) for row in found} == {
            tuple(row[place] for place in key) for row in wanted
        }, name
