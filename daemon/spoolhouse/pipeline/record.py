"""Record: writes the ledger behind the settling. A ledger that refuses stops nothing but itself.

Promises: an entry is in the journal until ClickHouse has it; an entry that is written twice is in the ledger once,
because its table keeps one of equal rows. One insert at a time; memory holds one batch of entries, however many wait.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import structlog
from msgspec import Struct, field
from msgspec.structs import replace

from spoolhouse.errors import JournalError, LeftError, StoreError
from spoolhouse.failpoints import reach
from spoolhouse.monitoring import heartbeat
from spoolhouse.monitoring.health import Health
from spoolhouse.pipeline.disk_retry import DiskRetry
from spoolhouse.pipeline.options import Current, Options
from spoolhouse.retry import Retries
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.lineage import Entry

log = structlog.get_logger(__name__)

_AT_ONCE = 10_000
_LINGER = 0.2
"""Seconds that a first entry waits for others: an insert of one is as dear as one of many."""
_LAST = 5.0
"""Seconds that the last attempt of a run may take after a stop, at the most."""


class LedgerRecorder(Struct, kw_only=True):
    """Writes the entries of all instances that are open here until ClickHouse has them."""

    instances: Mapping[str, Instance]
    table: str
    """The ledger's full name."""
    insert: Callable[[Sequence[Entry]], Awaitable[None]]
    """Raises `StoreError`."""
    health: Health
    disk: DiskRetry
    options: Current[Options]
    stop: asyncio.Event
    unwritten: asyncio.Event = field(default_factory=asyncio.Event)
    """Set after entries were journalled, or found in the journal of a dead instance."""
    _deadline: asyncio.Timeout | None = None
    """None unless the stage runs: a stop may come, and the settling end, before it does, and after."""
    _end_at: float | None = None
    _no_more: asyncio.Event = field(default_factory=asyncio.Event)
    """No entry will come any more."""
    _is_pausing: bool = False
    _unreadable: set[str] = field(default_factory=set)

    @property
    def is_refused(self) -> bool:
        """Tell whether the ledger refused the last entries, and is to be tried again later."""
        return self._is_pausing

    @property
    def left(self) -> int:
        """Return how many entries the ledger does not have yet."""
        return sum(instance.journal.ledger.unwritten for instance in list(self.instances.values()))

    async def run(self) -> None:
        """Write entries as they come. After `end`, write the remaining ones, unless the ledger refuses them."""
        self._deadline = asyncio.timeout_at(self._end_at)
        try:
            async with self._deadline:
                await self._write_all()
        except LeftError:
            pass
        except TimeoutError:
            if not self._deadline.expired():
                raise
        finally:
            self._deadline = None
        if self.left:
            log.warning("ledger_left", entries=self.left, hint="the journal keeps them: the next start writes them")

    def end(self) -> None:
        """Note that no entry will come any more: a ledger that refuses is not waited for."""
        self._no_more.set()
        self.unwritten.set()
        patience = 0.0 if self._is_pausing else min(_LAST, self.options.value.grace / 4)
        self._end_at = asyncio.get_running_loop().time() + patience
        if self._deadline is not None:
            self._deadline.reschedule(self._end_at)

    async def _write_all(self) -> None:
        retries = Retries(retry_policy=self.options.value.retry)
        while True:
            instance = next((one for one in list(self.instances.values()) if self._has_entries(one)), None)
            if instance is None:
                if self._no_more.is_set():
                    return
                self.unwritten.clear()
                with heartbeat.idle():
                    await self.unwritten.wait()
                await heartbeat.idle_until(self._no_more, _LINGER)
                continue
            try:
                with instance.in_use():
                    is_written = await self._write_some(instance)
                if is_written:
                    retries.succeeded()
            except StoreError as error:
                self.health.bad(self.table, error)
                if self._no_more.is_set() and self.stop.is_set():
                    return
                retries.retry_policy = replace(self.options.value.retry, patience=None)
                await self._pause(retries.failed(error))

    def _has_entries(self, instance: Instance) -> bool:
        return bool(instance.journal.ledger.unwritten) and instance.id not in self._unreadable

    async def _write_some(self, instance: Instance) -> bool:
        """Write the oldest entries of an instance; return false if its journal cannot be read. Raises `StoreError`."""
        try:
            numbered = await self.disk.persist(instance.folder, partial(instance.journal.entries, _AT_ONCE))
        except JournalError as error:
            self._unreadable.add(instance.id)
            log.error("journal_held", instance=instance.id, error=str(error), hint="its ledger entries are kept as is")
            return False
        reach("ledger.before_write")
        await self.insert([entry for _, entry in numbered])
        reach("ledger.written")
        self.health.landed(self.table)
        heartbeat.beat()
        await self.disk.persist(instance.folder, partial(instance.journal.recorded, numbered[-1][0]))
        reach("ledger.recorded")
        return True

    async def _pause(self, seconds: float) -> None:
        """Wait before the next attempt; an outage that ends, and a stop, end the wait."""
        self._is_pausing = True
        try:
            with heartbeat.idle():
                await self.health.pause(seconds)
        finally:
            self._is_pausing = False
