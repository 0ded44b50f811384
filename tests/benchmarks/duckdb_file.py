"""A DuckDB file of many rows: what questions cost, and what they leave of the daemon's rate.

DuckDB makes the rows itself, those that `query` makes in ClickHouse. The rate is that of bursts of files into the
spool, with and without fifty clients that ask for what takes long; the bursts take turns.
"""

import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import duckdb

from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.query import Query
from spoolhouse.service.duckdb import tables_of
from spoolhouse.store.duckdb.query.reader import DuckDbReader
from spoolhouse.store.duckdb.schema import bring_up_to_date
from tests.benchmarks.query import CHUNK, DAYS, PREFIX, questions
from tests.process.daemon import Daemon

WANTED_MS = 1000
LEAST_SHARE = 0.9
ROUNDS = 5
CLIENTS = 50
_MS = DAYS * 86_400_000
_NICE = 15
"""The clients must not take the processors that they measure."""
_COMMON = "'p' || n % 10 AS project_id"
_TIMED = (
    "'op ' || hash(n, 2) % 40 AS name, CASE WHEN hash(n, 3) % 50 = 0 THEN 'error' ELSE 'ok' END AS status,"
    " moment AS start_time, moment + to_milliseconds((hash(n) % 2000)::BIGINT) AS end_time,"
    " hash(n) % 2000 AS duration_ms"
)
_ROWS = {
    "spans": f"printf('%016x', n) AS span_id, md5((n // 10)::VARCHAR) AS trace_id, {_COMMON}, {_TIMED},"
    " CASE WHEN n % 10 = 7 THEN 'model ' || hash(n, 4) % 4 ELSE '' END AS model,"
    " CASE WHEN n % 10 = 7 THEN hash(n) % 1000 / 1e5 END AS cost_usd,"
    """ '{"http.method":"GET","url":"' || md5(n::VARCHAR) || repeat('x', 200) || '"}' AS attributes""",
    "traces": f"md5(n::VARCHAR) AS trace_id, {_COMMON}, {_TIMED}, repeat(md5(n::VARCHAR), 20) AS input",
    "logs": f"printf('%016x', n) AS id, {_COMMON}, CASE WHEN hash(n, 3) % 20 = 0 THEN 'error' ELSE 'info' END AS level,"
    " 'request ' || n || ' of user ' || hash(n) % 100000 || ' took long' AS message, moment AS timestamp",
    "metrics": f"printf('%016x', n) AS id, {_COMMON}, 'metric ' || n % 7 AS name, hash(n) % 1000 AS value,"
    """ moment AS timestamp, '{"region":"r' || n % 5 || '"}' AS labels""",
}
"""By table: the columns of row `n`, at `moment`."""
_SHARES = {"spans": 1.0, "traces": 0.1, "logs": 1 / 3, "metrics": 1 / 3}
_HEAVY = (
    ("figures", {"signal": "span", "by": ["name"], "of": ["p95"]}),
    ("figures", {"signal": "span", "by": ["model"], "of": ["sum:cost_usd", "count"]}),
    ("logs", {"words": "no such word", "page_size": 50}),
    ("spans", {"order": "-duration_ms", "page_size": 200}),
)


def fill(path: Path, rows: int, end: datetime) -> None:
    """Make a file with so many spans that end at `end`."""
    first_ms = int(end.timestamp() * 1000) - _MS
    with duckdb.connect(path, config={"storage_compatibility_version": "v1.5.0"}) as connection:
        bring_up_to_date(connection, tables_of(BUILT_IN), prefix=PREFIX)
        for table, share in _SHARES.items():
            count = int(rows * share)
            print(f"  … {count:,} {table}", file=sys.stderr)
            moment = f"make_timestamp_ms({first_ms} + n * {_MS} // {count})::TIMESTAMP_MS"
            for again, every in ((False, 1), (True, 20)):
                for first in range(0, count, CHUNK):
                    some = min(CHUNK, count - first) // every
                    connection.execute(
                        f"INSERT INTO {PREFIX}{table} BY NAME SELECT {_ROWS[table]}, moment AS recorded_at,"
                        f" moment AS ingested_at, '{table}:{first}:{again}' AS batch_id"
                        f" FROM (SELECT n, {moment} AS moment FROM range({first}, {first + some}) AS numbers(n))"
                    )


def ask(path: Path, rows: int, end: datetime) -> None:
    """Measure the questions, and print a table."""
    with duckdb.connect(path, read_only=True) as connection:
        found = connection.execute(
            f"SELECT trace_id FROM {PREFIX}traces WHERE project_id = 'p3' ORDER BY start_time LIMIT 1 OFFSET 1000"
        )
        [(trace,)] = found.fetchall()
    size = path.stat().st_size / 1e9
    print(f"{rows:,} spans in a DuckDB file of {size:.1f} GB\n{'':34} {'ms':>7} {'CPU ms':>7} {'wanted ms':>9}")
    asyncio.run(_ask(path, trace, end))


async def _ask(path: Path, trace: str, end: datetime) -> None:
    async with Query(DuckDbReader.of_file(path, PREFIX)) as q:
        for name, question in questions(end, trace).items():
            times = []
            for _ in range(ROUNDS):
                began = time.perf_counter(), time.process_time()
                await question(q)
                times.append(((time.perf_counter() - began[0]) * 1000, (time.process_time() - began[1]) * 1000))
            wall, cpu = (statistics.median(some) for some in zip(*times, strict=True))
            print(f"{name:34} {wall:7.0f} {cpu:7.0f} {WANTED_MS:9,}", flush=True)


def land_beside_questions(path: Path, spool: Path, stock: Path, rows: int) -> None:
    """Let the daemon land the files of `stock` again and again into the file at `path`; print both rates."""
    files = sorted(stock.rglob("*.jsonl"))
    rates: dict[bool, list[float]] = {True: [], False: []}
    trust = {"SPOOLHOUSE_SPOOL__PROJECT": "trust"}
    with Daemon(f"duckdb://{path}", spool, http="any port", installed=True, env=trust) as daemon:
        daemon.wait_for("started")
        for number in range(2 * ROUNDS + 1):
            asked = number % 2 == 1
            command = [sys.executable, "-m", __name__, str(path.with_name(f"{path.name}.daemon"))]
            clients = subprocess.Popen(command, stdout=subprocess.PIPE) if asked else None
            if clients is not None and clients.stdout is not None:
                clients.stdout.readline()  # all ask
            began = time.perf_counter()
            for place, file in enumerate(files):
                target = spool / "span" / file.parent.name / f"{number:03}-{place:05}.jsonl"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.hardlink_to(file)
            daemon.wait_for("file_settled", count=(number + 1) * len(files), timeout=600)
            seconds = time.perf_counter() - began
            if clients is not None:
                clients.send_signal(signal.SIGKILL)
                clients.wait()
            if number:  # the first one warms up
                rates[asked].append(rows / seconds)
        daemon.signal(signal.SIGTERM)
        daemon.wait()
    alone, beside = (statistics.median(rates[asked]) for asked in (False, True))
    print(f"landing alone {alone:9,.0f} rows/s, beside {CLIENTS} clients that ask {beside:9,.0f} rows/s")
    print(f"    {beside / alone:.2f} of the rate (wanted: {LEAST_SHARE})")


def run(root: Path, stock: Path, stock_rows: int, rows: int) -> None:
    """Measure both; `stock` has spans to land, `rows` are those of the file."""
    path, end = root / "file" / "events.db", datetime.now(UTC).replace(microsecond=0)
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir()
    fill(path, rows, end + timedelta(seconds=1))
    ask(path, rows, end)
    land_beside_questions(path, root / "file" / "spool", stock, stock_rows)


async def _keep_asking(way: Mapping[str, str]) -> None:
    """Ask for what takes long, for ever; print a line once all clients do."""
    headers = {"Authorization": f"Bearer {way['token']}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=None)) as session:

        async def client(number: int) -> None:
            route, fields = _HEAVY[number % len(_HEAVY)]
            body = {"all_projects": True, "since": "40d", **fields}
            while True:
                async with session.post(f"{way['url']}/api/v1/{route}", json=body) as answer:
                    await answer.read()
                    await asyncio.sleep(float(answer.headers.get("Retry-After", 0)))

        async with asyncio.TaskGroup() as tasks:
            for number in range(CLIENTS):
                tasks.create_task(client(number))
            await asyncio.sleep(1)
            print("asking", flush=True)


if __name__ == "__main__":
    os.nice(_NICE)
    asyncio.run(_keep_asking(json.loads(Path(sys.argv[1]).read_bytes())))
