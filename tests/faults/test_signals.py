"""Signals at each named place: SIGTERM drains, a second one ends it at once, a stopped process keeps its lock."""

import signal
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from spoolhouse.failpoints import VARIABLE
from tests.faults.life import (
    DELETING,
    IN_A_FILE,
    LIFE,
    LONG,
    QUICK,
    REFUSED,
    armed,
    died_at_birth,
    feed,
    lead_to,
    parts,
    recover,
    run_into,
    url_for,
    wait_until,
)
from tests.faults.oracle import AnyOracle, Oracle
from tests.faults.places import places
from tests.process.daemon import Daemon

pytestmark = pytest.mark.timeout(300)


def each(store: str) -> list[str]:
    """Return the places of a daemon with this store."""
    others = ("repair.", "replay.", "delete.", "archive.")
    return [place for place in places(store) if place not in {*DELETING, *REFUSED} and not place.startswith(others)]


EACH = each("clickhouse")
SOME = ["instance.claimed", "claim.packed", "insert.sending", "insert.answered", "settle.before_move", "adopt.loaded"]
"""Where a process differs most in what it holds: a claim, a plan, an open insert, an acknowledgement, a move."""


IN_DUCKDB = ["duckdb.rows", "duckdb.before_commit", "duckdb.committed"]
STOPPED = {
    "clickhouse": EACH if LONG else list(LIFE[::2]),
    "duckdb": each("duckdb") if LONG else IN_DUCKDB,
}


@pytest.mark.parametrize(
    ("oracle", "some"),
    [(store, some) for store, all_of_them in STOPPED.items() for some in parts(all_of_them)],
    indirect=["oracle"],
    ids=lambda some: some if isinstance(some, str) else some[0],
)
def test_a_stop_at_each_place(oracle: AnyOracle, some: Sequence[str]) -> None:
    """It ends with 0, and leaves nothing claimed behind; what it had not taken yet is the next one's."""
    for place in some:
        follows = lead_to(oracle, place)
        run_into(oracle, place, "term")
        if not follows:
            assert oracle.claimed() == [], place
    recover(oracle)
    oracle.check()


PAIRS = {
    "clickhouse": list(pairwise(LIFE)) if LONG else [*pairwise(LIFE)][::3],
    "duckdb": list(pairwise(dict.fromkeys(IN_A_FILE.get(place, place) for place in LIFE)))[:: 1 if LONG else 6],
}


@pytest.mark.parametrize(
    ("oracle", "some"),
    [(store, some) for store, pairs in PAIRS.items() for some in parts(pairs)],
    indirect=["oracle"],
    ids=lambda some: some if isinstance(some, str) else some[0][0],
)
def test_two_stops_at_each_place(oracle: AnyOracle, some: Sequence[tuple[str, str]]) -> None:
    """The second one ends it where it is; if both came before it looked up, they were one."""
    for first, second in some:
        feed(oracle)
        env = {**QUICK, VARIABLE: f"{first}=term,{second}=term"}
        with Daemon(url_for(oracle, second), oracle.spool, env=env) as daemon:
            assert daemon.wait() in {0, -signal.SIGTERM}, f"{first}, {second}: {daemon.told()}"
    recover(oracle)
    oracle.check()


@pytest.mark.parametrize("some", parts(EACH if LONG else SOME, 6), ids=lambda some: some[0])
def test_a_stopped_process_keeps_its_lock(oracle: Oracle, tmp_path: Path, some: Sequence[str]) -> None:
    """Its neighbour looks for the dead again and again, and lets it be; continued, it goes on where it was."""
    for place in some:
        lead_to(oracle, place)
        scanned = tmp_path / "looked"
        with Daemon(url_for(oracle, place), oracle.spool, env=armed(place, "stop")) as stopped:
            stopped.wait_until_frozen()
            oracle.drop()
            watching = {**QUICK, VARIABLE: f"adopt.scanned@3=wait:{scanned}"}
            with Daemon(oracle.database.native_url, oracle.spool, env=watching) as other:
                other.wait_for("started")
                wait_until(scanned.exists)
                mine = {record["instance"] for record in stopped.events("started")}
                assert not [record for record in other.events("adopted") if record["instance"] in mine], place
                scanned.unlink()
                stopped.signal(signal.SIGCONT)
                for daemon in (stopped, other):
                    daemon.signal(signal.SIGTERM)
                    code = daemon.wait()
                    assert code == 0 or died_at_birth(daemon, code), f"{place}: {daemon.told()}"
    recover(oracle)
    oracle.check()
