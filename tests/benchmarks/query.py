"""What questions cost on many rows: time, rows and bytes read, memory; beside the plain form of each, with FINAL.

The server makes the rows itself: spans of 10 projects over 30 days, a tenth as many traces, a third as many logs and
metrics, a twentieth of all delivered twice. Times are those of a client on the same machine, warm.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from spoolhouse.query import Query
from spoolhouse.store.clickhouse.driver import Parameter, Setting
from spoolhouse.store.clickhouse.drivers.connect import connect
from spoolhouse.store.clickhouse.drivers.heartbeat_driver import HeartbeatDriver
from spoolhouse.store.clickhouse.drivers.parameters import bind
from spoolhouse.store.clickhouse.query.reader import ClickHouseReader
from tests.engine import Database, LocalServer, make_tables

PREFIX = "mastra_admin_"
ROUNDS = 15
CHUNK = 500_000
DAYS = 30
_open = build_opener(ProxyHandler({})).open

_ROWS = {
    "spans": """
SELECT hex(number) AS span_id, hex(cityHash64(intDiv(number, 10), 1)) AS trace_id,
    'p' || toString(number % 10) AS project_id,
    'op ' || toString(cityHash64(number, 2) % 40) AS name, if(cityHash64(number, 3) % 50 = 0, 'error', 'ok') AS status,
    addMilliseconds({start}, intDiv(number * {step}, 1000)) AS start_time,
    addMilliseconds(start_time, cityHash64(number) % 2000) AS end_time, cityHash64(number) % 2000 AS duration_ms,
    if(number % 10 = 7, 'model ' || toString(cityHash64(number, 4) % 4), '') AS model,
    if(model = '', NULL, cityHash64(number) % 1000 / 1e5) AS cost_usd,
    '{{"http.method":"GET","url":"' || hex(sipHash128(number)) || repeat('x', 200) || '"}}' AS attributes,
    start_time AS recorded_at, start_time AS ingested_at, '{batch}' AS batch_id FROM numbers({first}, {count})""",
    "traces": """
SELECT hex(cityHash64(number, 1)) AS trace_id, 'p' || toString(number % 10) AS project_id,
    'op ' || toString(cityHash64(number, 2) % 40) AS name, if(cityHash64(number, 3) % 50 = 0, 'error', 'ok') AS status,
    addMilliseconds({start}, intDiv(number * {step}, 1000)) AS start_time,
    addMilliseconds(start_time, cityHash64(number) % 2000) AS end_time, cityHash64(number) % 2000 AS duration_ms,
    repeat(hex(sipHash128(number)), 20) AS input, start_time AS recorded_at, start_time AS ingested_at,
    '{batch}' AS batch_id FROM numbers({first}, {count})""",
    "logs": """
SELECT hex(number) AS id, 'p' || toString(number % 10) AS project_id,
    if(cityHash64(number, 3) % 20 = 0, 'error', 'info') AS level,
    'request ' || toString(number) || ' of user ' || toString(cityHash64(number) % 100000) || ' took long' AS message,
    addMilliseconds({start}, intDiv(number * {step}, 1000)) AS timestamp,
    timestamp AS recorded_at, timestamp AS ingested_at, '{batch}' AS batch_id FROM numbers({first}, {count})""",
    "metrics": """
SELECT hex(number) AS id, 'p' || toString(number % 10) AS project_id, 'metric ' || toString(number % 7) AS name,
    cityHash64(number) % 1000 AS value, addMilliseconds({start}, intDiv(number * {step}, 1000)) AS timestamp,
    '{{"region":"r' || toString(number % 5) || '"}}' AS labels,
    timestamp AS recorded_at, timestamp AS ingested_at, '{batch}' AS batch_id FROM numbers({first}, {count})""",
}
"""By table: the rows from `first` on, `step` microseconds apart."""
_SHARES = {"spans": 1.0, "traces": 0.1, "logs": 1 / 3, "metrics": 1 / 3}


class Recording(HeartbeatDriver):
    """Keeps the statements, to be measured on their own."""

    statements: list[str]

    async def execute(
        self,
        sql: str,
        parameters: Mapping[str, Parameter] | None = None,
        *,
        query_id: str = "",
        settings: Mapping[str, Setting] | None = None,
    ) -> list[tuple[object, ...]]:
        """Run one statement, and keep it."""
        self.statements.append(bind(sql, parameters or {}))
        return await super().execute(sql, parameters, query_id=query_id, settings=settings)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What statements cost on the server."""

    seconds: float
    rows: int
    read: int
    memory: int


Ask = Callable[[Query], Awaitable[Any]]


def questions(end: datetime, trace: str) -> dict[str, Ask]:
    """Return by name what is asked of rows that end at `end`; `trace` is one of them, of the project p3."""
    hour, day, week, month = (end - timedelta(hours=hours) for hours in (1, 24, 24 * 7, 24 * DAYS))
    return {
        "trace by id, with its spans": lambda q: q.trace("p3", trace),
        "newest 50 spans of an hour": lambda q: q.page("spans", project="p3", since=hour, until=end),
        "newest 50 errors of 7 days": lambda q: q.page("spans", project="p3", since=week, until=end, status="error"),
        "error rate by hour, 30 days": lambda q: q.figures(
            "trace", project="p3", since=month, until=end, every="1h", of=("error_rate",)
        ),
        "words in logs, 24 h": lambda q: q.page("logs", project="p3", since=day, until=end, words="user 77"),
        "p95 by name, 24 h": lambda q: q.figures("span", project="p3", since=day, until=end, by=("name",), of=("p95",)),
        "cost by model, 30 days": lambda q: q.figures(
            "span", project="p7", since=month, until=end, by=("model",), of=("sum:cost_usd", "count")
        ),
        "metric by label and hour, 24 h": lambda q: q.figures(
            "metric", project="p3", name="metric 3", since=day, until=end, by=("label.region",), every="1h", of=("avg",)
        ),
    }


class QueryBench:
    """A database full of rows, and the questions."""

    def __init__(self, server: LocalServer, rows: int) -> None:
        self._rows = rows
        self._database = Database.new(server)
        self._end = datetime.now(UTC).replace(microsecond=0)

    def run(self) -> None:
        """Measure, and print a table."""
        with self._database as database:
            make_tables(database)
            for table, share in _SHARES.items():
                self._fill(table, int(self._rows * share))
            database.query(f"OPTIMIZE TABLE {PREFIX}spans")
            print(
                f"{self._rows:,} spans\n{'':34} {'ms':>7} {'p95':>7} {'read rows':>11} {'MiB':>8} {'memory MiB':>10}"
                f" {'plain ms':>9} {'MiB':>8} {'ratio':>6} {'wanted ms':>9}"
            )
            asyncio.run(self._ask())

    def _fill(self, table: str, count: int) -> None:
        print(f"  … {count:,} {table}", file=sys.stderr)
        start = self._end - timedelta(days=DAYS)
        step = DAYS * 86_400_000_000 // count
        for again, every in ((False, 1), (True, 20)):
            for first in range(0, count, CHUNK):
                some = min(CHUNK, count - first) // every
                rows = _ROWS[table].format(
                    start=f"toDateTime64({int(start.timestamp())}, 3, 'UTC')", step=step, first=first, count=some,
                    batch=f"{table}:{first}:{again}",
                )  # fmt: skip
                names = self._database.query(f"DESCRIBE TABLE ({rows})")
                columns = ", ".join(str(name) for name, *_ in names)
                self._database.query(f"INSERT INTO {PREFIX}{table} ({columns}) {rows}", optimize_on_insert=0)

    def _questions(self) -> dict[str, tuple[Ask, str, float]]:
        """Return by name the question, its plain form, and the wanted ms."""
        end = self._end
        since = {hours: end - timedelta(hours=hours) for hours in (1, 24, 24 * 7, 24 * DAYS)}
        [[trace]] = self._database.query(
            f"SELECT trace_id FROM {PREFIX}traces WHERE project_id = 'p3' ORDER BY start_time LIMIT 1 OFFSET 1000"
        )
        spans, logs = f"{PREFIX}spans FINAL WHERE project_id = 'p3'", f"{PREFIX}logs FINAL WHERE project_id = 'p3'"

        def after(column: str, hours: int) -> str:
            return f"AND {column} >= toDateTime64({int(since[hours].timestamp())}, 3, 'UTC')"

        traces = f"{PREFIX}traces FINAL WHERE project_id = 'p3' {after('start_time', 24 * DAYS)}"
        calls = f"{PREFIX}spans FINAL WHERE project_id = 'p7' {after('start_time', 24 * DAYS)}"
        metrics = f"{PREFIX}metrics FINAL WHERE project_id = 'p3' AND name = 'metric 3' {after('timestamp', 24)}"
        region = "JSONExtractString(labels, 'region') r"
        newest = "ORDER BY start_time DESC LIMIT 50"
        plain = {
            "trace by id, with its spans": (f"SELECT * FROM {spans} AND trace_id = '{trace}' ORDER BY start_time", 100),
            "newest 50 spans of an hour": (f"SELECT * FROM {spans} {after('start_time', 1)} {newest}", 200),
            "newest 50 errors of 7 days": (
                f"SELECT * FROM {spans} {after('start_time', 168)} AND status = 'error' {newest}", 500,
            ),
            "error rate by hour, 30 days": (
                f"SELECT toStartOfHour(start_time) h, countIf(status = 'error') / count() FROM {traces} GROUP BY h", 50,
            ),
            "words in logs, 24 h": (
                f"SELECT * FROM {logs} {after('timestamp', 24)} AND message ILIKE '%user 77 %' ORDER BY timestamp DESC",
                500,
            ),
            "p95 by name, 24 h": (
                f"SELECT name, quantile(0.95)(duration_ms) FROM {spans} {after('start_time', 24)} GROUP BY name", 1000,
            ),
            "cost by model, 30 days": (f"SELECT model, sum(cost_usd), count() FROM {calls} GROUP BY model", 50),
            "metric by label and hour, 24 h": (
                f"SELECT {region}, toStartOfHour(timestamp) h, avg(value) FROM {metrics} GROUP BY r, h", 500,
            ),
        }  # fmt: skip
        asked = questions(end, trace)
        return {name: (asked[name], *other) for name, other in plain.items()}

    async def _ask(self) -> None:
        driver = Recording(connect(self._database.native_url))
        async with Query(ClickHouseReader(driver, PREFIX)) as q:
            for name, (ask, plain, wanted) in self._questions().items():
                times = []
                for _ in range(ROUNDS):
                    driver.statements = []
                    began = time.perf_counter()
                    await ask(q)
                    times.append((time.perf_counter() - began) * 1000)
                own = self._cost(driver.statements)
                plainly = [self._cost([plain]) for _ in range(3)]
                other = sorted(plainly, key=lambda cost: cost.seconds)[1]
                mib = 1 << 20
                middle, slow = statistics.median(times), statistics.quantiles(times, n=20, method="inclusive")[-1]
                print(
                    f"{name:34} {middle:7.1f} {slow:7.1f} {own.rows:11,} {own.read / mib:8.1f}"
                    f" {own.memory / mib:10.1f} {other.seconds * 1000:9.1f} {other.read / mib:8.1f}"
                    f" {other.seconds * 1000 / middle:6.1f} {wanted:9.0f}",
                    flush=True,
                )

    def _cost(self, statements: list[str]) -> Cost:
        """Run statements one by one over HTTP, whose answer says what was read."""
        endpoint = self._database.server.endpoint
        query = urlencode({"database": self._database.name, "wait_end_of_query": 1, "default_format": "Null"})
        began, found = time.perf_counter(), []
        for sql in statements:
            request = Request(f"http://{endpoint.host}:{endpoint.http_port}/?{query}", data=sql.encode())  # ours
            with _open(request, timeout=120) as response:
                response.read()
                found.append(json.loads(response.headers["X-ClickHouse-Summary"]))
        return Cost(
            seconds=time.perf_counter() - began,
            rows=sum(int(one["read_rows"]) for one in found),
            read=sum(int(one["read_bytes"]) for one in found),
            memory=max(int(one.get("memory_usage", 0)) for one in found),
        )
