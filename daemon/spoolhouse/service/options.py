"""The options of the stages, made of the settings and the event types."""

from collections.abc import Mapping

from spoolhouse.events.declaration import EventType
from spoolhouse.file_names import FileNames
from spoolhouse.pipeline.options import (
    DiskOptions,
    Options,
    RejectLimits,
    RetentionPolicy,
    ScanOptions,
    ShipmentOptions,
)
from spoolhouse.retry import RetryPolicy
from spoolhouse.settings import Settings
from spoolhouse.spool.archive_limits import Keep
from spoolhouse.spool.disk_space import MinFree
from spoolhouse.spool.fingerprint import fingerprint
from spoolhouse.spool.shipment import Limits, Packing


def make_options(settings: Settings, events: Mapping[str, EventType], *, once: bool) -> Options:
    """Return the options of all stages."""
    spool, retention = settings.spool, settings.retention
    days, names = retention.max_age_days, FileNames(spool.names)
    return Options(
        fingerprint=fingerprint(events, settings.store_url),
        scan=ScanOptions(
            project_id=spool.project_id,
            names=names,
            quiet=spool.quiet,
            poll_interval=spool.poll_interval_ms / 1000,
        ),
        shipments=_shipments(settings),
        # A run with an end must end: it waits out a restart of the server, or a moment of the disk, not a night.
        retry=RetryPolicy(
            first=settings.retry.first, cap=settings.retry.cap, patience=settings.shutdown.grace if once else None
        ),
        reject_limits=RejectLimits(max_ratio=settings.reject.max_ratio, min_rows=settings.reject.min_rows),
        disk=DiskOptions(
            min_free=MinFree(bytes=spool.min_free, inodes=spool.min_free_inodes), read_error_wait=spool.read_error_wait
        ),
        retention=RetentionPolicy(
            keep=Keep(max_age=None if days is None else days * 24 * 3600, max_bytes=retention.max_bytes),
            append_watch=spool.append_watch,
            interval=retention.interval,
            names=names,
        ),
        delete=spool.delete_after_process,
        append_watch=spool.append_watch,
        adopt_interval=settings.adopt.interval,
        grace=settings.shutdown.grace,
    )


def _shipments(settings: Settings) -> ShipmentOptions:
    batch, spool = settings.batch, settings.spool
    return ShipmentOptions(
        limits=Limits(
            max_rows=batch.max_rows,
            max_insert_bytes=batch.max_insert_bytes,
            side_bytes=batch.side_bytes,
            max_line=spool.max_line,
            project=spool.project,
            expired=spool.expired,
            future=spool.future,
            unknown=settings.events.unknown,
        ),
        packing=Packing(max_bytes=batch.max_bytes, max_files=batch.max_files, linger=batch.linger),
        torn_after=spool.torn_after,
    )
