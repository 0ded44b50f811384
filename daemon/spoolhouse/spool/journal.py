"""The durable record of the shipments and their progress. SQLite, synced at every commit.

A shipment is *planned* before any of it is sent, and *acknowledged* when ClickHouse has all of it; a file is *claimed*,
then *moving* (its target is recorded before the rename), then *final*. Acknowledged shipments are forgotten once all
their files are final, files once they are no longer watched for appended bytes.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from spoolhouse.errors import JournalError
from spoolhouse.failpoints import reach
from spoolhouse.spool import journal_entries, journal_files
from spoolhouse.spool.journal_errors import FAULTS, meant
from spoolhouse.spool.journal_files import JournalledFile, SettledFile, integer
from spoolhouse.spool.journal_rollback_guard import RollbackGuard
from spoolhouse.spool.journal_schema import FORMAT, SCHEMA
from spoolhouse.spool.lineage import Entry
from spoolhouse.spool.row_ranges import RowRange, SplitRange
from spoolhouse.spool.shipment import Extent, FileStats, Limits, Segment, Shipment

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORGET_SHIPMENTS = """
DELETE FROM shipment WHERE state = 'acknowledged' AND NOT EXISTS (
    SELECT 1 FROM segment JOIN file ON file.number = segment.file
    WHERE segment.shipment = shipment.id AND file.state <> 'final')
"""
_READING = frozenset({"load", "cuts", "cut_batches", "entries", "known"})
_LEDGER = frozenset({"acknowledge", "recorded"})
"""The steps that change how far the ledger has come."""
_limits_of = msgspec.json.Decoder(Limits).decode


_LEAVES_WORK = """
SELECT EXISTS (SELECT 1 FROM shipment WHERE state = 'planned') OR EXISTS (SELECT 1 FROM entry)
    OR EXISTS (SELECT 1 FROM file WHERE state <> 'final')
"""


class Contents(Struct, frozen=True, kw_only=True):
    """All that a journal holds. `planned` is in the order of planning; `open_files` have a planned shipment."""

    files: tuple[JournalledFile, ...]
    settled: tuple[SettledFile, ...] = ()
    """Final files, where they were asked for apart from the others."""
    planned: tuple[Shipment, ...]
    extents: dict[tuple[str, int, int], Extent]
    """The early ends of segments, by shipment, file and start."""
    round_ends: tuple[tuple[str, int, int], ...]
    """The ends of each shipment's rounds, in order: a segment's number, and a byte of its content."""
    open_files: frozenset[int]


class Journal:
    """One instance's journal. Every method commits durably before it returns; safe to call from any thread.

    All methods raise `DiskError` if it cannot be written or read now (a full disk): then nothing has changed, and the
    same call may be repeated. They raise `JournalError` if the database is damaged.
    """

    def __init__(self, path: Path, instance: str, *, create: bool) -> None:
        """Open the journal at `path`; with `create` it must not exist yet, otherwise it must."""
        self._path = path
        self._instance = instance
        self._lock = threading.Lock()
        self._mark = RollbackGuard(path)
        try:
            reach("journal.open")
            if not create and not path.is_file():
                raise JournalError(f"{path}: the journal is missing")
            self.ledger = journal_entries.LedgerProgress()
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
            try:
                self._shipments = self._prepare(create=create)
            except BaseException:
                self._database.close()
                raise
        except FAULTS as error:
            raise meant(path, error) from error

    def _prepare(self, *, create: bool) -> int:
        """Set up or check the database; return the highest shipment number."""
        execute = self._database.execute
        # Exclusive: no shared memory file, and a second process that got past the folder's lock is refused here.
        execute("PRAGMA locking_mode = EXCLUSIVE")
        if not create:
            self._check()
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        execute("PRAGMA foreign_keys = ON")
        if create:
            self._database.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        self._commits = integer(execute("SELECT count FROM commits").fetchone()[0])
        if not create and (lost := self._mark.read() - self._commits) > 0:
            raise JournalError(f"{self._path}: it is of an earlier time, what was written last ({lost}) is lost")
        self.ledger = journal_entries.progress(self._database)
        self._mark.write(self._commits, self.ledger)
        (number,) = execute("SELECT coalesce(max(number), 0) FROM shipment").fetchone()
        return integer(number)

    def _check(self) -> None:
        """Raise `JournalError` for a database that is not ours to read, before anything is written to it."""
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version != FORMAT:
            raise JournalError(f"{self._path}: journal format {version}, this version of Spoolhouse reads {FORMAT}")
        (verdict,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise JournalError(f"{self._path}: {verdict}")

    @contextmanager
    def _transaction(self, step: str) -> "Iterator[sqlite3.Connection]":
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    yield self._database
                    if step not in _READING:
                        self._database.execute("UPDATE commits SET count = ?", (self._commits + 1,))
                    ledger = journal_entries.progress(self._database) if step in _LEDGER else self.ledger
                    reach(f"journal.{step}")
                    self._database.execute("COMMIT")
                except BaseException:
                    # A failed commit (a full disk) may leave the transaction open, or have ended it.
                    if self._database.in_transaction:
                        self._database.execute("ROLLBACK")
                    raise
            except FAULTS as error:
                raise meant(self._path, error) from error
            if step not in _READING:
                self._commits += 1
                self.ledger = ledger
                self._mark.write(self._commits, ledger)

    def plan(self, files: Iterable[JournalledFile], shipments: Sequence[Shipment]) -> None:
        """Record new or grown files, and the shipments that cover their bytes."""
        with self._transaction("plan") as database:
            database.executemany(
                "INSERT INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (number) DO UPDATE SET planned_to = excluded.planned_to,"
                " watch_until_ms = excluded.watch_until_ms",
                [journal_files.row(file) for file in files],
            )
            for shipment in shipments:
                self._shipments += 1
                limits = json.dumps(asdict(shipment.limits))
                database.execute(
                    "INSERT INTO shipment VALUES (?, ?, ?, ?, ?, ?, 'planned')",
                    (shipment.id, self._shipments, shipment.type, shipment.clock_ms, shipment.fingerprint, limits),
                )
                database.executemany(
                    "INSERT INTO segment (shipment, number, file, start, end) VALUES (?, ?, ?, ?, ?)",
                    [(shipment.id, n, s.file, s.start, s.end) for n, s in enumerate(shipment.segments)],
                )

    def known(self, shipments: Iterable[str]) -> set[str]:
        """Return which of these shipments it has."""
        with self._transaction("known") as database:
            ids = json.dumps(list(shipments))
            rows = database.execute("SELECT id FROM shipment WHERE id IN (SELECT value FROM json_each(?))", (ids,))
            return {name for (name,) in rows}

    def acknowledge(self, shipment: str, stats: Mapping[int, FileStats], entries: Iterable[Entry] = ()) -> None:
        """Record that `shipment` is in ClickHouse, with its counts by file and its ledger entries. Idempotent."""
        with self._transaction("acknowledge") as database:
            changed = database.execute(
                "UPDATE shipment SET state = 'acknowledged' WHERE id = ? AND state = 'planned'", (shipment,)
            ).rowcount
            if changed:
                journal_files.add_stats(database, stats)
                journal_entries.add(database, entries)

    def entries(self, most: int) -> list[tuple[int, Entry]]:
        """Return the oldest entries that the ledger may not have, with their numbers; `most` of them at the most."""
        with self._transaction("entries") as database:
            try:
                return journal_entries.first(database, most)
            except ValueError as error:
                raise JournalError(f"{self._path}: a ledger entry cannot be read: {error}") from error

    def recorded(self, last: int) -> None:
        """Drop the entries up to number `last`: the ledger has them."""
        with self._transaction("recorded") as database:
            journal_entries.drop(database, last)

    def shorten(self, shipment: str, segment: Segment, extent: Extent) -> None:
        """Record that a segment ends early, for all later readings of the shipment."""
        with self._transaction("shorten") as database:
            database.execute(
                "UPDATE segment SET readable = ?, failure = ? WHERE shipment = ? AND file = ? AND start = ?",
                (extent.end, extent.failure, shipment, segment.file, segment.start),
            )

    def end_round(self, shipment: str, number: int, end: tuple[int, int]) -> None:
        """Record the segment, and the byte of its content, at which a round ends."""
        with self._transaction("end_round") as database:
            database.execute("INSERT INTO round VALUES (?, ?, ?, ?)", (shipment, number, *end))

    def cut(self, shipment: str, batch: str, whole: RowRange, parts: Iterable[RowRange]) -> None:
        """Record that `whole` (a batch, or a part of it) will be sent as `parts`, never again as one."""
        with self._transaction("cut") as database:
            database.execute("DELETE FROM part WHERE batch = ? AND first = ?", (batch, whole.first))
            database.executemany(
                "INSERT INTO part VALUES (?, ?, ?, '', 0, ?)",
                [(batch, part.first, part.end, shipment) for part in parts],
            )

    def refuse(self, shipment: str, batch: str, part: RowRange, refusal: str) -> None:
        """Record that ClickHouse refuses the one row of `part`, and its message."""
        with self._transaction("refuse") as database:
            database.execute(
                "INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, 0, ?)",
                (batch, part.first, part.end, refusal, shipment),
            )

    def leave_out(self, shipment: str, batches: Mapping[str, Iterable[SplitRange]]) -> None:
        """Record the parts of several batches, at once: they leave out all rows of some lines."""
        with self._transaction("leave_out") as database:
            for batch, cuts in batches.items():
                database.execute("DELETE FROM part WHERE batch = ?", (batch,))
                database.executemany(
                    "INSERT INTO part VALUES (?, ?, ?, ?, ?, ?)",
                    [(batch, cut.part.first, cut.part.end, cut.refusal, int(cut.follows), shipment) for cut in cuts],
                )

    def cut_batches(self, shipment: Shipment, from_round: int) -> list[str]:
        """Return the batches of a round, and of later ones, that were cut up."""
        with self._transaction("cut_batches") as database:
            found = database.execute("SELECT DISTINCT batch FROM part WHERE shipment = ?", (shipment.id,)).fetchall()
            return [batch for (batch,) in found if shipment.round_of(batch) >= from_round]

    def drop_cuts(self, batches: Iterable[str]) -> None:
        """Record that batches are whole. Nothing of them may have landed."""
        with self._transaction("drop_cuts") as database:
            database.executemany("DELETE FROM part WHERE batch = ?", [(batch,) for batch in batches])

    def reconsider(self, batch: str) -> None:
        """Record that the refused rows of a batch are to be sent once more."""
        with self._transaction("reconsider") as database:
            database.execute("UPDATE part SET refusal = '' WHERE batch = ?", (batch,))

    def cuts(self, batch: str) -> tuple[SplitRange, ...]:
        """Return the parts of a split batch, in order; none for a whole one."""
        with self._transaction("cuts") as database:
            rows = database.execute(
                "SELECT first, end, refusal, follows FROM part WHERE batch = ? ORDER BY first", (batch,)
            )
            return tuple(
                SplitRange(part=RowRange(first=first, end=end), refusal=refusal, follows=bool(follows))
                for first, end, refusal, follows in rows
            )

    def moving(self, targets: Mapping[int, str]) -> None:
        """Record the targets of files, relative to the spool, before they are moved."""
        with self._transaction("moving") as database:
            database.executemany(
                "UPDATE file SET state = 'moving', target = ? WHERE number = ?",
                [(os.fsencode(target), number) for number, target in targets.items()],
            )

    def moved(self, watch_until_ms: Mapping[int, int]) -> None:
        """Record that files are in their final place, durably, and forget the shipments that this completes."""
        with self._transaction("moved") as database:
            database.executemany(
                "UPDATE file SET state = 'final', watch_until_ms = ? WHERE number = ?",
                [(until, number) for number, until in watch_until_ms.items()],
            )
            database.execute(_FORGET_SHIPMENTS)

    def forget(self, files: Iterable[int]) -> None:
        """Drop final files, except those that a planned shipment covers; an acknowledged one does not need them."""
        numbers = [(number,) for number in files]
        with self._transaction("forget") as database:
            database.executemany(
                "DELETE FROM segment WHERE file = (SELECT number FROM file WHERE number = ? AND state = 'final')"
                " AND shipment IN (SELECT id FROM shipment WHERE state = 'acknowledged')",
                numbers,
            )
            database.executemany(
                "DELETE FROM file WHERE number = ? AND state = 'final'"
                " AND NOT EXISTS (SELECT 1 FROM segment WHERE file = file.number)",
                numbers,
            )
            database.execute(_FORGET_SHIPMENTS)

    def load(self, numbers: Collection[int] | None = None) -> Contents:
        """Return all that is recorded.

        With `numbers`, the files that nothing is left to do for are apart from the others, except those.
        """
        with self._transaction("load") as database:
            try:
                files = tuple(journal_files.all_or_open(database, numbers))
                settled = () if numbers is None else tuple(journal_files.settled(database))
                rows = database.execute(
                    "SELECT id, type, clock_ms, fingerprint, limits FROM shipment WHERE state = 'planned'"
                    " ORDER BY number"
                ).fetchall()
                planned = tuple(self._shipment(database, *row) for row in rows)
                ends = database.execute(
                    "SELECT shipment, file, start, readable, failure FROM segment WHERE readable IS NOT NULL"
                )
                rounds = tuple(database.execute("SELECT shipment, segment, end FROM round ORDER BY shipment, number"))
                extents = {
                    (name, file, start): Extent(end=end, failure=failure) for name, file, start, end, failure in ends
                }
            except (ValueError, TypeError) as error:
                raise JournalError(f"{self._path}: what it holds cannot be read: {error}") from error
        open_files = frozenset(segment.file for shipment in planned for segment in shipment.segments)
        return Contents(
            files=files, settled=settled, planned=planned, extents=extents, round_ends=rounds, open_files=open_files
        )

    def _shipment(  # noqa: PLR0917  # one parameter a column of the row
        self, database: sqlite3.Connection, name: str, kind: str, clock_ms: int, fingerprint: str, limits: str
    ) -> Shipment:
        segments = database.execute("SELECT file, start, end FROM segment WHERE shipment = ? ORDER BY number", (name,))
        return Shipment(
            id=name,
            instance=self._instance,
            type=kind,
            segments=tuple(Segment(file=file, start=start, end=end) for file, start, end in segments),
            clock_ms=clock_ms,
            fingerprint=fingerprint,
            limits=_limits_of(limits),
            replay=True,
        )

    def close(self) -> None:
        """Close the database, after any call that still runs in another thread."""
        with self._lock:
            self._database.close()


def is_done(path: Path) -> bool:
    """Tell whether the journal of a dead instance says that it left nothing to do; false also where it cannot tell.

    Nothing is written, not even a lock: so the log of one that was killed is not read, and such a journal cannot tell.
    """
    if os.path.lexists(f"{path}-wal"):
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            if database.execute("PRAGMA user_version").fetchone() != (FORMAT,):
                return False
            (leaves_work,) = database.execute(_LEAVES_WORK).fetchone()
    except (sqlite3.Error, OSError):
        return False
    return not leaves_work
