"""The sentence that `systemctl status` shows: what is wrong and its hint first, then the numbers."""

from collections.abc import Mapping

from spoolhouse.errors import DiskError, OperatorError, StoreError, TransientError, UnreachableError
from spoolhouse.monitoring.health import SERVER, Health
from spoolhouse.monitoring.status_line import status_line
from spoolhouse.monitoring.status_model import Backlog, Liveness, Readiness, Status, TypeStatus

DOWN = TransientError("connection refused", hint="check clickhouse.url")
DENIED = OperatorError("not enough privileges", code=497, hint="GRANT INSERT")


def line(
    *,
    state: str = "running",
    instance: str | None = "host-1",
    waiting: int = 3,
    rejected: int = 0,
    troubles: Mapping[str, StoreError | DiskError] | None = None,
    is_away: bool = False,
    paused: str | None = None,
    stuck: Mapping[str, float] | None = None,
) -> str:
    health = Health()
    health.good(SERVER)
    for scope, error in (troubles or {}).items():
        health.bad(scope, error)
    if is_away:
        health.waiting = lambda: 5
        health.silent(UnreachableError("connection refused", hint="check clickhouse.url"))
    backlog = Backlog(
        pending_files=waiting,
        pending_bytes=0,
        oldest_seconds=0.0,
        claimed_files=3,
        shipments=1,
        unmovable_files=1,
        held_instances=0,
    )
    types = [TypeStatus(type="log", table="logs", landed=9, rejected=rejected, files=7, held=False)]
    reasons = health.reasons({"logs": ["log"]})
    return status_line(
        Status(
            instance=instance,
            state=state,
            why=None,
            pid=1,
            host="host",
            spool="/spool",
            at_ms=0,
            readiness=Readiness(ready=not reasons, state=state, reasons=reasons),
            liveness=Liveness(alive=not stuck, stuck=dict(stuck or {})),
            backlog=backlog,
            grace=25.0,
            paused=paused,
            files={"processed": 6, "failed": 1},
            types=types,
        )
    )


def test_it_gives_the_numbers() -> None:
    assert line() == "Ingesting: 3 files waiting, 2 in flight, 7 done since start"
    assert line(rejected=5).endswith(", 5 lines rejected")
    assert line(state="starting", waiting=1) == "Starting: 1 file waiting in the spool"
    assert line(state="starting", instance=None) == "Starting"
    assert line(state="stopping") == "Stopping: 2 files to finish, within 25 s"


def test_a_server_that_refuses_comes_first_with_a_hint() -> None:
    text = line(state="starting", troubles={SERVER: DOWN})
    assert text == "ClickHouse: connection refused; check clickhouse.url. Starting: 3 files waiting in the spool"


def test_an_outage_is_one_sentence() -> None:
    text = line(is_away=True)
    assert text.startswith("ClickHouse has not answered since ")
    assert "; 5 files wait safely (connection refused); check clickhouse.url. Ingesting: " in text


def test_each_table_is_named() -> None:
    text = line(troubles={"spans": DENIED, "logs": DOWN})
    assert "spans is held: not enough privileges (ClickHouse code 497); GRANT INSERT" in text
    assert "logs: connection refused" in text


def test_a_disk_that_refuses_and_a_pause_are_named() -> None:
    full = DiskError("/spool: No space left on device", hint="make room on its disk")
    text = line(troubles={"/spool": full}, paused="since 12:00: disk swap")
    assert text.startswith("Paused since 12:00: disk swap. The disk: /spool: No space left on device; make room")


def test_a_stuck_stage_is_named() -> None:
    assert line(stuck={"settle": 312.4}).startswith("Stuck for 312 s: settle. ")
