"""`events.traces_from_root_spans`: root spans of our own shape make rows of `traces`, and are what counts there."""

import json
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spoolhouse.failpoints import VARIABLE
from tests.engine import Database
from tests.process.daemon import Daemon, command, drop, lines, once

PREFIX = "mastra_admin_"
ON = {"SPOOLHOUSE_EVENTS__TRACES_FROM_ROOT_SPANS": "true"}
START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
END = START + timedelta(milliseconds=250)

Event = dict[str, Any]


def root(trace: str, **fields: Any) -> Event:
    """Return a span without a parent."""
    return {
        "type": "span", "id": f"{trace}-root", "traceId": trace, "projectId": "p", "name": "root", "status": "ok",
        "startTime": START.isoformat(), "endTime": END.isoformat(), **fields,
    }  # fmt: skip


def child(trace: str) -> Event:
    """Return a span with a parent."""
    return root(trace, id=f"{trace}-child", parentSpanId=f"{trace}-root", name="child")


def own(trace: str, **fields: Any) -> Event:
    """Return the trace line of a program that writes one."""
    return {
        "type": "trace", "id": trace, "projectId": "p", "name": "own", "startTime": START.isoformat(),
        "endTime": END.isoformat(), "input": {"q": 1}, **fields,
    }  # fmt: skip


def otlp(trace: str) -> Event:
    """Return a line of OpenTelemetry with a root span."""
    span = {
        "traceId": trace * 32, "spanId": "1" * 16, "name": "otlp",
        "startTimeUnixNano": str(int(START.timestamp()) * 10**9),
        "endTimeUnixNano": str(int(START.timestamp()) * 10**9 + 250_000_000),
    }  # fmt: skip
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": [span]}]}]}


def land(database: Database, spool: Path, kind: str, name: str, *events: Event, env: dict[str, str] = ON) -> None:
    """Land a file with these lines."""
    drop(spool, kind, "p", name, lines(events))
    code, daemon = once(database.native_url, spool, env=env)
    assert code == 0, daemon.told()


def shown(database: Database) -> list[tuple[str, str]]:
    """Return the traces that a reader sees, by id and name."""
    found = database.query(f"SELECT trace_id, name FROM {PREFIX}traces FINAL ORDER BY ALL")
    return [(str(trace), str(name)) for trace, name in found]


def counted(database: Database) -> int:
    """Return how many traces the hourly figures count."""
    [(count,)] = database.query(f"SELECT sum(count) FROM {PREFIX}traces_hourly_stats")
    return int(str(count))


def test_a_root_span_is_a_trace_if_asked_for(database: Database, tmp_path: Path) -> None:
    land(database, tmp_path, "span", "a.jsonl", root("off"), env={})
    assert (shown(database), counted(database)) == ([], 0)
    spans = [root("a"), child("a"), root("b", parentSpanId="", status="error", unheard="of"), child("without a root")]
    land(database, tmp_path, "span", "b.jsonl", *spans, {"type": "span", "data": root("c", parentSpanId=None)})
    assert shown(database) == [("a", "root"), ("b", "root"), ("c", "root")]
    assert counted(database) == 3
    row = database.query(
        "SELECT project_id, status, toUnixTimestamp64Milli(start_time), duration_ms, input, metadata, extra"
        f" FROM {PREFIX}traces FINAL WHERE trace_id = 'b'"
    )
    assert row == [("p", "error", int(START.timestamp() * 1000), 250, "", "{}", "{}")]
    [(kept,)] = database.query(f"SELECT extra FROM {PREFIX}spans WHERE trace_id = 'b'")
    assert json.loads(str(kept)) == {"unheard": "of"}
    file = tmp_path / "span/p/processed/b.jsonl"
    where = ("--clickhouse-url", database.native_url, "--file-storage-path", str(tmp_path), "--base-path", "")
    verified = command("verify", str(file), *where, env=ON)
    assert (verified.returncode, verified.stdout) == (0, "rows: 8 there\n"), verified.stderr
    database.query(f"TRUNCATE TABLE {PREFIX}traces")
    database.query(f"TRUNCATE TABLE {PREFIX}traces_hourly")
    other = command("replay", str(file), *where)
    assert other.returncode == 1
    assert "events.traces_from_root_spans" in other.stdout
    assert command("replay", str(file), *where, env=ON).returncode == 0
    assert (len(shown(database)), counted(database)) == (3, 3)


@pytest.mark.parametrize("is_reversed", [False, True], ids=["span first", "trace first"])
@pytest.mark.parametrize("recorded", [{}, {"recordedAt": END.isoformat()}], ids=["time of ingest", "own time"])
def test_where_both_come_there_is_one_row_and_one_count(
    database: Database, tmp_path: Path, is_reversed: bool, recorded: Event
) -> None:
    """The row is that of the trace line, which has more to say."""
    files = [
        ("span", "a.jsonl", [root("a", recordedAt=(END + timedelta(hours=1)).isoformat()), child("a"), root("b")]),
        ("trace", "b.jsonl", [own("a", **recorded), own("b", **recorded)]),
    ]
    for kind, name, events in reversed(files) if is_reversed else files:
        land(database, tmp_path, kind, name, *events)
    assert shown(database) == [("a", "own"), ("b", "own")]
    assert counted(database) == 2
    land(database, tmp_path, "span", "again.jsonl", {**root("a"), "recordedAt": datetime.now(UTC).isoformat()})
    assert shown(database) == [("a", "own"), ("b", "own")], "a span that is delivered again"


@pytest.mark.parametrize("is_reversed", [False, True])
def test_the_end_of_a_root_span_stays_and_is_what_counts(database: Database, tmp_path: Path, is_reversed: bool) -> None:
    started = root("a", endTime=None, status=None, recordedAt=START.isoformat())
    ended = root("a", recordedAt=END.isoformat())
    for number, event in enumerate([ended, started] if is_reversed else [started, ended]):
        land(database, tmp_path, "span", f"{number}.jsonl", event)
    found = database.query(f"SELECT status, isNull(end_time) FROM {PREFIX}traces FINAL")
    assert found == [("ok", 0)]
    assert counted(database) == 1


def test_foreign_root_spans_still_make_one_trace_and_a_trace_line_beside_them_does_not_count(
    database: Database, tmp_path: Path
) -> None:
    land(database, tmp_path, "span", "a.jsonl", otlp("a"), root("b"), otlp("c"))
    traces = [own("a" * 32, recordedAt=datetime.now(UTC).isoformat()), own("b")]
    land(database, tmp_path, "trace", "b.jsonl", *traces)
    assert shown(database) == [("a" * 32, "own"), ("b", "own"), ("c" * 32, "otlp")]
    assert counted(database) == 3


@pytest.mark.parametrize(
    "place", ["insert.sending", "insert.answered@1", "insert.answered@2", "insert.acknowledged@1", "settle.complete"]
)
@pytest.mark.parametrize("stays", [True, False], ids=["on", "off by the next start"])
def test_killed_on_the_way(database: Database, tmp_path: Path, place: str, stays: bool) -> None:
    """Each row is there once, and counted once, also if the file is read by other declarations after the crash."""
    traces = [f"t{number}" for number in range(5)]
    spans = [event for trace in traces for event in (root(trace), child(trace))]
    drop(tmp_path, "span", "p", "a.jsonl", lines(spans))
    with Daemon(database.native_url, tmp_path, env={**ON, VARIABLE: f"{place}=kill"}) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    code, daemon = once(database.native_url, tmp_path, env=ON if stays else {})
    assert code == 0, daemon.told()
    assert database.query(f"SELECT count(), uniqExact(span_id) FROM {PREFIX}spans") == [(10, 10)]
    [(rows,)] = database.query(f"SELECT count() FROM {PREFIX}traces")
    assert rows == 5 if stays else rows in {0, 5}
    assert counted(database) == rows


def test_a_refused_trace_takes_its_span_with_it(database: Database, tmp_path: Path) -> None:
    land(database, tmp_path, "span", "a.jsonl", root("first"))
    database.query(f"ALTER TABLE {PREFIX}traces ADD CONSTRAINT no CHECK trace_id != 'bad'")
    land(database, tmp_path, "span", "b.jsonl", root("good"), root("bad"), child("bad"))
    assert [trace for trace, _ in shown(database)] == ["first", "good"]
    assert database.query(f"SELECT span_id FROM {PREFIX}spans WHERE trace_id = 'bad'") == [("bad-child",)]
    [record] = [
        json.loads(line) for path in tmp_path.glob("rejected/*/*.jsonl") for line in path.read_bytes().splitlines()
    ]
    assert (record["line"], record["reason"], json.loads(record["raw"])) == (2, "refused", root("bad"))
    database.query(f"ALTER TABLE {PREFIX}traces DROP CONSTRAINT no")
    again = command(
        "replay", "--rejected", "--clickhouse-url", database.native_url,
        "--file-storage-path", str(tmp_path), "--base-path", "", env=ON,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    code, daemon = once(database.native_url, tmp_path, env=ON)
    assert code == 0, daemon.told()
    assert [trace for trace, _ in shown(database)] == ["bad", "first", "good"]
    assert counted(database) == 3


def test_a_reload_turns_it_on(database: Database, tmp_path: Path) -> None:
    file, spool = tmp_path / "spoolhouse.toml", tmp_path / "spool"
    file.write_text("")
    with Daemon(database.native_url, spool, "--config", str(file)) as daemon:
        daemon.wait_for("started")
        drop(spool, "span", "p", "a.jsonl", lines([root("a")]))
        daemon.wait_for("file_settled", path="span/p/a.jsonl")
        file.write_text("[events]\ntraces_from_root_spans = true\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("reloaded")
        drop(spool, "span", "p", "b.jsonl", lines([root("b")]))
        daemon.wait_for("file_settled", path="span/p/b.jsonl")
    assert shown(database) == [("b", "root")]


def test_what_comes_out_goes_in_again(database: Database, tmp_path: Path) -> None:
    """`--json` prints no mark of ours, and a trace that a root span made is a line like any other."""
    land(database, tmp_path, "span", "a.jsonl", root("a"))
    land(database, tmp_path, "trace", "b.jsonl", own("b"))
    listed = command("traces", "--project", "p", "--json", "--clickhouse-url", database.native_url)
    assert listed.returncode == 0, listed.stderr
    found = {event["id"]: event for event in map(json.loads, listed.stdout.splitlines())}
    assert found.keys() == {"a", "b"}
    assert all("uncounted" not in event for event in found.values())


def test_duckdb_has_one_row_of_both_too(tmp_path: Path) -> None:
    url = f"duckdb://{tmp_path}/events.duckdb"
    drop(tmp_path / "spool", "trace", "p", "a.jsonl", lines([own("a")]))
    drop(tmp_path / "spool", "span", "p", "a.jsonl", lines([root("a"), child("a"), root("b")]))
    code, daemon = once(url, tmp_path / "spool", env=ON)
    assert code == 0, daemon.told()
    listed = command("traces", "--project", "p", "--json", "--clickhouse-url", url)
    found = sorted((event["id"], event["name"]) for event in map(json.loads, listed.stdout.splitlines()))
    assert found == [("a", "own"), ("b", "root")]


def test_explain_shows_the_trace(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(lines([root("a"), child("a")]))
    told = command("explain", str(file), "--type", "span", "--project", "p", "--json", env=ON)
    assert told.returncode == 0, told.stderr
    explained = json.loads(told.stdout)["lines"]
    assert [[row["table"] for row in line["rows"]] for line in explained] == [
        [f"{PREFIX}spans", f"{PREFIX}traces"],
        [f"{PREFIX}spans"],
    ]
