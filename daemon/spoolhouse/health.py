"""Whether ClickHouse takes rows and the disk takes files, and if not, why not: one place that claiming asks."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping

import structlog

from spoolhouse import metrics
from spoolhouse.core.status import Trouble
from spoolhouse.errors import DiskError, LowDiskError, OperatorError, RejectedDataError, StoreError, TransientError

log = structlog.get_logger(__name__)

SERVER = "server"
"""The scope of troubles that concern all tables."""

Complaint = StoreError | DiskError


class Health:
    """Troubles by scope: a table, the server, or a folder of the spool.

    `writable` is cleared while one of them may concern all tables: the server as such, the disk, or something
    transient (the network, too much load). What only a person can mend holds its own table alone.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start in trouble: nothing is known of the server yet. `clock` gives seconds from any origin."""
        self._clock = clock
        self.writable = asyncio.Event()
        self.troubles: dict[str, Complaint] = {}
        self.holds: dict[str, OperatorError] = {}
        """Troubles of tables that last although inserts succeed."""
        self._told: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self.answered = False
        """The server has been well at least once: before that, nothing is writable."""

    def bad(self, scope: str, error: Complaint) -> None:
        """Record a trouble. It is logged at once, then at the 2nd, 4th, 8th … time in a row."""
        self.troubles[scope] = error
        self._since.setdefault(scope, self._clock())
        metrics.RETRIES.labels("none" if error.code is None else str(error.code), _kind(error)).inc()
        self._update()
        times = self._told[scope] = self._told.get(scope, 0) + 1
        if times & (times - 1) == 0:
            say = log.warning if isinstance(error, TransientError) else log.error
            say(
                "disk_unavailable" if isinstance(error, DiskError) else "clickhouse_unavailable",
                scope=scope,
                error=error.message,
                code=error.code,
                mend=error.mend or None,
                attempts=times,
            )

    def hold(self, table: str, error: OperatorError) -> None:
        """Record a trouble that `good` does not end, but `release`. It is logged once."""
        if table not in self.holds:
            self.bad(table, error)
        self.holds[table] = error

    def release(self, table: str) -> None:
        """Record that the reason of a `hold` is gone."""
        del self.holds[table]
        self.good(table)

    def good(self, scope: str) -> None:
        """Record that `scope` works (again)."""
        if scope in self.holds:
            self.troubles[scope] = self.holds[scope]
            self._update()
            return
        past = self.troubles.pop(scope, None)
        if past is not None:
            event = "disk_available" if isinstance(past, DiskError) else "clickhouse_available"
            log.info(event, scope=scope, attempts=self._told.get(scope))
        self._told.pop(scope, None)
        self._since.pop(scope, None)
        self.answered = self.answered or scope == SERVER
        self._update()

    def is_held(self, scope: str) -> bool:
        """Tell whether `scope` waits for a person."""
        return scope in self.troubles and not isinstance(self.troubles[scope], TransientError | DiskError)

    def reasons(self, types: Mapping[str, Collection[str]]) -> list[Trouble]:
        """Say why not all rows are taken; nothing if they are. `types` are the event types of each table."""
        everything = sorted({name for some in types.values() for name in some})
        now = self._clock()
        told = [
            Trouble(
                scope=scope,
                types=sorted(types[scope]) if scope in types and self.is_held(scope) else everything,
                held=self.is_held(scope),
                error=error.message,
                code=error.code,
                mend=error.mend or None,
                seconds=round(now - self._since[scope], 1),
            )
            for scope, error in sorted(self.troubles.items())
        ]
        if not told and not self.answered:
            why = "ClickHouse has not answered yet"
            told.append(
                Trouble(scope=SERVER, types=everything, held=False, error=why, code=None, mend=None, seconds=0.0)
            )
        return told

    def _update(self) -> None:
        lasting = [scope for scope, error in self.troubles.items() if not isinstance(error, LowDiskError)]
        if self.answered and all(scope != SERVER and self.is_held(scope) for scope in lasting):
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
