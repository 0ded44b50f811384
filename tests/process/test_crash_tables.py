"""Kills while each line brings rows for three tables: in each of them they are there once."""

import json
import random
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import Daemon, drop, once

PREFIX = "mastra_admin_"
FILES, LINES, CALLS, KILLS = 16, 500, 2, 5
START = datetime.now(UTC) - timedelta(days=2)


def steps(file: int) -> bytes:
    """Return events of agents, each a step with two calls; every fourth one is of another type, and no step."""
    lines = []
    for number in range(LINES):
        event: dict[str, object] = {
            "event_id": f"{file}-{number}",
            "project_id": "p",
            "run_id": f"r{file}",
            "timestamp": (START + timedelta(seconds=number)).isoformat(),
            "tool_calls": [{"tool_name": f"t{call}", "input": {"call": call}} for call in range(CALLS)],
        }
        if number % 4:
            event |= {"event_type": "agent_step", "step": {"number": number, "name": "n", "type": "output"}}
        else:
            event |= {"event_type": "prompt_call", "model": "m", "tokens_input": 1, "status": "success"}
        lines.append(json.dumps(event).encode() + b"\n")
    return b"".join(lines)


@pytest.mark.parametrize("driver", ["native_url", "http_url"])
@pytest.mark.timeout(300)
def test_killed_again_and_again(database: Database, tmp_path: Path, driver: str) -> None:
    rng = random.Random(driver)
    url = getattr(database, driver)
    for number in range(FILES):
        drop(tmp_path, "agent_step", "p", f"{number:03}.jsonl", steps(number))
    small = {"SPOOLHOUSE_BATCH__MAX_BYTES": "300kB"}
    pause = threading.Event()
    for kill in range(KILLS):
        with Daemon(url, tmp_path, env=small) as daemon:
            daemon.wait_for("file_settled" if kill == 0 else "started")
            pause.wait(rng.uniform(0, 0.4))
            daemon.kill()
    code, daemon = once(url, tmp_path, env=small)
    assert code == 0, daemon.told()
    lines = FILES * LINES
    prompts = FILES * len(range(0, LINES, 4))
    assert database.query(f"SELECT count(), uniqExact(event_id) FROM {PREFIX}events") == [(lines, lines)]
    calls = lines * CALLS
    assert database.query(f"SELECT count(), uniqExact(event_id, position) FROM {PREFIX}tool_calls") == [(calls, calls)]
    own = lines - prompts
    assert database.query(f"SELECT count(), uniqExact(event_id) FROM {PREFIX}agent_steps") == [(own, own)]
    sums = "sum(request_count), sum(total_tokens_input)"
    assert database.query(f"SELECT {sums} FROM {PREFIX}hourly_metrics") == [(prompts, prompts)]
    assert database.query(f"SELECT total_events, prompt_calls FROM {PREFIX}project_summary") == [(lines, prompts)]
