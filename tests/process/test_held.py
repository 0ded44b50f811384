"""A held table over many trials: what a trial has opened is let go of, though the collector of garbage rarely runs."""

from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import Daemon, drop, once
from tests.process.inputs import good

SPANS = "mastra_admin_spans"
TRIALS = 64
MIB = 1 << 20


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident_bytes(pid: int) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("scheme", ["native", "http"])
def test_a_held_batch_costs_no_more_with_each_trial(database: Database, tmp_path: Path, scheme: str) -> None:
    url = database.native_url if scheme == "native" else database.http_url
    assert once(url, tmp_path)[0] == 0
    database.query(f"DROP TABLE {SPANS} SYNC")
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 20_000))
    # A file of several pieces: each trial has it open, and a piece of it in memory, when the server refuses.
    env = {"SPOOLHOUSE_RETRY__FIRST": "0.01", "SPOOLHOUSE_RETRY__CAP": "0.02"}
    with Daemon(url, tmp_path, "--no-migrate", env=env, installed=True) as daemon:
        daemon.wait_for("table_held", scope=SPANS, attempts=8)
        files, memory = open_files(daemon.pid), resident_bytes(daemon.pid)
        daemon.wait_for("table_held", scope=SPANS, attempts=TRIALS, timeout=100)
        assert open_files(daemon.pid) <= files + 8
        assert resident_bytes(daemon.pid) <= memory + 32 * MIB
