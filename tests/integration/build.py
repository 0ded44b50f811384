"""Parts of the daemon, wired for a test: what the tests of this ring take from here, no change of the wiring breaks."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.monitoring.health import Health
from spoolhouse.pipeline.disk_retry import DiskRetry
from spoolhouse.pipeline.options import Current, Options
from spoolhouse.retry import RetryPolicy
from spoolhouse.service.options import make_options
from spoolhouse.settings import Settings
from spoolhouse.spool.instance import Instance

OPTIONS = replace(make_options(Settings(), BUILT_IN, once=False), retry=RetryPolicy(first=0.01, cap=0.01))
"""Those of the settings, but with short pauses."""


def retrying(first: float, cap: float, patience: float | None = None) -> Current[Options]:
    """Return options with these pauses between attempts."""
    return Current(replace(OPTIONS, retry=RetryPolicy(first=first, cap=cap, patience=patience)))


def disk_retry(
    options: Current[Options] | None = None, *, health: Health | None = None, stop: asyncio.Event | None = None
) -> DiskRetry:
    """Return what repeats refused writes and reads."""
    return DiskRetry(health or Health(), options or Current(OPTIONS), stop or asyncio.Event())


def drop_entries(instances: Iterable[Instance]) -> None:
    """Stand where the ledger's recorder does, without a server; no entry may be of rows, because nothing has landed."""
    for instance in instances:
        for number, entry in instance.journal.entries(1_000_000):
            assert not entry.lineage.rows
            instance.journal.recorded(number)
