"""A server that does not merge: it refuses inserts until it has merged, meanwhile files gather, and all lands once."""

from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import Daemon, command, drop
from tests.process.inputs import good

TABLES = ("mastra_admin_spans", "mastra_admin_spans_hourly")
FILES = 60


@pytest.mark.parametrize("full", TABLES)
def test_too_many_parts_pass(database: Database, tmp_path: Path, full: str) -> None:
    """The table, or what its view fills, is full."""
    assert command("migrate", "--clickhouse-url", database.native_url).returncode == 0
    # One at a time is enough to fill it: what follows is refused.
    database.query(f"ALTER TABLE {full} MODIFY SETTING parts_to_delay_insert = 2, parts_to_throw_insert = 2")
    database.query(f"SYSTEM STOP MERGES {full}")
    env = {"SPOOLHOUSE_RETRY__FIRST": "0.1", "SPOOLHOUSE_RETRY__CAP": "0.5"}
    with Daemon(database.native_url, tmp_path, env=env) as daemon:
        daemon.wait_for("started")
        for number in range(3):
            drop(tmp_path, "span", "p", f"{number}.jsonl", good("p", first=number))
            if number < 2:
                daemon.wait_for("file_settled", count=number + 1)
        daemon.wait_for("table_held", code=252)
        for number in range(3, FILES):
            drop(tmp_path, "span", "p", f"{number}.jsonl", good("p", first=number))
        database.query(f"SYSTEM START MERGES {full}")
        database.query(f"ALTER TABLE {full} RESET SETTING parts_to_delay_insert, parts_to_throw_insert")
        daemon.wait_for("file_settled", count=FILES)
    ((rows, different, batches),) = database.query(
        f"SELECT count(), uniqExact(span_id), uniqExact(batch_id) FROM {TABLES[0]}"
    )
    assert rows == different == FILES
    assert batches < FILES / 4, "what waited went in large shipments"
    assert database.query("SELECT sum(count) FROM mastra_admin_spans_hourly_stats") == [(FILES,)]
