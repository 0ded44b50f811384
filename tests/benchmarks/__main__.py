"""`python -m tests.benchmarks [names]`: measures, and prints one table.

All rates come from one run on one machine, medians of three, the rounds interleaved; compare within the table only.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from spoolhouse.export.samples import SampleEvents
from tests.benchmarks import decode, duckdb_file, page
from tests.benchmarks.files import FilesBench
from tests.benchmarks.query import QueryBench
from tests.benchmarks.runs import Run, restock, run_daemon, run_duckdb, run_engine, run_latency
from tests.engine import LocalServer, find_engine

ROUNDS = 3
MILLION = 1_000_000
MIXED = ("trace", "span", "log", "metric", "score")


def write_spans(folder: Path, files: int, rows: int) -> None:
    """Write `files` files of `rows` spans."""
    sample = SampleEvents(seed=1, now_ms=time.time_ns() // 1_000_000, traces=files * rows // 8 + 1)
    for number in range(files):
        target = folder / "span" / f"p{number % 4}" / f"{number:05}.jsonl"
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            file.writelines(_ended(sample.lines("span", "p", number * rows, rows)))


def write_mixed(folder: Path, files: int, rows: int) -> None:
    """Write `files` files of `rows` lines each, in which all types take turns."""
    sample = SampleEvents(seed=2, now_ms=time.time_ns() // 1_000_000, traces=files * rows // 5 + 1)
    share = rows // len(MIXED)
    for number in range(files):
        target = folder / MIXED[number % len(MIXED)] / "p" / f"{number:05}.jsonl"
        target.parent.mkdir(parents=True, exist_ok=True)
        each = [_ended(sample.lines(kind, "p", number * share, share)) for kind in MIXED]
        with target.open("wb") as file:
            file.writelines(line for group in zip(*each, strict=True) for line in group)


def _ended(lines: Iterable[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield line if line.endswith(b"\n") else line + b"\n"


def median(runs: Sequence[Run]) -> Run:
    """Return the run with the median rate."""
    return sorted(runs, key=lambda run: run.rate)[len(runs) // 2]


class Bench:
    """The server, the stock of files, and the table."""

    def __init__(self, server: LocalServer, root: Path, scale: float, rows: int) -> None:
        self.server = server
        self.root = root
        self.scale = scale
        self.rows = rows
        self.spool = root / "spool"
        self.native = server.native_url + "/bench"
        self.http = server.http_url + "/bench"

    @staticmethod
    def head() -> None:
        """Print the head of the table."""
        print(f"{'':42} {'rows/s':>9} {'CPU-s/1M':>9} {'daemon':>7} {'server':>7} {'peak MiB':>9} {'stall ms':>9}")

    def stock(self, name: str, write: Callable[[Path], None]) -> Path:
        """Return a folder of files, written once."""
        folder = self.root / name
        if not folder.exists():
            print(f"  … writing {name}", file=sys.stderr)
            write(folder)
        return folder

    def daemon(self, url: str, stock: Path, rows: int) -> Run:
        """Run the daemon over a fresh copy of `stock`."""
        restock(self.spool, stock)
        return run_daemon(self.server, url, self.spool, rows)

    def row(self, name: str, run: Run) -> Run:
        """Print one line of the table."""
        per = 1e6 / run.rows
        print(
            f"{name:42} {run.rate:9,.0f} {run.cpu_per_million:9.2f} {run.daemon_cpu * per:7.2f}"
            f" {run.server_cpu * per:7.2f} {run.peak_mib:9.0f} {run.stall_ms:9.0f}",
            flush=True,
        )
        return run

    def one_large_file(self) -> None:
        """(a), and beside it the engine."""
        self.head()
        stock = self.stock("large", lambda folder: write_spans(folder, 1, MILLION))
        [path] = stock.rglob("*.jsonl")
        ways: dict[str, Callable[[], Run]] = {
            "engine, file(), its defaults": lambda: run_engine(self.server, path, MILLION, optimize_on_insert=1),
            "engine, file(), optimize_on_insert=0": lambda: run_engine(
                self.server, path, MILLION, optimize_on_insert=0
            ),
            "(a) one file of 1M spans, asynch": lambda: self.daemon(self.native, stock, MILLION),
            "(a) one file of 1M spans, HTTP": lambda: self.daemon(self.http, stock, MILLION),
        }
        runs: dict[str, list[Run]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                runs[name].append(way())
        default, lazy, native, http = (self.row(name, median(some)) for name, some in runs.items())
        for name, run in (("asynch", native), ("HTTP", http)):
            print(
                f"    {name}: {run.rate / default.rate:.2f} of the engine's default rate (wanted: 1.5),"
                f" {run.rate / lazy.rate:.2f} of its rate without optimize_on_insert (wanted: 0.85),"
                f" {run.cpu_per_million / default.cpu_per_million:.2f} of the default's CPU (wanted: 1 at most)"
            )

    def one_machine(self) -> None:
        """(b): the same file into DuckDB."""
        self.head()
        stock = self.stock("large", lambda folder: write_spans(folder, 1, MILLION))
        runs: dict[str, list[Run]] = {"asynch": [], "DuckDB": []}
        for _ in range(ROUNDS):
            runs["asynch"].append(self.daemon(self.native, stock, MILLION))
            restock(self.spool, stock)
            runs["DuckDB"].append(run_duckdb(self.root / "duckdb" / "events.db", self.spool, MILLION))
        server, file = (self.row(f"(b) one file of 1M spans, {name}", median(some)) for name, some in runs.items())
        print(f"    DuckDB: {file.rate / server.rate:.2f} of the rate into ClickHouse (wanted: 0.7)")

    def small_files(self) -> None:
        """Many files beside one."""
        FilesBench(self.server, self.root, self.scale).many()

    def single_lines(self) -> None:
        """Files of one line, and a start that finds them watched."""
        FilesBench(self.server, self.root, self.scale).singles()

    def backlog(self) -> None:
        """(c): memory."""
        self.head()
        stock = self.stock("backlog", lambda folder: write_spans(folder, 6, MILLION // 2))
        self.row("(c) backlog of 3M spans, asynch", self.daemon(self.native, stock, 3 * MILLION))
        self.row("(c) backlog of 3M spans, HTTP", self.daemon(self.http, stock, 3 * MILLION))
        mixed = self.stock("mixed", lambda folder: write_mixed(folder, 20, MILLION // 20))
        self.row("(c) 1M events, all types in each file, asynch", self.daemon(self.native, mixed, MILLION))
        self.row("(c) 1M events, all types in each file, HTTP", self.daemon(self.http, mixed, MILLION))

    def latency(self) -> None:
        """(d): a quiet spool."""
        sample = SampleEvents(seed=3, now_ms=time.time_ns() // 1_000_000, traces=200)
        content = b"".join(_ended(sample.lines("span", "p", 0, 1000)))
        taken = [
            run_latency(self.server, self.native, self.root / f"quiet{number}", content, 1000)
            for number in range(ROUNDS)
        ]
        print(f"(d) 1 000 events into a quiet spool: queryable after {statistics.median(taken):.2f} s (wanted: 2)")

    def query(self) -> None:
        """Questions."""
        QueryBench(self.server, self.rows).run()

    def duckdb(self) -> None:
        """Questions to a DuckDB file, and landing beside them."""
        stock = self.stock("some", lambda folder: write_spans(folder, 6, MILLION // 40))
        duckdb_file.run(self.root, stock, 6 * MILLION // 40, self.rows)


BENCHES = {
    "a": Bench.one_large_file,
    "b": Bench.one_machine,
    "files": Bench.small_files,
    "singles": Bench.single_lines,
    "c": Bench.backlog,
    "d": Bench.latency,
    "query": Bench.query,
    "duckdb": Bench.duckdb,
}


def main() -> None:
    """Run the benchmarks that are named, all by default."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    serverless = {"decode": decode.run, "page": page.run}
    choices = [*BENCHES, *serverless]
    parser.add_argument("names", nargs="*", choices=[*choices, []], help=f"{', '.join(choices)}; all by default")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="how many times as many files `files` and `singles` have"
    )
    parser.add_argument(
        "--rows", type=int, default=3 * MILLION, help="spans that `query` and `duckdb` have (30000000 is a month)"
    )
    arguments = parser.parse_args()
    names = arguments.names or choices
    for name in serverless.keys() & {*names}:
        serverless[name]()
        names.remove(name)
    if not names:
        return
    with tempfile.TemporaryDirectory(prefix="spoolhouse-bench-") as folder:
        engine = find_engine(lambda text: print(text, file=sys.stderr))
        server = LocalServer(engine, Path(folder, "server"), on_disk=True)
        server.start()
        try:
            bench = Bench(server, Path(folder), arguments.scale, arguments.rows)
            for name in names:
                BENCHES[name](bench)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
