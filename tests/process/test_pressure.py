"""A server that does not merge: inserts become fewer and larger before it refuses them, and everything lands."""

import time
from pathlib import Path

from tests.engine import Database
from tests.process.daemon import Daemon, command, drop
from tests.process.inputs import good

FILES = 250
THROW_AT = 16
TABLES = ("mastra_admin_spans", "mastra_admin_spans_hourly")


def test_too_many_parts_never_comes_to_be(database: Database, tmp_path: Path) -> None:
    assert command("migrate", "--clickhouse-url", database.native_url).returncode == 0
    for table in TABLES:
        limits = f"parts_to_delay_insert = 8, parts_to_throw_insert = {THROW_AT}"
        database.query(f"ALTER TABLE {table} MODIFY SETTING {limits}")
        database.query(f"SYSTEM STOP MERGES {table}")
    with Daemon(database.native_url, tmp_path) as daemon:
        daemon.wait_for("started")
        for number in range(FILES):
            # The load, not a wait: without pressure, a shipment leaves every 0.2 s, more of them than the table takes.
            drop(tmp_path, "span", "p", f"{number}.jsonl", good("p", first=number))
            time.sleep(0.025)
        daemon.wait_for("file_settled", count=FILES, timeout=80)
        assert daemon.events("part_pressure_began")
        assert not daemon.events("clickhouse_unavailable"), daemon.told()
    ((rows, batches),) = database.query(f"SELECT uniqExact(span_id), uniqExact(batch_id) FROM {TABLES[0]}")
    assert rows == FILES
    assert batches < THROW_AT
    assert database.query("SELECT sum(count) FROM mastra_admin_spans_hourly_stats") == [(FILES,)]
