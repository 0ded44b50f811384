"""Lands a spool in a DuckDB file by one run of the daemon, and reads the rows."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from tests.process.daemon import command

_JSON = {"attributes", "events", "extra", "labels", "metadata"}


class Landed:
    """The rows of a spool."""

    def __init__(self, spool: Path, *, is_root_a_trace: bool = False) -> None:
        """Land all that is in the spool, if there is one; nothing may be rejected."""
        variables = {"SPOOLHOUSE_EVENTS__TRACES_FROM_ROOT_SPANS": str(is_root_a_trace).lower()}
        database = spool.parent / f"{spool.name}.db"
        url = ("--store-url", f"duckdb://{database}")
        done = command("ingest", "--once", *url, "--file-storage-path", str(spool), "--base-path", "", env=variables)
        assert done.returncode == 0, done.stderr
        assert not list(spool.glob("rejected/*/*")), [path.read_text() for path in spool.glob("rejected/*/*")]
        self._connection = duckdb.connect(str(database), read_only=True)

    def rows(self, table: str, project: str) -> list[dict[str, Any]]:
        """Return a project's rows of a table, JSON as values, without what says when and where from they came."""
        answer = self._connection.execute(f"SELECT * FROM mastra_admin_{table} WHERE project_id = ?", [project])
        names = [column[0] for column in answer.description or ()]
        found = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
        return [
            {name: json.loads(value) if name in _JSON else value for name, value in row.items() if name[0] != "_"}
            for row in found
        ]


def without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}
