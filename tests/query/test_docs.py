"""The Python of docs/queries.md runs, its four sample queries too."""

import ast
import asyncio
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from spoolhouse.query import connect
from tests.engine import Database
from tests.query.landed import land, log, prompt, step, trace

TEXT = (Path(__file__).parents[2] / "docs" / "queries.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def run(block: str, url: str, **names: Any) -> dict[str, Any]:
    """Run a block as a person would who types it into an asynchronous prompt; return its names."""
    code = compile(
        block.replace("clickhouse://localhost:9000", url), "queries.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    )
    found: dict[str, Any] = dict(names)

    async def awaited() -> None:
        made = eval(code, found)  # noqa: S307  # the documentation's own lines
        if inspect.isawaitable(made):
            await made
        if q := names.get("q"):
            await q.close()

    asyncio.run(awaited())
    return found


def test_the_examples_run(database: Database, tmp_path: Path) -> None:
    land(database, tmp_path, [trace(1), log(1, message="payment failed"), log(2, message="payment failed")])
    asynchronous, synchronous, _ = BLOCKS
    script = asynchronous.replace("clickhouse://localhost:9000", database.native_url)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\nNone ['payment failed', 'payment failed'] []\n")
    assert len(run(synchronous, database.http_url)["errors"]) == 1


def test_the_four_sample_queries_are_four_lines(database: Database, tmp_path: Path) -> None:
    events = [prompt(n, run_id="run-1") for n in range(20)] + [step(n, run_id="run-1") for n in (2, 1, 3)]
    land(database, tmp_path, events)
    samples = BLOCKS[-1]
    calls = {"project": "shop", "type": "prompt_call"}
    assert json.dumps(calls) in TEXT
    assert len(samples.strip().splitlines()) == 4
    found = run(samples, database.native_url, q=connect(database.native_url), calls=calls)
    assert len(found["recent"]) == 23
    assert (found["recent"][0].event_id, found["recent"][0].status) == ("e000", "success")
    assert [(row.by["model"], row.values) for row in found["cost"].rows] == [
        (f"model {n}", {"count": 10, "sum:cost_estimate_usd": 5.0, "avg": 90.0 + 10 * n}) for n in (0, 1)
    ]
    assert sum(row.values["count"] for row in found["errors"].rows) == 20
    assert {row.values["error_percent"] for row in found["errors"].rows if row.values["count"] == 20} <= {50.0}
    assert [one.step_name for one in found["workflow"]] == ["step 1", "step 2", "step 3"]
