"""What a shipment meets on its way, and how a test makes a daemon come by each place."""

import gzip
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

from spoolhouse.clock import now_ms
from spoolhouse.failpoints import VARIABLE
from spoolhouse.file_names import Spilled
from tests.faults.file_oracle import FileOracle
from tests.faults.oracle import TOO_LONG, AnyOracle, Oracle
from tests.process.daemon import Daemon, once

T = TypeVar("T")

STORES = ("clickhouse", "duckdb")
"""What the fixture `oracle` takes."""
LONG = os.environ.get("SPOOLHOUSE_TEST_FAULTS") == "long"
"""`make faults`: each fault at each place. Else each place once, and each fault at those that differ most."""

QUICK = {
    "SPOOLHOUSE_HTTP__LISTEN": "off",
    "SPOOLHOUSE_CLICKHOUSE__MIGRATE": "false",
    "SPOOLHOUSE_ADOPT__INTERVAL": "0.2",
    "SPOOLHOUSE_BATCH__LINGER": "0.05",
    "SPOOLHOUSE_SPOOL__APPEND_WATCH": "0.2",
    "SPOOLHOUSE_SPOOL__MAX_LINE": "64KiB",
    "SPOOLHOUSE_RETRY__FIRST": "0.05",
    "SPOOLHOUSE_RETRY__CAP": "0.5",
    "SPOOLHOUSE_REJECT__MAX_RATIO": "1",
}
"""A quick start and small waits: what a fault hits is a place, not a moment."""

AFTER: Mapping[str, str] = {
    "instance.before_release": "instance.claimed",
    "instance.released": "instance.claimed",
    "instance.before_removal": "instance.claimed",
    "instance.removing": "instance.claimed",
    "instance.emptied": "instance.claimed",
    "instance.exists": "instance.locked",
    "journal.load": "instance.claimed",
    "journal.cut_batches": "claim.journalled",
    "journal.drop_cuts": "claim.journalled",
    "adopt.": "insert.answered",
    "insert.checked": "insert.answered",
    "journal.cuts": "insert.answered",
    "adopt.moved": "settle.synced",
    "instance.before_renaming_back": "insert.answered",
    "repair.": "settle.complete",
}
"""Where an instance must have died before, for the next one to come by a place."""

IN_A_FILE: Mapping[str, str] = {
    "insert.before_send": "duckdb.rows",
    "insert.sending": "duckdb.rows",
    "native.block_sent": "duckdb.rows",
    "native.all_sent": "duckdb.before_commit",
    "insert.answered": "duckdb.committed",
}
"""Places of ClickHouse, and those of DuckDB at the same step."""

REFUSED: Mapping[str, Mapping[str, str]] = {
    "journal.cut": {},
    "journal.refuse": {},
    "journal.reconsider": {"SPOOLHOUSE_REJECT__MAX_RATIO": "0", "SPOOLHOUSE_REJECT__MIN_ROWS": "1"},
    "bisect.rejected": {},
}
"""Where only rows that ClickHouse refuses come by, and with which settings."""
LEFT_OUT = ("journal.leave_out", "lines.")
"""Where only refused lines of several rows come by."""
SEVERAL_ROUNDS: Mapping[str, str] = {"SPOOLHOUSE_BATCH__MAX_ROWS": "10"}
NEEDS: Mapping[str, Mapping[str, str]] = {
    "journal.end_round": SEVERAL_ROUNDS,
    "decode.round_ended": SEVERAL_ROUNDS,
    "claim.find_lines": {"SPOOLHOUSE_BATCH__MAX_BYTES": "1KiB"},
}
"""Which other settings lead by a place."""
DELETING = ("settle.before_deletion", "settle.deleted")
"""Reached only where files are deleted in the end."""

LIFE = (
    "instance.claimed", "instance.claims_synced", "claim.packed", "claim.journalled", "read.small", "decode.step",
    "insert.before_send", "insert.sending", "native.all_sent", "insert.answered", "insert.acknowledged",
    "settle.complete", "settle.acknowledged", "settle.targets", "settle.before_move", "settle.renamed", "settle.moved",
    "settle.synced", "settle.recorded",
)  # fmt: skip
"""What every shipment comes by, in its order."""


def at(oracle: AnyOracle, place: str) -> str:
    """Return the place at the same step of a daemon with the oracle's store; `place` may say which arrival is meant."""
    name, *arrival = place.partition("@")
    return "".join([IN_A_FILE.get(name, name), *arrival]) if isinstance(oracle, FileOracle) else place


def armed(place: str, action: str) -> dict[str, str]:
    """Return the environment of a daemon that meets `action` at `place`."""
    return {**QUICK, **REFUSED.get(place, {}), **NEEDS.get(place, {}), VARIABLE: f"{place}={action}"}


def url_for(oracle: AnyOracle, place: str) -> str:
    """Return the URL that leads a daemon by `place`."""
    return oracle.store.http_url if place.startswith("http.") else oracle.store.native_url


def lead_to(oracle: AnyOracle, place: str) -> bool:
    """Do what makes the next instance come by `place`; tell whether another one had to die for that."""
    first = AFTER.get(place) or AFTER.get(place.partition(".")[0] + ".")
    if place.startswith("repair."):
        # A file is a shipment: once this one is acknowledged there is something of it to lose.
        assert isinstance(oracle, Oracle), "a transaction needs no repair"
        oracle.drop(12)
        run_into(oracle, "settle.complete", "kill")
        oracle.lose_parts()
    elif first:
        die_at(oracle, first)
    if place == "instance.before_renaming_back":
        oracle.rename_claimed()
    if place == "files.opened_made":
        # The folder of a day's rejected lines: no other one that is made so is missing where nobody interferes.
        recover(oracle)
        oracle.begin_another_day()
    if place == "journal.known":
        # Asked of a batch alone that an exporter has spilled.
        oracle.drop_as(Spilled(str(uuid.uuid4()), now_ms()).file_name)
    if place in REFUSED:
        oracle.drop_refused()
    if place.startswith(LEFT_OUT):
        oracle.drop_left_out()
    if place.startswith("files."):
        # It has no folder for settled files yet.
        oracle.drop(2, project=f"p{len(oracle.files)}")
    feed(oracle)
    return bool(first)


def feed(oracle: AnyOracle) -> None:
    """Drop one file of each kind: lines for two tables, a line that is too long, nothing, archives whole and not."""
    oracle.drop(12, logs=3, bad=2)
    oracle.drop(5, logs=0, bad=0)
    oracle.drop(9, packed=True, bad=1)
    oracle.drop_raw(f"{len(oracle.files)}-empty.jsonl", b"")
    oracle.drop_too_long()
    oracle.drop_raw(f"{len(oracle.files)}-cut.jsonl.gz", gzip.compress(TOO_LONG * 3)[:-20], unreadable=True)


def run_into(oracle: AnyOracle, place: str, action: Literal["kill", "term"]) -> None:
    """Run a daemon until it meets its end at `place`."""
    place = at(oracle, place)
    with Daemon(url_for(oracle, place), oracle.spool, env=armed(place, action)) as daemon:
        code = daemon.wait()
        if action == "kill":
            assert code == -signal.SIGKILL, f"{place}: {daemon.told()}"
        else:
            assert code == 0 or died_at_birth(daemon, code), f"{place}: {daemon.told()}"


def died_at_birth(daemon: Daemon, code: int) -> bool:
    """Tell whether the signal came before anything was set up to heed it, hence before anything was claimed."""
    return code == -signal.SIGTERM and not daemon.events("started")


def die_at(oracle: AnyOracle, place: str) -> None:
    """Run a daemon until it is killed at `place`."""
    lead_to(oracle, place)
    run_into(oracle, place, "kill")


def recover(oracle: AnyOracle, **env: str) -> None:
    """Let one more instance bring everything to its end."""
    _, daemon = once(oracle.store.native_url, oracle.spool, env=QUICK | env)
    assert not daemon.events("stage_failed"), daemon.told()
    assert daemon.events("stopped"), daemon.told()


def parts(items: Sequence[T], size: int = 8) -> list[Sequence[T]]:
    """Cut a list so that a test takes less than a minute."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def wait_until(true: Callable[[], object], timeout: float = 90) -> None:
    """Return once `true` is: what is waited for tells nobody, so it is asked."""
    deadline, pause = time.monotonic() + timeout, threading.Event()
    while not true():
        assert time.monotonic() < deadline, f"not within {timeout} s"
        pause.wait(0.02)


def strike_at(  # a fault, its end, and where it hits
    oracle: AnyOracle,
    place: str,
    strike: Callable[[], object],
    heal: Callable[[], object],
    *,
    url: str,
    says: str = "clickhouse_unavailable",
    **env: str,
) -> None:
    """Let a fault begin while a daemon is exactly at `place`, and end once the daemon says so, or came by unhurt.

    The daemon lives on, and brings all that was dropped to its end by itself.
    """
    lead_to(oracle, place)
    here = oracle.spool.parent / "here"
    settled = len(oracle.files)
    with Daemon(url, oracle.spool, env=armed(place, f"wait:{here}") | env) as daemon:
        wait_until(here.exists)
        strike()
        here.unlink()
        wait_until(lambda: daemon.events(says) or oracle.settled() == settled)
        heal()
        wait_until(lambda: oracle.settled() == settled)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, f"{place}: {daemon.told()}"
        assert not daemon.events("stage_failed"), f"{place}: {daemon.told()}"
