"""Databases with the same tables, for test after test: making tables costs ten times what emptying them does."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.engine.client import QueryError
from tests.engine.database import Database
from tests.engine.server import Server

SCHEMA = Path(__file__).parents[2] / "config" / "schema.sql"

_NOT_EMPTY = "SELECT DISTINCT table FROM system.parts WHERE active AND database = currentDatabase()"

RESTING = 4
"""So many databases wait to be used again: what a killed daemon has begun to send has landed by then, or has failed."""


@dataclass(slots=True)
class _State:
    """What is in a database, as its server says."""

    tables: list[Any]
    """Their names and identities."""
    changed: int
    """The second of the last change of a statement."""
    seen: int
    """The second before this was asked."""


class Pool:
    """Hands out databases with the tables that `prepare` makes, empty; one whose tables were changed is dropped."""

    def __init__(self, server: Server, prepare: Callable[[Database], None]) -> None:
        self._server = server
        self._prepare = prepare
        self._resting: deque[Database] = deque()
        self._made: dict[str, list[tuple[Any, ...]]] = {}
        self._states: dict[str, _State] = {}

    def __enter__(self) -> Self:
        """Make them when they are wanted."""
        return self

    def __exit__(self, *_: object) -> None:
        """Drop all that were given back."""
        for database in self._resting:
            database.drop()

    def take(self) -> Database:
        """Return one that nobody uses."""
        while len(self._resting) > RESTING:
            database = self._resting.popleft()
            if self._empty(database):
                return database
            database.drop()
        database = Database.new(self._server)
        database.create()
        self._prepare(database)
        self._states[database.name], self._made[database.name] = _state(database), _statements(database)
        return database

    def give_back(self, database: Database) -> None:
        """Keep it for a later test."""
        self._resting.append(database)

    def _empty(self, database: Database) -> bool:
        """Tell whether it is as it was made."""
        try:
            self._server.query(f"KILL QUERY WHERE current_database = '{database.name}' SYNC")
            if not self._is_as_made(database):
                return False
            database.query("SYSTEM START MERGES")  # a test may have stopped them
            # Not TRUNCATE ALL TABLES: after that, a table of 26.7 never merges again, and mutations wait without end.
            for (name,) in database.query(_NOT_EMPTY):
                database.query(f"TRUNCATE TABLE {name}")
        except QueryError:  # an older server, or a test that has dropped the database
            return False
        return True

    def _is_as_made(self, database: Database) -> bool:
        """Compare statements only where one may have changed: for the server to write them out takes ten times more."""
        before, now = self._states[database.name], _state(database)
        self._states[database.name] = now
        if now.tables == before.tables and now.changed < before.seen:
            return True
        return _statements(database) == self._made[database.name]


def make_tables(database: Database) -> None:
    """Make all tables and views, as `spoolhouse migrate` does."""
    for statement in SCHEMA.read_text().split(";\n"):
        if "CREATE" in statement:
            database.query(statement)


def _state(database: Database) -> _State:
    [(tables, changed, now)] = database.server.query(
        "SELECT groupArray((name, uuid)), toUnixTimestamp(max(metadata_modification_time)), toUnixTimestamp(now()) FROM"
        " (SELECT name, toString(uuid) AS uuid, metadata_modification_time FROM system.tables"
        f" WHERE database = '{database.name}' ORDER BY name)"
    )
    return _State(tables, changed, now - 1)


def _statements(database: Database) -> list[tuple[Any, ...]]:
    return database.server.query(
        f"SELECT name, create_table_query FROM system.tables WHERE database = '{database.name}' ORDER BY name"
    )
