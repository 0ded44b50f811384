"""What the settings mean to each stage. A reload gives the stages new ones."""

import time
from collections.abc import Mapping

from spoolhouse.events.declaration import EventType
from spoolhouse.pipeline.arrivals import ScanOptions
from spoolhouse.pipeline.batch_delivery import RejectLimits
from spoolhouse.pipeline.claim import ShipmentOptions
from spoolhouse.pipeline.retention import RetentionPolicy
from spoolhouse.pipeline.settle import SettleOptions
from spoolhouse.retry import RetryPolicy
from spoolhouse.settings import Settings
from spoolhouse.spool.archive_limits import Keep
from spoolhouse.spool.disk_space import MinFree
from spoolhouse.spool.fingerprint import fingerprint
from spoolhouse.spool.shipment import Limits, Packing


def now_ms() -> int:
    """Return the wall clock, in ms since 1970."""
    return time.time_ns() // 1_000_000


def look(settings: Settings) -> ScanOptions:
    """Return what the arrivals go by."""
    spool = settings.spool
    return ScanOptions(project_id=spool.project_id, quiet=spool.quiet, poll_interval=spool.poll_interval_ms / 1000)


def options(settings: Settings, events: Mapping[str, EventType]) -> ShipmentOptions:
    """Return what new shipments are made under."""
    batch, spool = settings.batch, settings.spool
    limits = Limits(
        max_rows=batch.max_rows,
        max_insert_bytes=batch.max_insert_bytes,
        side_bytes=batch.side_bytes,
        max_line=spool.max_line,
        project=spool.project,
        expired=spool.expired,
        future=spool.future,
    )
    return ShipmentOptions(
        limits=limits,
        fingerprint=fingerprint(events, settings.clickhouse.url),
        max_bytes=batch.max_bytes,
        torn_after=spool.torn_after,
        append_watch_ms=int(spool.append_watch * 1000),
        now_ms=now_ms,
    )


def packing(settings: Settings) -> Packing:
    """Return how shipments are packed."""
    batch = settings.batch
    return Packing(max_bytes=batch.max_bytes, max_files=batch.max_files, linger=batch.linger)


def retry_policy(settings: Settings, *, once: bool) -> RetryPolicy:
    """Return how what fails is tried again."""
    # A run with an end must end: it waits out a restart of the server, or a moment of the disk, not a night.
    patience = settings.shutdown.grace if once else None
    return RetryPolicy(first=settings.retry.first, cap=settings.retry.cap, patience=patience)


def reject_limits(settings: Settings) -> RejectLimits:
    """Return how many rows of a batch may be refused."""
    return RejectLimits(max_ratio=settings.reject.max_ratio, min_rows=settings.reject.min_rows)


def retention_policy(settings: Settings) -> RetentionPolicy:
    """Return how much of the archive is kept."""
    retention = settings.retention
    days = retention.max_age_days
    keep = Keep(max_age=None if days is None else days * 24 * 3600, max_bytes=retention.max_bytes)
    return RetentionPolicy(keep=keep, append_watch=settings.spool.append_watch, interval=retention.interval)


def min_free(settings: Settings) -> MinFree:
    """Return what must stay free on the spool's disk."""
    return MinFree(bytes=settings.spool.min_free, inodes=settings.spool.min_free_inodes)


def settle_options(settings: Settings) -> SettleOptions:
    """Return what becomes of files in the end."""
    spool = settings.spool
    return SettleOptions(
        delete=spool.delete_after_process, append_watch_ms=int(spool.append_watch * 1000), now_ms=now_ms
    )
