"""The flow end to end, in this process: what is in ClickHouse is what the producers wrote, field by field."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import OperatorError
from spoolhouse.events.builtin import BUILT_IN
from tests.engine import Database
from tests.integration import build

PREFIX = "mastra_admin_"
NOW = datetime.now(UTC).replace(microsecond=0)
Event = dict[str, Any]


def ingest(url: str, spool: Path) -> int:
    """Run the daemon once over `spool`; return its exit code."""
    return build.ingest(build.settings(url, spool, spool={"project": "trust"}))


def drop(spool: Path, kind: str, project: str, content: str) -> None:
    """Put a file into the spool."""
    folder = spool / kind / project
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text(content)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
name = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
int64 = st.integers(-(2**63), 2**63 - 1)
double = st.floats(allow_nan=False, allow_infinity=False)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | double | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(text, anything, max_size=4)
moments = st.datetimes(
    min_value=(NOW - timedelta(days=20)).replace(tzinfo=None),
    max_value=NOW.replace(tzinfo=None),
    timezones=st.just(UTC),
)


@st.composite
def times(draw: st.DrawFn) -> tuple[object, datetime]:
    """Return a time as a producer may write it, and the moment that it is."""
    moment = draw(moments)
    form = draw(st.sampled_from(["iso", "offset", "naive", "s", "ms", "us", "ns", "float"]))
    micros = round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
    if form == "iso":
        return moment.isoformat().replace("+00:00", "Z"), moment
    if form == "offset":
        return moment.astimezone(timezone(timedelta(minutes=draw(st.integers(-840, 840))))).isoformat(), moment
    if form == "naive":
        return moment.replace(tzinfo=None).isoformat(), moment
    if form == "float":
        milli = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        return micros // 1000 / 1000, milli
    divisor = {"s": 10**6, "ms": 1000, "us": 1, "ns": 1}[form]
    whole = micros // divisor
    return whole * (1000 if form == "ns" else 1), datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        microseconds=whole * divisor
    )


def optional(draw: st.DrawFn, event: Event, key: str, value: st.SearchStrategy[Any]) -> Any:
    """Write `key`, or null, or nothing; return what a reader should find, None if it is absent."""
    how = draw(st.sampled_from(["value", "value", "null", "absent"]))
    if how == "absent":
        return None
    event[key] = None if how == "null" else draw(value)
    return event[key]


@st.composite
def spans(draw: st.DrawFn) -> tuple[Event, Mapping[str, object]]:
    """Return a span, and the row that it should be."""
    start_written, start = draw(times())
    span_id = str(draw(st.uuids()))
    event: Event = {"type": "span", draw(st.sampled_from(["id", "spanId"])): span_id, "startTime": start_written}
    row: dict[str, object] = {"span_id": span_id, "start_time": stored(start)}
    for key, column in (("traceId", "trace_id"), ("projectId", "project_id"), ("name", "name")):
        event[key] = row[column] = draw(name)
    row["parent_span_id"] = optional(draw, event, "parentSpanId", text)
    row["deployment_id"] = optional(draw, event, "deploymentId", text) or ""
    row["kind"] = optional(draw, event, "kind", st.sampled_from(["client", "server", "consumer"])) or "internal"
    row["status"] = optional(draw, event, "status", st.sampled_from(["ok", "error"])) or "unset"
    end = optional(draw, event, "endTime", times())
    row["end_time"] = None if end is None else stored(end[1])
    if end is not None:
        event["endTime"] = end[0]
    row["duration_ms"] = optional(draw, event, "durationMs", int64)
    row["attributes"] = as_json(optional(draw, event, "attributes", objects), "{}")
    row["events"] = as_json(optional(draw, event, "events", st.lists(objects, max_size=2)), "[]")
    event["unknown"] = draw(anything)
    return event, row


@st.composite
def metrics(draw: st.DrawFn) -> tuple[Event, Mapping[str, object]]:
    """Return a metric, and the row that it should be."""
    written, moment = draw(times())
    value = draw(double)
    event: Event = {"type": "metric", "id": str(draw(st.uuids())), "timestamp": written, "value": value}
    row: dict[str, object] = {"id": event["id"], "timestamp": stored(moment), "value": value}
    for key, column in (("projectId", "project_id"), ("name", "name")):
        event[key] = row[column] = draw(name)
    row["type"] = optional(draw, event, "metricType", st.sampled_from(["counter", "histogram"])) or "gauge"
    row["unit"] = optional(draw, event, "unit", text)
    row["labels"] = as_json(optional(draw, event, "labels", objects), "{}")
    row["bucket_boundaries"] = optional(draw, event, "bucketBoundaries", st.lists(double, max_size=3)) or []
    row["bucket_counts"] = optional(draw, event, "bucketCounts", st.lists(st.integers(0, 2**63 - 1), max_size=3)) or []
    return event, row


@st.composite
def scores(draw: st.DrawFn) -> tuple[Event, Mapping[str, object]]:
    """Return a score, and the row that it should be."""
    written, moment = draw(times())
    event: Event = {"type": "score", "id": str(draw(st.uuids())), "timestamp": written}
    row: dict[str, object] = {"id": event["id"], "timestamp": stored(moment)}
    event["projectId"] = row["project_id"] = draw(name)
    event[draw(st.sampled_from(["name", "scorerName"]))] = row["name"] = draw(name)
    event[draw(st.sampled_from(["value", "score"]))] = row["value"] = draw(double)
    row["normalized_value"] = optional(draw, event, "normalizedValue", double)
    row["comment"] = optional(draw, event, draw(st.sampled_from(["comment", "reason"])), text)
    row["experiment"] = optional(draw, event, "experiment", text) or ""
    row["metadata"] = as_json(optional(draw, event, "metadata", objects), "{}")
    return event, row


@st.composite
def feedback(draw: st.DrawFn) -> tuple[Event, Mapping[str, object]]:
    """Return feedback, and the row that it should be: a number is stored as its text."""
    written, moment = draw(times())
    event: Event = {"type": "feedback", "id": str(draw(st.uuids())), "timestamp": written}
    row: dict[str, object] = {"id": event["id"], "timestamp": stored(moment)}
    for key, column in (("projectId", "project_id"), ("source", "source"), ("feedbackType", "feedback_type")):
        event[key] = row[column] = draw(name)
    event["value"] = draw(text | double | int64)
    row["value"] = event["value"] if isinstance(event["value"], str) else json.dumps(event["value"])
    row["comment"] = optional(draw, event, "comment", text)
    row["user_id"] = optional(draw, event, "userId", text) or ""
    row["organization_id"] = optional(draw, event, "organizationId", text) or ""
    return event, row


def stored(moment: datetime) -> str:
    """Return a moment as ClickHouse prints a DateTime64(3): later digits are cut off."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}"


def as_json(value: object, default: str) -> str:
    return default if value is None else json.dumps(value, ensure_ascii=False)


def written(event: Event, *, enveloped: bool) -> bytes:
    """Return the line of an event, flat or in its envelope."""
    if enveloped:
        event = {"type": event["type"], "data": {key: value for key, value in event.items() if key != "type"}}
    return json.dumps(event, ensure_ascii=False).encode() + b"\n"


class Drawn(list[tuple[tuple[Event, Mapping[str, object]], bool]]):
    """Events, their rows, and whether they are enveloped; too long to be shown whole."""

    def __repr__(self) -> str:
        return f"{len(self)} events"


@pytest.mark.parametrize("driver", ["native_url", "http_url"])
@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Each example is a run of the daemon: shrinking would take minutes and say little more.
    phases=[Phase.explicit, Phase.generate],
)
@given(
    drawn=st.lists(
        st.tuples(st.one_of(spans(), metrics(), scores(), feedback()), st.booleans()), min_size=20, max_size=60
    ).map(Drawn),
)
def test_rows_are_what_was_written(
    database: Database,
    tmp_path: Path,
    driver: str,
    drawn: Drawn,
) -> None:
    """Every value that is accepted arrives as it was written, whatever its shape, alias, type or neighbours."""
    for (event, row), _ in drawn:
        # Hypothesis repeats itself from example to example; ids must not.
        id_key, column = next((key, c) for key, c in (("spanId", "span_id"), ("id", "id")) if key in event)
        event[id_key] = str(uuid.uuid4())
        cast("dict[str, object]", row)["span_id" if event["type"] == "span" else column] = event[id_key]
    project = uuid.uuid4().hex
    folder = tmp_path / "span" / project
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(b"".join(written(event, enveloped=wrapped) for (event, _), wrapped in drawn))
    assert ingest(getattr(database, driver), tmp_path) == 0
    assert not (tmp_path / "rejected").exists()
    for kind, key in (("span", "span_id"), ("metric", "id"), ("score", "id"), ("feedback", "id")):
        rows = {
            row[key]: {name: doubled(name, value) for name, value in row.items()}
            for (event, row), _ in drawn
            if event["type"] == kind
        }
        if rows:
            found = read_back(database, PREFIX + BUILT_IN[kind].table.name, key, rows)
            for name, row in rows.items():
                if row.get("duration_ms", 0) is None and row.get("end_time") is not None:
                    # Derived from both times, which the table has in whole milliseconds.
                    row["duration_ms"] = found[name]["duration_ms"]
                    span = datetime.fromisoformat(str(row["end_time"])) - datetime.fromisoformat(str(row["start_time"]))
                    assert abs(cast("float", row["duration_ms"]) - span / timedelta(milliseconds=1)) <= 1
            assert found == rows


def read_back(
    database: Database, table: str, key: str, rows: Mapping[object, Mapping[str, object]]
) -> dict[object, dict[str, object]]:
    """Return what a table holds under the keys of `rows`, in the columns of its values."""
    columns = list(next(iter(rows.values())))
    listed = ", ".join(f"`{column}`" for column in columns)
    keys = ", ".join(f"'{value}'" for value in rows)
    found = database.query(f"SELECT {listed} FROM {table} WHERE `{key}` IN ({keys})")
    assert len(found) == len(rows)
    made = [{name: doubled(name, value) for name, value in zip(columns, values, strict=True)} for values in found]
    return {row[key]: row for row in made}


DOUBLES = frozenset(
    {
        "value",
        "value_number",
        "duration_ms",
        "latency_ms",
        "cost_usd",
        "normalized_value",
        "cost_estimate_usd",
        "hallucination_confidence_score",
    }
)


def doubled(column: str, value: Any) -> object:
    """Return a number of a Float64 column as a float: written or read back, a large whole one may be an integer."""
    if column in DOUBLES and not isinstance(value, str):
        return None if value is None else float(value)
    return [float(one) for one in value] if column == "bucket_boundaries" else value


EVERY_TYPE: dict[str, Event] = {
    "trace": {"id": "t1", "name": "run", "startTime": NOW.isoformat(), "endTime": NOW.isoformat(), "durationMs": 5},
    "span": {"id": "s1", "traceId": "t1", "name": "call", "startTime": NOW.isoformat(), "status": "error"},
    "log": {"id": "l1", "level": "fatal", "message": "gone", "timestamp": NOW.isoformat()},
    "metric": {"id": "m1", "name": "tokens", "value": 0, "timestamp": NOW.isoformat()},
    "score": {"id": "c1", "name": "tone", "value": 0.5, "timestamp": NOW.isoformat()},
    "feedback": {"id": "f1", "source": "user", "feedbackType": "thumbs", "value": 1, "timestamp": NOW.isoformat()},
}


@pytest.mark.parametrize("driver", ["native_url", "http_url"])
def test_every_type_in_both_shapes(database: Database, tmp_path: Path, driver: str) -> None:
    """Each type lands in its table from its own folder, and from another type's folder as well."""
    for folder_type in EVERY_TYPE:
        folder = tmp_path / folder_type / "p"
        folder.mkdir(parents=True)
        # Ids of their own: rows of one key may be merged before they are counted.
        events = [
            {"type": kind, "projectId": "p", **fields, "id": f"{folder_type}-{kind}"}
            for kind, fields in EVERY_TYPE.items()
        ]
        own = next(event for event in events if event["type"] == folder_type)
        lines = [written(event, enveloped=False) for event in events]
        (folder / "a.jsonl").write_bytes(b"".join([written(own | {"id": "own"}, enveloped=True), *lines]))
    assert ingest(getattr(database, driver), tmp_path) == 0
    for kind in EVERY_TYPE:
        table = PREFIX + BUILT_IN[kind].table.name
        lines, batches = database.query(f"SELECT count(), countIf(batch_id = '') FROM {table}")[0]
        assert (lines, batches) == (len(EVERY_TYPE) + 1, 0), kind


def test_a_late_old_state_does_not_win(database: Database, tmp_path: Path) -> None:
    """The newest `recordedAt` is what FINAL shows, in whatever order the states were delivered."""
    states = [("ok", NOW), ("error", NOW - timedelta(hours=1))]
    for number, (status, recorded) in enumerate(states):
        folder = tmp_path / "trace" / "p"
        folder.mkdir(parents=True, exist_ok=True)
        event = {"type": "trace", "projectId": "p", **EVERY_TYPE["trace"], "status": status}
        event["recordedAt"] = recorded.isoformat()
        (folder / f"{number}.jsonl").write_bytes(written(event, enveloped=False))
        assert ingest(database.native_url, tmp_path) == 0
    assert database.query(f"SELECT status FROM {PREFIX}traces FINAL") == [("ok",)]


def test_a_retry_that_finds_less_than_before_does_not_pass_for_the_whole(database: Database, tmp_path: Path) -> None:
    """A batch is opened again for a retry: if its file was cut short meanwhile, the insert must not end cleanly."""

    async def drained(pieces: AsyncIterator[Rows]) -> int:
        return sum([rows.count async for rows in pieces])

    async def reopened() -> None:
        lines = [written({**EVERY_TYPE["span"], "type": "span", "projectId": "p"}, enveloped=False)] * 10
        with build.instance(tmp_path) as instance:
            shipment = build.plan(instance, "s", build.claim(instance, content=b"".join(lines)))
            async with build.decoding(instance, shipment, build.settings(database.http_url)) as batch:
                assert await drained(batch.reopen()) == 10
                instance.path(1).write_bytes(b"".join(lines[:5]))
                with pytest.raises(OperatorError, match="only to byte 705: shorter by 705 bytes"):
                    await drained(batch.reopen())

    asyncio.run(reopened())


@pytest.mark.parametrize("driver", ["native_url", "http_url"])
def test_a_line_that_clickhouse_alone_refuses_is_kept_where_it_stands(
    database: Database, tmp_path: Path, driver: str
) -> None:
    """Of two files that travel together; after many lines of the first one, which are of another type."""
    url = getattr(database, driver)
    assert ingest(url, tmp_path) == 0  # makes the tables
    database.query(f"ALTER TABLE {PREFIX}spans ADD CONSTRAINT no CHECK name != 'bad'")
    events = [
        {"type": "span", "id": f"{n}", "traceId": "t", "projectId": "p", "name": name, "startTime": NOW.isoformat()}
        for n, name in enumerate(["good", "good", "bad", "good"])
    ]
    noise = {"type": "log", "id": "l", "projectId": "p", "level": "info", "message": "m", "timestamp": NOW.isoformat()}
    content = "".join(json.dumps(event) + "\n\r\n" for event in [noise, noise, *events])
    for project in ("p", "q"):
        drop(tmp_path, "span", project, content)
    assert ingest(url, tmp_path) == 0
    assert database.query(f"SELECT count(), countIf(name = 'bad') FROM {PREFIX}spans") == [(6, 0)]
    assert database.query(f"SELECT count() FROM {PREFIX}logs") == [(4,)]
    records = [
        json.loads(line) for path in tmp_path.glob("rejected/*/*.jsonl") for line in path.read_text().splitlines()
    ]
    assert sorted((record["file"].split("/")[1], record["line"], record["reason"]) for record in records) == [
        ("p", 9, "refused"),
        ("q", 9, "refused"),
    ]
    for record in records:
        assert record["raw"] == json.dumps(events[2])
        assert content.encode()[record["offset"] :].startswith(record["raw"].encode())


def test_the_ledger_leads_from_a_file_to_its_rows(database: Database, tmp_path: Path) -> None:
    """Of 3 files that travel together, each with lines of two types."""
    contents = {}
    for number, project in enumerate(["a", "b", "c"], start=1):
        events: list[Event] = [
            {"type": "span", "id": f"{project}{n}", "traceId": "t", "projectId": project, "name": "n",
             "startTime": NOW.isoformat()}
            for n in range(number)
        ]  # fmt: skip
        events.append({**events[0], "type": "trace"})
        contents[project] = "".join(json.dumps(event) + "\n" for event in events)
        drop(tmp_path, "span", project, contents[project])
    assert ingest(database.native_url, tmp_path) == 0
    entries = database.query(
        "SELECT splitByChar('/', file)[2] AS project, table_name, batch, range_start, range_end, first_row, row_count"
        f" FROM {PREFIX}ledger FINAL ORDER BY table_name, first_row"
    )
    assert [entry[0] for entry in entries] == ["a", "b", "c", "a", "b", "c"]
    assert [entry[1:2] + entry[3:] for entry in entries] == [
        ("spans", 0, len(contents["a"]), 0, 1),
        ("spans", 0, len(contents["b"]), 1, 2),
        ("spans", 0, len(contents["c"]), 3, 3),
        ("traces", 0, len(contents["a"]), 0, 1),
        ("traces", 0, len(contents["b"]), 1, 1),
        ("traces", 0, len(contents["c"]), 2, 1),
    ]
    assert database.query(f"SELECT DISTINCT batch_id FROM {PREFIX}spans") == [(entries[0][2],)]
    inodes = {path.stat().st_ino for path in tmp_path.glob("span/*/processed/*.jsonl")}
    assert {inode for (inode,) in database.query(f"SELECT inode FROM {PREFIX}ledger")} == inodes
