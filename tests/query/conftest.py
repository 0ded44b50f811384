"""A database with all tables for each test."""

from collections.abc import Iterator

import pytest

from tests.engine import Database, Pool, Server, make_tables


@pytest.fixture(scope="session")
def prepared(server: Server) -> Iterator[Pool]:
    """Databases with all tables, empty."""
    with Pool(server, make_tables) as pool:
        yield pool


@pytest.fixture
def database(prepared: Pool) -> Iterator[Database]:
    """One of them."""
    made = prepared.take()
    yield made
    prepared.give_back(made)
