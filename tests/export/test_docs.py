"""The Python of docs/producers.md runs, and what it writes lands."""

import re
import subprocess
import sys
from pathlib import Path

from tests.export.landed import Landed
from tests.process.daemon import command

TEXT = (Path(__file__).parents[2] / "docs" / "producers.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
TABLES = {"events": 1, "spans": 2, "traces": 1, "scores": 1, "logs": 4, "metrics": 1}
"""By table, how many rows the examples make."""


def test_the_examples_run_and_land(tmp_path: Path) -> None:
    spool = tmp_path / "events"
    for block in BLOCKS:
        assert "/var/spool/events" in block
        program = block.replace("/var/spool/events", str(spool))
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path
        )
        # A worker may warn of a machine that is slow.
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), f"{block}{done.stderr}"
    for name, project in (("events", "app"), ("events.copy", "shop")):
        url = f"duckdb://{tmp_path}/{name}.db"
        asked = command("logs", "--store-url", url, "--project", project, "--since", "2025-01-01", "--json")
        assert asked.stdout.count("\n") == 1, asked.stderr
    landed = Landed(spool)
    assert {table: len(landed.rows(table, "shop")) for table in TABLES} == TABLES
