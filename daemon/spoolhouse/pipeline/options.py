"""The options of all stages, derived from the settings: one frozen value, which a reload replaces."""

from typing import Generic, TypeVar

from msgspec import Struct

from spoolhouse.file_names import FileNames
from spoolhouse.retry import RetryPolicy
from spoolhouse.spool.archive_limits import Keep
from spoolhouse.spool.disk_space import MinFree
from spoolhouse.spool.shipment import Limits, Packing

T = TypeVar("T")


class Current(Struct, Generic[T]):
    """Holds the value in force. A reload sets it, once; all users read it at each use and keep no copy."""

    value: T


class ScanOptions(Struct, frozen=True, kw_only=True):
    """How the spool is scanned."""

    project_id: str | None
    """Take only this project's files; None is all."""
    names: FileNames
    quiet: float
    """Seconds that a file must not have changed."""
    poll_interval: float


class ShipmentOptions(Struct, frozen=True, kw_only=True):
    """How each new shipment is made."""

    limits: Limits
    packing: Packing
    torn_after: float


class RejectLimits(Struct, frozen=True, kw_only=True):
    """How many refused rows of a batch are rejected: up to `min_rows`, or `max_ratio` of its known rows."""

    max_ratio: float
    min_rows: int


class DiskOptions(Struct, frozen=True, kw_only=True):
    """How the spool's disk is used."""

    min_free: MinFree
    read_error_wait: float
    """How many seconds the failed reads of a file are tried again."""


class RetentionPolicy(Struct, frozen=True, kw_only=True):
    """How much of the archive is kept."""

    keep: Keep
    append_watch: float
    interval: float
    names: FileNames


class Options(Struct, frozen=True, kw_only=True):
    """The options of all stages."""

    fingerprint: str
    """Of the event types and the server's URL: rows of a batch with another one may be encoded otherwise."""
    scan: ScanOptions
    shipments: ShipmentOptions
    retry: RetryPolicy
    reject_limits: RejectLimits
    disk: DiskOptions
    retention: RetentionPolicy
    delete: bool
    """Delete a file at its end, in place of moving it to `processed/`."""
    append_watch: float
    """How many seconds after its last bytes a file is watched for more."""
    adopt_interval: float
    grace: float
    """Seconds that a stop may take."""

    @property
    def append_watch_ms(self) -> int:
        """The same in ms."""
        return int(self.append_watch * 1000)
