"""A test's own database on a server that tests share."""

import uuid
from dataclasses import dataclass
from typing import Any, Self

from tests.engine.client import Scalar, query
from tests.engine.server import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A database that exists for one test; both URLs name it, and a query runs in it."""

    name: str
    server: Server

    @classmethod
    def new(cls, server: Server) -> Self:
        """Return one with a name of its own; it is made on entry, and dropped on exit."""
        return cls(name=f"test_{uuid.uuid4().hex}", server=server)

    def __enter__(self) -> Self:
        """Make the database."""
        self.create()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        self.drop()

    @property
    def native_url(self) -> str:
        """`clickhouse://host:port/database`."""
        return self.server.endpoint.url("clickhouse", self.name)

    @property
    def http_url(self) -> str:
        """`http://host:port/database`."""
        return self.server.endpoint.url("http", self.name)

    def query(
        self, sql: str, *, user: str | None = None, password: str = "", **settings: Scalar
    ) -> list[tuple[Any, ...]]:
        """Run one statement with this database as the current one and return its rows."""
        endpoint = self.server.endpoint
        return query(endpoint, sql, database=self.name, user=user, password=password, settings=settings)

    def create(self) -> None:
        """Make the database."""
        self.server.query(f"CREATE DATABASE {self.name}")

    def drop(self) -> None:
        """Remove the database and its data at once; harmless when a test has done it."""
        self.server.query(f"DROP DATABASE IF EXISTS {self.name} SYNC")
