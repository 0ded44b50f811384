"""The fixtures that every ring may use; a ring adds its own in its folder's conftest.py."""

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from chdb.session import Session

from tests.engine import Config, Database, EngineError, LocalServer, Server, StartServer, find_engine

URL = "SPOOLHOUSE_TEST_CLICKHOUSE_URL"
ENGINE_FIXTURES = {"server", "start_server"}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch the engine before the first test that needs it, so that no test's timeout has to cover a download."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())} & ENGINE_FIXTURES
    if session.config.option.collectonly or not wanted or (wanted == {"server"} and os.environ.get(URL)):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    with suppress(EngineError):  # tests without a server still run; those with one fail in their fixture, and say why
        find_engine(reporter.write_line if reporter is not None else None)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The one server that tests share: make a database on it, never stop it."""
    url = os.environ.get(URL)
    if url:
        yield Server.at(url)
        return
    local = LocalServer(find_engine(), tmp_path_factory.mktemp("clickhouse"))
    local.start()
    try:
        yield local
    finally:
        local.stop()


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    """A new, empty database on the shared server, dropped after the test."""
    made = Database(name=f"test_{uuid.uuid4().hex}", server=server)
    made.create()
    try:
        yield made
    finally:
        made.drop()


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
