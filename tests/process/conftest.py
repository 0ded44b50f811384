"""The database of a process test."""

from collections.abc import Iterator

import pytest

from tests.engine import Database, Pool, Server, make_tables

WITH_TABLES = {
    "test_clock", "test_crash", "test_crash_tables", "test_descriptors", "test_disk", "test_gate", "test_held",
    "test_hostile_names", "test_http", "test_not_taken", "test_notify", "test_outage", "test_read_errors",
    "test_rejected", "test_release", "test_replay", "test_retention", "test_retry", "test_status", "test_stop",
    "test_terminal", "test_watch", "test_whole_lines",
}  # fmt: skip
"""Modules whose subject begins when the tables are there."""


@pytest.fixture(scope="session")
def prepared(server: Server) -> Iterator[Pool]:
    """Databases with all tables, empty."""
    with Pool(server, make_tables) as pool:
        yield pool


@pytest.fixture
def database(request: pytest.FixtureRequest, server: Server) -> Iterator[Database]:
    """A database on the shared server: with its tables, where making them is not what the module is about, else new."""
    if request.path.stem not in WITH_TABLES:
        with Database.new(server) as made:
            yield made
        return
    pool: Pool = request.getfixturevalue("prepared")
    made = pool.take()
    yield made
    pool.give_back(made)
