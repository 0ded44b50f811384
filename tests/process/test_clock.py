"""A daemon whose clock is not the server's: rollups are folded by the server's, so that it has the last word."""

import signal
from pathlib import Path

from tests.engine import Database
from tests.engine.client import QueryError
from tests.faults.life import wait_until
from tests.process.daemon import Daemon, drop, lines
from tests.process.inputs import good, span

SPANS = "mastra_admin_spans"
HOURLY = "mastra_admin_spans_hourly"


def behind(days: int, switch: Path) -> str:
    """Return a prelude by which the daemon's clock is behind for as long as there is such a file."""
    return f"""
import os, time
_now, _now_ns = time.time, time.time_ns
_behind = lambda: {days * 24 * 3600} if os.path.exists({str(switch)!r}) else 0
time.time = lambda: _now() - _behind()
time.time_ns = lambda: _now_ns() - _behind() * 1_000_000_000
"""


def test_nothing_is_claimed_by_a_clock_that_is_days_off(database: Database, tmp_path: Path) -> None:
    """Its batches would be folded at once, and could not be looked for any more."""
    storage, switch = tmp_path / "spool", tmp_path / "behind"
    switch.touch()
    path = drop(storage, "span", "p", "a.jsonl", good("p", 3))
    env = {"SPOOLHOUSE_RETRY__CAP": "0.3"}
    with Daemon(database.native_url, storage, prelude=behind(40, switch), env=env) as daemon:
        [refused, *_] = daemon.wait_for("clickhouse_unavailable", count=2, scope="server")
        assert "40 days behind" in str(refused["error"])
        assert path.exists()
        switch.unlink()
        daemon.wait_for("file_settled", path="span/p/a.jsonl")
        switch.touch()
        daemon.wait_for("clickhouse_unavailable", scope="guard")
        late = drop(storage, "span", "p", "b.jsonl", good("p", 3, first=3))
        daemon.wait_for("clickhouse_unavailable", count=2, scope="guard")
        assert late.exists()
        switch.unlink()
        daemon.wait_for("file_settled", path="span/p/b.jsonl")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert database.query(f"SELECT sum(lines) FROM {HOURLY}") == [(6,)]


def is_compacted(database: Database) -> bool:
    """Compact the rollup; a merge that runs already may be cancelled for it, or this one for that."""
    try:
        database.query(f"OPTIMIZE TABLE {HOURLY} FINAL")
    except QueryError:
        return False
    return True


def test_a_batch_that_the_server_has_folded_is_not_counted_again(database: Database, tmp_path: Path) -> None:
    """The clock was wrong when it was claimed, and is when it is looked for: by the server's it is old."""
    storage, switch, marker = tmp_path / "spool", tmp_path / "behind", tmp_path / "looked"
    env = {"SPOOLHOUSE_RETRY__CAP": "600", "SPOOLHOUSE_TEST_FAILPOINTS": "insert.answered@9=kill"}
    with Daemon(database.native_url, storage, prelude=behind(40, switch), env=env) as daemon:
        # The clocks are compared now and then: it goes wrong right after that.
        drop(storage, "span", "q", "a.jsonl", good("q"))
        daemon.wait_for("file_settled", path="span/q/a.jsonl")
        switch.touch()
        for number in range(8):
            drop(storage, "span", "p", f"{number}.jsonl", lines([span("p", 0, id=f"{number}")]))
            if number < 7:
                daemon.wait_for("file_settled", path=f"span/p/{number}.jsonl")
        assert daemon.wait(60) == -signal.SIGKILL, daemon.told()
    wait_until(lambda: is_compacted(database))
    assert database.query(f"SELECT sum(lines), count() FROM {HOURLY} WHERE project_id = 'p'") == [(8, 1)], "folded"
    switch.unlink()
    env["SPOOLHOUSE_TEST_FAILPOINTS"] = f"insert.checked=wait:{marker}"
    with Daemon(database.native_url, storage, prelude=behind(40, switch), env=env) as daemon:
        wait_until(marker.exists, timeout=60)
        switch.touch()
        marker.unlink()
        daemon.wait_for("file_settled", path="span/p/7.jsonl")
    assert database.query(f"SELECT count() FROM {SPANS} WHERE project_id = 'p'") == [(8,)]
    assert database.query(f"SELECT sum(lines) FROM {HOURLY} WHERE project_id = 'p'") == [(8,)]
