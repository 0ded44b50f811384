"""`spoolhouse copy`: all events of a DuckDB file are in another store, each once, however often it is run or killed."""

import json
import shlex
import signal
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pytest

from spoolhouse.failpoints import VARIABLE
from tests.engine import Database
from tests.process.daemon import command, drop, lines, once
from tests.process.inputs import NOW, span
from tests.query.landed import PREFIX

LISTS = ("traces", "spans", "logs", "metrics", "scores", "feedback", "events")
HOSTILE = 'a\0"\\\n\u2028\U0001f388'


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Make a file with events of each type, of several projects and days, and return its URL."""
    url = f"duckdb://{tmp_path / 'source.db'}"
    spool = tmp_path / "spool"
    generate = ("generate", "--rows", "400", "--files", "16", "--file-storage-path", str(spool))
    assert command(*generate).returncode == 0
    old = (NOW - timedelta(days=40)).isoformat()
    more: Sequence[dict[str, Any]] = [
        span("mine", 0, name=HOSTILE, attributes={"a": [1e300, -0.0, 2**60]}),
        span("mine", 2, startTime=old, endTime=None),
        span("mine", 2, startTime=old, endTime=None),  # delivered twice: two rows
    ]
    drop(spool / "observability", "span", "mine", "a.jsonl", lines(more))
    code, daemon = once(url, spool / "observability", env={"SPOOLHOUSE_BATCH__MAX_FILES": "3"})
    assert code == 0, daemon.told()
    return url


def counts(url: str) -> dict[str, int]:
    """Return the rows of each table of events in a file, as they landed."""
    with duckdb.connect(url.removeprefix("duckdb://"), read_only=True) as file:
        found = {table: file.execute(f"SELECT count(*) FROM {PREFIX}{table}").fetchall()[0][0] for table in TABLES}
    return {table: int(count) for table, count in found.items()}


TABLES = (*LISTS, "tool_calls", "agent_steps")


def listed(url: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the events of each kind, with all their values."""
    for kind in LISTS:
        done = command(kind, "--all-projects", "--since", "80d", "--limit", "1000", "--json", "--store-url", url)
        assert done.returncode == 0, done.stderr
        yield sorted(map(json.loads, done.stdout.strip().split("\n")), key=json.dumps)


def copy(source: str, target: str, *more: str, **env: str) -> int:
    return command("copy", "--from", source, "--to", target, *more, env=env).returncode


@pytest.mark.parametrize("place", ["insert.sending@3", "insert.answered@2"])
def test_a_copy_that_was_killed_goes_on(place: str, source: str, database: Database) -> None:
    target = database.native_url
    assert copy(source, target, **{VARIABLE: f"{place}=kill"}) == -signal.SIGKILL
    for _ in range(2):
        assert copy(source, target) == 0
    found = {table: database.query(f"SELECT count() FROM {PREFIX}{table}")[0][0] for table in TABLES}
    assert found == counts(source)
    assert list(listed(target)) == list(listed(source))
    [(ended, counted)] = database.query(
        f"SELECT (SELECT count() FROM {PREFIX}spans WHERE isNotNull(end_time)),"
        f" (SELECT sum(lines) FROM {PREFIX}spans_hourly)"
    )
    assert ended == counted


def test_a_project_and_days_of_it_are_copied_before_all(source: str, tmp_path: Path) -> None:
    target = f"duckdb://{tmp_path / 'target.db'}"
    today = NOW.date().isoformat()
    assert copy(source, target, "--project", "mine", "--since", today) == 0
    assert counts(target) == {table: int(table == "spans") for table in TABLES}
    for _ in range(2):
        assert copy(source, target) == 0
        assert counts(target) == counts(source)
    assert list(listed(target)) == list(listed(source))
    # A file that was landed in the source is not landed again.
    spool = tmp_path / "spool" / "observability"
    files = [str(path) for path in spool.glob("span/*/processed/*.jsonl")]
    done = command("replay", *files, "--file-storage-path", str(spool), "--base-path", "", "--store-url", target)
    assert (len(files) > 0, done.returncode) == (True, 1)
    assert "the ledger does not know it" in done.stdout + done.stderr
    assert counts(target) == counts(source)
    assert copy(source, source) == 78
    assert copy(f"{source}.missing", target) == 69


@pytest.mark.parametrize("place", ["duckdb.committed", "ledger.before_write"])
def test_what_a_killed_daemon_has_left_is_finished_in_the_file_before_it_is_copied(place: str, tmp_path: Path) -> None:
    source, target = (f"duckdb://{tmp_path / name}.db" for name in ("source%2541", "target"))
    spool = tmp_path / "a spool"
    drop(spool, "span", "mine", "a.jsonl", lines([span("mine", 0)]))
    assert once(source, spool, env={VARIABLE: f"{place}=kill"})[0] == -signal.SIGKILL
    named = ("--file-storage-path", str(spool), "--base-path", "")
    refused = command("copy", "--from", source, "--to", target, *named)
    assert (refused.returncode, Path(target.removeprefix("duckdb://")).exists()) == (1, False), refused.stderr
    [instance] = (spool / ".spoolhouse").iterdir()
    assert str(instance) in refused.stderr
    # The fix that it names.
    fix = shlex.split(refused.stderr[refused.stderr.index("spoolhouse ingest") :])
    assert command(*fix[1:], env={"SPOOLHOUSE_HTTP__LISTEN": "off"}).returncode == 0
    assert not [*tmp_path.glob("sourceA*")]
    assert copy(source, target, *named) == 0
    assert once(target, spool)[0] == 0
    assert counts(target) == counts(unquote(source)) == {table: int(table == "spans") for table in TABLES}
