"""Batches, workers, retries, and the stop."""

from typing import Annotated

from pydantic import BeforeValidator, ByteSize, Field

from spoolhouse.settings.base import MIB, Count, Group, Live, Seconds, Size, number


class BatchSettings(Group):
    """The size of batches: rows per insert decide the speed, these bounds the memory."""

    max_files: Live[Count] = 2000
    """Files of one shipment; small ones are joined, because an insert of 1 000 rows costs six times the work per row
    of one of 200 000."""
    max_bytes: Live[Size] = ByteSize(96 * MIB)
    """Input bytes of one shipment; larger files are cut at line ends."""
    max_rows: Live[Annotated[Count, Field(le=500_000)]] = 500_000
    """Rows of one insert; more would be two blocks, and then a retry could lose or double rows."""
    max_insert_bytes: Live[Annotated[Size, Field(le=128_000_000)]] = ByteSize(128_000_000)
    """Bytes of one insert on the wire; bounded for the same reason."""
    side_bytes: Live[Size] = ByteSize(24 * MIB)
    """Bytes of rows for other tables that a shipment may collect in memory beside its own table's."""
    linger: Live[Seconds] = 0.2
    """Seconds that a shipment waits for more files before it is full."""


class WorkerSettings(Group):
    """The degree of concurrency."""

    decoders: Annotated[Count, Field(le=64)] = 2
    """Shipments read at once. Lines are validated in one thread (it holds the interpreter), so more gain little."""
    inserters: Annotated[Count, Field(le=64)] = 3
    """Inserts at once: two are sent while the server writes a third (measured: a tenth faster than two)."""
    shipments: Annotated[Count, Field(le=1024)] = 2
    """Claimed shipments that may wait for a decoder."""


class RetrySettings(Group):
    """The wait before a transient error is retried; each wait is random up to a doubling bound."""

    first: Live[Seconds] = 0.2
    """Seconds of the first bound."""
    cap: Live[Seconds] = 30.0
    """Seconds of the last bound: the longest delay until a recovered server is noticed."""


class RejectSettings(Group):
    """Limits for rows that ClickHouse refuses: single ones are rejected, many are no accident."""

    max_ratio: Live[Annotated[float, BeforeValidator(number), Field(ge=0, le=1)]] = 0.1
    """The share of a batch that may be refused and rejected. Above it the batch is held until a person acts: then the
    table is at fault, not the rows."""
    min_rows: Live[Count] = 20
    """So many refused rows of a batch are rejected in any case."""


class ShutdownSettings(Group):
    """The stop of a daemon."""

    grace: Live[Seconds] = 25.0
    """Seconds to finish claimed files after SIGTERM; below the 30 s after which container runtimes kill. Shipments that
    wait for a person, or for a ClickHouse that is away, stay in the journal: the next start continues with them."""


class AdoptSettings(Group):
    """Taking over the work of dead instances."""

    interval: Live[Seconds] = 10.0
    """Seconds between two scans for instance folders without an owner."""
