"""A batch was cut up before any of it landed; the daemon dies, and then a file of the batch ends early.

The parts are those of all its rows. The next daemon has fewer, so the parts are void, and the batch is whole again.
"""

import os
import signal

import pytest

from spoolhouse.failpoints import VARIABLE
from tests.faults.life import LONG, QUICK
from tests.faults.oracle import Oracle
from tests.process.daemon import Daemon, once

CHUNK = 64 << 10
"""What is read at once: `spool.max_line`, as these tests set it."""
DEEDS = ["EIO that lasts", "truncated"] if LONG else ["EIO that lasts"]


def die_and_end_early(oracle: Oracle, place: str, deed: str, readable: int, **more: str) -> None:
    """Kill a daemon at `place`; let the next one read the only file up to byte `readable`; check the result."""
    # With one inserter the first batch of a round lands before the next one is sent: nothing has landed at the place.
    env = QUICK | {"SPOOLHOUSE_SPOOL__READ_ERROR_WAIT": "0.3", "SPOOLHOUSE_WORKERS__INSERTERS": "1"} | more
    with Daemon(oracle.database.native_url, oracle.spool, env={**env, VARIABLE: f"{place}=kill"}) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    [victim], [claimed] = oracle.files, oracle.claimed()
    content = victim.content
    if deed == "truncated":
        os.truncate(claimed, readable)
        victim.content = content[:readable]
    else:
        env[VARIABLE] = f"read.chunk@+{readable}=EIO"
    code, daemon = once(oracle.database.native_url, oracle.spool, env=env)
    assert (code, oracle.claimed()) == (1, []), daemon.told()
    oracle.lose(victim, content, content.rfind(b"\n", 0, readable) + 1)
    oracle.check()


@pytest.mark.parametrize("deed", DEEDS)
def test_lines_were_left_out_of_a_later_round(oracle: Oracle, deed: str) -> None:
    """The round before it has landed, and stays. It ends early itself."""
    oracle.drop_left_out(before=780, more=500)
    die_and_end_early(oracle, "lines.left_out", deed, 3 * CHUNK, SPOOLHOUSE_BATCH__MAX_ROWS="800")


@pytest.mark.parametrize("deed", DEEDS)
def test_lines_were_left_out_of_a_round_before_the_early_end(oracle: Oracle, deed: str) -> None:
    """Its rows are those of before: nothing behind it is read for it."""
    oracle.drop_left_out(more=900)
    die_and_end_early(oracle, "lines.left_out", deed, 2 * CHUNK, SPOOLHOUSE_BATCH__MAX_ROWS="400")


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("place", ["journal.cut@2", "journal.cut@4", "journal.refuse"] if LONG else ["journal.cut@2"])
def test_it_was_cut_in_halves(oracle: Oracle, place: str, deed: str) -> None:
    oracle.drop_refused(kind="log", more=700)
    die_and_end_early(oracle, place, deed, CHUNK)
