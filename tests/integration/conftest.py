"""The database of an integration test."""

from collections.abc import Iterator

import pytest

from tests.engine import Database, Server

FRESH = {"test_doctor"}
"""Modules whose subject begins before the tables are there."""


@pytest.fixture
def database(request: pytest.FixtureRequest, server: Server) -> Iterator[Database]:
    """A database on the shared server: with its tables, unless the module is about making them."""
    if request.path.stem in FRESH:
        with Database.new(server) as made:
            yield made
    else:
        yield request.getfixturevalue("prepared_database")
