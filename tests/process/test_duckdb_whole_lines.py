"""A line that becomes rows of several tables lands in a DuckDB file whole, or is rejected whole.

The tables that Spoolhouse makes there refuse no row. One with a constraint of a person's own does; DuckDB takes a
`CHECK` only when a table is made.
"""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

from spoolhouse.failpoints import VARIABLE
from tests.process.daemon import Daemon, command, drop, lines, once
from tests.process.inputs import span
from tests.process.test_whole_lines import FOREIGN, records

PREFIX = "mastra_admin_"
COLUMNS = {"spans": "name", "traces": "trace_id", "logs": "message"}


def make_anew(path: Path, checks: Mapping[str, str]) -> None:
    """Make tables anew with their rows, each with a check of its own; with none where that is empty."""
    with duckdb.connect(path) as connection:
        for table, check in checks.items():
            name = PREFIX + table
            ((made,),) = connection.execute(f"SELECT sql FROM duckdb_tables() WHERE table_name = '{name}'").fetchall()
            plain = made.partition(", CHECK")[0].removesuffix(";").removesuffix(")")
            connection.execute(f"CREATE TEMP TABLE kept AS FROM {name}; DROP TABLE {name}")
            connection.execute(f"{plain}{f', CHECK ({check})' if check else ''})")
            connection.execute(f"INSERT INTO {name} FROM kept; DROP TABLE kept")


def landed(path: Path) -> dict[str, list[str]]:
    """Return what has landed; what landed twice is there twice."""
    with duckdb.connect(path, read_only=True) as connection:
        found: dict[str, list[tuple[Any, ...]]] = {
            table: connection.execute(f"SELECT {column} FROM {PREFIX}{table}").fetchall()
            for table, column in COLUMNS.items()
        }
    return {table: sorted(str(value) for (value,) in rows) for table, rows in found.items()}


@pytest.mark.parametrize(
    "place", ["", "lines.unchecked", "journal.leave_out", "duckdb.before_commit", "duckdb.committed@2"]
)
def test_a_foreign_line_of_many_rows_lands_whole_or_not_at_all(tmp_path: Path, place: str) -> None:
    path, spool = tmp_path / "events.db", tmp_path / "spool"
    url = f"duckdb://{path}"

    def ask(*arguments: str | Path) -> str:
        done = command(*map(str, arguments), "--file-storage-path", str(spool), "--base-path", "", "--store-url", url)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert command("migrate", "--store-url", url).returncode == 0
    make_anew(path, {"spans": "name != 'bad'", "logs": "message != 'bad'"})
    drop(spool, "span", "p", "a.jsonl", lines(FOREIGN))
    if place:
        with Daemon(url, spool, env={VARIABLE: f"{place}=kill"}) as daemon:
            assert daemon.wait() == -signal.SIGKILL, daemon.told()
    code, daemon = once(url, spool)
    assert code == 0, daemon.told()
    own = str(span("p", 1)["name"])
    good = {
        "spans": sorted(["root", "child", own, "root"]), "traces": ["a" * 32, "c" * 32], "logs": ["one", "three", "two"]
    }  # fmt: skip
    assert landed(path) == good
    assert [(record["line"], record["reason"]) for record in records(spool)] == [(3, "refused"), (4, "refused")]
    file = spool / "span/p/processed/a.jsonl"
    assert ask("verify", file) == "rows: 9 there\n"
    with duckdb.connect(path) as connection:
        connection.execute(f"TRUNCATE {PREFIX}logs; TRUNCATE {PREFIX}traces")
    assert "brought back" in ask("replay", file)
    assert landed(path) == good
    assert ask("verify", file) == "rows: 9 there\n"
    make_anew(path, {"spans": "", "logs": ""})
    ask("replay", "--rejected")
    assert once(url, spool)[0] == 0
    assert {table: len(found) for table, found in landed(path).items()} == {"spans": 7, "traces": 3, "logs": 6}
    assert not records(spool)
    for settled in (spool / "span/p/processed").iterdir():
        assert "missing" not in ask("verify", settled)
