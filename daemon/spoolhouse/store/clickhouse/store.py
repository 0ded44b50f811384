"""ClickHouse as the pipeline's store: a batch is sent with its token until ClickHouse has all of it, once.

Promises: a token stands for the same rows, always; it prevents doubles, but proves nothing, so that after an attempt
without a clean answer, and on every replay, the batch is looked up, and only the missing part of it is sent.
"""

import asyncio
import time
from collections.abc import Collection
from copy import copy

import structlog
from msgspec import Struct
from msgspec.structs import replace

from spoolhouse.errors import (
    AwayError,
    OperatorError,
    RejectedDataError,
    StoreError,
    TooLargeError,
    TransientError,
    UnreachableError,
)
from spoolhouse.events.declaration import Table
from spoolhouse.events.naming import LOCAL, Shards
from spoolhouse.events.tombstones import TOMBSTONES
from spoolhouse.failpoints import reach
from spoolhouse.monitoring import heartbeat, metrics
from spoolhouse.spool.batch import BatchToLand
from spoolhouse.spool.row_ranges import whole_of
from spoolhouse.store.clickhouse.driver import Driver, RowsInsert, Servers
from spoolhouse.store.clickhouse.landing.abandoned import drop_abandoned
from spoolhouse.store.clickhouse.landing.counted_rows import CountedRows
from spoolhouse.store.clickhouse.landing.presence import (
    Found,
    find,
    objects,
    require_no_running_attempt,
    staging_name,
)
from spoolhouse.store.clickhouse.landing.refusal import may_refuse
from spoolhouse.store.clickhouse.landing.repair import Repairer
from spoolhouse.store.clickhouse.landing.replica_sync import sync_replica
from spoolhouse.store.clickhouse.landing.row_diff import count_mismatched
from spoolhouse.store.clickhouse.replicas import servers_of

log = structlog.get_logger(__name__)

_MOVES = 3
"""How often a batch goes to another server at once, before that counts as trouble."""
_NO_MEMORY = frozenset({173, 241, 777, 778})
"""ClickHouse's codes for a statement that needs more memory than it may have, or than there is."""
_SHORTAGES = 3
"""How often the server may lack memory for a batch, before a smaller one is asked for."""
_DROP_AGAIN_SECONDS = 30.0
"""After a table could not be dropped."""
_BACK = "let the host answer again; one that is gone for good: take it out of clickhouse.url, and restart"


class _Memory(Struct, kw_only=True):
    """What is known of a batch after the attempts at it so far."""

    doubtful: bool
    """Something of it may be in ClickHouse already."""
    server: Driver | None = None
    """The server of the last attempt: while there is doubt, the one that may have something of it."""
    lost_tokens: int = 0
    """Tokens of it that were acknowledged although no row was stored."""
    in_view: bool = False
    """The last attempt met an error of a view: the token is sent again, for that view."""
    shortages: int = 0
    """How often the server had no memory for it."""
    moves: int = 0
    """How often it went to another server at once."""

    def failed(self, error: StoreError) -> None:
        """Note how an attempt has failed."""
        self.doubtful = self.doubtful or error.ambiguous
        self.in_view = error.in_view
        self.shortages += error.code in _NO_MEMORY and not error.in_view


class ClickHouseStore:
    """Lands batches through one driver; it satisfies `pipeline.ports.Store`."""

    def __init__(self, driver: Driver, *, prefix: str, shards: Shards | None = None, fingerprint: str) -> None:
        """Send through `driver` into tables whose names begin with `prefix`; `shards`: which are in a cluster."""
        self._servers = servers_of(driver)
        self._prefix = prefix
        self._shards = shards
        self.fingerprint = fingerprint
        """Of the declarations in force; may be changed at any time."""
        self._undropped: set[tuple[Driver, str]] = set()
        """The batches whose check is over, and whose staging table could not be dropped; with their servers."""
        self._dropping = asyncio.Lock()
        """Held while these tables are dropped: no check may make one of them meanwhile."""
        self._next_drop = 0.0
        """When they may be dropped, by the monotonic clock."""

    def pace(self, *, first: float, cap: float) -> None:
        """Ask a server that is away again after pauses of these bounds."""
        self._servers.pace(first=first, cap=cap)

    def name(self, table: Table) -> str:
        """Return the full name of the table that inserts go to."""
        return self._prefix + table.name

    async def land(self, batch: BatchToLand) -> None:
        """Return once ClickHouse has all of a batch; see `pipeline.ports.Store`."""
        memory = batch.memory if isinstance(batch.memory, _Memory) else _Memory(doubtful=batch.shipment.replay)
        batch.memory = memory
        landing = _Landing(self._servers, self._prefix, self._shards, self.fingerprint, batch, memory)
        while True:
            heartbeat.beat()
            try:
                refusal = await landing.attempt()
            except StoreError as error:
                memory.failed(error)
                if isinstance(error, UnreachableError) and self._servers.is_split:
                    if memory.doubtful:
                        raise AwayError(error.message, code=error.code, hint=_BACK) from error
                    if memory.moves < _MOVES:
                        memory.moves += 1
                        continue
                if isinstance(error, RejectedDataError):
                    # Something of the batch is there, under its id: it must not be cut up.
                    raise OperatorError(error.message, code=error.code, hint=error.hint) from error
                raise
            if refusal is None:
                await self._drop_undropped()
                return
            # A copy: an error and a frame that keeps it would keep each other, and what the attempt has opened.
            raise copy(refusal)

    async def may_refuse(self, tables: Collection[Table]) -> bool:
        """Tell whether any of these tables may refuse a row; see `pipeline.ports.Store`."""
        return await may_refuse(await self._servers.pick(), tables, prefix=self._own_prefix)

    async def check(self, batch: BatchToLand) -> None:
        """Put a batch into a copy of its table, which is dropped after; see `pipeline.ports.Store`.

        A process that is killed leaves the copy to the next attempt to land the batch: that drops it. A copy that
        cannot be dropped just now is dropped once any batch has landed: this one may not be checked again.
        """
        server = await self._servers.pick()
        async with self._dropping:
            self._undropped.discard((server, batch.id))
        repairer = self._repairer(server)
        insert = RowsInsert(
            table=self._own_prefix + batch.table.name,
            columns=batch.table.columns,
            batch_id=batch.id,
            token=batch.id,
            clock_ms=batch.shipment.clock_ms,
        )
        try:
            async with batch.rows() as rows:
                await repairer.stage(batch.table, insert, rows)
        except RejectedDataError as error:
            message = error.message.replace(staging_name(batch.id, prefix=self._own_prefix), insert.table)
            raise RejectedDataError(message, code=error.code, hint=error.hint) from None
        except TransientError as error:
            if error.code in _NO_MEMORY:
                raise TooLargeError(error.message, code=error.code, hint=error.hint) from error
            raise
        finally:
            self._undropped.add((server, batch.id))
            await repairer.drop_staging(batch.id)
            self._undropped.discard((server, batch.id))

    async def _drop_undropped(self) -> None:
        """Drop the tables that earlier checks could not drop; after one that still cannot be dropped, all wait a while.

        A batch that has landed is not acknowledged meanwhile, so no two drop at once.
        """
        if not self._undropped or self._dropping.locked() or time.monotonic() < self._next_drop:
            return
        async with self._dropping:
            for server, batch_id in tuple(self._undropped):
                try:
                    await self._repairer(server).drop_staging(batch_id)
                except StoreError:
                    self._next_drop = time.monotonic() + _DROP_AGAIN_SECONDS
                    return
                self._undropped.discard((server, batch_id))

    async def drop_abandoned(self) -> None:
        """Drop the staging tables that killed processes have left on any of the servers. Raises `StoreError`."""
        server = await self._servers.pick()
        prefixes = {self._prefix, self._own_prefix}
        for prefix in prefixes:
            await drop_abandoned(server, prefix=prefix)
        for other in await self._servers.others(server):
            for prefix in prefixes:
                await drop_abandoned(other, prefix=prefix)

    def _repairer(self, server: Driver) -> Repairer:
        return Repairer(driver=server, prefix=self._own_prefix, shards=self._shards)

    @property
    def _own_prefix(self) -> str:
        """The prefix of the tables that hold rows, also where inserts go to Distributed tables."""
        if self._shards is not None and self._shards.through:
            return self._shards.prefix + LOCAL
        return self._prefix


class _Landing(Struct, frozen=True):
    """One batch that lands, for one call of `land`."""

    servers: Servers
    prefix: str
    shards: Shards | None
    fingerprint: str
    batch: BatchToLand
    memory: _Memory

    async def attempt(self) -> RejectedDataError | TooLargeError | None:
        """Send the batch, or the missing part of it, once; return None if ClickHouse has it now.

        Returned is why nothing of it landed, where it may be cut up. Raises `StoreError` for all else.
        """
        batch, memory = self.batch, self.memory
        server = await self._server()
        if memory.doubtful and not self._through:
            if (there := await self._landed_before(server)) is not None:
                await self._complete(server, there)
                return None
            # No attempt runs, and nothing of it is there: so it may be cut up. One that has met a view is there.
            if self._wants_less:
                return TooLargeError("the server has no memory for the batch")
        elif self._wants_less and await self._is_nowhere(server):
            return TooLargeError("the servers have no memory for the batch")
        insert = self._insert()
        try:
            reach("insert.before_send")
            rows = await self._send(server, insert)
            reach("insert.answered")
        except RejectedDataError as error:
            # A token stands for the same rows: a batch of which anything is there must not be cut up.
            if not await self._find(server):
                return error
            memory.doubtful = True
            raise
        log.debug("batch_inserted", batch=batch.id, rows=rows.count)
        if memory.doubtful and rows.count and not self._through:
            found = await self._find(server)
            if not found and not memory.lost_tokens:
                # Non-replicated tables log the token before the part is there: a server that dies between the two
                # answers every repeat with "done", and has no row.
                log.error("token_without_rows", batch=batch.id, token=insert.token)
                memory.lost_tokens += 1
                return await self.attempt()
            await self._complete(server, found, rows.partitions)
        return None

    async def _landed_before(self, server: Driver) -> Found | None:
        """Return what is there of a batch that may have landed before; None if it is to be sent."""
        batch = self.batch
        await require_no_running_attempt(server, [batch.id], prefix=self.prefix, shards=self._elsewhere)
        if self.memory.in_view:
            # It is there, and the view is not repaired from here: it gets the rows by the same token once more.
            return None
        found = await self._find(server)
        if batch.shipment.replay and batch.shipment.fingerprint != self.fingerprint:
            await self._expect_same_rows(server, found)
        if found or self._wants_less:
            return found or None
        # One that was deleted on request looks as if it had never landed, and its token as if it were lost.
        return found if await self._repairer(server).was_deleted(batch.table, self._insert()) else None

    @property
    def _through(self) -> bool:
        """Tell whether rows go through Distributed tables: there tokens are enough."""
        return self.shards is not None and self.shards.through

    @property
    def _elsewhere(self) -> Shards | None:
        """Return on which shards the batch may be besides its server's.

        On all, if another process had it before, or for a single host that may stand for many. Of several hosts it is
        known which one has what this process sent: nobody has to wait for another.
        """
        is_known = self.servers.are_several and not self.batch.shipment.replay
        return None if is_known else self.shards

    @property
    def _wants_less(self) -> bool:
        """Tell whether a smaller batch is to be asked for, if nothing of this one is there."""
        return self.memory.shortages >= _SHORTAGES and not self.memory.in_view and self.batch.may_be_cut

    async def _is_nowhere(self, server: Driver) -> bool:
        """Tell whether no shard has anything of a batch that went through Distributed tables.

        A shard that has some knows it by its token: then only the same rows may be sent, for the other shards.
        Raises `TransientError` while an attempt still runs on one of them.
        """
        await require_no_running_attempt(server, [self.batch.id], prefix=self.prefix, shards=self.shards)
        return not await self._find(server)

    def _insert(self) -> RowsInsert:
        lost = self.memory.lost_tokens
        return RowsInsert(
            table=self.prefix + self.batch.table.name,
            columns=self.batch.table.columns,
            batch_id=self.batch.id,
            token=self.batch.id if not lost else f"{self.batch.id}~{lost}",
            clock_ms=self.batch.shipment.clock_ms,
        )

    async def _send(self, server: Driver, insert: RowsInsert) -> CountedRows:
        async with self.batch.rows() as source:
            rows = CountedRows(source, self.batch.table, closely=self.memory.doubtful)
            began = time.monotonic()
            await server.insert_rows(insert, rows)
            metrics.INSERT_SECONDS.labels(insert.table).observe(time.monotonic() - began)
            return rows

    async def _server(self) -> Driver:
        """Return the server for an attempt: while there is doubt the one that may have something, else any.

        After a restart nobody knows which one that is: then all have to answer, and none may be at work on it still.
        The server that is taken must have what the others have.
        """
        memory, batch = self.memory, self.batch
        if memory.server is None or not memory.doubtful:
            memory.server = await self.servers.pick()
        server = memory.server
        if memory.doubtful and self.servers.are_several and not self._through:
            if batch.shipment.replay:
                for other in await self.servers.others(server):
                    await require_no_running_attempt(other, [batch.id], prefix=self.prefix, shards=self.shards)
            names = (*objects(batch.table, prefix=self.prefix), self.prefix + TOMBSTONES.name)
            await sync_replica(server, names)
        return server

    def _repairer(self, server: Driver) -> Repairer:
        return Repairer(driver=server, prefix=self.prefix, shards=self.shards)

    async def _find(self, server: Driver) -> Found:
        found = await find(server, self.batch.table, [self.batch.id], prefix=self.prefix, shards=self._elsewhere)
        reach("insert.checked")
        return found

    async def _complete(self, server: Driver, found: Found, partitions: set[str] | None = None) -> None:
        """Bring the missing part of the batch to ClickHouse, which has some of it."""
        batch, repairer = self.batch, self._repairer(server)
        if partitions is None:
            async with batch.rows() as source:
                counted = CountedRows(source, batch.table, closely=True)
                async for _ in counted:
                    pass
            partitions = counted.partitions
        if not found.covers(partitions):
            never_landed = bool(self.memory.lost_tokens) and not found
            async with batch.rows() as rows:
                await repairer.repair(batch.table, self._insert(), rows, found, never_landed=never_landed)
        if not batch.shipment.replay:
            await repairer.drop_staging(batch.id)
        else:
            # A process that was killed may have begun a repair on another server, or a check of the batch as a whole.
            for one in (server, *await self.servers.others(server)):
                for name in {batch.id, whole_of(batch.id)}:
                    await replace(repairer, driver=one).drop_staging(name)

    async def _expect_same_rows(self, server: Driver, found: Found) -> None:
        """Raise `OperatorError` if another version sent other rows under this id: presence proves nothing then."""
        batch, insert = self.batch, self._insert()
        async with batch.rows() as rows:
            others = await count_mismatched(
                self._repairer(server),
                batch.table,
                insert,
                rows,
                found=found.of(insert.table),
                shipment=batch.shipment.id,
            )
        if others:
            raise OperatorError(
                f"shipment {batch.shipment.id} was journalled under other declarations, and {others} of its rows differ"
                " from what they were sent as",
                hint="let the version (and the event files) that claimed it finish it, then upgrade",
            )
