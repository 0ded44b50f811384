"""One measured run: the daemon over a spool, or the engine over a file."""

import json
import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import duckdb

from spoolhouse.events.builtin import BUILT_IN, SPANS
from spoolhouse.events.declaration import Fill, Kind, tables
from spoolhouse.store.clickhouse.schema.render import declare, statements, tables_of
from tests.engine import LocalServer

DATABASE = "bench"
_LINES_A_LOOK = 500
SCRIPT = Path(sysconfig.get_path("scripts"), "spoolhouse")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run took: seconds from files in the spool to files in processed/, CPU of both ends, the daemon's peak."""

    rows: int
    seconds: float
    daemon_cpu: float = 0.0
    server_cpu: float = 0.0
    peak_mib: float = 0.0
    stall_ms: float = 0.0

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds

    @property
    def cpu_per_million(self) -> float:
        """CPU-seconds a million rows, both ends."""
        return (self.daemon_cpu + self.server_cpu) / self.rows * 1e6


def fresh_database(server: LocalServer) -> None:
    """Make the schema anew, so that no run pays for another's merges or finds its rows."""
    server.query(f"DROP DATABASE IF EXISTS {DATABASE} SYNC")
    for statement in statements(declare(database=DATABASE, tables=tables_of(BUILT_IN))):
        server.query(statement)


def run_daemon(server: LocalServer, url: str, spool: Path, expected: int, *flags: str) -> Run:
    """Ingest all of `spool` with `ingest --once`, and check that every row landed."""
    fresh_database(server)
    before = server.cpu_seconds()
    run = _ingest(url, spool, expected, *flags)
    total = " + ".join(f"(SELECT count() FROM {DATABASE}.mastra_admin_{t})" for t in _TABLES)
    _expect(server.query(f"SELECT {total}")[0][0], expected)
    return replace(run, server_cpu=server.cpu_seconds() - before)


def run_duckdb(path: Path, spool: Path, expected: int) -> Run:
    """Do the same with a new DuckDB file: its work is part of the daemon's."""
    shutil.rmtree(path.parent, ignore_errors=True)
    run = _ingest(f"duckdb://{path}", spool, expected)
    total = " + ".join(f"(SELECT count(*) FROM mastra_admin_{t})" for t in _TABLES)
    with duckdb.connect(path, read_only=True) as connection:
        [(landed,)] = connection.execute(f"SELECT {total}").fetchall()
    _expect(landed, expected)
    return run


def _expect(landed: object, expected: int) -> None:
    if landed != expected:
        raise RuntimeError(f"{landed} rows landed of {expected}")


def _ingest(url: str, spool: Path, expected: int, *flags: str) -> Run:
    command = [str(SCRIPT), "ingest", "--once", "--file-storage-path", str(spool), "--base-path", "", *flags]
    environment = {**os.environ, "SPOOLHOUSE_STORE__URL": url, "SPOOLHOUSE_SPOOL__PROJECT": "trust"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stderr is not None
        said, peak_kib = b"", 0
        for number, line in enumerate(process.stderr):
            said += line
            # Now and then, too: with the last line the process may be gone.
            if b'"stopped"' in line or number % _LINES_A_LOOK == 0:
                peak_kib = max(peak_kib, _peak_kib(process.pid))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(said.decode(errors="replace")[-2000:])
    records = [json.loads(line) for line in said.splitlines()]
    settled = any(record["event"] == "file_settled" for record in records)
    [stopped] = [record for record in records if record["event"] == "stopped"]
    return Run(
        rows=expected,
        seconds=_moment(records, "file_settled" if settled else "stopped", -1) - _moment(records, "started", 0),
        daemon_cpu=usage.ru_utime + usage.ru_stime,
        peak_mib=peak_kib / 1024,
        stall_ms=float(stopped["longest_stall_ms"]),
    )


def _peak_kib(pid: int) -> int:
    """Return the peak of a process that still runs; `ru_maxrss` would tell that of the process it was forked from."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


_TABLES = tuple(tables(BUILT_IN))


def _moment(records: Sequence[dict[str, object]], event: str, which: int) -> float:
    stamps = [str(record["timestamp"]) for record in records if record["event"] == event]
    return datetime.fromisoformat(stamps[which]).timestamp()


def run_engine(server: LocalServer, path: Path, expected: int, *, optimize_on_insert: int) -> Run:
    """Let the engine read the same file into the same tables by itself: nothing checked, nothing journalled."""
    fresh_database(server)
    columns, values, structure = [], [], []
    for column in SPANS.columns:
        if not column.keys:
            continue  # derived
        key = str(column.keys[0])
        nullable = column.nullable or not column.required
        wire = {Kind.INTEGER: "Int64", Kind.NUMBER: "Float64", Kind.TIME: "DateTime64(3,'UTC')"}.get(
            column.kind, "String"
        )
        structure.append(f"{key} Nullable({wire})" if nullable else f"{key} {wire}")
        columns.append(f"`{column.name}`")
        fallback = "now64(3)" if column.fill is Fill.CLOCK else f"'{column.default}'"
        values.append(key if not nullable or column.nullable else f"ifNull({key}, {fallback})")
    shape = ", ".join(structure).replace("'", "\\'")
    sql = (
        f"INSERT INTO {DATABASE}.mastra_admin_spans ({', '.join(columns)}, ingested_at, batch_id)"
        f" SELECT {', '.join(values)}, now64(3), 'engine' FROM file('{path}', 'JSONEachRow', '{shape}')"
    )
    before = server.cpu_seconds()
    start = time.perf_counter()
    server.query(
        sql, date_time_input_format="best_effort", optimize_on_insert=optimize_on_insert, session_timezone="UTC"
    )
    seconds = time.perf_counter() - start
    cpu = server.cpu_seconds() - before
    [(landed,)] = server.query(f"SELECT count() FROM {DATABASE}.mastra_admin_spans")
    if optimize_on_insert == 0 and landed != expected:
        raise RuntimeError(f"{landed} rows landed of {expected}")
    return Run(rows=expected, seconds=seconds, server_cpu=cpu)


def run_latency(server: LocalServer, url: str, spool: Path, content: bytes, rows: int) -> float:
    """Return seconds from the drop of one file into a quiet spool until its rows can be queried, default settings."""
    fresh_database(server)
    command = [str(SCRIPT), "ingest", "--file-storage-path", str(spool), "--base-path", ""]
    environment = {**os.environ, "SPOOLHOUSE_CLICKHOUSE__URL": url}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if json.loads(line)["event"] == "started":
                    break
            time.sleep(1)  # let it become quiet: what is measured is a file that comes while nothing else happens
            folder = spool / "span" / "p"
            folder.mkdir(parents=True)
            (folder / ".a.tmp").write_bytes(content)
            start = time.perf_counter()
            (folder / ".a.tmp").rename(folder / "a.jsonl")
            while server.query(f"SELECT count() FROM {DATABASE}.mastra_admin_spans")[0][0] < rows:
                time.sleep(0.01)
            return time.perf_counter() - start
        finally:
            process.terminate()
            process.stderr.close() if process.stderr else None
            process.wait()


def restock(spool: Path, stock: Path) -> None:
    """Fill an empty spool with hard links to the files of `stock`: the same bytes for each run, at no cost."""
    shutil.rmtree(spool, ignore_errors=True)
    for source in stock.rglob("*.jsonl"):
        target = spool / source.relative_to(stock)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(source)
