"""The fixtures of the fault suite."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import Database, Pool, Server
from tests.faults.file_oracle import File, FileOracle
from tests.faults.oracle import AnyOracle, Oracle


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

    A test that takes either store names them: `@pytest.mark.parametrize("oracle", STORES, indirect=True)`.
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
