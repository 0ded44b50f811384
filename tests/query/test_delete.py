"""`spoolhouse delete`: gone from every table, within the project, when the command ends; no replay brings it back."""

import json
import signal
from collections import Counter
from pathlib import Path

import pytest

from spoolhouse.failpoints import VARIABLE
from tests.engine import Database
from tests.process.daemon import Daemon, command, drop, lines, once
from tests.query.landed import PREFIX, Event, at, feedback, land, log, metric, score, span, trace

TABLES = ("traces", "spans", "logs", "scores", "feedback")


def left(database: Database, project: str) -> dict[str, list[str]]:
    """Return the ids of the traces that each table has rows of."""
    return {
        table: [
            one
            for (one,) in database.query(
                f"SELECT DISTINCT trace_id FROM {PREFIX}{table} WHERE project_id = '{project}' ORDER BY 1"
            )
        ]
        for table in TABLES
    }


@pytest.mark.parametrize("url", ["native_url", "http_url"])
def test_a_trace_is_deleted_with_all_that_belongs_to_it(url: str, database: Database, tmp_path: Path) -> None:
    land(database, tmp_path, [*events(1), *events(2), metric(1)])
    land(database, tmp_path, [trace(1)])
    land(database, tmp_path, [trace(1, projectId="other"), span(1, projectId="other")], project="other")
    arguments = ("delete", "traces", "t001", "none", "--project", "shop", "--clickhouse-url", getattr(database, url))
    done = command(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    deleted = json.loads(done.stdout)
    assert deleted["rows"] == {"traces": 2, "spans": 1, "logs": 1, "scores": 1, "feedback": 1}
    assert {Path(file).parts[:2] for file in deleted["files"]} == {
        (kind, "shop") for kind in ("trace", "span", "log", "score", "feedback")
    }
    assert left(database, "shop") == {table: ["t002"] for table in TABLES}
    assert left(database, "other")["traces"] == ["t001"]
    again = command(*arguments)
    assert again.returncode == 0, "idempotent"
    assert "0 rows of traces" in again.stdout


def processed(spool: Path) -> list[str]:
    """Return the files in `processed/`."""
    return sorted(str(path) for path in spool.glob("*/*/processed/*.jsonl"))


def recover(database: Database, spool: Path, *arguments: str) -> str:
    """Run a recovery command on all processed files, which must succeed; return what it printed."""
    where = ("--clickhouse-url", database.native_url, "--file-storage-path", str(spool), "--base-path", "")
    done = command(*arguments, *processed(spool), *where)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def verdicts(database: Database, spool: Path) -> Counter[str]:
    """Return how many rows `verify` has each verdict for."""
    found: Counter[str] = Counter()
    for one in map(json.loads, recover(database, spool, "verify", "--json").splitlines()):
        found[one["verdict"]] += one["rows"]
    return found


def events(number: int) -> list[Event]:
    """Return a trace with one event of each kind."""
    return [trace(number), span(number), log(number, traceId=f"t{number:03}"), score(number), feedback(number)]


@pytest.mark.parametrize("url", ["native_url", "http_url"])
def test_a_replay_brings_nothing_back_that_was_deleted(url: str, database: Database, tmp_path: Path) -> None:
    land(database, tmp_path, [*events(1), *events(2)])
    land(database, tmp_path, events(1))  # files that have nothing else
    arguments = ("delete", "traces", "t001", "--project", "shop", "--clickhouse-url", getattr(database, url))
    assert command(*arguments).returncode == 0
    assert verdicts(database, tmp_path) == {"deleted": 10, "there": 5}
    recover(database, tmp_path, "replay")
    assert left(database, "shop") == {table: ["t002"] for table in TABLES}
    for table in TABLES:
        database.query(f"TRUNCATE TABLE {PREFIX}{table}")
    recover(database, tmp_path, "replay")
    assert left(database, "shop") == {table: ["t002"] for table in TABLES}
    assert verdicts(database, tmp_path) == {"deleted": 10, "there": 5}


def test_what_comes_after_a_deletion_is_replayed(database: Database, tmp_path: Path) -> None:
    land(database, tmp_path, [score(1), score(2)])
    arguments = ("delete", "scores", "c001", "--project", "shop", "--clickhouse-url", database.native_url)
    assert command(*arguments).returncode == 0
    land(database, tmp_path, [score(1, value=5)])
    database.query(f"TRUNCATE TABLE {PREFIX}scores")
    recover(database, tmp_path, "replay")
    asked = f"SELECT id, value FROM {PREFIX}scores ORDER BY id"
    assert database.query(asked) == [("c001", 5), ("c002", 0.2)]
    assert verdicts(database, tmp_path) == {"superseded": 1, "there": 2}


UNFINISHED = [{key: value for key, value in span(1).items() if key != "endTime"}]
"""No rollup counts it: once it is deleted, nothing shows that its batch has landed."""
OLD = [feedback(1, timestamp=at(60 * 24 * 40)), feedback(2)]
"""The first of them is in a partition of its own."""


@pytest.mark.parametrize(("sent", "kept"), [(UNFINISHED, []), (OLD, ["t002"])], ids=["all of it", "a month of it"])
def test_a_batch_that_was_deleted_before_its_acknowledgement_is_not_sent_again(
    sent: list[Event], kept: list[str], database: Database, tmp_path: Path
) -> None:
    """Its daemon is killed between the answer and the journal, and its heir while it repairs the batch."""
    drop(tmp_path, sent[0]["type"], "shop", "a.jsonl", lines(sent))
    for place in ("insert.answered", "repair.staged"):
        with Daemon(database.native_url, tmp_path, env={VARIABLE: f"{place}=kill"}) as daemon:
            assert daemon.wait() == -signal.SIGKILL, daemon.told()
        arguments = ("delete", "traces", "t001", "--project", "shop", "--clickhouse-url", database.native_url)
        assert command(*arguments).returncode == 0
    code, daemon = once(database.native_url, tmp_path)
    assert (code, len(daemon.events("file_settled"))) == (0, 1), daemon.told()
    found = left(database, "shop")
    assert found[{"span": "spans", "feedback": "feedback"}[sent[0]["type"]]] == kept
    assert verdicts(database, tmp_path) == Counter({"deleted": 1, "there": len(kept)}) - Counter()


def test_a_refused_line_is_found_although_something_else_was_deleted(database: Database, tmp_path: Path) -> None:
    """The deletion comes while the batch is in doubt: nothing of it was there."""
    land(database, tmp_path, [log(1)])
    database.query(f"ALTER TABLE {PREFIX}logs ADD CONSTRAINT no CHECK message != 'bad'")
    drop(tmp_path, "log", "shop", "a.jsonl", lines([log(2, traceId="t002"), log(3, message="bad")]))
    with Daemon(database.native_url, tmp_path, env={VARIABLE: "insert.before_send=kill"}) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    where = ("--project", "shop", "--clickhouse-url", database.native_url)
    assert command("delete", "traces", "t001", *where).returncode == 0
    _, daemon = once(database.native_url, tmp_path)
    [settled] = daemon.events("file_settled")
    assert settled["rejected"] == 1, daemon.told()
    assert "t002" in left(database, "shop")["logs"]


@pytest.mark.parametrize("place", ["marked", "table_done@2"])
def test_a_deletion_that_was_killed_is_finished_by_the_next(place: str, database: Database, tmp_path: Path) -> None:
    land(database, tmp_path, [*events(1), *events(2)])
    arguments = ("delete", "traces", "t001", "--project", "shop", "--clickhouse-url", database.native_url, "--json")
    killed = command(*arguments, env={VARIABLE: f"delete.{place}=kill"})
    assert killed.returncode == -signal.SIGKILL
    if place == "marked":
        assert left(database, "shop") == {table: ["t001", "t002"] for table in TABLES}
        assert verdicts(database, tmp_path) == {"there": 10}
    done = command(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["files"]) == len(TABLES), "those of rows that are gone already, too"
    assert left(database, "shop") == {table: ["t002"] for table in TABLES}
    recover(database, tmp_path, "replay")
    assert left(database, "shop") == {table: ["t002"] for table in TABLES}
    assert verdicts(database, tmp_path) == {"deleted": 5, "there": 5}


def test_scores_are_deleted_by_their_ids(database: Database, tmp_path: Path) -> None:
    land(database, tmp_path, [score(1), score(2), feedback(1)])
    done = command("delete", "scores", "c001", "--project", "shop", "--clickhouse-url", database.native_url)
    assert done.returncode == 0
    assert database.query(f"SELECT id FROM {PREFIX}scores") == [("c002",)]
    assert database.query(f"SELECT count() FROM {PREFIX}feedback") == [(1,)]


def test_missing_tables_are_named(database: Database) -> None:
    arguments = ("tables", "--check", "--clickhouse-url", database.native_url)
    whole = command(*arguments, "--json")
    assert (whole.returncode, whole.stderr) == (0, "")
    [found] = [one for one in json.loads(whole.stdout) if one["table"] == f"{PREFIX}traces"]
    assert found["columns"][:2] == ["trace_id", "project_id"]
    database.query(f"DROP TABLE {PREFIX}scores")
    database.query(f"DROP VIEW {PREFIX}hourly_metrics")
    done = command(*arguments)
    assert done.returncode == 1
    assert f"missing: {PREFIX}scores, {PREFIX}hourly_metrics; `spoolhouse migrate`" in " ".join(done.stderr.split())
