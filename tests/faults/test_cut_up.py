"""A batch was cut up before any of it landed; the daemon dies, and then a file of the batch ends early.

The parts are those of all its rows. The next daemon has fewer, so the parts are void, and the batch is whole again.
"""

import os
import signal

import pytest

from spoolhouse.failpoints import VARIABLE
from tests.faults.life import LONG, QUICK, STORES, wait_until
from tests.faults.oracle import PREFIX, AnyOracle, Oracle
from tests.process.daemon import Daemon, once

CHUNK = 64 << 10
"""What is read at once: `spool.max_line`, as these tests set it."""
DEEDS = ["EIO that lasts", "truncated"] if LONG else ["EIO that lasts"]


# With one inserter the first batch of a round lands before the next one is sent: at the places below nothing has.
ENV = QUICK | {"SPOOLHOUSE_SPOOL__READ_ERROR_WAIT": "0.3", "SPOOLHOUSE_WORKERS__INSERTERS": "1"}


def die_and_end_early(oracle: AnyOracle, place: str, deed: str, readable: int, **more: str) -> None:
    """Kill a daemon at `place`; let the next one read the only file up to byte `readable`; check the result."""
    env = {**ENV, **more, VARIABLE: f"{place}=kill"}
    with Daemon(oracle.store.native_url, oracle.spool, env=env) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    end_early(oracle, deed, readable, **more)


def end_early(oracle: AnyOracle, deed: str, readable: int, **more: str) -> None:
    [victim], [claimed] = oracle.files, oracle.claimed()
    content, env = victim.content, ENV | more
    if deed == "truncated":
        os.truncate(claimed, readable)
        victim.content = content[:readable]
    else:
        env[VARIABLE] = f"read.chunk@+{readable}=EIO"
    code, daemon = once(oracle.store.native_url, oracle.spool, env=env)
    assert (code, oracle.claimed()) == (1, []), daemon.told()
    oracle.lose(victim, content, content.rfind(b"\n", 0, readable) + 1)
    oracle.check()


@pytest.mark.parametrize("deed", DEEDS)
def test_lines_were_left_out_of_a_later_round(oracle: AnyOracle, deed: str) -> None:
    """The round before it has landed, and stays. It ends early itself."""
    oracle.drop_left_out(before=780, more=500)
    die_and_end_early(oracle, "lines.left_out", deed, 3 * CHUNK, SPOOLHOUSE_BATCH__MAX_ROWS="800")


@pytest.mark.parametrize("deed", DEEDS)
def test_lines_were_left_out_of_a_round_before_the_early_end(oracle: AnyOracle, deed: str) -> None:
    """Its rows are those of before: nothing behind it is read for it."""
    oracle.drop_left_out(more=900)
    die_and_end_early(oracle, "lines.left_out", deed, 2 * CHUNK, SPOOLHOUSE_BATCH__MAX_ROWS="400")


@pytest.mark.parametrize("oracle", STORES, indirect=True)
@pytest.mark.parametrize("deed", DEEDS)
def test_it_was_cut_in_halves(oracle: AnyOracle, deed: str) -> None:
    """Once: after the second cut a half lands."""
    oracle.drop_refused(kind="log", more=700)
    die_and_end_early(oracle, "journal.cut@2", deed, CHUNK)


@pytest.mark.parametrize("deed", DEEDS)
def test_lines_behind_the_early_end_were_rejected(oracle: Oracle, deed: str) -> None:
    """By decode, and by ClickHouse. They are rejected once they can be read: until then there is no record of them."""
    oracle.drop_refused(before=1500, logs=0, bad=3, more=1)
    oracle.database.query(f"RENAME TABLE {PREFIX}spans TO away")
    with Daemon(oracle.database.native_url, oracle.spool, env=ENV) as daemon:
        wait_until(lambda: len([*(oracle.spool / "rejected").rglob("*.jsonl")]) == 2)
        daemon.kill()
    oracle.database.query(f"RENAME TABLE away TO {PREFIX}spans")
    end_early(oracle, deed, CHUNK)
