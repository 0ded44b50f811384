"""Whether the store takes rows and the disk takes files, and if not, why not: one place that claiming asks."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from copy import copy
from datetime import UTC, datetime, timedelta

import structlog
from msgspec import Struct

from spoolhouse.errors import (
    DiskError,
    HeldReadError,
    LowDiskError,
    OperatorError,
    ReadError,
    RejectedDataError,
    StoreError,
    TransientError,
    UnreachableError,
)
from spoolhouse.monitoring import metrics
from spoolhouse.monitoring.logs import is_reported
from spoolhouse.monitoring.status_model import Trouble

log = structlog.get_logger(__name__)

SERVER = "server"
"""The scope of troubles that concern all tables."""
GUARD = "guard"
"""The scope of the guard's own findings, such as a wrong clock. They concern all tables; a row that lands ends none."""
GENERAL = frozenset({SERVER, GUARD})

_AGAIN = 60.0
"""Seconds after which an outage is logged again; then after twice as long, and so on."""
_ENDS = {
    "disk_unavailable": "disk_available",
    "shipment_held": "shipment_released",
    "table_held": "table_released",
    "clickhouse_unavailable": "clickhouse_available",
    "duckdb_unavailable": "duckdb_available",
    "ledger_behind": "ledger_caught_up",
}

_OUTAGES = {"ClickHouse": "clickhouse_unavailable", "DuckDB": "duckdb_unavailable"}

Complaint = StoreError | DiskError


class _Reported(Struct, kw_only=True):
    """How a trouble was last logged."""

    event: str
    again: float
    """When to log an outage again."""
    attempts: int = 0


class Health:
    """Troubles by scope: a table, the server, or a folder of the spool.

    `writable` is cleared while a trouble may concern all tables: of the server, of the disk, or a transient one (the
    network, too much load). A trouble that only a person can fix holds its own table alone; so does a transient error
    that the server has returned for one table several times.

    A missing answer counts as the server's trouble, whichever table was asked for, until a probe gets an answer. A
    probe without an answer begins an outage, and only an answered probe ends the outage.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start in trouble: nothing is known of the server yet. `clock` gives seconds from any origin."""
        self._clock = clock
        self.writable = asyncio.Event()
        self.troubles: dict[str, Complaint] = {}
        self.holds: dict[str, OperatorError] = {}
        """Troubles of tables that last although inserts succeed."""
        self.lagging: set[str] = set()
        """Tables that are written later, from the journal: no event type waits for them."""
        self._own: set[str] = set()
        """Tables whose transient errors have lasted so long that they hold these tables alone."""
        self._reported: dict[str, _Reported] = {}
        self._since: dict[str, float] = {}
        self.store = "ClickHouse"
        """The store's name for people."""
        self.answered = False
        """The server has been well at least once: before that, nothing is writable."""
        self.waiting: Callable[[], int] = lambda: 0
        """How many files wait, in the spool and on their way."""
        self.probe = asyncio.Event()
        """Set when an insert got no answer: the guard then probes the server at once."""
        self._outage = False
        """A probe had no answer either."""
        self._back = asyncio.Event()
        self._unanswered: set[str] = set()
        """The tables that were asked for when there was no answer, since the server answered last."""
        self._broken: set[str] = set()
        """The tables whose inserts break off although the server answers a probe."""

    def bad(self, scope: str, error: Complaint, *, own: bool = False) -> None:
        """Record a trouble. It is logged at once, then ever less often.

        `own`: it concerns its scope alone, though it is one that passes.
        """
        (self._own.add if own else self._own.discard)(scope)
        if isinstance(error, UnreachableError) and scope != SERVER:
            self.probe.set()
            if scope in self.lagging:
                return  # no event type waits for it, and the probe reports the server for all
            if scope not in self._broken:
                self._unanswered.add(scope)
                scope = SERVER
        # A copy has no traceback, whose frames would keep rows and open files alive.
        self.troubles[scope] = copy(error)
        self._since.setdefault(scope, self._clock())
        metrics.RETRIES.labels("none" if error.code is None else str(error.code), _kind(error)).inc()
        self._update()
        self._report(scope, error)

    def silent(self, error: UnreachableError) -> None:
        """Record that a probe had no answer; the missing answers of single tables belong to this outage."""
        self._outage = True
        for scope in self._broken:
            if scope in self.holds:
                self.troubles[scope] = self.holds[scope]
            else:
                self._end(scope)
        self._broken.clear()
        self.bad(SERVER, error)

    def speaks(self) -> None:
        """Record that a probe was answered: an outage is over, and all waiting batches may be tried again.

        Without an outage, connections that break off are a trouble of their table, with growing pauses like any other.
        """
        error = self.troubles.get(SERVER)
        if self._outage:
            self._outage = False
            self._unanswered.clear()
            self.end_pauses()
        elif isinstance(error, UnreachableError):
            for scope in self._unanswered:
                self.troubles[scope], self._since[scope] = error, self._since[SERVER]
            self._broken |= self._unanswered
            self._unanswered.clear()
        if isinstance(error, UnreachableError):
            self.good(SERVER)

    def stopping(self) -> None:
        """Record that a stop was requested: it ends all waits for a next attempt."""
        self.end_pauses()
        self.probe.set()

    def end_pauses(self) -> None:
        """End all pauses before next attempts: their reason is gone, or they have another length now."""
        self._back.set()
        self._back = asyncio.Event()

    async def pause(self, seconds: float) -> None:
        """Wait before the next attempt; an outage that ends, and a stop, end the wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._back.wait()

    def retries(self, scope: str) -> int:
        """Return how often the work that is in trouble by this name was tried again."""
        past = self._reported.get(scope)
        return 0 if past is None else max(0, past.attempts - 1)

    def _report(self, scope: str, error: Complaint) -> None:
        event, now = self._event(scope), self._clock()
        past = self._reported.get(scope)
        if past is None or past.event != event:
            past = self._reported[scope] = _Reported(event=event, again=now + _AGAIN)
        past.attempts += 1
        outage = self.outage()
        if scope == SERVER and outage is not None:
            # The server is probed often: reports depend on the duration, not on the number of attempts.
            is_due = past.attempts == 1 or now >= past.again
            if now >= past.again:
                past.again = now + (now - self._since[scope])
        else:
            is_due = is_reported(past.attempts)
        if is_due:
            say = log.warning if isinstance(error, TransientError) else log.error
            summary = {} if scope != SERVER or outage is None else {"summary": outage}
            say(
                event,
                scope=scope,
                **summary,
                error=error.message,
                code=error.code,
                hint=error.hint or None,
                attempts=past.attempts,
            )

    def _event(self, scope: str) -> str:
        if isinstance(self.troubles[scope], HeldReadError):
            return "shipment_held"
        if isinstance(self.troubles[scope], DiskError):
            return "disk_unavailable"
        if scope in self.lagging:
            return "ledger_behind"
        return "table_held" if scope not in GENERAL and self.is_held(scope) else _OUTAGES[self.store]

    def outage(self) -> str | None:
        """Say since when the server does not answer, and that nothing is lost meanwhile; None if it does answer."""
        error = self.troubles.get(SERVER)
        if not isinstance(error, UnreachableError) or error.code is not None:
            return None
        began = datetime.now(UTC) - timedelta(seconds=self._clock() - self._since[SERVER])
        when = f"{began:%H:%M}" if began.date() == datetime.now(UTC).date() else f"{began:%Y-%m-%d %H:%M}"
        files = self.waiting()
        safely = (
            "nothing is lost meanwhile" if not files else f"{files} file{'s wait' if files > 1 else ' waits'} safely"
        )
        return f"{self.store} has not answered since {when} UTC; {safely}"

    def hold(self, table: str, error: OperatorError) -> None:
        """Record a trouble that `good` does not end, but `release`. It is logged once."""
        if table not in self.holds:
            self.bad(table, error)
        self.holds[table] = copy(error)

    def release(self, table: str) -> None:
        """Record that the reason of a `hold` is gone."""
        del self.holds[table]
        self.good(table)

    def good(self, scope: str) -> None:
        """Record that `scope` works (again)."""
        self._broken.discard(scope)
        if scope in self.holds:
            self.troubles[scope] = self.holds[scope]
            self._update()
            return
        past = self._reported.get(scope)
        if scope in self.troubles and past is not None:
            log.info(_ENDS[past.event], scope=scope, attempts=past.attempts)
        self._end(scope)
        self.answered = self.answered or scope == SERVER
        self._update()

    def landed(self, table: str) -> None:
        """Record that `table` took rows, so that the server answers; the end of an outage is left to its probe."""
        self.good(table)
        if not self._outage and isinstance(self.troubles.get(SERVER), UnreachableError):
            self._unanswered.clear()
            self.good(SERVER)

    def forget(self, scope: str) -> None:
        """Drop the trouble of a scope that has no more users."""
        self._end(scope)
        self._update()

    def _end(self, scope: str) -> None:
        self.troubles.pop(scope, None)
        self._own.discard(scope)
        self._reported.pop(scope, None)
        self._since.pop(scope, None)

    def is_held(self, scope: str) -> bool:
        """Tell whether `scope` alone takes no rows: it waits for a person, or for a transient error of its own."""
        passes = isinstance(self.troubles.get(scope), TransientError | DiskError)
        is_own = scope in self._own or scope in self._broken
        return scope in self.holds or (scope in self.troubles and (is_own or not passes))

    def breaks_off(self, table: str) -> bool:
        """Tell whether inserts into `table` break off although the server answers a probe."""
        return table in self._broken

    def reasons(self, types: Mapping[str, Collection[str]]) -> list[Trouble]:
        """Say why not all rows are taken; nothing if they are. `types` are the event types of each table."""
        everything = sorted({name for some in types.values() for name in some})
        now = self._clock()
        reasons = [
            Trouble(
                scope=scope,
                types=self._waiting(scope, error, types, everything),
                held=self.is_held(scope),
                error=error.message,
                code=error.code,
                hint=error.hint or None,
                seconds=round(now - self._since[scope], 1),
                summary=self._summary(scope, error),
            )
            for scope, error in sorted(self.troubles.items())
        ]
        if not reasons and not self.answered:
            why = f"{self.store} has not answered yet"
            reasons.append(
                Trouble(
                    scope=SERVER,
                    types=everything,
                    held=False,
                    error=why,
                    code=None,
                    hint=None,
                    seconds=0.0,
                    summary=why,
                )
            )
        return reasons

    def _waiting(
        self, scope: str, error: Complaint, types: Mapping[str, Collection[str]], everything: list[str]
    ) -> list[str]:
        """Return the event types that wait for `scope`; none if the trouble is of a single file."""
        if scope in self.lagging or isinstance(error, ReadError):
            return []
        return sorted(types[scope]) if scope in types and self.is_held(scope) else everything

    def _summary(self, scope: str, error: Complaint) -> str:
        if scope == SERVER:
            return self.outage() or f"{self.store}: {error.message}"
        if scope in self.lagging:
            return f"{scope} is behind: its entries are journalled until it takes them: {error.message}"
        if isinstance(error, DiskError):
            return f"The disk: {error.message}"
        if scope == GUARD:
            return f"{self.store}: {error.message}"
        return f"{scope}{' is held' if self.is_held(scope) else ''}: {error.message}"

    def _update(self) -> None:
        narrow = LowDiskError | ReadError
        lasting = [
            scope for scope in self.troubles.keys() - self.lagging if not isinstance(self.troubles[scope], narrow)
        ]
        if self.answered and all(scope not in GENERAL and self.is_held(scope) for scope in lasting):
            self.writable.set()
        else:
            self.writable.clear()


def _kind(error: Complaint) -> str:
    match error:
        case DiskError():
            return "disk"
        case TransientError():
            return "transient"
        case RejectedDataError():
            return "data"
        case _:
            return "operator"
