"""Whether ClickHouse takes rows, and if not, why not: one place that claiming and the exit code ask."""

import asyncio

import structlog

from spoolhouse.errors import OperatorError, StoreError, TransientError

log = structlog.get_logger(__name__)

SERVER = "server"
"""The scope of troubles that concern all tables."""


class Health:
    """Troubles by scope (a table, or the server).

    `writable` is cleared while one of them may concern all tables: the server as such, or something transient (the
    network, too much load). What only a person can mend holds its own table alone.
    """

    def __init__(self) -> None:
        """Start in trouble: nothing is known of the server yet."""
        self.writable = asyncio.Event()
        self.troubles: dict[str, StoreError] = {}
        self._told: dict[str, int] = {}
        self._answered = False
        """The server has been well at least once: before that, nothing is writable."""

    def bad(self, scope: str, error: StoreError) -> None:
        """Record a trouble. It is logged at once, then at the 2nd, 4th, 8th … time in a row."""
        self.troubles[scope] = error
        self._update()
        times = self._told[scope] = self._told.get(scope, 0) + 1
        if times & (times - 1) == 0:
            say = log.error if isinstance(error, OperatorError) else log.warning
            say(
                "clickhouse_unavailable",
                scope=scope,
                error=error.message,
                code=error.code,
                mend=error.mend or None,
                attempts=times,
            )

    def good(self, scope: str) -> None:
        """Record that `scope` works (again)."""
        if self.troubles.pop(scope, None) is not None:
            log.info("clickhouse_available", scope=scope, attempts=self._told.get(scope))
        self._told.pop(scope, None)
        self._answered = self._answered or scope == SERVER
        self._update()

    def is_held(self, scope: str) -> bool:
        """Tell whether `scope` waits for a person."""
        return scope in self.troubles and not isinstance(self.troubles[scope], TransientError)

    def _update(self) -> None:
        if self._answered and all(scope != SERVER and self.is_held(scope) for scope in self.troubles):
            self.writable.set()
        else:
            self.writable.clear()
