"""Ledger entries in the journal: they come with the acknowledgement of their shipment, and go once ClickHouse has them.

Entries have numbers that only grow. They leave in their order, so that two numbers say how far the ledger has come.
"""

import sqlite3
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from spoolhouse.spool.lineage import Entry

_entry_of = msgspec.json.Decoder(Entry).decode


class LedgerProgress(Struct, frozen=True, kw_only=True):
    """How many entries were ever journalled, and how many of these ClickHouse has."""

    journalled: int = 0
    written: int = 0

    @property
    def unwritten(self) -> int:
        """Return how many entries only the journal has."""
        return self.journalled - self.written


def progress(database: sqlite3.Connection) -> LedgerProgress:
    """Return how far the ledger has come."""
    ((journalled,),) = database.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'entry'")
    ((first,),) = database.execute("SELECT min(number) FROM entry")
    return LedgerProgress(journalled=journalled, written=journalled if first is None else first - 1)


def add(database: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    """Write entries down."""
    rows = ((msgspec.json.encode(entry).decode(),) for entry in entries)
    database.executemany("INSERT INTO entry (content) VALUES (?)", rows)


def first(database: sqlite3.Connection, most: int) -> list[tuple[int, Entry]]:
    """Return the `most` oldest entries with their numbers. Raises ValueError."""
    rows = database.execute("SELECT number, content FROM entry ORDER BY number LIMIT ?", (most,))
    return [(number, _entry_of(content)) for number, content in rows]


def drop(database: sqlite3.Connection, last: int) -> None:
    """Drop the entries up to number `last`."""
    database.execute("DELETE FROM entry WHERE number <= ?", (last,))
