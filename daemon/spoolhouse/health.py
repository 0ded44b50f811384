"""Whether ClickHouse takes rows, and if not, why not: one place that claiming, `/readyz` and the exit code ask."""

import asyncio

import structlog

from spoolhouse.errors import OperatorError, StoreError

log = structlog.get_logger(__name__)

SERVER = "server"
"""The scope of troubles that concern all tables."""


class Health:
    """Troubles by scope (a table, or the server). `writable` is set while there are none."""

    def __init__(self) -> None:
        """Start in trouble: nothing is known of the server yet."""
        self.writable = asyncio.Event()
        self.troubles: dict[str, StoreError] = {}
        self._told: dict[str, int] = {}

    def bad(self, scope: str, error: StoreError) -> None:
        """Record a trouble. It is logged at once, then at the 2nd, 4th, 8th … time in a row."""
        self.troubles[scope] = error
        self.writable.clear()
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
        if not self.troubles:
            self.writable.set()
