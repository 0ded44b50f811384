"""Where a driver works during one test."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Query = Callable[[str], list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A database that exists for one test, the way to it, and an oracle that shares no code with the driver."""

    kind: str
    url: str
    database: str
    query: Query

    def count(self, table: str) -> int:
        """Return the number of rows that `table` holds, one for each line."""
        number: int = self.query(f"SELECT count() FROM {table}")[0][0]
        return number
