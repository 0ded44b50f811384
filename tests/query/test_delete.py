"""`spoolhouse delete`: gone from every table, within the project, when the command ends."""

import json
from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import command
from tests.query.landed import PREFIX, feedback, land, log, metric, score, span, trace

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
    events = [one for n in (1, 2) for one in (trace(n), span(n), log(n, traceId=f"t{n:03}"), score(n), feedback(n))]
    land(database, tmp_path, [*events, metric(1)])
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
