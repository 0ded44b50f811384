"""Our own disk fails at each place that writes to it: full, broken, read-only."""

import signal
from collections.abc import Sequence

import pytest

from tests.faults.life import DELETING, LONG, REFUSED, armed, before, die_at, feed, parts, recover, url_for, wait_until
from tests.faults.oracle import Oracle
from tests.faults.places import places
from tests.process.daemon import Daemon

DISK = [
    place
    for place in places()
    if place.partition(".")[0] in {"journal", "rejects", "files", "home", "settle"}
    and place not in {"journal.load", *DELETING, *REFUSED}
]
SOME = [
    "home.before_claim", "journal.plan", "rejects.write", "rejects.rename", "journal.acknowledge", "journal.moving",
    "files.move", "settle.moved", "journal.moved",
]  # fmt: skip


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS"] if LONG else ["ENOSPC"])
@pytest.mark.parametrize("some", parts(DISK if LONG else SOME), ids=lambda some: some[0])
def test_the_disk_fails_once(oracle: Oracle, some: Sequence[str], error: str) -> None:
    """The daemon tries again by itself."""
    for place in some:
        if first := before(place):
            die_at(oracle, first)
        feed(oracle)
        with Daemon(url_for(oracle, place), oracle.spool, env=armed(place, error)) as daemon:
            wait_until(lambda: oracle.settled() == len(oracle.files) or daemon.has_ended())
            assert not daemon.has_ended(), f"{place}: {daemon.told()}"
            daemon.signal(signal.SIGTERM)
            assert daemon.wait(30) == 0, f"{place}: {daemon.told()}"
    recover(oracle)
    oracle.check()
