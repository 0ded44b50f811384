"""The live display of `ingest` on a terminal: a bar, rows by table, and a summary at the end."""

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from spoolhouse.cli.words import counted
from spoolhouse.monitoring.logs import shown
from spoolhouse.monitoring.status_model import RecentFile

_REFRESH = 0.1
"""The least seconds between two pictures."""
_RATE_WINDOW = 5.0
"""Seconds over which the shown rows per second are averaged."""
_LONGEST_VALUE = 100
_BAR_WIDTH = 40


class Display:
    """Shows the calls of `Progress` on standard error. A context manager: the live part ends with it."""

    def __init__(
        self,
        *,
        spool: Path,
        once: bool,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare the display. `clock` gives seconds from any origin."""
        self._spool = spool
        self._once = once
        self._clock = clock
        self._console = console or Console(stderr=True, highlight=False)
        self._waiting_files = 0
        self._done_files = self._done_bytes = self._seen_files = self._seen_bytes = 0
        self._rejected = 0
        self._rows: Counter[str] = Counter()
        self._recent: deque[tuple[float, int]] = deque()
        self._folders: Counter[str] = Counter()
        self._sample: tuple[str, Mapping[str, object]] | None = None
        self._started: float | None = None
        self._ended = 0.0
        self._refreshed = 0.0
        self._reported_files: int | None = None
        # Last: it draws a first picture at once.
        self._live = Live(
            console=self._console,
            get_renderable=self._picture,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
        )

    def __enter__(self) -> Self:
        """Start the live part."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the live part."""
        with contextlib.suppress(OSError):
            self._live.stop()

    def pending(self, files: int, size: int, /) -> None:
        """Set the total of the bar."""
        if files and self._started is None:
            self._started = self._clock()
        self._waiting_files = files
        self._seen_files = max(self._seen_files, self._done_files + files)
        self._seen_bytes = max(self._seen_bytes, self._done_bytes + size)
        self._refresh()

    def landed(self, table: str, rows: int, /) -> None:
        """Add rows to a table's count."""
        now = self._clock()
        if self._started is None:
            self._started = now
        self._rows[table] += rows
        self._recent.append((now, rows))
        self._refresh()

    def settled(self, file: RecentFile, /) -> None:
        """Advance the bar by one file."""
        self._ended = self._clock()
        self._done_files += 1
        self._done_bytes += file.bytes
        self._rejected += file.rejected
        self._folders[PurePath(file.destination or "").parent.name] += 1
        self._seen_files = max(self._seen_files, self._done_files)
        self._seen_bytes = max(self._seen_bytes, self._done_bytes)
        # Else a throttled last picture would stay outdated for as long as nothing else happens.
        self._refresh(now_or_never=self._done_files == self._seen_files)

    def sample(self, table: str, row: Mapping[str, object], /) -> None:
        """Print the result of the first backlog with this row; with `once`, `summary` prints it."""
        self._sample = (table, row)
        if not self._once:
            self._print(*self._report(), "\nIt keeps watching for more; Ctrl-C stops it.")
            self._refresh(now_or_never=True)

    def note(self, text: str, /) -> None:
        """Print the sentence above the live part."""
        self._print(shown(text))

    def summary(self) -> None:
        """Print the result, unless it is printed already."""
        if not self._done_files and not self._rows:
            self._print("Nothing was ingested.")
        elif self._reported_files != self._done_files:
            self._print(*self._report())
        else:
            self._print(f"Stopped after {counted(self._done_files, 'file')}.")

    def _report(self) -> Iterator[RenderableType]:
        self._reported_files = self._done_files
        seconds = max(self._ended - (self._started or self._ended), 0.001)
        rows = self._rows.total()
        yield (
            f"\n{counted(rows, 'row')} of {counted(self._done_files, 'file')} ({decimal(self._done_bytes)})"
            f" landed in {seconds:.1f} s, {rows / seconds:,.0f} rows/s:"
        )
        yield self._table()
        if self._sample is not None:
            table, row = self._sample
            self._sample = None
            yield f"\nOne row of {table}:"
            yield _row(row)
        yield ""
        for folder, files in sorted(self._folders.items()):
            went = f"went to {self._spool}/{{type}}/{{project}}/{folder}/" if folder else "deleted, as asked"
            yield shown(f"{counted(files, 'file')} {went}")
        if self._rejected:
            yield shown(f"{counted(self._rejected, 'line')} rejected: see {self._spool}/rejected/")

    def _print(self, *what: RenderableType) -> None:
        # Text, not str: rich would read markup in names.
        parts = [Text(part) if isinstance(part, str) else part for part in what]
        with contextlib.suppress(OSError):
            self._console.print(Group(*parts), soft_wrap=True)

    def _refresh(self, *, now_or_never: bool = False) -> None:
        now = self._clock()
        if (now_or_never or now - self._refreshed >= _REFRESH) and self._live.is_started:
            self._refreshed = now
            # A closed terminal stops no work.
            with contextlib.suppress(OSError):
                self._live.refresh()

    def _picture(self) -> RenderableType:
        line = Table.grid(padding=(0, 1))
        done, seen = self._done_bytes, max(self._seen_bytes, 1)
        line.add_row(
            ProgressBar(total=seen, completed=done, width=_BAR_WIDTH),
            Text(f"{100 * done // seen:3d} %  {self._done_files:,} of {self._seen_files:,} files"),
        )
        parts = [counted(self._rows.total(), "row")]
        parts.append(f"{self._rate():,.0f} rows/s" if self._done_files < self._seen_files else "waiting for files")
        if self._rejected:
            parts.append(f"{counted(self._rejected, 'line')} rejected")
        if self._waiting_files:
            parts.append(f"{counted(self._waiting_files, 'file')} pending")
        return Group(line, Text(", ".join(parts)), self._table())

    def _rate(self) -> float:
        now = self._clock()
        while self._recent and now - self._recent[0][0] > _RATE_WINDOW:
            self._recent.popleft()
        span = min(_RATE_WINDOW, max(now - (self._started or now), 0.5))
        return sum(rows for _, rows in self._recent) / span

    def _table(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        table.add_column()
        table.add_column(justify="right")
        for name, rows in sorted(self._rows.items()):
            table.add_row(Text(name), f"{rows:,}")
        return Padding(table, (0, 0, 0, 2))


def _row(row: Mapping[str, object]) -> RenderableType:
    """Return a row as one line per column; empty values are left out, long ones are cut."""
    table = Table.grid(padding=(0, 2))
    for column, value in row.items():
        text = shown("" if value is None else str(value))
        if text not in {"", "{}", "[]"}:
            table.add_row(Text(column), Text(text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"))
    return Padding(table, (0, 0, 0, 2))
