"""The port of recovery: the store that it needs, and its records: ledger rows, rows to restore, comparisons.

A store implements `RecoveryStore`; nothing else of a store is known to recovery.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import SpoolError
from spoolhouse.events.declaration import Table
from spoolhouse.spool.row_ranges import RowRange

THERE = "there"
SUPERSEDED = "superseded"
EXPIRED = "expired"
DELETED = "deleted"
DIFFERENT = "different"
MISSING = "missing"


class LedgerRow(Struct, frozen=True, kw_only=True):
    """A row of the ledger: some rows of a batch, and the bytes of a file that they came from."""

    file: str
    """Where it was dropped, relative to the spool."""
    inode: int
    claimed_ms: int
    batch: str
    table: str
    """Without the prefix; empty for how far a file without a row, or a damaged one, was read."""
    start: int
    end: int
    """A byte range of the file; of a compressed file, of its content."""
    first: int
    rows: int
    parts: tuple[RowRange, ...]
    shipped_ms: int

    @property
    def claim(self) -> tuple[str, int, int]:
        """It tells this file from others that were dropped under its name before or after it."""
        return self.file, self.claimed_ms, self.inode


class ClaimedFile(Struct, frozen=True, kw_only=True):
    """A file that the ledger knows, by the place where it was dropped and its inode."""

    place: str
    inode: int


class BatchRows(Struct, frozen=True, kw_only=True):
    """Rows of one batch that should be in the store."""

    table: Table
    landed_as: str
    """The batch id that they carry if they have landed as they were sent."""
    id: str
    """The batch id that they get if they are restored; the same each time."""
    clock_ms: int
    rows: Callable[[], AsyncIterator[Rows]]
    """Reads them from the spool. Raises `SpoolError`."""
    count: int = 1


class Partition(Struct, frozen=True, kw_only=True):
    """A partition (such as 202611) of a table, or of a rollup."""

    table: str
    partition: str


class Restored(Struct, frozen=True, kw_only=True):
    """The result of restoring `rows` rows of a batch: where it was `missing`, and where it was `repaired`."""

    table: str
    batch: str
    rows: int
    missing: tuple[Partition, ...] = ()
    repaired: tuple[Partition, ...] = ()
    deleted: int = 0
    """Rows that stay deleted, as was asked for; those of partitions that have others of the batch do not count."""


class RowDiff(Struct, frozen=True, kw_only=True):
    """So many rows have a verdict: one of the constants above."""

    verdict: str
    rows: int
    examples: tuple[str, ...]
    """The sorting keys of some of them, as the store writes them."""

    @property
    def is_bad(self) -> bool:
        """Tell whether a row is not as it was written."""
        return self.verdict in {DIFFERENT, MISSING}


class Comparison(Struct, frozen=True, kw_only=True):
    """Verdicts on batches, and why others could not be read from the spool; both by the batches' ids."""

    diffs: Mapping[str, Sequence[RowDiff]] = field(default_factory=dict)
    errors: Mapping[str, SpoolError] = field(default_factory=dict)


class Deleted(Struct, frozen=True, kw_only=True):
    """What a deletion has removed, and where its bytes still are."""

    rows: Mapping[str, int]
    """By table; versions that were superseded count, too."""
    files: Sequence[str]
    """The files of the spool that brought the rows, now or before an earlier deletion, as they were called when they
    were dropped."""


class SentBatches(Protocol):
    """Tells what the store has of a shipment."""

    async def find(self, shipment: str, tables: Collection[Table], /) -> Mapping[str, int]:
        """Return the ids of its batches that have rows in any of `tables`, with how many, as far as they are left.

        Raises `StoreError`.
        """


class RecoveryStore(Protocol):
    """A store that knows its ledger, and can restore and compare rows. All methods raise `StoreError`."""

    async def sync_ledger(self) -> None:
        """Return once the ledger is complete here: a row that only another replica has yet is not missing."""

    async def ledger_of_files(self, places: Sequence[str]) -> list[LedgerRow]:
        """Return the ledger's rows of all files that were ever dropped at `places`, in the order of their claims."""

    async def ledger_of_batch(self, batch: str) -> list[LedgerRow]:
        """Return the ledger's rows of a batch, in the order of the batch's rows."""

    async def files_since(self, since_ms: int) -> list[ClaimedFile]:
        """Return the files that were claimed since then, the first one first."""

    async def complete_shipments(self, shipments: Collection[str]) -> set[str]:
        """Return those of `shipments` that are complete: nothing of them will be sent, or rejected, any more."""

    async def restore(self, batch: BatchRows, *, dry_run: bool) -> Restored:
        """Bring rows to each partition of their table, and of its rollups, that has nothing of their batch.

        Presence is decided by lineage, in rollups too: by the batch that brought the rows, and by the id under which
        an earlier call has restored them. It does not matter how long ago that was.
        Rows that were deleted on request after they had been shipped stay deleted. With `dry_run` nothing is changed,
        and `missing` may name partitions whose rows have expired, are superseded or deleted.
        Raises `SpoolError` where the store cannot tell what is missing, and what `batch.rows` raises.
        """

    async def compare(self, batches: Sequence[BatchRows]) -> Comparison:
        """Compare each row of batches of one table with the table, all columns of it."""
