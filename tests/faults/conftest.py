"""The fixture of the fault suite."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import Database, Pool, Server
from tests.faults.oracle import Oracle


@pytest.fixture(scope="session")
def prepared(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Databases with the schema, and what the oracle adds to it."""

    def prepare(database: Database) -> None:
        Oracle(spool=tmp_path_factory.getbasetemp(), database=database).prepare()

    with Pool(server, prepare) as pool:
        yield pool


@pytest.fixture
def oracle(prepared: Pool, tmp_path: Path) -> Iterator[Oracle]:
    """A spool and a database with its schema, and what knows of each line that is written into them."""
    made = Oracle(spool=tmp_path / "spool", database=prepared.take())
    made.stop_merges()
    yield made
    prepared.give_back(made.database)
