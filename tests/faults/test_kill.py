"""The daemon is killed (-9) at each named place: each line lands once, each file ends in one place.

One spool sees many deaths: the next daemon is killed, too, while it takes over what the last one left.
"""

import signal
from itertools import groupby

import pytest

from tests.faults.life import DELETING, QUICK, armed, die_at, recover, run_into
from tests.faults.oracle import Oracle
from tests.faults.places import places
from tests.process.daemon import Daemon, once

STAGES = {stage: list(names) for stage, names in groupby(sorted(places()), key=lambda name: name.partition(".")[0])}
del STAGES["replay"]  # commands of their own: tests/process/test_replay.py, test_retry.py
del STAGES["delete"]  # another one: tests/query/test_delete.py
del STAGES["archive"]  # deletes one file at a time, if asked to: tests/process/test_retention.py


@pytest.mark.timeout(360)  # many lives of a daemon in one spool
@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_each_place(oracle: Oracle, stage: str) -> None:
    for place in STAGES[stage]:
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
        assert daemon.wait(30) == -signal.SIGKILL, daemon.told()
    code, daemon = once(oracle.database.native_url, oracle.spool, env=QUICK | deleting)
    assert code == 0, daemon.told()
    oracle.check(deleted=True)
