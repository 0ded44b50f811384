"""What many small files cost: their rate beside that of one file of as many rows, and a start that finds them watched.

All runs of a pair are interleaved; compare within the table only.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from spoolhouse.export.samples import SampleEvents
from tests.benchmarks.runs import Run, restock, run_daemon
from tests.engine import LocalServer

ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Files of one run."""

    files: int
    lines: int
    """Of each file."""
    projects: int = 1
    least: float = 0.0
    """The rate that is wanted, as a share of one file's."""

    @property
    def rows(self) -> int:
        """Lines of all files."""
        return self.files * self.lines


BESIDE_ONE = (
    Files(files=2000, lines=150, projects=4, least=0.8),
    Files(files=20_000, lines=10, projects=2000, least=0.25),
)
SINGLE_LINES = Files(files=20_000, lines=1, projects=4)
SHOWN = 100_000
"""Files of one line that the times are given for, in proportion: so many take minutes on a busy machine."""
MOST_SECONDS, MOST_MIB, MOST_START = 30, 150, 1
"""What is wanted of them: seconds, peak memory, and CPU-seconds of a start that finds them watched."""


def write(folder: Path, stock: Files) -> None:
    """Write files of spans, each project's in turn."""
    sample = SampleEvents(seed=4, now_ms=time.time_ns() // 1_000_000, traces=stock.rows // 8 + 1)
    lines = (line.rstrip(b"\n") + b"\n" for line in sample.lines("span", "p", 0, stock.rows))
    for number in range(stock.files):
        target = folder / "span" / f"p{number % stock.projects:05}" / f"{number:06}.jsonl"
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            file.writelines(next(lines) for _ in range(stock.lines))


class FilesBench:
    """The server, the stocks, and the table."""

    def __init__(self, server: LocalServer, root: Path, scale: float) -> None:
        """Measure with `scale` times as many files."""
        self._server = server
        self._root = root
        self._scale = scale
        self._spool = root / "files-spool"
        self._url = server.native_url + "/bench"

    def many(self) -> None:
        """Measure many files beside one, and print the table."""
        self._head()
        for stock in map(self._scaled, BESIDE_ONE):
            self._beside_one(stock)

    def singles(self) -> None:
        """Measure files of one line, and a start that finds them watched."""
        self._head()
        self._single_lines(self._scaled(SINGLE_LINES))

    @staticmethod
    def _head() -> None:
        print(f"{'':42} {'rows/s':>9} {'seconds':>8} {'daemon':>7} {'server':>7} {'peak MiB':>9}   (CPU-seconds)")

    def _scaled(self, stock: Files) -> Files:
        files, projects = (max(1, round(number * self._scale)) for number in (stock.files, stock.projects))
        return replace(stock, files=files, projects=min(stock.projects, max(4, projects)))

    def _beside_one(self, many: Files) -> None:
        one = Files(files=1, lines=many.rows)
        pairs = [(self._measure(one), self._measure(many)) for _ in range(ROUNDS)]
        single = self._row(f"one file of {many.rows:,} lines", [pair[0] for pair in pairs])
        name = f"{many.files:,} files of {many.lines} lines, {many.projects:,} projects"
        ratio = self._row(name, [pair[1] for pair in pairs]).rate / single.rate
        print(f"    {ratio:.2f} of the rate of one file (wanted: {many.least})", flush=True)

    def _single_lines(self, stock: Files) -> None:
        self._spool.mkdir(exist_ok=True)
        idle = run_daemon(self._server, self._url, self._spool, 0)
        run = self._row(f"{stock.files:,} files of one line", [self._measure(stock)])
        start = run_daemon(self._server, self._url, self._spool, 0)
        times = SHOWN / stock.files
        print(
            f"    in proportion, {SHOWN:,}: {run.seconds * times:.0f} s (wanted: {MOST_SECONDS}), and"
            f" {(start.daemon_cpu - idle.daemon_cpu) * times:.1f} CPU-s more for a start that finds them watched"
            f" (wanted: {MOST_START}); the peak, which is not in proportion, is to stay below {MOST_MIB} MiB",
            flush=True,
        )

    def _measure(self, stock: Files) -> Run:
        folder = self._root / f"files-{stock.files}-{stock.lines}"
        if not folder.exists():
            write(folder, stock)
        restock(self._spool, folder)
        return run_daemon(self._server, self._url, self._spool, stock.rows)

    def _row(self, name: str, runs: list[Run]) -> Run:
        """Print one line of the table: the run with the median rate."""
        run = sorted(runs, key=lambda run: run.rate)[len(runs) // 2]
        print(
            f"{name:42} {run.rate:9,.0f} {run.seconds:8.2f} {run.daemon_cpu:7.2f} {run.server_cpu:7.2f}"
            f" {run.peak_mib:9.0f}",
            flush=True,
        )
        return run
