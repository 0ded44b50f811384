"""The database of a process test."""

from collections.abc import Iterator

import pytest

from tests.engine import Database, Server

FRESH = {
    "test_check", "test_cli", "test_copy", "test_guard", "test_imports", "test_make_run", "test_migrate", "test_start",
    "test_two_versions",
}  # fmt: skip
"""Modules whose subject begins before the tables are there."""


@pytest.fixture
def database(request: pytest.FixtureRequest, server: Server) -> Iterator[Database]:
    """A database on the shared server: with its tables, unless the module is about making them."""
    if request.path.stem in FRESH:
        with Database.new(server) as made:
            yield made
    else:
        yield request.getfixturevalue("prepared_database")
