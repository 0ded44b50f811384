"""The progress of a long command, on standard error: a bar on a terminal, else a sentence every 30 s."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_FIRST = 5.0
_EVERY = 30.0
"""Seconds until the first sentence, and between two; a command that is done sooner prints none."""


class Estimate:
    """A context manager that shows progress; the bar disappears at its end."""

    def __init__(self, what: str, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Show how many of `total` things are done; `what` names them. `clock` gives seconds from any origin."""
        self._what = what
        self._total = total
        self._done = 0
        self._clock = clock
        self._began = clock()
        self._next = self._began + _FIRST
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn(what), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
        self._task = self._bar.add_task(what, total=total)
        self._is_shown = sys.stderr.isatty()

    def __enter__(self) -> Self:
        """Show the bar."""
        if self._is_shown:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the bar."""
        if self._is_shown:
            self._bar.stop()

    def advance(self) -> None:
        """Count one more as done."""
        self._done += 1
        now = self._clock()
        if self._is_shown:
            self._bar.advance(self._task)
        elif now >= self._next and self._done < self._total:
            self._next = now + _EVERY
            left = (now - self._began) / self._done * (self._total - self._done)
            print(f"{self._done} of {self._total} {self._what}, about {left:.0f} s left", file=sys.stderr, flush=True)
