"""Which rows of a batch came from which bytes of which file."""

from dataclasses import dataclass

from spoolhouse.spool.row_ranges import RowRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Some of the rows of a batch, one after the other, and the bytes of a file that they came from."""

    batch: str
    table: str
    file: int
    """Its number in the journal."""
    start: int
    end: int
    """A byte range of the file, or of what a compressed one holds."""
    first: int
    """The number (from 0) that the first of the rows has in its batch."""
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the ledger: a lineage, with all that the journal will have forgotten by then."""

    lineage: Lineage
    place: str
    """Where the file was dropped, relative to the spool."""
    inode: int
    claimed_ms: int
    parts: tuple[RowRange, ...]
    """What the batch was sent in, if ClickHouse refused any of its rows; empty: as one."""
    clock_ms: int
