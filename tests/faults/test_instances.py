"""Several instances on one spool, while something happens to one of them; and a clock that jumps; and many files."""

import signal
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import pytest

from tests.faults.life import LIFE, LONG, QUICK, armed, at, feed, recover, wait_until
from tests.faults.oracle import AnyOracle, Oracle
from tests.process.daemon import Daemon, once

CASES = (
    list(product(LIFE, ("kill", "term", "ENOSPC")))
    if LONG
    else [
        ("instance.claimed", "kill"),
        ("insert.sending", "term"),
        ("insert.answered", "kill"),
        ("journal.moved", "ENOSPC"),
    ]
)
JUMP = """
import os, time
_time, _time_ns = time.time, time.time_ns
_back = lambda: 3600 if os.path.exists({flag!r}) else 0
time.time = lambda: _time() - _back()
time.time_ns = lambda: _time_ns() - _back() * 10**9
"""


@pytest.mark.parametrize(("place", "action"), CASES)
def test_the_neighbours_go_on(oracle: Oracle, place: str, action: str) -> None:
    """Two others share the spool with the one that is hit: they land what is left, and what it had taken."""
    for _ in range(3):
        feed(oracle)
    urls = (oracle.database.native_url, oracle.database.http_url)
    with ExitStack() as stack:
        hit = stack.enter_context(Daemon(urls[0], oracle.spool, env=armed(place, action)))
        others = [stack.enter_context(Daemon(url, oracle.spool, env=QUICK)) for url in urls]
        for other in others:
            other.wait_for("started")
        for _ in range(3):
            feed(oracle)
        wait_until(lambda: oracle.settled() == len(oracle.files))
        for daemon in (hit, *others):
            if not daemon.has_ended():
                daemon.signal(signal.SIGTERM)
        for other in others:
            assert other.wait() == 0, other.told()
    recover(oracle)
    oracle.check()


@pytest.mark.parametrize("place", ["claim.journalled", "insert.answered", "settle.renamed"])
def test_a_clock_that_jumps_back_an_hour(oracle: AnyOracle, tmp_path: Path, place: str) -> None:
    """While files are on their way, and while one is watched for appended bytes."""
    flag, here = tmp_path / "back", tmp_path / "here"
    env = armed(at(oracle, place), f"wait:{here}") | {"SPOOLHOUSE_SPOOL__APPEND_WATCH": "20"}
    feed(oracle)
    with Daemon(oracle.store.native_url, oracle.spool, env=env, prelude=JUMP.format(flag=str(flag))) as daemon:
        wait_until(here.exists)
        flag.touch()
        here.unlink()
        feed(oracle)
        wait_until(lambda: oracle.settled() == len(oracle.files))
        oracle.drop()
        oracle.append(oracle.files[-1].path)
        wait_until(lambda: oracle.settled() == len(oracle.files))
        daemon.kill()
    recover(oracle)
    oracle.check()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("files", [50_000 if LONG else 500])
def test_many_files_at_once(oracle: AnyOracle, files: int) -> None:
    """The daemon is killed in the midst of them, twice."""
    for _ in range(files):
        oracle.drop(1, logs=0, bad=0)
    for place in ("insert.answered", f"settle.renamed@{files // 2}"):
        with Daemon(oracle.store.native_url, oracle.spool, env=armed(at(oracle, place), "kill")) as daemon:
            assert daemon.wait(600 if LONG else 60) == -signal.SIGKILL, daemon.told()
    code, daemon = once(oracle.store.native_url, oracle.spool, env=QUICK)
    assert code == 0, daemon.told()
    oracle.check()
