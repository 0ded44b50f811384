"""A place for each driver to work in: the shared server over both protocols, and the embedded engine."""

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from chdb.session import Session

from spoolhouse.store.clickhouse.driver import Driver
from tests.contract.place import SCHEMES, Place, connected
from tests.engine import Config, Database, LocalServer, User, find_engine

HOSTILE: dict[str, str | int] = {
    # Blocks are cut small, by anyone and anywhere.
    "max_block_size": 1000,
    "max_insert_block_size": 1000,
    "max_insert_block_size_bytes": 100_000,
    "min_insert_block_size_rows": 1000,
    "min_insert_block_size_bytes": 1000,
    "min_insert_block_size_rows_for_materialized_views": 100,
    "input_format_max_block_size_bytes": 10_000,
    "use_strict_insert_block_limits": 1,
    "max_insert_threads": 8,
    "max_threads": 8,
    "parallel_view_processing": 1,
    # Doubles are let through, errors are swallowed.
    "async_insert": 1,
    "insert_deduplicate": 0,
    "deduplicate_insert": "disable",
    "deduplicate_insert_select": "disable",
    "deduplicate_blocks_in_dependent_materialized_views": 0,
    "materialized_views_ignore_errors": 1,
    "input_format_allow_errors_num": 1000,
    "group_by_overflow_mode": "any",
    # Answers are cut, or written otherwise.
    "limit": 10,
    "offset": 3,
    "output_format_json_quote_64bit_integers": 1,
    "output_format_json_quote_64bit_floats": 1,
    "output_format_json_quote_denormals": 1,
    "date_time_output_format": "iso",
    "date_time_input_format": "basic",
    "session_timezone": "Asia/Tokyo",
    "send_progress_in_http_headers": 1,
}
"""A user's profile under which nothing goes well for a client that relies on defaults."""

GUARDED = Config(
    users=(
        User(name="hostile", password="hostile's \\ password", profile="hostile"),
        User(name="reader", password="r", profile="reader"),
        User(name="stranger", password="s", grants=("GRANT SELECT ON system.one",)),
        User(name="writer", password="w", grants=("GRANT INSERT ON *.*",)),
    ),
    profiles={"hostile": HOSTILE, "reader": {"readonly": 1}},
)


@pytest.fixture(params=["native", "aioch", "http", "embedded"])
def kind(request: pytest.FixtureRequest) -> str:
    """Name the driver under test."""
    name: str = request.param
    return name


@pytest.fixture(params=["native", "aioch", "http"])
def remote_kind(request: pytest.FixtureRequest) -> str:
    """Name the driver under test, where there has to be a network."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """Run a server with users of all kinds."""
    with LocalServer(find_engine(), tmp_path_factory.mktemp("guarded"), GUARDED) as local:
        yield local


@pytest.fixture
def guarded_database(guarded_server: LocalServer) -> Iterator[Database]:
    """Make an empty database on the server with users of all kinds."""
    with Database.new(guarded_server) as made:
        yield made


@pytest.fixture
def place(kind: str, request: pytest.FixtureRequest) -> Iterator[Place]:
    """Make an empty database for the driver under test."""
    if kind == "embedded":
        yield from embedded_place(*request.getfixturevalue("engine"))
    else:
        database: Database = request.getfixturevalue("database")
        yield server_place(kind, database)


@pytest.fixture
def remote_place(remote_kind: str, database: Database) -> Place:
    """Make an empty database for a driver that needs a network."""
    return server_place(remote_kind, database)


@pytest_asyncio.fixture
async def driver(place: Place) -> AsyncIterator[Driver]:
    """Connect the driver under test to its own database."""
    async with connected(place.url, database=place.database) as made:
        yield made


@pytest_asyncio.fixture
async def remote_driver(remote_place: Place) -> AsyncIterator[Driver]:
    """Connect a driver that needs a network to its own database."""
    async with connected(remote_place.url) as made:
        yield made


@pytest.fixture
def hostile_place(kind: str, request: pytest.FixtureRequest) -> Iterator[Place]:
    """Make an empty database, to be used by a user whose profile is hostile."""
    if kind == "embedded":
        yield from embedded_place(*request.getfixturevalue("engine"))
    else:
        database: Database = request.getfixturevalue("guarded_database")
        user = GUARDED.users[0]
        yield server_place(kind, database, user=user.name, password=user.password)


@pytest_asyncio.fixture
async def hostile_driver(hostile_place: Place) -> AsyncIterator[Driver]:
    """Connect the driver under test as a user whose profile is hostile."""
    async with connected(hostile_place.url, database=hostile_place.database) as made:
        if hostile_place.kind == "embedded":  # it has no users; a session's settings are as near as one gets
            for name, value in HOSTILE.items():
                await made.execute(f"SET {name} = {value!r}")
        yield made


def server_place(kind: str, database: Database, user: str | None = None, password: str = "") -> Place:
    """Return the place of a driver that speaks to a server."""
    url = database.server.endpoint.url(SCHEMES[kind], database.name, user=user, password=password)
    return Place(kind=kind, url=url, database=database.name, query=database.query)


def embedded_place(url: str, session: Session) -> Iterator[Place]:
    """Yield the place of a driver that embeds the engine."""
    name = f"test_{uuid.uuid4().hex}"

    def query(sql: str) -> list[tuple[Any, ...]]:
        answer = session.query(sql, "JSONCompact").bytes()
        return [tuple(row) for row in json.loads(answer)["data"]] if answer else []

    query(f"CREATE DATABASE {name}")
    query(f"USE {name}")
    yield Place(kind="embedded", url=url, database=name, query=query)
    query("USE default")
    query(f"DROP DATABASE {name} SYNC")
