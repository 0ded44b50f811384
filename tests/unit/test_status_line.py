"""The sentence that `systemctl status` shows: what is wrong and its mend first, then the numbers."""

from collections.abc import Mapping

from spoolhouse.errors import DiskError, OperatorError, TransientError
from spoolhouse.monitoring.health import SERVER, Complaint
from spoolhouse.monitoring.status_line import StatusLine

DOWN = TransientError("connection refused", hint="check clickhouse.url")
DENIED = OperatorError("not enough privileges", code=497, hint="GRANT INSERT")


def standing(
    *,
    prepared: bool = True,
    stopping: bool = False,
    waiting: int = 3,
    rejected: int = 0,
    troubles: Mapping[str, Complaint] | None = None,
    outage: str | None = None,
    paused: str | None = None,
    stuck: Mapping[str, float] | None = None,
) -> str:
    return str(
        StatusLine(
            prepared=prepared,
            stopping=stopping,
            grace=25.0,
            waiting=waiting,
            claimed=2,
            settled=7,
            rejected=rejected,
            troubles=troubles or {},
            outage=outage,
            paused=paused,
            stuck=stuck or {},
        )
    )


def test_it_says_what_goes_on() -> None:
    assert standing() == "Ingesting: 3 files waiting, 2 in flight, 7 done since start"
    assert standing(rejected=5).endswith(", 5 lines rejected")
    assert standing(prepared=False, waiting=1) == "Starting: 1 file waiting in the spool"
    assert standing(stopping=True) == "Stopping: 2 files to finish, within 25 s"


def test_a_server_that_is_down_comes_first_with_its_mend() -> None:
    said = standing(prepared=False, troubles={SERVER: DOWN})
    assert said == (
        "Waiting for ClickHouse: connection refused; check clickhouse.url. Starting: 3 files waiting in the spool"
    )


def test_an_outage_is_one_sentence() -> None:
    said = standing(troubles={SERVER: DOWN}, outage="ClickHouse has not answered since 12:27 UTC; 5 files wait safely")
    assert said.startswith(
        "ClickHouse has not answered since 12:27 UTC; 5 files wait safely (connection refused; check clickhouse.url). "
    )


def test_each_table_is_named() -> None:
    said = standing(troubles={"spans": DENIED, "logs": DOWN})
    assert "Held, spans: not enough privileges (ClickHouse code 497); GRANT INSERT" in said
    assert "Trying again, logs: connection refused" in said


def test_a_disk_that_refuses_and_a_pause_are_said() -> None:
    full = DiskError("/spool: No space left on device", hint="make room on its disk")
    said = standing(troubles={"/spool": full}, paused="since 12:00: disk swap")
    assert said.startswith("Paused since 12:00: disk swap. The disk: /spool: No space left on device; make room")


def test_a_stuck_stage_is_named() -> None:
    assert standing(stuck={"settle": 312.4}).startswith("Stuck for 312 s: settle. ")
