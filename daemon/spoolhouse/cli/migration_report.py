"""The progress of a migration for people: bars on a terminal, log lines elsewhere; and the changes on stdout."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from spoolhouse.errors import StoreError
from spoolhouse.monitoring.logs import shown
from spoolhouse.store.clickhouse.schema.migration_progress import MigrationProgress
from spoolhouse.store.migration import Change

log = structlog.get_logger(__name__)

_EVERY = 5.0
"""The least seconds between two log lines about one backfill."""


@contextmanager
def reporting(changes: int) -> Iterator[MigrationProgress]:
    """Lend the progress display for a migration of that many changes."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Printed lines stand above the bars, except for a stdout that goes elsewhere.
    same = sys.stdout.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=same) as progress:
        yield Bars(progress, changes)


def _print(change: Change) -> None:
    print(shown(f"done: {change.name}: {change.what}"))


class Lines:
    """Log lines on standard error."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds from any origin."""
        self._clock = clock
        self._logged = -_EVERY

    def changed(self, change: Change, /) -> None:
        """Print the change on stdout."""
        _print(change)

    def filling(self, target: str, rows: int, total: int, /) -> None:
        """Log the progress, at most every few seconds."""
        now = self._clock()
        if now - self._logged >= _EVERY:
            self._logged = now
            log.info("rollup_filling", target=target, rows=rows, total=total)

    def filled(self, target: str, rows: int, /) -> None:
        """Log the end."""
        log.info("rollup_filled", target=target, rows=rows)

    def unfilled(self, target: str, error: StoreError, /) -> None:
        """Log the reason."""
        log.warning("rollup_not_filled", target=target, error=error.message, code=error.code, hint=error.hint or None)


class Bars:
    """Two bars: the changes made, and the rows counted into the present rollup."""

    def __init__(self, progress: Progress, changes: int) -> None:
        """Show the first bar."""
        self._progress = progress
        self._changes = progress.add_task("changes", total=changes)
        self._filling: TaskID | None = None

    def changed(self, change: Change, /) -> None:
        """Advance the bar, and print the change above the bars."""
        self._progress.advance(self._changes)
        _print(change)

    def filling(self, target: str, rows: int, total: int, /) -> None:
        """Update the bar of the backfill."""
        if self._filling is None:
            self._filling = self._progress.add_task(f"rows of {target}", total=total)
        self._progress.update(self._filling, completed=rows, total=total)

    def filled(self, target: str, rows: int, /) -> None:
        """Remove the bar of the backfill, and print the number of rows."""
        self._end_filling()
        self._progress.advance(self._changes)
        print(f"done: {target}: {rows:,} rows counted")

    def unfilled(self, target: str, error: StoreError, /) -> None:
        """Remove the bar of the backfill, and print the reason."""
        self._end_filling()
        print(shown(f"left: {target}: {error.message}"))

    def _end_filling(self) -> None:
        if self._filling is not None:
            self._progress.remove_task(self._filling)
            self._filling = None
