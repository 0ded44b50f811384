"""Several servers that hold the same tables: inserts go to one of them, and to another when that is away.

Promises: a statement, and an insert, goes to one server and is not repeated here; a server is used only after its
tables were seen to be replicas of the others' tables, and its clock to be right; both again whenever it was away.
"""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from copy import copy

import structlog

from spoolhouse.clock import now_ms
from spoolhouse.decode.rows import Rows
from spoolhouse.errors import OperatorError, StoreError, UnreachableError
from spoolhouse.monitoring import metrics
from spoolhouse.store.clickhouse.driver import Driver, OneServer, Parameter, RowsInsert, Servers, Setting
from spoolhouse.store.clickhouse.failover import HostSelector
from spoolhouse.store.clickhouse.replica_check import READ_ONLY, ReplicaState, check, disagreement, uncounted
from spoolhouse.store.clickhouse.schema.clock import expect_same_day

log = structlog.get_logger(__name__)

Hear = Callable[[str, UnreachableError | None], None]

_LOST_KEEPER = frozenset({225, READ_ONLY, 999})
"""ClickHouse's codes for errors of a server that cannot reach its Keeper."""


class Server:
    """One of several servers: a driver that reports whether it takes rows."""

    def __init__(self, name: str, driver: Driver, hear: Hear) -> None:
        """Speak through `driver`; `hear` gets each answer, and each time that there was none."""
        self.name = name
        self._driver = driver
        self._hear = hear
        self._lost_keeper = False
        """It answers, but takes no rows."""

    async def ping(self) -> None:
        """Return once the server answers a trivial query."""
        with self._failing():
            await self._driver.ping()
        self._answered()

    async def execute(
        self,
        sql: str,
        parameters: Mapping[str, Parameter] | None = None,
        *,
        query_id: str = "",
        settings: Mapping[str, Setting] | None = None,
    ) -> list[tuple[object, ...]]:
        """Run one statement and return its rows."""
        with self._failing():
            rows = await self._driver.execute(sql, parameters, query_id=query_id, settings=settings)
        self._answered()
        return rows

    async def insert_rows(self, insert: RowsInsert, rows: AsyncIterable[Rows]) -> None:
        """Insert all of `rows`; see `Driver`."""
        taken = _Taken(aiter(rows))
        with self._failing():
            await self._driver.insert_rows(insert, taken)
        if taken.any:
            self._answered(takes_rows=True)

    async def check(self, tables: Collection[str]) -> Mapping[str, ReplicaState]:
        """Return the state of those of `tables` that the server has, if they take rows.

        Raises `OperatorError` if its clock is days off: batches would be compacted, or look new, at the wrong time.
        """
        with self._failing():
            await expect_same_day(self._driver, now_ms(), host=self.name)
            seen = await check(self._driver, tables)
        self._answered(takes_rows=True)
        return seen

    async def close(self) -> None:
        """Close all connections."""
        await self._driver.close()

    @contextmanager
    def _failing(self) -> Generator[None]:
        try:
            yield
        except StoreError as error:
            away = _away(error)
            if away is None:
                self._answered()
                raise
            self._lost_keeper = away.code is not None
            self._hear(self.name, away)
            if away is error:
                raise
            raise away from error

    def _answered(self, *, takes_rows: bool = False) -> None:
        self._lost_keeper = self._lost_keeper and not takes_rows
        if not self._lost_keeper:
            self._hear(self.name, None)


def _away(error: StoreError) -> UnreachableError | None:
    """Return the error as `UnreachableError` if another server may do better: one may have lost its Keeper alone."""
    if isinstance(error, UnreachableError):
        return error
    if error.code not in _LOST_KEEPER:
        return None
    return UnreachableError(
        error.message, code=error.code, ambiguous=error.ambiguous, hint=error.hint, in_view=error.in_view
    )


class _Taken(AsyncIterator[Rows]):
    """Rows, with a flag whether there were any: without rows nothing is sent."""

    def __init__(self, rows: AsyncIterator[Rows]) -> None:
        self._rows = rows
        self.any = False

    async def __anext__(self) -> Rows:
        rows = await anext(self._rows)
        self.any = True
        return rows


class _OneOfSeveral(ABC):
    """A driver that hands each call to another one."""

    @abstractmethod
    async def pick(self) -> Driver:
        """Return the driver for a call. Raises `StoreError`."""

    async def ping(self) -> None:
        """Return once a server answers a trivial query."""
        await (await self.pick()).ping()

    async def execute(
        self,
        sql: str,
        parameters: Mapping[str, Parameter] | None = None,
        *,
        query_id: str = "",
        settings: Mapping[str, Setting] | None = None,
    ) -> list[tuple[object, ...]]:
        """Run one statement and return its rows."""
        return await (await self.pick()).execute(sql, parameters, query_id=query_id, settings=settings)

    async def insert_rows(self, insert: RowsInsert, rows: AsyncIterable[Rows]) -> None:
        """Insert all of `rows`; see `Driver`."""
        await (await self.pick()).insert_rows(insert, rows)


class Replicas(_OneOfSeveral):
    """The servers of `clickhouse.url`. Each call goes to the server for new work."""

    are_several = True

    def __init__(self, drivers: Mapping[str, Driver], roster: HostSelector) -> None:
        """Speak through `drivers`, by the names that `roster` has them under."""
        self._servers = {name: Server(name, driver, self._hear) for name, driver in drivers.items()}
        self._roster = roster
        self._tables: tuple[str, ...] = ()
        self._views: tuple[str, ...] = ()
        self._seen: dict[str, Mapping[str, ReplicaState]] = {}
        """The last known state of the tables of each server."""
        self._agreed: set[str] = set()
        """The servers that were checked since they were last away."""
        self.away: dict[str, UnreachableError] = {}
        """The last error of each server that did not answer, by name."""
        # One each: a server that does not answer must not keep work from the others.
        self._checking = {name: asyncio.Lock() for name in drivers}
        for name in drivers:
            metrics.SERVER_UP.labels(name).set(1)

    async def close(self) -> None:
        """Close all connections."""
        for server in self._servers.values():
            await server.close()

    def pace(self, *, first: float, cap: float) -> None:
        """Ask a server that is away again after pauses of these bounds, see `retry.delay`."""
        self._roster.first, self._roster.cap = first, cap

    @property
    def present(self) -> Collection[str]:
        """The names of the servers that may be used."""
        return sorted(self._agreed)

    @property
    def is_split(self) -> bool:
        """Whether some servers answer, and some do not."""
        return self._roster.is_split

    async def pick(self) -> Driver:
        """Return the server that new work goes to: the last one, as long as it answers. Raises `StoreError`."""
        tried: dict[Server, UnreachableError] = {}
        while (server := self._choose()) not in tried:
            try:
                await self._expect_replica(server)
            except UnreachableError as error:
                # Copies, here and below: an error and a frame that keeps it would keep each other.
                tried[server] = copy(error)
            else:
                return server
        raise copy(tried[server])

    def _choose(self) -> Server:
        left = self._roster.current
        name = self._roster.choose(time.monotonic())
        if name != left:
            metrics.FAILOVERS.inc()
            log.warning("clickhouse_failover", left=left, server=name)
        return self._servers[name]

    async def others(self, server: Driver) -> Collection[Driver]:
        """Return all servers but one. Raises `StoreError` for one that is away, or holds other tables.

        One that was away just now is not asked again: its answer would be waited for in vain once more.
        """
        others = [other for other in self._servers.values() if other is not server]
        for other in others:
            if other.name in self.away and not self._roster.may_be_asked(other.name, time.monotonic()):
                raise copy(self.away[other.name])
            await self._expect_replica(other)
        return others

    async def agree(self, tables: Collection[str], *, views: Collection[str] = ()) -> None:
        """Check that `tables` are the same ones on all servers that answer, now and before any later use of a server.

        The same goes for `views`, which count inserted rows.

        Raises `OperatorError` where they are not, and `UnreachableError` if no server takes rows.
        """
        wanted, counting = tuple(sorted(tables)), tuple(sorted(views))
        if (wanted, counting) != (self._tables, self._views):
            self._tables, self._views = wanted, counting
            self._agreed.clear()
        silent: list[UnreachableError] = []
        fresh: list[str] = []
        for name, server in self._servers.items():
            try:
                self._seen[name] = await server.check((*wanted, *counting))
                fresh.append(name)
            except UnreachableError as error:
                silent.append(copy(error))
            except OperatorError:
                self._agreed.discard(name)
                raise
        if not fresh:
            raise copy(silent[0])
        for name in fresh:
            self._judge(name)

    async def _expect_replica(self, server: Server) -> None:
        if not self._tables:
            return
        before = self.away.get(server.name)
        async with self._checking[server.name]:
            heard = self.away.get(server.name)
            if heard is not None and heard is not before:
                raise copy(heard)  # another task has just waited for it in vain
            if server.name not in self._agreed:
                self._seen[server.name] = await server.check((*self._tables, *self._views))
                self._judge(server.name)

    def _judge(self, name: str) -> None:
        """Decide whether a server that was checked just now may be used."""
        others = {other: seen for other, seen in self._seen.items() if other != name}
        why = disagreement(name, self._seen[name], others, self._tables)
        why = why or uncounted(name, self._seen[name], others, self._views)
        if why:
            self._agreed.discard(name)
            raise OperatorError(
                f"clickhouse.url: {why}",
                hint="name one host there, or replicas of the same tables (Replicated… engines, one Keeper), with the"
                " same views: `spoolhouse migrate` makes those, on each host by itself",
            )
        self._agreed.add(name)

    def _hear(self, name: str, error: UnreachableError | None) -> None:
        if error is None:
            self.away.pop(name, None)
            if self._roster.answered(name):
                metrics.SERVER_UP.labels(name).set(1)
                log.info("clickhouse_server_up", server=name)
            return
        # A copy: the frames of the one that is on its way would stay, with all that they hold.
        self.away[name] = copy(error)
        # It may come back as another one.
        self._agreed.discard(name)
        if self._roster.failed(name, time.monotonic(), random.random()):  # noqa: S311  # jitter is no secret
            metrics.SERVER_UP.labels(name).set(0)
            log.warning("clickhouse_server_down", server=name, error=error.message, hint=error.hint)


def servers_of(driver: Driver) -> Servers:
    """Return the servers behind a driver."""
    return driver if isinstance(driver, Replicas) else OneServer(driver)


class FirstThatAnswers(_OneOfSeveral):
    """A driver that stays with one of several servers: the first that answers when it is first used."""

    def __init__(self, drivers: Collection[Driver]) -> None:
        self._drivers = tuple(drivers)
        self._chosen: Driver | None = None
        self._choosing = asyncio.Lock()

    async def close(self) -> None:
        """Close all connections."""
        for driver in self._drivers:
            await driver.close()

    async def pick(self) -> Driver:
        """Return the first server that answered."""
        async with self._choosing:
            if self._chosen is None:
                self._chosen = await self._first()
            return self._chosen

    async def _first(self) -> Driver:
        away = []
        for driver in self._drivers:
            try:
                await driver.ping()
            except UnreachableError as error:
                away.append(error)
            else:
                return driver
        raise away[0]
