"""What the settings mean to each stage. A reload gives the stages new ones."""

import time
from collections.abc import Mapping

from spoolhouse.core.declaration import EventType
from spoolhouse.core.fingerprint import fingerprint
from spoolhouse.core.retention import Keep
from spoolhouse.core.room import Watermark
from spoolhouse.core.shipment import Limits, Packing
from spoolhouse.landing.persistence import Persistence
from spoolhouse.pipeline.arrivals import Look
from spoolhouse.pipeline.claim import Terms
from spoolhouse.pipeline.delivery import Tolerance
from spoolhouse.pipeline.retention import Custom
from spoolhouse.pipeline.settle import Ending
from spoolhouse.settings import Settings


def now_ms() -> int:
    """Return the wall clock, in ms since 1970."""
    return time.time_ns() // 1_000_000


def look(settings: Settings) -> Look:
    """Return what the arrivals go by."""
    spool = settings.spool
    return Look(project_id=spool.project_id, quiet=spool.quiet, poll_interval=spool.poll_interval_ms / 1000)


def terms(settings: Settings, events: Mapping[str, EventType]) -> Terms:
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
    return Terms(
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


def persistence(settings: Settings, *, once: bool) -> Persistence:
    """Return how what fails is tried again."""
    # A run with an end must end: it waits out a restart of the server, or a moment of the disk, not a night.
    patience = settings.shutdown.grace if once else None
    return Persistence(first=settings.retry.first, cap=settings.retry.cap, patience=patience)


def tolerance(settings: Settings) -> Tolerance:
    """Return how many rows of a batch may be refused."""
    return Tolerance(max_ratio=settings.reject.max_ratio, min_rows=settings.reject.min_rows)


def custom(settings: Settings) -> Custom:
    """Return how much of the archive is kept."""
    retention = settings.retention
    days = retention.max_age_days
    keep = Keep(max_age=None if days is None else days * 24 * 3600, max_bytes=retention.max_bytes)
    return Custom(keep=keep, append_watch=settings.spool.append_watch, interval=retention.interval)


def watermark(settings: Settings) -> Watermark:
    """Return what must stay free on the spool's disk."""
    return Watermark(bytes=settings.spool.min_free, inodes=settings.spool.min_free_inodes)


def ending(settings: Settings) -> Ending:
    """Return what becomes of files in the end."""
    spool = settings.spool
    return Ending(delete=spool.delete_after_process, append_watch_ms=int(spool.append_watch * 1000), now_ms=now_ms)
