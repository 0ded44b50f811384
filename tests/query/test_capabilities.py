"""What the seeds and released systems can be asked for, row by row of one table: a question, and its answer."""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from spoolhouse.errors import BadRequestError
from spoolhouse.query import ALL_PROJECTS, connect
from spoolhouse.query.aliases import Client
from tests.engine import Database, Pool
from tests.query.landed import NOW, feedback, land, log, metric, prompt, score, span, step, trace

COUNT = 150
TRACES = [
    trace(n, metadata={"region": ("eu", "us")[n % 2]}, input=[{"role": "user", "content": "x" * 200}])
    for n in range(COUNT)
]
SPANS = [
    span(0),
    *(span(n, parentSpanId="s000", traceId="t000") for n in (10, 20)),
    span(30, parentSpanId="s010", traceId="t000", kind="client", status="error"),
    *(
        span(n, attributes={"gen_ai.request.model": f"m{n % 2}", "gen_ai.usage.cost": 0.25})
        for n in range(1, 60)
        if n % 10
    ),
]
LOGS = [log(n, traceId=f"t{n % 10:03}", attributes={"app": "web"}) for n in range(40)]
METRICS = [metric(n) for n in range(40)] + [
    metric(
        99,
        name="size",
        metricType="histogram",
        bucketBoundaries=[1, 2],
        bucketCounts=[3, 4, 5],
        organizationId="acme",
        environment="prod",
        serviceName="api",
    )
]
SCORES = [score(n, experiment=("a", "b")[n % 2], serviceName="api", environment="prod") for n in range(11)]
FEEDBACK = [feedback(n, experiment="a", userId=f"u{n % 2}") for n in range(10)]
EVENTS = [prompt(n, tags=["x"]) for n in range(30)] + [step(n) for n in (3, 1, 2)]
EVERY = [*TRACES, *SPANS, *LOGS, *METRICS, *SCORES, *FEEDBACK, *EVENTS]
AGAIN = [*TRACES[:20], *LOGS[:20], *SCORES]
FOREIGN = [trace(1, projectId="other"), span(1, projectId="other", traceId="t001")]


@pytest.fixture(scope="module")
def landed(prepared: Pool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database with all of these events, some of them delivered twice."""
    database = prepared.take()
    database.query("SYSTEM STOP MERGES")
    land(database.native_url, tmp_path_factory.mktemp("one"), EVERY)
    land(database.native_url, tmp_path_factory.mktemp("two"), AGAIN)
    land(database.native_url, tmp_path_factory.mktemp("three"), FOREIGN, project="other")
    yield database
    prepared.give_back(database)


def ids(records: Any, field: str) -> list[str]:
    return [getattr(record, field) for record in records]


def rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


WIDE: dict[str, Any] = {"project": "shop", "since": NOW - timedelta(hours=6), "until": NOW + timedelta(minutes=1)}
Ask = Callable[[Client], Awaitable[Any]]


async def _listed(made: Any, field: str) -> list[str]:
    return [getattr(record, field) async for record in made]


async def _refused(made: Awaitable[Any]) -> str:
    with pytest.raises(BadRequestError) as caught:
        await made
    return str(caught.value)


async def _numbered(made: Awaitable[Any], field: str) -> tuple[list[str], tuple[Any, ...]]:
    page = await made
    place = page.pagination
    return ids(page.data, field), (place.total, place.page, place.per_page, place.offset, place.limit, place.has_more)


async def _series(made: Awaitable[Any]) -> list[tuple[int, dict[str, float]]]:
    return [(one.count, one.values) for one in await made]


async def _figures(made: Awaitable[Any]) -> list[dict[str, Any]]:
    return [{**one.by, **{name: rounded(value) for name, value in one.values.items()}} for one in (await made).rows]


async def _get(made: Awaitable[Any], *fields: str) -> Any:
    found = await made
    return None if found is None else tuple(getattr(found, field) for field in fields)


def hours(count: int) -> dict[str, Any]:
    """Return the whole hours of UTC before `NOW`."""
    end = NOW.replace(minute=0, second=0)
    return {"since": end - timedelta(hours=count), "until": end}


def by_hour(count: int, traces: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return how many of the traces, and how many with errors, began in each of these hours."""
    window = hours(count)
    starts = [(datetime.fromisoformat(one["startTime"]), one["status"]) for one in traces]
    buckets = [window["since"] + timedelta(hours=n) for n in range(count)]
    return [
        (
            sum(bucket <= start < bucket + timedelta(hours=1) for start, _ in starts),
            sum(bucket <= start < bucket + timedelta(hours=1) and status == "error" for start, status in starts),
        )
        for bucket in buckets
    ]


def minutes_ago(number: int) -> datetime:
    """Return the time of the metric with that number."""
    return NOW - timedelta(minutes=number)


def hour_of(time: datetime) -> datetime:
    """Return the start of its hour."""
    return time.replace(minute=0, second=0)


MEASURES = "count, errors, error_rate, error_percent, rate, sum, avg, min, max, last, count_distinct"
CASES: dict[str, tuple[Ask, Any]] = {
    "3 traces, first page": (
        lambda q: _numbered(q.list_traces(**WIDE), "trace_id"),
        ([f"t{n:03}" for n in range(50)], (150, 0, 50, None, None, True)),
    ),
    "3 traces, last page, status and name": (
        lambda q: _numbered(q.list_traces(**WIDE, status="error", name="out 1", page=2, per_page=10), "trace_id"),
        ([f"t{n:03}" for n in range(1, 150, 6)][20:], (25, 2, 10, None, None, False)),
    ),
    "3 traces, seed's words": (
        lambda q: _numbered(
            q.list_traces(
                project_id="shop",
                time_range={"start": WIDE["since"], "end": WIDE["until"]},
                pagination={"page": 1, "per_page": 2},
                trace_id=["t001", "t002", "t003"],
            ),
            "trace_id",
        ),
        (["t003"], (3, 1, 2, None, None, False)),
    ),
    "3 traces, LIKE is no pattern": (lambda q: _listed(q.traces(**WIDE, name="%"), "trace_id"), []),
    "4 trace": (lambda q: _get(q.get_trace("shop", "t007"), "trace_id", "name"), ("t007", "checkout 1")),
    "4 trace, missing": (lambda q: q.get_trace("shop", "none"), None),
    "4 trace, of another project": (lambda q: q.get_trace("foreign", "t007"), None),
    "5 spans": (
        lambda q: _listed(q.spans(**WIDE, kind="client", status="error", trace="t000", parent="s010"), "span_id"),
        ["s030"],
    ),
    "5 span by id": (lambda q: _listed(q.spans(**WIDE, span="s010"), "span_id"), ["s010"]),
    "6 spans of a trace": (
        lambda q: _listed(_over(q.get_spans_for_trace("shop", "t000")), "span_id"),
        ["s030", "s020", "s010", "s000"],
    ),
    "7 logs": (
        lambda q: _numbered(q.list_logs(**WIDE, level="error", message="Payment 1", trace_id="t001"), "id"),
        (["l001", "l011"], (2, 0, 50, None, None, False)),
    ),
    "7 logs by words": (lambda q: _listed(q.logs(**WIDE, words="PAYMENT 7 card"), "id"), ["l007"]),
    "8 metrics": (
        lambda q: _numbered(q.list_metrics(**WIDE, name="size", type="histogram"), "id"),
        (["m099"], (1, 0, 50, None, None, False)),
    ),
    "9 scores": (
        lambda q: _numbered(q.list_scores(**WIDE, name="accuracy", min_value=0, max_value=0.2, trace_id="t000"), "id"),
        (["c000"], (1, 0, 50, None, None, False)),
    ),
    "9 scores, ends are included": (
        lambda q: _listed(q.scores(**WIDE, min=0.3, max=0.5), "id"),
        ["c003", "c004", "c005"],
    ),
    "10 count by time": (
        lambda q: _series(q.get_trace_count_time_series(interval_seconds=3600, project="shop", **hours(5))),
        [(count, {}) for count, _ in by_hour(5, TRACES)],
    ),
    "10 count by time and group": (
        lambda q: _figures(
            q.figures("trace", project="shop", **hours(3), every="1h", by=("label.region",), status="error")
        ),
        [{"label.region": "us", "count": errors} for _, errors in by_hour(3, TRACES)],
    ),
    "10 no interval": (
        lambda q: _refused(q.get_trace_count_time_series(interval_seconds=0, project="shop")),
        "every: 0 is no interval; 1m, 5m, 15m, 1h, 1d or whole seconds are accepted",
    ),
    "11 error rate by time": (
        lambda q: _series(q.get_error_rate_time_series(interval_seconds=3600, project="shop", **hours(5))),
        [
            (count, {"error_count": errors, "error_rate": errors / count if count else 0.0})
            for count, errors in by_hour(5, TRACES)
        ],
    ),
    "11 no rate without rows": (
        lambda q: _figures(q.figures("trace", project="empty", of=("count", "error_rate"))),
        [{"count": 0, "error_rate": None}],
    ),
    "12 record": (
        lambda q: _get(q.get_span("shop", "t000", "s000"), "parent_span_id", "duration_ms", "attributes", "broken"),
        (None, 15_000.0, {}, ()),
    ),
    "12 record, time": (lambda q: _get(q.get_trace("shop", "t001"), "start_time"), (NOW - timedelta(minutes=1),)),
    "25 scores by offset": (
        lambda q: _numbered(
            q.list_scores(
                **WIDE,
                filters={"scorer_name": ["accuracy", "x"], "experiment": "a"},
                pagination={"limit": 3, "offset": 1},
                order_by={"field": "score", "direction": "DESC"},
            ),
            "id",
        ),
        (["c008", "c006", "c004"], (6, None, None, 1, 3, True)),
    ),
    "25 direction is a closed set": (
        lambda q: _refused(q.list_scores(project="shop", order_by={"direction": "DESC; DROP"})),
        "order_by: direction is asc or desc, not 'desc; drop'",
    ),
    "26 a number and a text": (
        lambda q: _listed(q.feedback(**WIDE, order="time"), "value"),
        [(n, str(n))[n % 2] for n in range(9, -1, -1)],
    ),
    "27 feedback": (
        lambda q: _listed(q.feedback(**WIDE, type="rating", source="user", experiment="a", user="u0", max=4), "id"),
        ["f000", "f002", "f004"],
    ),
    "28 capabilities": (lambda q: _value(q.capabilities["scores"]), {"supported": True}),
    "30 recent events": (
        lambda q: _listed(q.events(**WIDE, limit=100, light=True), "event_id"),
        ["e000", "p001", "e001", "p002", "e002", "p003", "e003", *(f"e{n:03}" for n in range(4, 30))],
    ),
    "31 cost by model": (
        lambda q: _figures(
            q.figures(
                "event",
                **WIDE,
                type="prompt_call",
                by=("model",),
                of=("count", "sum:cost_estimate_usd", "avg:latency_ms"),
                order="-sum:cost_estimate_usd",
            )
        ),
        [
            {
                "model": f"model {n}",
                "count": 15,
                "sum:cost_estimate_usd": 7.5,
                "avg:latency_ms": mean(range(10 * n, 300, 20)),
            }
            for n in (0, 1)
        ],
    ),
    "32 error rate in percent": (
        lambda q: _figures(q.figures("event", **WIDE, type="prompt_call", of=("errors", "count", "error_percent"))),
        [{"errors": 15, "count": 30, "error_percent": 50.0}],
    ),
    "33 workflow": (
        lambda q: _listed(_over(q.steps("shop", "r0")), "step_name"),
        ["step 1", "step 2", "step 3"],
    ),
    "33 workflow of another project": (lambda q: q.steps("foreign", "r0"), []),
    "34 one event": (lambda q: _get(q.event("shop", "e003"), "model", "tags"), ("model 1", ["x"])),
    "36 from the rollup": (
        lambda q: _figures(
            q.figures("event", **WIDE, type="prompt_call", by=("status",), of=("count",), using="rollup", order="count")
        ),
        [{"status": "success", "count": 15}, {"status": "timeout", "count": 15}],
    ),
    "45 metrics by label and offset": (
        lambda q: _numbered(
            q.list_metrics(
                **WIDE, filters={"name": ["queue 1", "size"], "labels": {"region": "us"}}, pagination={"limit": 2}
            ),
            "id",
        ),
        (["m001", "m003"], (21, None, None, 0, 2, True)),
    ),
    "45 metrics in the seed's words": (
        lambda q: _numbered(
            q.list_metrics(
                project="shop",
                filters={
                    "start_time": minutes_ago(99),
                    "end_time": minutes_ago(99),
                    "organization_id": "acme",
                    "environment": "prod",
                    "service_name": ["api", "web"],
                },
                order_by={"field": "timestamp", "direction": "asc"},
            ),
            "id",
        ),
        (["m099"], (1, None, None, 0, 100, False)),
    ),
    "45 a label's name is no SQL": (
        lambda q: _listed(q.metrics(**WIDE, label={"region') = 'eu' OR ('": "x"}), "id"),
        [],
    ),
    "46 aggregated": (
        lambda q: q.list_metrics(**WIDE, name="queue 0", aggregation={"type": "max", "group_by": ["region"]}),
        [{"name": "queue 0", "value": 19.0, "label_region": "eu"}],
    ),
    "46 aggregated by time and label": (
        lambda q: q.list_metrics(
            project="shop",
            filters={"start_time": minutes_ago(39), "end_time": minutes_ago(38)},
            aggregation={"type": "sum", "interval": "1 hour", "group_by": ["region"]},
        ),
        sorted(
            (
                {"name": "queue 1", "value": 19.5, "timestamp": hour_of(minutes_ago(39)), "label_region": "us"},
                {"name": "queue 0", "value": 19.0, "timestamp": hour_of(minutes_ago(38)), "label_region": "eu"},
            ),
            key=lambda row: (row["timestamp"], row["name"]),
        ),
    ),
    "46 a function is of a closed set": (
        lambda q: _refused(q.list_metrics(**WIDE, aggregation={"type": "sleep(3)"})),
        f"of: 'sleep(3)' is not one of {MEASURES}, p50, p95, p99.9, …",
    ),
    "47 buckets": (lambda q: _listed(q.metrics(**WIDE, id="m099"), "bucket_counts"), [[3, 4, 5]]),
    "M1 root": (lambda q: _get(q.get_root_span("shop", "t000"), "span_id"), ("s000",)),
    "M1 spans": (
        lambda q: _listed(_over(q.get_spans("shop", "t000", ["s000", "s020", "no"])), "span_id"),
        ["s020", "s000"],
    ),
    "M1 structure": (
        lambda q: _listed(_over(q.structure("shop", "t000")), "span_id"),
        ["s030", "s020", "s010", "s000"],
    ),
    "M1 branch": (lambda q: _listed(_over(q.branch("shop", "t000", "s010")), "span_id"), ["s030", "s010"]),
    "M1 branch, depth": (
        lambda q: _listed(_over(q.branch("shop", "t000", "s000", depth=1)), "span_id"),
        ["s020", "s010", "s000"],
    ),
    "M1 branch, missing": (lambda q: q.branch("shop", "t000", "no"), []),
    "M2 light": (lambda q: _lengths(q.list_traces_light(**WIDE, per_page=2)), [(100, None), (100, None)]),
    "M3 branches": (
        lambda q: _listed(_over(_data(q.list_branches(**WIDE, name="op 0", kind="client"))), "span_id"),
        ["s030"],
    ),
    "M4 compare": (
        lambda q: _change(
            q.figures(
                "trace",
                project="shop",
                since=NOW - timedelta(minutes=49),
                until=NOW + timedelta(minutes=1),
                compare="previous_period",
            )
        ),
        (50, 50, 0.0),
    ),
    "M4 of all kinds": (
        lambda q: _figures(
            q.figures(
                "metric", **WIDE, name="queue 1", of=("sum", "avg", "min", "max", "last", "count", "count_distinct")
            )
        ),
        [{"sum": 200.0, "avg": 10.0, "min": 0.5, "max": 19.5, "last": 0.5, "count": 20, "count_distinct": 20}],
    ),
    "M5 breakdown": (
        lambda q: _figures(
            q.figures("metric", **WIDE, by=("label.region", "type"), of=("count",), order="-count", limit=1)
        ),
        [{"label.region": "eu", "type": "gauge", "count": 20}],
    ),
    "M7 percentiles": (
        lambda q: _figures(q.figures("score", **WIDE, of=("p0", "p25", "p50", "p99.5", "p100"))),
        [{"p0": 0.0, "p25": 0.25, "p50": 0.5, "p99.5": 0.995, "p100": 1.0}],
    ),
    "M7 histogram": (
        lambda q: _figures(q.figures("score", **WIDE, edges=(0.1, 0.25, 1.0))),
        [{"bin": 0, "count": 1}, {"bin": 1, "count": 2}, {"bin": 2, "count": 7}, {"bin": 3, "count": 1}],
    ),
    "M7 histogram of what is no number, too": (
        lambda q: _figures(q.figures("feedback", **WIDE, by=("source",), edges=(5,), of=("count", "max"))),
        [
            {"source": "user", "bin": 0, "count": 3, "max": 4.0},
            {"source": "user", "bin": 1, "count": 2, "max": 8.0},
            {"source": "user", "bin": None, "count": 5, "max": None},
        ],
    ),
    "M8 names": (lambda q: q.values("names", **WIDE, prefix="queue"), ["queue 0", "queue 1"]),
    "M8 label keys": (lambda q: q.values("label_keys", **WIDE), ["region"]),
    "M8 label values": (lambda q: q.values("label_values", **WIDE, key="region", limit=1), ["eu"]),
    "M8 services": (lambda q: q.values("services", **WIDE), ["api"]),
    "M8 environments": (lambda q: q.values("environments", **WIDE), ["prod"]),
    "M8 experiments": (lambda q: q.values("experiments", **WIDE), ["a", "b"]),
    "M8 models": (lambda q: q.values("models", **WIDE), ["m0", "m1"]),
    "M8 levels": (lambda q: q.values("levels", **WIDE), ["error", "info"]),
    "M8 tags": (lambda q: q.values("tags", **WIDE), ["x"]),
    "M10 predicate": (
        lambda q: _listed(
            q.traces(
                **WIDE,
                where={
                    "and": [
                        {
                            "or": [
                                {"field": "trace_id", "op": "in", "value": ["t000", "t001", "t100"]},
                                {"field": "label.region", "op": "eq", "value": "none"},
                            ]
                        },
                        {"not": {"field": "status", "op": "eq", "value": "error"}},
                        {"field": "start_time", "op": "lt", "value": NOW + timedelta(hours=1)},
                        {"field": "end_time", "op": "exists"},
                    ]
                },
            ),
            "trace_id",
        ),
        ["t000", "t100"],
    ),
    "M10 some": (
        lambda q: _listed(
            q.traces(**WIDE, where={"some": "spans", "where": {"field": "status", "op": "eq", "value": "error"}}),
            "trace_id",
        ),
        ["t000"],
    ),
    "M10 none": (
        lambda q: _listed(q.traces(**WIDE, status="ok", max=30_000, where={"none": "logs"}, limit=1000), "trace_id"),
        [f"t{n:03}" for n in range(10, 150, 2)],
    ),
    "M10 too deep": (
        lambda q: _refused(q.page("traces", project="shop", where=_deep(13))),
        "where: at most 12 levels and 100 conditions are accepted",
    ),
    "M11 grouped, having": (
        lambda q: _figures(
            q.figures(
                "trace",
                **WIDE,
                by=("name", "status"),
                of=("count", "error_rate", "avg", "p95", "count_distinct:trace_id"),
                having=(("count", "gte", 25),),
                order="-count",
                limit=2,
            )
        ),
        [
            {
                "name": "checkout 0",
                "status": "ok",
                "count": 25,
                "error_rate": 0.0,
                "avg": 30_000.0,
                "p95": 30_000.0,
                "count_distinct:trace_id": 25,
            },
            {
                "name": "checkout 0",
                "status": "error",
                "count": 25,
                "error_rate": 1.0,
                "avg": 30_000.0,
                "p95": 30_000.0,
                "count_distinct:trace_id": 25,
            },
        ],
    ),
    "M13 pages are bounded": (
        lambda q: _refused(q.list_traces(project="shop", page=200)),
        "pages by number end at 10000 records; use the cursor to go on",
    ),
    "a statement's numbers are numbers": (
        lambda q: q.sql("SELECT sum(n) AS total, 1.5 AS half FROM (SELECT 2 AS n UNION ALL SELECT 3 AS n)"),
        (["total", "half"], [(5, 1.5)]),
    ),
    "all projects": (
        lambda q: _listed(q.traces(project=ALL_PROJECTS, trace="t001", since="7d"), "project_id"),
        ["shop", "other"],
    ),
}


def _by_hour(using: str) -> Ask:
    return lambda q: _figures(
        q.figures("trace", project="shop", **hours(4), every="1h", of=("count", "errors", "p50"), using=using)
    )


CASES |= {
    f"M6 by interval, from {using}": (
        _by_hour(using),
        [{"count": count, "errors": errors, "p50": 30_000.0 if count else None} for count, errors in by_hour(4, some)],
    )
    # A rollup counts deliveries.
    for using, some in (("rows", TRACES), ("rollup", [*TRACES, *TRACES[:20]]))
}


async def _over(made: Awaitable[list[Any]]) -> Any:
    for one in await made:
        yield one


async def _data(made: Awaitable[Any]) -> list[Any]:
    data: list[Any] = (await made).data
    return data


async def _value(value: Any) -> Any:
    return value


async def _lengths(made: Awaitable[Any]) -> list[tuple[int, Any]]:
    return [(len(one.input), one.metadata) for one in (await made).data]


async def _change(made: Awaitable[Any]) -> tuple[Any, Any, Any]:
    [one] = (await made).rows
    return one.values["count"], one.previous["count"], one.change["count"]


def _deep(levels: int) -> dict[str, Any]:
    return {"not": _deep(levels - 1)} if levels else {"field": "name", "op": "exists"}


@pytest.fixture(scope="module")
def landed_in_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a DuckDB file with the same events, delivered alike."""
    url = f"duckdb://{tmp_path_factory.mktemp('file')}/events.db"
    land(url, tmp_path_factory.mktemp("one"), EVERY)
    land(url, tmp_path_factory.mktemp("two"), AGAIN)
    land(url, tmp_path_factory.mktemp("three"), FOREIGN, project="other")
    return url


@pytest.mark.parametrize(
    ("url", "preferred", "supported"),
    [("clickhouse://db", "insert-only", ("insert-only",)), ("duckdb:///none.db", "batch", ("realtime", "batch"))],
)
def test_a_store_tells_how_it_is_written_to(url: str, preferred: str, supported: tuple[str, ...]) -> None:
    async def asked() -> list[Any]:
        async with connect(url) as q:
            return [q.metrics_strategy, q.tracing_strategy, q.logs_strategy, q.scores_strategy, q.feedback_strategy]

    assert {(one.preferred, one.supported) for one in asyncio.run(asked())} == {(preferred, supported)}


ELSEWHERE = {
    "1": "query/test_safety.py::test_a_user_who_may_only_read_is_enough",
    "2": "query/test_schema.py::test_a_schema_is_made_and_dropped",
    "13": "query/test_schema.py::test_a_schema_is_made_and_dropped",
    "14": "query/test_schema.py::test_the_constants_are_the_whole_schema",
    "15": "export/test_worker.py::test_what_is_pending_lands_at_once",
    "16": "export/test_worker.py::test_a_started_worker_lands_files_as_they_come",
    "17": "export/test_worker.py::test_what_is_pending_lands_at_once",
    "18": "export/test_worker.py::test_a_started_worker_lands_files_as_they_come",
    "19": "export/test_files.py::test_a_file_gives_events_and_errors_by_line",
    "20": "spool/test_storage.py::test_what_is_written_is_there_and_listed_from_the_oldest_on",
    "21": "unit/test_render.py::test_rows_are_kept_for_so_long",
    "22": "store/test_rollups.py::test_every_figure_of_every_view",
    "23": "query/test_round_trip.py::test_what_a_list_prints_gives_the_same_rows",
    "24": "query/test_round_trip.py::test_a_score_and_feedback_that_are_written_one_by_one_come_back",
    "29": "store/test_schema.py::test_from_nothing_to_nothing_left_to_do",
    "35": "query/test_delete.py::test_missing_tables_are_named",
    "M9": "query/test_tail.py::test_each_row_is_followed_once",
    "M12": "query/test_delete.py::test_a_trace_is_deleted_with_all_that_belongs_to_it",
    "M14": "export/test_default_exporter.py::test_a_batch_is_repeated_after_longer_and_longer_pauses",
}
"""The rows of the table whose test is another one."""


def test_each_row_of_the_table_has_a_test() -> None:
    wanted = {*map(str, range(1, 37)), *(f"M{number}" for number in range(1, 15))}
    assert wanted - {re.split(r"[ ,]", name)[0] for name in CASES} == {*ELSEWHERE}
    for path, _, name in (place.partition("::") for place in ELSEWHERE.values()):
        assert f"def {name}(" in (Path(__file__).parent.parent / path).read_text(), name


@pytest.mark.parametrize("store", ["clickhouse", "duckdb"])
@pytest.mark.parametrize("name", CASES)
def test_a_question_has_its_answer(name: str, store: str, request: pytest.FixtureRequest) -> None:
    ask, expected = CASES[name]
    url = request.getfixturevalue("landed_in_file")
    if store == "clickhouse":
        url = request.getfixturevalue("landed").native_url

    async def asked() -> Any:
        async with connect(url) as q:
            return await ask(q)

    if store == "duckdb" and "from the rollup" in name.replace("from rollup", "from the rollup"):
        with pytest.raises(BadRequestError, match="no rollups"):
            asyncio.run(asked())
        return
    found = asyncio.run(asked())
    if name == "all projects":
        assert sorted(found) == sorted(expected)
    else:
        assert found == expected


def test_a_rollup_says_what_the_rows_say(landed: Database) -> None:
    """Of what was delivered once, within 1 %, with ragged edges; and each says where it comes from."""
    asked: dict[str, Any] = {"of": ("count", "sum", "avg", "min", "max", "p50", "p95", "p99"), **WIDE, "by": ("name",)}

    async def both() -> Any:
        async with connect(landed.http_url) as q:
            return [await q.figures("metric", **asked, using=source) for source in ("rows", "rollup")]

    rows, rollup = asyncio.run(both())
    assert rows.source == "rows"
    assert rollup.source == "rollup metrics_hourly_stats + rows"
    assert [one.by for one in rollup.rows] == [one.by for one in rows.rows]
    for exact, near in zip(rows.rows, rollup.rows, strict=True):
        for figure, value in exact.values.items():
            if figure in {"p50", "p95", "p99"}:
                assert abs(near.values[figure] - value) <= 1.0, figure  # neighbours in rank are 1 apart
            else:
                assert math.isclose(near.values[figure], value), figure
