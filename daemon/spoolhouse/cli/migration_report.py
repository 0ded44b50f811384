"""What a person sees of a migration: bars on a terminal, log lines elsewhere; and on stdout what was done."""

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
from spoolhouse.store.clickhouse.schema.migration_steps import Change

log = structlog.get_logger(__name__)

_EVERY = 5.0
"""Seconds between two log lines on the filling of a rollup at the least."""


@contextmanager
def reporting(changes: int) -> Iterator[MigrationProgress]:
    """Lend what a migration of that many changes reports to."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # What is printed stands above the bars, but for a stdout that goes elsewhere: it must go there.
    same = sys.stdout.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=same) as progress:
        yield Bars(progress, changes)


def _say(change: Change) -> None:
    print(shown(f"done: {change.name}: {change.what}"))


class Lines:
    """Log lines, for whoever reads them later."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds from any origin."""
        self._clock = clock
        self._told = -_EVERY

    def changed(self, change: Change, /) -> None:
        """Say so on stdout."""
        _say(change)

    def filling(self, target: str, rows: int, total: int, /) -> None:
        """Log it now and then."""
        now = self._clock()
        if now - self._told >= _EVERY:
            self._told = now
            log.info("rollup_filling", target=target, rows=rows, total=total)

    def filled(self, target: str, rows: int, /) -> None:
        """Log it."""
        log.info("rollup_filled", target=target, rows=rows)

    def unfilled(self, target: str, error: StoreError, /) -> None:
        """Log it."""
        log.warning("rollup_not_filled", target=target, error=error.message, code=error.code, hint=error.hint or None)


class Bars:
    """Two bars: how many changes are made, and how many rows the present rollup has counted."""

    def __init__(self, progress: Progress, changes: int) -> None:
        """Show the first bar."""
        self._progress = progress
        self._changes = progress.add_task("changes", total=changes)
        self._filling: TaskID | None = None

    def changed(self, change: Change, /) -> None:
        """Move on, and say so on stdout, above the bars."""
        self._progress.advance(self._changes)
        _say(change)

    def filling(self, target: str, rows: int, total: int, /) -> None:
        """Show how far it is."""
        if self._filling is None:
            self._filling = self._progress.add_task(f"rows of {target}", total=total)
        self._progress.update(self._filling, completed=rows, total=total)

    def filled(self, target: str, rows: int, /) -> None:
        """Take its bar away."""
        self._end_filling()
        self._progress.advance(self._changes)
        print(f"done: {target}: {rows:,} rows counted")

    def unfilled(self, target: str, error: StoreError, /) -> None:
        """Take its bar away, and say why."""
        self._end_filling()
        print(shown(f"left: {target}: {error.message}"))

    def _end_filling(self) -> None:
        if self._filling is not None:
            self._progress.remove_task(self._filling)
            self._filling = None
