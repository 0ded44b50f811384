"""The fixtures of the fault suite."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import Database, Pool, Server
from tests.faults.file_oracle import File, FileOracle
from tests.faults.life import LONG, STORES
from tests.faults.oracle import AnyOracle, Oracle


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """In the long form, run each test that takes any oracle with each store, unless it names its stores itself."""
    takes_any = inspect.signature(metafunc.function).parameters.get("oracle")
    named = any("oracle" in str(mark.args[0]) for mark in metafunc.definition.iter_markers("parametrize"))
    if LONG and takes_any is not None and takes_any.annotation is AnyOracle and not named:
        metafunc.parametrize("oracle", STORES, indirect=True)


@pytest.fixture(scope="session")
def prepared(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Databases with the schema, and what the oracle adds to it."""

    def prepare(database: Database) -> None:
        Oracle(spool=tmp_path_factory.getbasetemp(), database=database).prepare()

    with Pool(server, prepare) as pool:
        yield pool


@pytest.fixture(scope="session")
def prepared_file(tmp_path_factory: pytest.TempPathFactory) -> File:
    """A DuckDB file with the same."""
    file = File(path=tmp_path_factory.mktemp("prepared") / "events.db")
    file.prepare()
    return file


@pytest.fixture
def oracle(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyOracle]:
    """A spool and a database with its schema, and what knows of each line that is written into them.

    A test may name the stores: `@pytest.mark.parametrize("oracle", ["duckdb"], indirect=True)`.
    """
    if getattr(request, "param", "clickhouse") == "duckdb":
        file: File = request.getfixturevalue("prepared_file")
        yield FileOracle(spool=tmp_path / "spool", file=file.copy(tmp_path / "data" / "events.db"))
        return
    pool: Pool = request.getfixturevalue("prepared")
    made = Oracle(spool=tmp_path / "spool", database=pool.take())
    made.stop_merges()
    yield made
    pool.give_back(made.database)
