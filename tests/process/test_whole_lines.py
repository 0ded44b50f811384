"""A line that becomes rows of several tables lands whole, or is rejected whole: whichever of its rows is refused."""

import asyncio
import json
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from spoolhouse.failpoints import VARIABLE
from tests.contract.proxy import proxy_to
from tests.engine import Database
from tests.faults.life import wait_until
from tests.process.daemon import Daemon, command, drop, lines, once
from tests.process.inputs import span

PREFIX = "mastra_admin_"
NOW = datetime.now(UTC).replace(microsecond=0).isoformat()
TABLES = ("events", "tool_calls", "agent_steps")
INSERTS_UNDER_WAY = (
    "SELECT 1 FROM system.processes WHERE current_database = currentDatabase() AND query_kind = 'Insert'"
)
REFUSED = "tool_name != 'bad'"


def prompt(number: int, *tools: str) -> dict[str, Any]:
    """Return an event with a row in `events` and one in `tool_calls` for each tool."""
    return {
        "event_type": "prompt_call", "event_id": f"e{number}", "project_id": "p", "run_id": "r", "timestamp": NOW,
        "prompt": "?", "model": "m", "latency_ms": 1,
        "tool_calls": [{"tool_name": tool, "latency_ms": 2} for tool in tools],
    }  # fmt: skip


def step(number: int, name: str) -> dict[str, Any]:
    """Return an event with a row in `events` and one in `agent_steps`."""
    return {
        "event_type": "agent_step", "event_id": f"e{number}", "project_id": "p", "run_id": "r", "timestamp": NOW,
        "step_number": 1, "step_name": name, "step_type": "reasoning",
    }  # fmt: skip


EVENTS = [
    prompt(0, "a", "b"),
    prompt(1, "a", "bad", "b"),
    step(2, "s"),
    prompt(3),
    prompt(4, "bad", "bad"),
    prompt(5, "c"),
    step(6, "last"),
]
GOOD, BAD = [0, 2, 3, 5, 6], [1, 4]


@contextmanager
def refusing(database: Database, table: str, check: str) -> Iterator[None]:
    """Let a table refuse rows that decode accepts."""
    database.query(f"ALTER TABLE {PREFIX}{table} ADD CONSTRAINT no CHECK {check}")
    yield
    database.query(f"ALTER TABLE {PREFIX}{table} DROP CONSTRAINT no")


def landed(database: Database, table: str) -> list[tuple[str, int]]:
    """Return the events that have rows in a table, and how many each; a row that landed twice counts twice."""
    found = database.query(f"SELECT event_id, count() FROM {PREFIX}{table} GROUP BY event_id ORDER BY event_id")
    return [(str(name), int(str(count))) for name, count in found]


def expect(database: Database, numbers: list[int]) -> None:
    """Fail unless exactly the rows of these events are there, each once, and the rollups count them once."""
    chosen = [EVENTS[number] for number in numbers]
    assert landed(database, "events") == sorted((event["event_id"], 1) for event in chosen)
    tools = [(event["event_id"], len(event["tool_calls"])) for event in chosen if event.get("tool_calls")]
    assert landed(database, "tool_calls") == sorted(tools)
    steps = [(event["event_id"], 1) for event in chosen if event["event_type"] == "agent_step"]
    assert landed(database, "agent_steps") == sorted(steps)
    ((counted,),) = database.query(f"SELECT sum(total_events) FROM {PREFIX}project_summary")
    assert counted == len(chosen)


def records(spool: Path) -> list[Mapping[str, Any]]:
    """Return the records of rejected lines, by their line."""
    found = [json.loads(line) for path in spool.glob("rejected/*/*.jsonl") for line in path.read_bytes().splitlines()]
    return sorted(found, key=lambda record: record["line"])


def ask(name: str, database: Database, spool: Path, *arguments: str | Path, code: int = 0) -> str:
    """Run another command on the spool, which must end with `code`; return what it said."""
    where = ("--clickhouse-url", database.native_url, "--file-storage-path", str(spool), "--base-path", "")
    done = command(name, *map(str, arguments), *where)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def is_staged(database: Database) -> bool:
    return bool(database.query("SHOW TABLES LIKE '%staging%'"))


@pytest.mark.parametrize("url", ["native_url", "http_url"])
@pytest.mark.parametrize(
    ("table", "check"),
    [("tool_calls", REFUSED), ("events", "event_id NOT IN ('e1', 'e4')")],
    ids=["a child row", "the event's own row"],
)
def test_a_refused_row_takes_its_line_with_it(
    database: Database, tmp_path: Path, table: str, check: str, url: str
) -> None:
    drop(tmp_path, "prompt_call", "p", "a.jsonl", lines(EVENTS))
    with refusing(database, table, check):
        code, daemon = once(getattr(database, url), tmp_path)
        assert code == 0, daemon.told()
    expect(database, GOOD)
    assert [(record["line"], record["reason"]) for record in records(tmp_path)] == [(2, "refused"), (5, "refused")]
    assert [json.loads(record["raw"]) for record in records(tmp_path)] == [EVENTS[number] for number in BAD]
    (settled,) = daemon.events("file_settled")
    assert (settled["lines"], settled["rejected"]) == (7, 2)
    assert settled["rows"] == {"events": 5, "tool_calls": 3, "agent_steps": 2}
    assert not is_staged(database)
    file = tmp_path / "prompt_call/p/processed/a.jsonl"
    assert ask("verify", database, tmp_path, file) == "rows: 10 there\n"
    assert "brought back" not in ask("replay", database, tmp_path, file)
    expect(database, GOOD)
    ask("replay", database, tmp_path, "--rejected")
    assert once(database.native_url, tmp_path)[0] == 0
    expect(database, list(range(7)))
    assert not records(tmp_path)


def test_a_line_that_is_refused_again_keeps_its_place(database: Database, tmp_path: Path) -> None:
    drop(tmp_path, "prompt_call", "p", "a.jsonl", lines(EVENTS))
    with refusing(database, "tool_calls", REFUSED):
        for _ in range(2):
            assert once(database.native_url, tmp_path)[0] == 0
            expect(database, GOOD)
            found = [(record["file"], record["line"], record["reason"]) for record in records(tmp_path)]
            assert found == [("prompt_call/p/a.jsonl", 2, "refused"), ("prompt_call/p/a.jsonl", 5, "refused")]
            ask("replay", database, tmp_path, "--rejected")
    assert once(database.native_url, tmp_path)[0] == 0
    expect(database, list(range(7)))


def expect_whole(database: Database, spool: Path) -> list[int]:
    """Fail unless each line has landed whole, once, or is rejected whole, once; return those that are rejected."""
    rejected = [json.loads(record["raw"])["event_id"] for record in records(spool)]
    expect(database, [number for number, event in enumerate(EVENTS) if event["event_id"] not in rejected])
    assert len(rejected) == len(set(rejected))
    assert not is_staged(database)
    return [int(name.removeprefix("e")) for name in rejected]


STEPS = [
    "insert.before_send", "insert.sending", "native.block_sent", "repair.before_staging", "repair.staged@1",
    "repair.staged@2", "repair.staging_dropped@4", "repair.staging_dropped@5", "journal.leave_out",
    "insert.before_send@2", "insert.answered@1", "insert.answered@2", "insert.answered@4", "bisect.rejected",
    "insert.acknowledged@1", "insert.acknowledged@2", "insert.acknowledged@3", "settle.complete", "settle.acknowledged",
]  # fmt: skip


@pytest.mark.parametrize("allowed", [False, True], ids=["still refused", "taken by then"])
@pytest.mark.parametrize("place", STEPS)
def test_killed_while_lines_are_left_out(database: Database, tmp_path: Path, place: str, allowed: bool) -> None:
    """Also if the table takes by the next start what it refused: what the journal leaves out stays out."""
    drop(tmp_path, "prompt_call", "p", "a.jsonl", lines(EVENTS))
    with refusing(database, "tool_calls", REFUSED):
        with Daemon(database.native_url, tmp_path, env={VARIABLE: f"{place}=kill"}) as daemon:
            assert daemon.wait() == -signal.SIGKILL, daemon.told()
        if not allowed:
            assert once(database.native_url, tmp_path)[0] == 0
    if allowed:
        assert once(database.native_url, tmp_path)[0] == 0
    assert expect_whole(database, tmp_path) in ([BAD, []] if allowed else [BAD])


@pytest.mark.parametrize("place", ["repair.before_staging", "repair.staged"])
def test_a_check_that_is_killed_after_lines_were_left_out_leaves_no_table(
    database: Database, tmp_path: Path, place: str
) -> None:
    """Although the next start lands parts, and checks nothing: the table takes all rows by then."""
    drop(tmp_path, "prompt_call", "p", "a.jsonl", lines(EVENTS))
    with refusing(database, "tool_calls", REFUSED):
        for where in ("lines.left_out", place):
            with Daemon(database.native_url, tmp_path, env={VARIABLE: f"{where}=kill"}) as daemon:
                assert daemon.wait() == -signal.SIGKILL, daemon.told()
        assert is_staged(database)
    assert once(database.native_url, tmp_path)[0] == 0
    assert expect_whole(database, tmp_path) == BAD


async def test_a_check_whose_table_could_not_be_dropped_leaves_none(database: Database, tmp_path: Path) -> None:
    """The server was away at the end of the check, and the table takes all rows by then: nothing is checked again."""
    endpoint, here = database.server.endpoint, tmp_path / "here"
    async with proxy_to("127.0.0.1", endpoint.tcp_port) as proxy:
        url = database.native_url.replace(f":{endpoint.tcp_port}", f":{proxy.port}")
        # The second batch that is checked has landed nothing yet, so that no attempt of its own clears up after it.
        place = f"repair.before_staging@2=wait:{here}"
        env = {"SPOOLHOUSE_RETRY__FIRST": "0.05", "SPOOLHOUSE_RETRY__CAP": "0.2", VARIABLE: place}

        def run() -> None:
            drop(tmp_path, "prompt_call", "p", "a.jsonl", lines(EVENTS))
            with Daemon(url, tmp_path, env=env) as daemon:
                with refusing(database, "tool_calls", REFUSED):
                    wait_until(here.exists)
                    proxy.cuts = b"DROP TABLE"
                here.unlink()
                daemon.wait_for("clickhouse_unavailable")
                proxy.cuts = b""
                daemon.wait_for("file_settled")
                drop(tmp_path, "span", "p", "b.jsonl", lines([span("p", 1)]))
                wait_until(lambda: not is_staged(database))

        await asyncio.to_thread(run)
    assert expect_whole(database, tmp_path) == []


@pytest.mark.parametrize("place", ["insert.answered@1", "insert.answered@2", "insert.acknowledged@1"])
def test_rows_that_are_refused_after_others_of_their_lines_have_landed_are_held(
    database: Database, tmp_path: Path, place: str
) -> None:
    """A table begins to refuse them between a crash and the next start: no line is torn, and none is lost."""
    drop(tmp_path, "prompt_call", "p", "a.jsonl", lines(EVENTS))
    with Daemon(database.native_url, tmp_path, env={VARIABLE: f"{place}=kill"}) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    wait_until(lambda: not database.query(INSERTS_UNDER_WAY))  # the server may still be at another table's insert
    there = {table for table in TABLES if landed(database, table)}
    assert there
    with refusing(database, "tool_calls", REFUSED):
        flags = {"SPOOLHOUSE_RETRY__FIRST": "0.05", "SPOOLHOUSE_RETRY__CAP": "0.2"}
        with Daemon(database.native_url, tmp_path, env=flags) as daemon:
            if "tool_calls" in there:
                daemon.wait_for("file_settled")
            else:
                (held, *_) = daemon.wait_for("table_held")
                assert "lines of which other rows have landed" in str(held["error"])
                database.query(f"ALTER TABLE {PREFIX}tool_calls DROP CONSTRAINT no")
                daemon.wait_for("file_settled")
                database.query(f"ALTER TABLE {PREFIX}tool_calls ADD CONSTRAINT no CHECK 1")
    assert expect_whole(database, tmp_path) == []


def test_a_part_that_has_landed_is_not_sent_again_when_another_one_is_refused(
    database: Database, tmp_path: Path
) -> None:
    """A table that refuses more after the check holds the rest, until its token log may have forgotten the part."""
    drop(tmp_path, "prompt_call", "p", "a.jsonl", lines(EVENTS))
    here, held = tmp_path / "here", f"{PREFIX}tool_calls"
    flags = {
        "SPOOLHOUSE_RETRY__FIRST": "0.05", "SPOOLHOUSE_RETRY__CAP": "0.2", "SPOOLHOUSE_WORKERS__INSERTERS": "1",
        VARIABLE: f"insert.answered@4=wait:{here}",
    }  # fmt: skip
    with refusing(database, "tool_calls", REFUSED), Daemon(database.native_url, tmp_path, env=flags) as daemon:
        daemon.wait_for("row_refused", count=2)
        while not here.exists():
            assert not daemon.has_ended(), daemon.told()
            threading.Event().wait(0.05)
        assert landed(database, "tool_calls") == [("e0", 2)]
        database.query(f"ALTER TABLE {held} ADD CONSTRAINT more CHECK tool_name != 'c'")
        here.unlink()
        daemon.wait_for("table_held", scope=held)
        database.query(f"ALTER TABLE {held} MODIFY SETTING non_replicated_deduplication_window = 1")
        database.query(f"INSERT INTO {held} (event_id, tool_name) VALUES ('other', 'x')")
        database.query(f"ALTER TABLE {held} MODIFY SETTING non_replicated_deduplication_window = 10000")
        daemon.wait_for("table_held", count=len(daemon.events("table_held")) + 2)
        assert not daemon.events("table_released")
        database.query(f"ALTER TABLE {held} DROP CONSTRAINT more")
        daemon.wait_for("file_settled")
    database.query(f"ALTER TABLE {held} DELETE WHERE event_id = 'other' SETTINGS mutations_sync = 1")
    assert expect_whole(database, tmp_path) == BAD


def test_a_table_that_refuses_too_much_holds_the_lines_that_have_rows_in_it(database: Database, tmp_path: Path) -> None:
    """And no other table, although rows for it were in the same shipment; all of it lands once that is corrected."""
    flags = {
        "SPOOLHOUSE_RETRY__FIRST": "0.05", "SPOOLHOUSE_RETRY__CAP": "0.2", "SPOOLHOUSE_REJECT__MIN_ROWS": "1",
    }  # fmt: skip
    drop(tmp_path, "span", "p", "mixed.jsonl", lines([*EVENTS, span("p", 1)]))
    held = f"{PREFIX}tool_calls"
    database.query(f"ALTER TABLE {held} ADD CONSTRAINT no CHECK tool_name = ''")
    with Daemon(database.native_url, tmp_path, env=flags) as daemon:
        daemon.wait_for("table_held", scope=held)
        drop(tmp_path, "span", "p", "spans.jsonl", lines([span("p", 2)]))
        daemon.wait_for("file_settled", path="span/p/spans.jsonl")
        assert {record["scope"] for record in daemon.events("table_held")} == {held}
        assert not landed(database, "events")
        database.query(f"ALTER TABLE {held} DROP CONSTRAINT no")
        daemon.wait_for("file_settled", path="span/p/mixed.jsonl")
    assert expect_whole(database, tmp_path) == []
    assert database.query(f"SELECT count() FROM {PREFIX}spans") == [(2,)]


def otlp_logs(*bodies: str) -> dict[str, Any]:
    """Return a line of a collector: one row in `logs` for each record, none in any other table."""
    records = [
        {"timeUnixNano": str(int(datetime.fromisoformat(NOW).timestamp()) * 10**9), "body": {"stringValue": body}}
        for body in bodies
    ]
    return {"resourceLogs": [{"resource": {}, "scopeLogs": [{"scope": {}, "logRecords": records}]}]}


def otlp_spans(trace: str, *names: str) -> dict[str, Any]:
    """Return a line with a root span, which also makes a trace, and its children."""
    nanos = int(datetime.fromisoformat(NOW).timestamp()) * 10**9
    spans = [
        {
            "traceId": trace * 32, "spanId": f"{number + 1:016x}", "name": name, "kind": 2,
            **({"parentSpanId": f"{1:016x}"} if number else {}),
            "startTimeUnixNano": str(nanos), "endTimeUnixNano": str(nanos + 5_000_000),
        }
        for number, name in enumerate(names)
    ]  # fmt: skip
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": spans}]}]}


FOREIGN = [
    otlp_spans("a", "root", "child"),
    otlp_logs("one", "two", "three"),
    otlp_spans("b", "root", "bad", "child"),
    otlp_logs("four", "bad", "five"),
    span("p", 1),
    otlp_spans("c", "root"),
]


def foreign(database: Database) -> dict[str, list[str]]:
    """Return what has landed of foreign lines; what landed twice is there twice."""
    columns = {"spans": "name", "traces": "trace_id", "logs": "message"}
    return {
        table: sorted(str(value) for (value,) in database.query(f"SELECT {column} FROM {PREFIX}{table}"))
        for table, column in columns.items()
    }


@pytest.mark.parametrize("place", ["", "lines.unchecked", "repair.staged@2", "journal.leave_out", "insert.answered@2"])
def test_a_foreign_line_of_many_rows_lands_whole_or_not_at_all(database: Database, tmp_path: Path, place: str) -> None:
    """Lines of logs among spans; rows of one table, and of several; with a crash."""
    drop(tmp_path, "span", "p", "a.jsonl", lines(FOREIGN))
    with refusing(database, "spans", "name != 'bad'"), refusing(database, "logs", "message != 'bad'"):
        if place:
            with Daemon(database.native_url, tmp_path, env={VARIABLE: f"{place}=kill"}) as daemon:
                assert daemon.wait() == -signal.SIGKILL, daemon.told()
        code, daemon = once(database.native_url, tmp_path)
        assert code == 0, daemon.told()
    own = str(span("p", 1)["name"])
    assert foreign(database) == {
        "spans": sorted(["root", "child", own, "root"]), "traces": ["a" * 32, "c" * 32],
        "logs": ["one", "three", "two"],
    }  # fmt: skip
    assert [(record["line"], record["reason"]) for record in records(tmp_path)] == [(3, "refused"), (4, "refused")]
    (counted,) = database.query(f"SELECT (SELECT sum(count) FROM {PREFIX}traces_hourly_stats)")
    assert counted == (2,)
    assert not is_staged(database)
    file = tmp_path / "span/p/processed/a.jsonl"
    assert ask("verify", database, tmp_path, file) == "rows: 9 there\n"
    database.query(f"TRUNCATE TABLE {PREFIX}logs")
    database.query(f"TRUNCATE TABLE {PREFIX}traces")
    assert "brought back" in ask("replay", database, tmp_path, file)
    assert ask("verify", database, tmp_path, file) == "rows: 9 there\n"
    ask("replay", database, tmp_path, "--rejected")
    assert once(database.native_url, tmp_path)[0] == 0
    assert {table: len(found) for table, found in foreign(database).items()} == {"spans": 7, "traces": 3, "logs": 6}
    assert not records(tmp_path)
    for path in (tmp_path / "span/p/processed").iterdir():
        assert "missing" not in ask("verify", database, tmp_path, path)
