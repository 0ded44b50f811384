"""The files of a journal: their records, and the rows of their table."""

import json
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum

import msgspec
from msgspec import Struct

from spoolhouse.spool.layout import Place
from spoolhouse.spool.shipment import FileStats

_IS_SETTLED = """
state = 'final' AND target IS NOT NULL AND number NOT IN (
    SELECT segment.file FROM segment JOIN shipment ON shipment.id = segment.shipment WHERE shipment.state = 'planned')
"""
_BITS = 64
stats_of = msgspec.json.Decoder(FileStats).decode


class FileState(StrEnum):
    """The state of a file."""

    CLAIMED = "claimed"
    MOVING = "moving"
    FINAL = "final"


class JournalledFile(Struct, kw_only=True):
    """One file in the journal."""

    number: int
    place: Place
    device: int
    inode: int
    planned_to: int
    """Bytes from the start that shipments cover."""
    claimed_ms: int
    state: FileState = FileState.CLAIMED
    target: str | None = None
    """Its present or coming place, relative to the spool."""
    watch_until_ms: int = 0
    stats: FileStats


class SettledFile(Struct, frozen=True, kw_only=True, gc=False):
    """A final file that is watched. There may be very many, so little is kept in memory of each."""

    number: int
    target: str
    """Its place, relative to the spool."""
    inode: int
    planned_to: int
    watch_until_ms: int


def all_or_open(database: sqlite3.Connection, numbers: Collection[int] | None) -> Iterator[JournalledFile]:
    """Yield all files; with `numbers` only those that something is left to do for, and these."""
    if numbers is None:
        rows = database.execute("SELECT * FROM file ORDER BY number")
    else:
        is_open = f"number IN (SELECT value FROM json_each(?)) OR NOT ({_IS_SETTLED})"  # noqa: S608  # text of our own
        rows = database.execute(f"SELECT * FROM file WHERE {is_open} ORDER BY number", (json.dumps([*numbers]),))  # noqa: S608  # text of our own
    return map(_file, rows)


def row(file: JournalledFile) -> tuple[object, ...]:
    """Return the row of a file."""
    return (
        file.number,
        file.place.type,
        os.fsencode(file.place.project),
        os.fsencode(file.place.name),
        _signed(file.device),
        _signed(file.inode),
        file.planned_to,
        file.claimed_ms,
        file.state.value,
        None if file.target is None else os.fsencode(file.target),
        file.watch_until_ms,
        text(file.stats),
    )


def _file(row: tuple[object, ...]) -> JournalledFile:
    number, kind, project, name, device, inode, planned_to, claimed_ms, state, target, watch_until_ms, stats = row
    return JournalledFile(
        number=integer(number),
        place=Place(type=str(kind), project=os.fsdecode(_bytes(project)), name=os.fsdecode(_bytes(name))),
        device=integer(device) % 2**_BITS,
        inode=integer(inode) % 2**_BITS,
        planned_to=integer(planned_to),
        claimed_ms=integer(claimed_ms),
        state=FileState(str(state)),
        target=None if target is None else os.fsdecode(_bytes(target)),
        watch_until_ms=integer(watch_until_ms),
        stats=stats_of(str(stats)),
    )


def settled(database: sqlite3.Connection) -> Iterator[SettledFile]:
    """Yield the final files that nothing is left to do for."""
    columns = "number, target, inode, planned_to, watch_until_ms"
    rows = database.execute(f"SELECT {columns} FROM file WHERE {_IS_SETTLED} ORDER BY number")  # noqa: S608  # text of our own
    for number, target, inode, planned_to, until in rows:
        yield SettledFile(
            number=number,
            target=os.fsdecode(target),
            inode=inode % 2**_BITS,
            planned_to=planned_to,
            watch_until_ms=until,
        )


def add_stats(database: sqlite3.Connection, stats: Mapping[int, FileStats]) -> None:
    """Add counts to those of files, by file number."""
    wanted = json.dumps([*stats])
    rows = database.execute(
        "SELECT number, stats FROM file WHERE number IN (SELECT value FROM json_each(?))", (wanted,)
    )
    totals = []
    for number, old in rows.fetchall():
        total = stats_of(old)
        total.add(stats[number])
        totals.append((text(total), number))
    database.executemany("UPDATE file SET stats = ? WHERE number = ?", totals)


def text(value: Struct) -> str:
    """Return a value as JSON."""
    return msgspec.json.encode(value).decode()


def _signed(value: int) -> int:
    """Return a 64-bit number as SQLite takes it: merged and network file systems use the highest bit, too."""
    return value - 2**_BITS if value >= 2 ** (_BITS - 1) else value


def integer(value: object) -> int:
    """Return the value of an integer column."""
    assert isinstance(value, int)  # noqa: S101  # the table is STRICT
    return value


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)  # noqa: S101  # the table is STRICT
    return value
