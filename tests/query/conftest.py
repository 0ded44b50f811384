"""A database with all tables for each test."""

import pytest

from tests.engine import Database


@pytest.fixture
def database(prepared_database: Database) -> Database:
    """A database with all tables, empty."""
    return prepared_database
