"""A daemon's state in a word, and its status as a person reads it."""

import pytest
from msgspec.structs import replace
from rich.console import Console

from spoolhouse.cli.status import Report
from spoolhouse.cli.status_view import picture
from spoolhouse.monitoring.client import fetch
from spoolhouse.monitoring.status_model import (
    Backlog,
    FileCount,
    Liveness,
    RatePoint,
    Rates,
    Readiness,
    RecentFile,
    RecentReject,
    Status,
    Trouble,
    TypeStatus,
    judge,
)

HELD = Trouble(
    scope="logs",
    types=["log"],
    held=True,
    error="no such table",
    code=60,
    hint="spoolhouse migrate",
    seconds=9.0,
    summary="logs is held: no such table",
)
DOWN = Trouble(
    scope="server",
    types=["log", "span"],
    held=False,
    error="refused",
    code=None,
    hint=None,
    seconds=1.0,
    summary="ClickHouse: refused",
)
WELL = Status(
    state="running",
    why=None,
    url="http://x",
    claimed=None,
    quiet_seconds=0.0,
    version="1.2.3",
    instance="host-1-abc",
    pid=1,
    host="host",
    spool="/spool",
    at_ms=100_000,
    started_ms=0,
    readiness=Readiness(ready=True, state="running", reasons=[]),
    liveness=Liveness(alive=True, stuck={}),
    backlog=Backlog(
        pending_files=2,
        pending_bytes=2000,
        oldest_seconds=7300.0,
        claimed_files=1,
        shipments=1,
        unmovable_files=0,
        held_instances=0,
    ),
    rates=Rates(window=10.0, rows=1234.0, bytes=5_000_000.0, files=2.5),
    loop_lag=0.012,
    paused=None,
    last_landed_ms=99_000,
    bytes=123_000,
    files={"processed": 12, "failed": 1},
    types=[TypeStatus(type="log", table="logs", landed=5, rejected=1, files=1, held=False)],
    rejects={"torn": 1},
    retries={"60": 3},
    adoptions=0,
    recent_files=[
        RecentFile(
            path="log/p/[bold]a\x1b[2J.jsonl", destination=None, at_ms=1, bytes=9, rows=5, rejected=1, seconds=1.5
        )
    ],
    recent_rejects=[RecentReject(file="log/p/b.jsonl", line=7, reason="torn", field="", detail="cut off", at_ms=1)],
    history=[RatePoint(at_ms=5000 * n, rows=100.0 * n, bytes=0.0, pending_files=n, pending_bytes=0) for n in range(9)],
)


def with_reasons(*reasons: Trouble) -> Status:
    return judged(replace(WELL, readiness=Readiness(ready=False, state="running", reasons=list(reasons))))


def judged(status: Status) -> Status:
    """Return it with the state that follows from the rest, as the daemon builds it."""
    assert status.readiness is not None
    assert status.liveness is not None
    state, why = judge(status.readiness, status.liveness, status.paused)
    return replace(status, state=state, why=why)


@pytest.mark.parametrize(
    ("status", "state", "why"),
    [
        (WELL, "running", None),
        (with_reasons(DOWN), "waiting", "ClickHouse: refused"),
        (
            with_reasons(DOWN, HELD),
            "held",
            "logs is held: no such table (ClickHouse code 60); spoolhouse migrate",
        ),
        (
            replace(with_reasons(HELD), liveness=Liveness(alive=False, stuck={"settle": 400.4})),
            "stuck",
            "stages make no progress: settle for 400 s; a restart is safe",
        ),
        (replace(WELL, readiness=Readiness(ready=False, state="stopping", reasons=[])), "stopping", None),
        (
            replace(
                WELL,
                readiness=Readiness(ready=True, state="paused", reasons=[]),
                paused="since noon: a backup",
            ),
            "paused",
            "since noon: a backup; spoolhouse resume",
        ),
    ],
)
def test_a_daemon_s_state_in_a_word(status: Status, state: str, why: str | None) -> None:
    judgement = judged(status)
    assert (judgement.state, judgement.why) == (state, why)


def rendered(status: Status, *, recent: int = 0) -> str:
    report = Report(
        spool="/spool",
        at=0.0,
        pending=None,
        oldest_seconds=0.0,
        paused=None,
        not_taken=[],
        ends=None,
        instances=[status],
    )
    console = Console(width=120, highlight=False, force_terminal=False)
    with console.capture() as captured:
        console.print(picture(report, recent=(recent, recent) if recent else None))
    return captured.get()


def test_a_person_reads_the_figures() -> None:
    text = rendered(with_reasons(HELD))
    for expected in (
        "host-1-abc  held", "no such table (ClickHouse code 60); spoolhouse migrate",
        "1,234 rows/s, 5.0 MB/s, 2.5 files/s over 10 s",
        "2 files pending (2.0 kB), the oldest 2 h ago", "1 file in 1 shipment", "12 processed, 1 failed",
        "torn 1", "60 3", "12 ms",
    ):  # fmt: skip
        assert expected in text


def test_a_person_reads_which_servers_answer() -> None:
    assert "servers" not in rendered(WELL)
    assert "a:9000 answers, b:9000 is away" in rendered(replace(WELL, servers={"a:9000": True, "b:9000": False}))


def test_the_live_view_adds_what_moves() -> None:
    text = rendered(WELL, recent=3)
    assert "▁▂▃▄▅▅▆▇█ max 800" in text
    assert "40 s until now" in text
    assert "log/p/b.jsonl:7" in text
    assert r"log/p/[bold]a\x1b[2J.jsonl" in text, "no markup, no control character"


def test_of_a_daemon_that_does_not_answer_the_folder_is_shown() -> None:
    claimed = FileCount(files=2, bytes=10)
    gone = Status(
        instance="a", state="gone", why="it ended", pid=1, host="h", spool=None, at_ms=0, url="http://x",
        claimed=claimed, quiet_seconds=7200.0,
    )  # fmt: skip
    text = rendered(gone, recent=1)
    assert "a  gone" in text
    assert "2 files (10 bytes)" in text
    assert "2 h ago, in its journal" in text
    for unknown in ("version", "rate", "backlog", "type", "http://x"):
        assert unknown not in text


@pytest.mark.parametrize("url", ["", "http://", "http://host:99999", "http://[", "nonsense", "7"])
def test_what_a_folder_announces_may_be_nonsense(url: str) -> None:
    assert fetch(url) == "not a URL"
