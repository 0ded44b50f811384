"""An embedded ClickHouse answers as a server does."""

import json
from pathlib import Path

from tests.engine import Database
from tests.process.daemon import command, once
from tests.query.landed import at, feedback, land, log, metric, score, span, trace

EVENTS = [
    one(n, recordedAt=at(0), **more)
    for n in range(1, 9)
    for one, more in (
        (trace, {"metadata": {"region": "eu", "n": n}}),
        (span, {"model": f"m{n % 2}", "costUsd": n / 8, "events": [{"name": "é"}]}),
        (log, {"traceId": f"t{n:03}"}),
        (metric, {"bucketBoundaries": [0.5, 1], "bucketCounts": [1, 2, 3]}),
        (score, {}),
        (feedback, {}),
    )
]
QUESTIONS = (
    ("traces", "--status", "error", "--label", "region=eu", "--json"),
    ("traces", "--order", "name", "--limit", "3", "--page-size", "2"),
    ("spans", "--model", "m1", "--json"),
    ("logs", "--words", "PAYMENT failed", "--level", "error", "--json"),
    ("metrics", "--min", "2", "--json"),
    ("scores", "--max", "0.5", "--json"),
    ("feedback", "--json"),
    ("trace", "t003", "--json"),
    ("trace", "t004"),
    ("figures", "span", "--by", "model", "--of", "count,p95,sum:cost_usd", "--json"),
    ("values", "label_keys", "--json"),
)


def asked(url: str) -> dict[tuple[str, ...], str]:
    """Return the answer to each question."""
    answers: dict[tuple[str, ...], str] = {}
    for question in QUESTIONS:
        done = command(*question, "--project", "shop", "--clickhouse-url", url)
        assert done.returncode == 0, done.stdout + done.stderr
        answers[question] = done.stdout
    return answers


def test_an_embedded_clickhouse_answers_as_a_server_does(database: Database, tmp_path: Path) -> None:
    land(database, tmp_path / "spool", EVENTS)
    url, spool = f"chdb://{tmp_path}/data", tmp_path / "embedded"
    for path in (tmp_path / "spool").glob("*/shop/processed/*"):
        copy = spool / path.relative_to(tmp_path / "spool").parent.parent / path.name
        copy.parent.mkdir(parents=True)
        copy.write_bytes(path.read_bytes())
    code, daemon = once(url, spool, installed=True)
    assert code == 0, daemon.told()
    assert asked(url) == asked(database.native_url)
    where = ("--clickhouse-url", url)
    done = command("delete", "traces", "t003", "--project", "shop", *where)
    assert done.returncode == 0, done.stdout + done.stderr
    left = command("sql", "SELECT count() AS rows FROM mastra_admin_traces", "--json", *where)
    assert json.loads(left.stdout) == {"rows": 7}
    verified = command("verify", "--since", "1h", "--file-storage-path", str(spool), "--base-path", "", *where)
    assert (verified.returncode, "missing" in verified.stdout) == (0, False), verified.stdout + verified.stderr
    assert "deleted" in verified.stdout
