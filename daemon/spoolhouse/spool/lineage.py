"""The mapping from rows of a batch to bytes of a file."""

from msgspec import Struct

from spoolhouse.spool.row_ranges import RowRange


class Lineage(Struct, frozen=True, kw_only=True):
    """Consecutive rows of a batch, and the bytes of a file that they came from."""

    batch: str
    table: str
    file: int
    """The file's number in the journal."""
    start: int
    end: int
    """A byte range of the file, or of its unpacked content."""
    first: int
    """The number (from 0) of the first row in its batch."""
    rows: int


class Entry(Struct, frozen=True, kw_only=True):
    """A row of the ledger: a lineage, with the facts that the journal forgets."""

    lineage: Lineage
    place: str
    """The file's pending place, relative to the spool."""
    inode: int
    claimed_ms: int
    parts: tuple[RowRange, ...]
    """The parts that the batch was sent in, if ClickHouse refused any of its rows; empty: as one."""
    clock_ms: int
