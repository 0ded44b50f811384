"""The fixtures that every ring may use; a ring adds its own in its folder's conftest.py."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import hypothesis
import pytest
from chdb.session import Session
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from spoolhouse import failpoints
from tests.engine import (
    Config,
    Database,
    EngineError,
    LocalServer,
    Pool,
    Server,
    StartServer,
    find_engine,
    make_tables,
)

# A busy machine is no fault: an example may take as long as its test may.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

URL = "SPOOLHOUSE_TEST_CLICKHOUSE_URL"
ENGINE_FIXTURES = {"server", "start_server", "started_replicas", "started_shards"}


WORKERS = 8
"""At most so many processes run tests: each has a ClickHouse of its own."""
TOGETHER = frozenset(
    {
        "tests/process/test_bad_input.py",
        "tests/process/test_cluster.py",
        "tests/replicas/test_failover.py",
        "tests/repo/test_house.py",
        "tests/repo/test_wheel.py",
    }
)
"""Modules whose tests share what takes long to make."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return twice as many as there are cores: a test waits about as long as it computes."""
    return min(2 * len(os.sched_getaffinity(0)), WORKERS)


class Apart(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no annotations
    """Hands out the tests one by one, but for modules that belong together: those first."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return module if module in TOGETHER else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Apart:
    """Have it so: xdist's own marks for groups do nothing under pytest 9.2."""
    return Apart(config, log)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch the engine before the first test that needs it, so that no test's timeout has to cover a download."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())} & ENGINE_FIXTURES
    if session.config.option.collectonly or not wanted or (wanted == {"server"} and os.environ.get(URL)):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    with suppress(EngineError):  # tests without a server still run; those with one fail in their fixture, and say why
        find_engine(reporter.write_line if reporter is not None else None)


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty spool by a relative path: another user may not pass through the folders above it."""
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    Path("spool").mkdir()
    return Path("spool")


@pytest.fixture
def arm() -> Iterator[Callable[[str], None]]:
    """Arm failpoints of this very process, as `SPOOLHOUSE_TEST_FAILPOINTS` would; after the test there are none."""
    yield failpoints.arm
    failpoints.arm("")


@pytest.fixture
def act_at(
    arm: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, Callable[[], object]], None]]:
    """Do something once a failpoint is reached, while what has reached it waits."""
    reached, ended = tmp_path_factory.mktemp("failpoint") / "reached", threading.Event()
    with ThreadPoolExecutor(1) as pool:
        acting = []

        def act_once(act: Callable[[], object]) -> None:
            while not reached.exists():
                assert not ended.wait(0.001), "the failpoint was not reached"
            try:
                act()
            finally:
                reached.unlink()

        def act_at(place: str, act: Callable[[], object]) -> None:
            arm(f"{place}=wait:{reached}")
            acting.append(pool.submit(act_once, act))

        yield act_at
        ended.set()
        for one in acting:
            one.result()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The one server that tests share: make a database on it, never stop it."""
    url = os.environ.get(URL)
    if url:
        yield Server.at(url)
        return
    with LocalServer(find_engine(), tmp_path_factory.mktemp("clickhouse")) as local:
        yield local


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    """A new, empty database on the shared server, dropped after the test."""
    with Database.new(server) as made:
        yield made


@pytest.fixture(scope="session")
def prepared(server: Server) -> Iterator[Pool]:
    """Databases with all tables, empty."""
    with Pool(server, make_tables) as pool:
        yield pool


@pytest.fixture
def prepared_database(prepared: Pool) -> Iterator[Database]:
    """A database with all tables, empty: what costs least, where making the tables is not what a test is about."""
    made = prepared.take()
    yield made
    prepared.give_back(made)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Session]]:
    """The one embedded engine that a process can have, its URL and a session: make a database in it."""
    folder = str(tmp_path_factory.mktemp("embedded") / "data")
    with Session(folder) as session:
        yield f"chdb://{folder}", session


@pytest.fixture
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Start servers of the test's own, to kill, freeze or configure; always local ones, whatever the environment."""
    with ExitStack() as stack:

        def start(config: Config | None = None) -> LocalServer:
            local = LocalServer(find_engine(), tmp_path_factory.mktemp("clickhouse"), config)
            stack.callback(local.stop)
            local.start()
            return local

        yield start
