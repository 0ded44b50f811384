"""Random walks: files come, instances start, are hit, frozen and killed, the server goes and comes back.

Whatever the order, in the end each line is there once, and each file in its place.
"""

import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.engine import Database, LocalServer, find_engine
from tests.faults.life import DELETING, LONG, REFUSED, armed, recover
from tests.faults.oracle import Oracle
from tests.faults.places import places
from tests.process.daemon import Daemon

PLACES = [
    place for place in places() if place not in {*DELETING, *REFUSED} and not place.startswith(("replay.", "delete."))
]
DISK = [place for place in PLACES if place.partition(".")[0] in {"journal", "rejects", "files", "settle"}]
AT_MOST = 2
"""Instances at once."""


class Walk(RuleBasedStateMachine):
    """One spool, one server, and what happens to them."""

    @initialize()
    def begin(self) -> None:
        """Start the server, and nothing else."""
        self.folder = Path(tempfile.mkdtemp(prefix="spoolhouse-walk-"))
        self.server = LocalServer(find_engine(), self.folder)
        self.server.start()
        self.up = True
        self.daemons: list[Daemon] = []
        self.frozen: set[int] = set()
        database = Database(name="walk", server=self.server)
        database.create()
        self.oracle = Oracle(spool=self.folder / "spool", database=database)
        self.oracle.prepare()

    @rule(spans=st.integers(1, 60), logs=st.integers(0, 5), bad=st.integers(0, 3), packed=st.booleans())
    def drop(self, spans: int, logs: int, bad: int, packed: bool) -> None:
        """A producer drops a file."""
        self.oracle.drop(spans, logs=logs, bad=bad, packed=packed)

    @precondition(lambda self: self.oracle.files)
    @rule(which=st.integers(0, 5))
    def drop_the_same_name_again(self, which: int) -> None:
        """A producer reuses a name, unless the file of that name still lies there: that one would be overwritten."""
        path = self.oracle.files[which % len(self.oracle.files)].path
        if not path.exists() and path.suffix == ".jsonl":
            self.oracle.drop_as(path.name)

    @precondition(lambda self: len(self.daemons) < AT_MOST)
    @rule(
        trap=st.one_of(
            st.tuples(st.sampled_from(PLACES), st.sampled_from(["kill", "term"]), st.integers(1, 3)),
            st.tuples(st.sampled_from(DISK), st.sampled_from(["ENOSPC", "EIO"]), st.integers(1, 3)),
        ),
        over_http=st.booleans(),
    )
    def start(self, trap: tuple[str, str, int], over_http: bool) -> None:
        """An instance starts, and will be hit somewhere, if it comes by."""
        place, action, arrival = trap
        url = self.oracle.database.http_url if over_http else self.oracle.database.native_url
        self.daemons.append(Daemon(url, self.oracle.spool, env=armed(f"{place}@{arrival}", action)))

    @precondition(lambda self: self.daemons)
    @rule()
    def let_them_work(self) -> None:
        """Until a file more is settled, an instance has ended, or nothing has happened for a while."""
        before, pause, deadline = self.oracle.settled(), threading.Event(), time.monotonic() + 1.5
        while self.oracle.settled() == before and time.monotonic() < deadline:
            if any(daemon.has_ended() for daemon in self.daemons):
                break
            pause.wait(0.02)

    @precondition(lambda self: self.daemons)
    @rule(which=st.integers(0, 1), number=st.sampled_from([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP]))
    def hit(self, which: int, number: signal.Signals) -> None:
        """Somebody sends a signal."""
        daemon = self.daemons[which % len(self.daemons)]
        if not daemon.has_ended():
            daemon.signal(number)
        if number == signal.SIGSTOP:
            self.frozen.add(daemon.pid)
        elif number == signal.SIGKILL:
            self._bury(daemon)

    @precondition(lambda self: self.frozen)
    @rule()
    def thaw(self) -> None:
        """What was stopped goes on."""
        for daemon in self.daemons:
            if daemon.pid in self.frozen and not daemon.has_ended():
                daemon.signal(signal.SIGCONT)
        self.frozen.clear()

    @rule()
    def server_goes_or_comes(self) -> None:
        """The server is killed; or it starts again on its data."""
        if self.up:
            self.server.kill()
        else:
            self._server_back()
        self.up = not self.up

    def _server_back(self) -> None:
        self.server.start()
        self.oracle.stop_merges()

    def _bury(self, daemon: Daemon) -> None:
        with daemon:
            daemon.kill()
        self.daemons.remove(daemon)

    def teardown(self) -> None:
        """All heals; one more instance brings everything to its end, and the oracle looks."""
        try:
            if not self.up:
                self._server_back()
            for daemon in list(self.daemons):
                self._bury(daemon)
            recover(self.oracle)
            self.oracle.check()
        finally:
            self.server.stop()
            shutil.rmtree(self.folder, ignore_errors=True)


Walk.TestCase.settings = settings(
    max_examples=150 if LONG else 4,
    stateful_step_count=25 if LONG else 12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestWalk = pytest.mark.timeout(7200 if LONG else 300)(Walk.TestCase)
