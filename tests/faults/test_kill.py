"""The daemon is killed (-9) at each named place: each line lands once, each file ends in one place.

One spool sees many deaths: the next daemon is killed, too, while it takes over what the last one left.
"""

import signal
from itertools import groupby

import pytest

from tests.faults.file_oracle import FileOracle
from tests.faults.life import DELETING, LONG, QUICK, armed, die_at, recover, run_into
from tests.faults.oracle import AnyOracle, Oracle
from tests.faults.places import places
from tests.process.daemon import Daemon, once


def stages(store: str) -> dict[str, list[str]]:
    """Return the places of a daemon with this store, by stage."""
    found = groupby(sorted(places(store)), key=lambda name: name.partition(".")[0])
    # Of commands: tests/process/test_replay.py, test_retry.py, tests/query/test_delete.py; and of a deletion of one
    # file at a time, if asked to: tests/process/test_retention.py.
    return {stage: list(names) for stage, names in found if stage not in {"replay", "delete", "archive"}}


STAGES = {"clickhouse": stages("clickhouse"), "duckdb": stages("duckdb")}
WITH_A_STORE = ("adopt", "duckdb", "insert", "ledger", "lines")
"""Where a daemon with one store may differ from one with another: each other place it meets in the long form."""


@pytest.mark.timeout(360)  # many lives of a daemon in one spool
@pytest.mark.parametrize(
    ("oracle", "stage"),
    [
        (store, stage)
        for store, some in STAGES.items()
        for stage in some
        if LONG or store == "clickhouse" or stage in WITH_A_STORE
    ],
    indirect=["oracle"],
)
def test_killed_at_each_place(oracle: AnyOracle, stage: str) -> None:
    for place in STAGES["duckdb" if isinstance(oracle, FileOracle) else "clickhouse"][stage]:
        if place not in DELETING:
            die_at(oracle, place)
    recover(oracle)
    oracle.check()


def test_killed_before_the_reason_of_a_failed_file_is_written(oracle: Oracle) -> None:
    path = oracle.drop_raw("broken.jsonl.gz", b"no archive", unreadable=True)
    run_into(oracle, "settle.renamed", "kill")
    recover(oracle)
    oracle.check()
    assert "corrupt archive" in (path.parent / "failed" / f"{path.name}.reason.txt").read_text()


@pytest.mark.parametrize("place", DELETING)
def test_killed_beside_a_deletion(oracle: Oracle, place: str) -> None:
    for _ in range(2):
        oracle.drop()
    deleting = {"SPOOLHOUSE_SPOOL__DELETE_AFTER_PROCESS": "true", "SPOOLHOUSE_CLICKHOUSE__MIGRATE": "true"}
    with Daemon(oracle.database.native_url, oracle.spool, env=armed(place, "kill") | deleting) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    code, daemon = once(oracle.database.native_url, oracle.spool, env=QUICK | deleting)
    assert code == 0, daemon.told()
    oracle.check(deleted=True)
