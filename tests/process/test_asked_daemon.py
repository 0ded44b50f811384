"""While a daemon has a DuckDB file, who asks the file is answered by the daemon, and does not notice."""

import asyncio
import json
import math
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from spoolhouse.errors import BadRequestError, OperatorError
from spoolhouse.query import ALL_PROJECTS, Logs, connect
from spoolhouse.query.aliases import Client
from spoolhouse.query.daemon_file import beside
from spoolhouse.query.requests import LISTS
from tests.process.daemon import SCRIPT, Daemon, as_from_a_terminal, command, drop, lines
from tests.query.landed import NOW, at, feedback, log, metric, prompt, score, span, step, trace

SHOP = "shop"
EVENTS = [
    *(trace(n, input={"text": "ü" * 200, "big": 2**70}) for n in range(12)),
    *(span(n, parentSpanId=f"s{n // 10:03}" if n >= 10 else None, attributes={"n": n}) for n in range(30)),
    *(log(n, traceId="t001", attributes={"a": [1, {"b": None}]}) for n in range(6)), *(metric(n) for n in range(6)),
    *(score(n) for n in range(3)), *(feedback(n) for n in range(4)), *(prompt(n) for n in range(6)),
    *(step(n) for n in range(3)),
]  # fmt: skip
QUESTIONS: list[Callable[[Client], Awaitable[Any]]] = [
    *(lambda q, name=name: q.page(name, project=SHOP, page_size=4, until=NOW) for name in LISTS),
    *(lambda q, name=name: q.page(name, project=ALL_PROJECTS) for name in ("scores", "feedback", "events")),
    lambda q: q.page("traces", project=SHOP, light=True, order="duration_ms", status=("ok", "error"), name="checkout"),
    lambda q: q.page("traces", project=SHOP, since=timedelta(hours=1.5), until=NOW, where={"some": "spans"}),
    lambda q: q.page("metrics", project=SHOP, label={"region": "eu"}, min=1, max=2.5),
    lambda q: _all(q.spans(project=SHOP, page_size=7)),
    lambda q: _all(q.runs(project=SHOP, limit=2)),
    lambda q: q.trace(SHOP, "t001"),
    lambda q: q.trace(SHOP, "missing"),
    lambda q: q.trace("other", "t001"),
    lambda q: q.get_trace(SHOP, "t001"),
    lambda q: q.get_trace(SHOP, "missing"),
    lambda q: q.structure(SHOP, "t001"),
    lambda q: q.branch(SHOP, "t001", "s001", depth=1),
    lambda q: q.get_spans_for_trace(SHOP, "t001"),
    lambda q: q.get_span(SHOP, "t001", "s011"),
    lambda q: q.get_root_span(SHOP, "t001"),
    lambda q: q.event(SHOP, "e001"),
    lambda q: q.event(SHOP, "missing"),
    lambda q: q.steps(SHOP, "r0"),
    lambda q: q.count("logs", project=SHOP, level="error"),
    lambda q: q.values("label_values", project=SHOP, key="region"),
    lambda q: q.sql("SELECT name, count(*) AS n, NULL, now() > '2020-01-01' FROM mastra_admin_spans GROUP BY 1"),
    lambda q: q.list_traces(project=SHOP, page=1, per_page=5),
    lambda q: q.get_error_rate_time_series(project=SHOP, interval_seconds=3600, start_time=at(180), end_time=NOW),
    lambda q: q.figures(
        "span", project=SHOP, of=("count", "p95", "last"), by="name", every=timedelta(hours=1), until=NOW,
        compare="previous_day", having=(("count", "gt", 1),),
    ),
    # What is refused is refused in the same words.
    lambda q: q.page("traces", project=""),
    lambda q: q.page("traces", project=SHOP, min=math.nan),
    lambda q: q.page("traces", project=SHOP, name="\ud800"),
    lambda q: q.page("traces", project=SHOP, page_size=0),
    lambda q: q.page("traces", project=SHOP, cursor="none"),
    lambda q: q.figures("span", project=SHOP, of=("p101",)),
    lambda q: q.values("passwords", project=SHOP),
    lambda q: q.sql("DELETE FROM mastra_admin_spans"),
    lambda q: q.sql("FROM '/etc/passwd'"),
]  # fmt: skip


async def _all(records: Any) -> list[Any]:
    return [one async for one in records]


async def _answers(url: str) -> list[Any]:
    found: list[Any] = []
    async with connect(url) as q:
        for question in QUESTIONS:
            try:
                found.append(await question(q))
            except BadRequestError as error:
                found.append(str(error))
    return found


async def _with_prefix(url: str, prefix: str) -> None:
    async with connect(url, table_prefix=prefix) as q:
        await q.count("logs", project=SHOP)


def commands(url: str) -> list[tuple[int, str]]:
    """Return the exit code and the output of each command that asks."""
    scoped = ("--project", SHOP, "--since", "7d", "--store-url", url)
    asked: list[tuple[str, ...]] = [
        ("logs", *scoped), ("runs", *scoped), ("traces", *scoped, "--json"),
        ("figures", "span", *scoped, "--of", "count,avg", "--by", "name"),
        ("trace", "t001", "--logs", "--project", SHOP, "--store-url", url), ("values", "names", *scoped),
        ("sql", "SELECT count(*) AS n FROM mastra_admin_logs", "--store-url", url),
        ("sql", "nonsense", "--store-url", url),
    ]  # fmt: skip
    made = [command(*words) for words in asked]
    return [(one.returncode, one.stdout + one.stderr) for one in made]


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    for number, event in enumerate(EVENTS):
        kind = str(event.get("type") or event["event_type"])
        drop(tmp_path / "spool", kind, SHOP, f"{number}.jsonl", lines([event]))
    return tmp_path / "spool"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def daemon(path: Path, spool: Path) -> Iterator[Daemon]:
    """A daemon that has landed all events."""
    with Daemon(f"duckdb://{path}", spool, http="any port") as daemon:
        daemon.wait_for("file_settled", count=len(EVENTS))
        yield daemon


def test_the_daemon_answers_as_the_file_does(daemon: Daemon, path: Path) -> None:
    url = f"duckdb://{path}"
    with pytest.raises(OperatorError, match=r"uses tables mastra_admin_\*, and not other_\*"):
        asyncio.run(_with_prefix(url, "other_"))
    of_daemon, shown = asyncio.run(_answers(url)), commands(url)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0, daemon.told()
    assert not beside(path).exists()
    for question, (one, other) in enumerate(zip(of_daemon, asyncio.run(_answers(url)), strict=True)):
        assert one == other, question
    assert [code for code, _ in shown] == [0] * (len(shown) - 1) + [2]
    assert shown == commands(url)
    assert not [line for line in daemon.noise if line.strip()], daemon.noise


def test_logs_are_followed_through_the_daemon_and_its_restart(daemon: Daemon, path: Path, spool: Path) -> None:
    """By what has landed: an event of hours ago comes when it lands. Nothing comes twice."""
    words = ["logs", "--project", SHOP, "--follow", "--json", "--limit", "1", "--store-url", f"duckdb://{path}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(as_from_a_terminal(SCRIPT, *words), stdout=pipe, stderr=pipe, text=True) as following:
        assert following.stdout is not None
        assert following.stderr is not None

        def followed() -> str:
            assert following.stdout is not None
            return str(json.loads(following.stdout.readline())["id"])

        assert followed() == "l000"
        drop(spool, "log", SHOP, "late.jsonl", lines([log(300)]))
        assert followed() == "l300"
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
        drop(spool, "log", SHOP, "later.jsonl", lines([log(200)]))
        with Daemon(f"duckdb://{path}", spool, http="any port"):
            assert followed() == "l200"
        os.kill(following.pid, signal.SIGINT)
        assert following.wait(60) == 130


def test_a_killed_daemon_misleads_nobody(daemon: Daemon, path: Path) -> None:
    """Its file stays. Another daemon that listens there has another token, and is not asked."""
    url, told = f"duckdb://{path}", json.loads(beside(path).read_bytes())
    daemon.kill()
    assert command("values", "names", "--project", SHOP, "--store-url", url).stdout == "queue 0\nqueue 1\n"
    other = path.with_name("other.db")
    listen = {"SPOOLHOUSE_HTTP__LISTEN": told["url"].removeprefix("http://")}
    with Daemon(f"duckdb://{other}", path.with_name("elsewhere"), env=listen, http="default") as second:
        second.wait_for("started")
        assert command("values", "names", "--project", SHOP, "--store-url", url).stdout == "queue 0\nqueue 1\n"
        assert command("values", "names", "--project", SHOP, "--store-url", f"duckdb://{other}").stdout == ""


def test_a_caller_that_goes_away_ends_its_question(daemon: Daemon, path: Path) -> None:
    """The daemon answers four at once: were they not ended, these twelve would take a minute."""

    async def asked() -> None:
        async with connect(f"duckdb://{path}") as q:
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1):
                        await asyncio.gather(*(q.sql("SELECT count(*) FROM range(1000000000000)") for _ in range(4)))
            assert len((await q.page("logs", Logs(project=SHOP))).records) == 6

    asyncio.run(asked())
