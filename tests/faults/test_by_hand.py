"""Somebody works in the spool by hand, inside `claimed/` as well, while a shipment is on its way."""

import os
import signal
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from tests.faults.life import LONG, STORES, armed, at, recover, wait_until
from tests.faults.oracle import PREFIX, AnyOracle
from tests.process.daemon import Daemon, command

PLACES = ("claim.journalled", "insert.before_send", "insert.answered", "settle.acknowledged", "settle.before_move")
CASES = (
    list(product(PLACES, ("goes on", "is killed")))
    if LONG
    else [("claim.journalled", "goes on"), ("insert.answered", "is killed"), ("settle.before_move", "goes on")]
)


def hold_at(oracle: AnyOracle, place: str, act: Callable[[Path], object], *, then: str) -> None:
    """Bring a file to `place`, let somebody act on it there, and go on with the same daemon or with the next one."""
    path = oracle.drop(20, logs=4, bad=1)
    here = oracle.spool.parent / "here"
    with Daemon(oracle.store.native_url, oracle.spool, env=armed(at(oracle, place), f"wait:{here}")) as daemon:
        wait_until(here.exists)
        [claimed] = oracle.claimed()
        assert claimed.name == path.name
        act(claimed)
        if then == "is killed":
            daemon.kill()
            here.unlink()
        else:
            here.unlink()
            wait_until(lambda: daemon.events("file_settled"))
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0, daemon.told()
    # Twice: what is put back by the one is taken by the next.
    recover(oracle)
    recover(oracle)


@pytest.mark.parametrize(("place", "then"), CASES)
def test_renamed_in_claimed(oracle: AnyOracle, place: str, then: str) -> None:
    """It is known by its inode, and gets its name back: under another one it would land a second time."""
    hold_at(oracle, place, lambda path: path.rename(path.with_name("renamed.jsonl")), then=then)
    oracle.check()


@pytest.mark.parametrize(("place", "then"), CASES)
def test_renamed_in_claimed_and_another_in_its_place(oracle: AnyOracle, place: str, then: str) -> None:
    """Both are files with lines of their own, and both land."""

    def act(path: Path) -> None:
        path.rename(path.with_name("renamed.jsonl"))
        oracle.put(path, "intruder.jsonl")

    hold_at(oracle, place, act, then=then)
    oracle.check()


@pytest.mark.parametrize(("place", "then"), CASES)
def test_grown_in_claimed(oracle: AnyOracle, place: str, then: str) -> None:
    """What its writer appends lands, too."""
    hold_at(oracle, place, oracle.append, then=then)
    oracle.check()


@pytest.mark.parametrize(
    ("oracle", "place", "then"),
    [(store, *case) for store in STORES for case in CASES if LONG or store == "clickhouse" or case[1] == "is killed"],
    indirect=["oracle"],
)
@pytest.mark.parametrize("deed", ["deleted", "truncated"])
def test_taken_away_in_claimed(oracle: AnyOracle, place: str, then: str, deed: str) -> None:
    """Rows that were sent are there once, and nothing is there twice; the loss of others is reported.

    A shipment of which rows have landed before a crash is held: it waits for its file, until a person gives it up.
    """

    def act(path: Path) -> None:
        oracle.files.clear()
        if deed == "deleted":
            path.unlink()
        else:
            os.truncate(path, 0)

    hold_at(oracle, place, act, then=then)
    sent = place not in {"claim.journalled", "insert.before_send"}
    is_held = place == "insert.answered" and then == "is killed"
    oracle.check_rows_at_most_once(all_of_them=sent and not is_held)
    if is_held:
        give_up(oracle, left=[] if deed == "deleted" else [b""])
    assert oracle.claimed() == []


def give_up(oracle: AnyOracle, *, left: list[bytes]) -> None:
    """Give up the shipment that is held; `left` is what is left of its file, and then in failed/."""
    spool = ("--file-storage-path", str(oracle.spool), "--base-path", "")
    flags = (*spool, "--clickhouse-url", oracle.store.native_url)
    planned = oracle.planned()
    [(rows,)] = oracle.store.query(f"SELECT (SELECT count() FROM {PREFIX}spans) + (SELECT count() FROM {PREFIX}logs)")
    assert len(planned) == 1
    done = command("release", "--give-up", "--dry-run", *flags)
    assert (done.returncode, oracle.planned()) == (1, planned), done.stderr
    done = command("release", "--give-up", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"at least {rows} rows" in done.stdout
    assert oracle.planned() == []
    recover(oracle)
    oracle.check_rows_at_most_once(all_of_them=False)
    kept = sorted(oracle.spool.glob("span/p/failed/*"))
    assert [path.read_bytes() for path in kept if path.suffix == ".jsonl"] == left
    reasons = [path.read_text() for path in kept if path.name.endswith(".reason.txt")]
    assert ["given up" in reason for reason in reasons] == [True] * len(left)
    entries = f"SELECT DISTINCT batch, range_start, row_count FROM {PREFIX}ledger"
    assert oracle.store.query(f"SELECT sum(row_count) FROM ({entries}) AS entries") == [(rows,)]


@pytest.mark.parametrize(("place", "then"), CASES)
def test_the_same_name_again(oracle: AnyOracle, place: str, then: str) -> None:
    """The second file waits until the first one has moved, and gets a number in the archive."""
    hold_at(oracle, place, lambda path: oracle.drop_as(path.name), then=then)
    oracle.check()
