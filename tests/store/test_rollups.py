"""Every figure of every readable view, against the same figure computed in Python from the very events.

Batches are random, some are sent again under their token, some are so old that their rows are folded together.
"""

import json
import math
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from spoolhouse.decode.rows import Rows
from spoolhouse.events.builtin import BUILT_IN, LOGS, METRICS, SPANS, TRACES
from spoolhouse.events.declaration import Column, Grain, Kind, Measure, Only, Reckoning, Rollup, Table, Tally
from spoolhouse.events.naming import target_name, view_name
from spoolhouse.store.clickhouse.driver import Driver, RowsInsert
from spoolhouse.store.clickhouse.drivers.connect import connect
from spoolhouse.store.clickhouse.schema.aggregates import LEVELS, SKETCH, quantiles_column
from spoolhouse.store.clickhouse.schema.render import DEFAULT_PREFIX, tables_of
from spoolhouse.store.clickhouse.schema.rollups import COMPACT_DAYS, group_keys
from tests.engine import Database

TABLES = tables_of(BUILT_IN)

Event = Mapping[str, object]
Key = tuple[object, ...]
Figures = dict[str, object]

NOW = datetime.now(tz=UTC).replace(microsecond=0)
MONTH = NOW.replace(day=1, hour=0, minute=0, second=0)
COUNTED = [table for table in TABLES if table.rollups]

HOURS = [MONTH + timedelta(hours=hour) for hour in (-1, 0, 1)]
"""On both sides of a month's end, so that a batch has two partitions."""
OLD = COMPACT_DAYS + 5

LARGEST_SKETCHED = 3.38e38
LARGEST_FLOAT32 = 3.4028236e38
SMALLEST_SKETCHED = 1e-37
SKETCH_ERROR = 1.000001 / 128
SUM_ERROR = 1e-9

INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 1000)
NUMBERS = (
    st.floats(-1e300, 1e300)
    | st.floats(-1000, 1000)
    | st.integers(-5, 1000).map(float)
    | st.sampled_from([0.0, -0.0, 5e-324, 1e300, -1e300, 1e39, -1e38])
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is sent under one token, how often, and how many days ago."""

    id: str
    events: Sequence[Event]
    sends: int = 1
    age: int = 0


@pytest.fixture
def migrated(prepared_database: Database) -> Database:
    """A database with all tables in it, empty."""
    return prepared_database


@asynccontextmanager
async def connected(database: Database) -> AsyncIterator[Driver]:
    driver = connect(database.native_url)
    try:
        yield driver
    finally:
        await driver.close()


def values_of(column: Column) -> st.SearchStrategy[object]:
    """Few different keys, and all kinds of numbers."""
    times = st.builds(
        lambda hour, ms: hour + timedelta(milliseconds=ms), st.sampled_from(HOURS), st.integers(0, 3_599_999)
    )
    kinds: Mapping[Kind, st.SearchStrategy[object]] = {
        Kind.INTEGER: INTEGERS,
        Kind.NUMBER: NUMBERS,
        Kind.TIME: times,
        Kind.BOOLEAN: st.just(value=True),
    }
    values = kinds.get(column.kind, st.sampled_from(["", "a", "b"]))
    if column.choices:
        values = st.sampled_from(sorted(column.choices))
    return st.none() | values if column.nullable else values


def looked_at(rollup: Rollup) -> set[str | None]:
    """The columns that a rollup looks at."""
    wanted = {*group_keys(rollup), rollup.time, rollup.count_when, rollup.count_unless}
    wanted |= set() if rollup.measure is None else {rollup.measure.column}
    return wanted | {
        *rollup.only,
        *(tally.column for tally in rollup.tallies),
        *(key for t in rollup.tallies for key in t.only),
    }


def batches_of(table: Table) -> st.SearchStrategy[list[Batch]]:
    """Batches that differ in whatever the rollups of the table look at, but for the project."""
    wanted = set().union(*map(looked_at, table.rollups))
    varied = {column.name: values_of(column) for column in table.columns if column.name in wanted - {"project_id"}}
    batch = st.builds(
        Batch,
        id=st.just(""),
        events=st.lists(st.fixed_dictionaries(varied), min_size=1, max_size=12),
        sends=st.integers(1, 2),
        age=st.sampled_from([0, OLD]),
    )
    return st.lists(batch, min_size=1, max_size=5)


def placed(batch: Batch, table: Table, project: str) -> Batch:
    """A drawn batch made whole, under a token that was never used: Hypothesis draws some batches again and again."""
    events = [event(table, **fields, project_id=project) for fields in batch.events]
    return replace(batch, id=uuid.uuid4().hex, events=events)


def event(table: Table, **fields: object) -> Event:
    """An event whose other fields are the first that a producer could think of."""
    plain: Mapping[Kind, object] = {Kind.TIME: NOW, Kind.NUMBER: 0.0, Kind.NUMBERS: [], Kind.COUNTS: []}
    blank = {
        column.name: None if column.nullable else plain.get(column.kind, next(iter(column.choices), ""))
        for column in table.columns
    }
    return blank | fields


async def send(driver: Driver, table: Table, batch: Batch) -> None:
    def written(value: object) -> object:
        return value.isoformat() if isinstance(value, datetime) else value

    async def rows() -> AsyncIterator[Rows]:
        lines = [json.dumps([written(each[column.name]) for column in table.columns]) for each in batch.events]
        yield Rows(data="".join(f"{line}\n" for line in lines).encode(), count=len(lines))

    insert = RowsInsert(
        table=DEFAULT_PREFIX + table.name,
        columns=table.columns,
        batch_id=batch.id,
        token=batch.id,
        clock_ms=int((NOW - timedelta(days=batch.age)).timestamp() * 1000),
    )
    await driver.insert_rows(insert, rows())


def shown_keys(rollup: Rollup) -> tuple[str, ...]:
    """What a readable view has a row for."""
    return group_keys(rollup) if rollup.shown_by is None else rollup.shown_by


def shown_columns(rollup: Rollup) -> list[str]:
    """The columns of a readable view, in order."""
    names = [*shown_keys(rollup), rollup.count, *(tally.name for tally in rollup.tallies)]
    if rollup.measure is not None:
        measure = rollup.measure
        names += ["measured_count", measure.total, measure.average]
        names += [name for name in (measure.minimum, measure.maximum) if name is not None]
        if measure.quantiles:
            names += [f"p{round(level * 100)}_{measure.column}" for level in LEVELS]
    return names if rollup.error_status is None else [*names, "error_count", "error_rate"]


def read(database: Database, rollup: Rollup, project: str) -> dict[Key, Figures]:
    names, view = shown_columns(rollup), view_name(rollup, prefix=DEFAULT_PREFIX)
    answer = database.query(f"SELECT {', '.join(names)} FROM {view} WHERE project_id = '{project}'")
    kinds = {name: kind for name, kind, *_ in database.query(f"DESCRIBE TABLE {view}")}
    rows = [
        # A whole double looks like an integer in JSON, and would be compared as one, digit by digit.
        {name: float(value) if "Float" in kinds[name] and value is not None else value for name, value in row}
        for row in (zip(names, values, strict=True) for values in answer)
    ]
    result = {tuple(row.pop(key) for key in shown_keys(rollup)): row for row in rows}
    assert len(result) == len(rows)
    return result


def grouped(rollup: Rollup, batches: Sequence[Batch]) -> dict[Key, list[Event]]:
    """Each line once, by the keys of its row."""
    groups: dict[Key, list[Event]] = defaultdict(list)
    for each in (each for batch in batches for each in batch.events if fits(each, rollup.only)):
        ended = rollup.count_when is None or each[rollup.count_when] is not None
        if ended and (rollup.count_unless is None or each[rollup.count_unless] is None):
            time = each[rollup.time]
            assert isinstance(time, datetime)
            start = f"{time:%Y-%m-%d %H:00:00}" if rollup.grain is Grain.HOUR else f"{time:%Y-%m-%d}"
            keys = {**each, rollup.grain: start}
            groups[tuple(keys[key] for key in shown_keys(rollup))].append(each)
    return groups


def fits(each: Event, only: Only) -> bool:
    return all(each[column] in values for column, values in only.items())


def check_figures(rollup: Rollup, shown: Mapping[Key, Figures], batches: Sequence[Batch]) -> None:
    groups = grouped(rollup, batches)
    assert shown.keys() == groups.keys()
    for key, events in groups.items():
        assert shown[key][rollup.count] == len(events)
        for tally in rollup.tallies:
            check_tally(tally, shown[key][tally.name], [each for each in events if fits(each, tally.only)])
        if rollup.measure is not None:
            check_measure(rollup.measure, shown[key], [each[rollup.measure.column] for each in events])
    if rollup.error_status is not None:
        check_errors(rollup, rollup.error_status, shown, groups)


def check_tally(tally: Tally, shown: object, events: Sequence[Event]) -> None:
    known = [each[tally.column] for each in events if tally.column and each[tally.column] is not None]
    if tally.reckoning is Reckoning.COUNT:
        assert shown == len(events)
    elif tally.reckoning is Reckoning.DISTINCT:
        assert shown == len(set(known))
    elif tally.reckoning is Reckoning.SUM:
        numbers = [value for value in known if isinstance(value, int | float)]
        assert isinstance(shown, int | float)
        exact = all(isinstance(value, int) for value in numbers)
        assert abs(shown - (sum(numbers) if exact else math.fsum(numbers))) <= (
            0 if exact else SUM_ERROR * math.fsum(map(abs, numbers))
        )
    else:
        times = [value for value in known if isinstance(value, datetime)]
        time = min(times) if tally.reckoning is Reckoning.FIRST else max(times)
        assert shown == f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03}"


def check_measure(measure: Measure, shown: Figures, values: Sequence[object]) -> None:
    known = sorted(value for value in values if isinstance(value, int | float))
    assert shown["measured_count"] == len(known)
    total, average = shown[measure.total], shown[measure.average]
    if not known:
        missing = {name: shown[name] for name in shown if name.startswith(("avg", "min", "max", "p5", "p9"))}
        assert total == 0
        assert set(missing.values()) == {None}
        return
    assert isinstance(average, int | float)
    assert isinstance(total, int | float)
    if all(isinstance(value, int) for value in known):
        # Doubles would not do: their sum may be further from the truth than what is shown.
        assert total == sum(known)
        assert average == pytest.approx(sum(known) / len(known), rel=SUM_ERROR)
    else:
        slack = SUM_ERROR * math.fsum(map(abs, known))
        assert abs(total - math.fsum(known)) <= slack
        assert abs(average - math.fsum(known) / len(known)) <= slack / len(known)
    assert (shown[measure.minimum or ""], shown[measure.maximum or ""]) == (known[0], known[-1])
    for level in LEVELS if measure.quantiles else ():
        check_quantile(known, level, shown[f"p{round(level * 100)}_{measure.column}"])


def check_quantile(known: Sequence[float], level: float, answer: object) -> None:
    true = next(value for rank, value in enumerate(known, start=1) if rank >= level * len(known))
    if abs(true) > LARGEST_SKETCHED:
        # Just there, the sketch's own rounding decides.
        assert answer is None or abs(true) <= LARGEST_FLOAT32
        return
    assert isinstance(answer, int | float)
    assert abs(answer - true) <= abs(true) * SKETCH_ERROR + SMALLEST_SKETCHED
    assert float(known[0]) <= answer <= float(known[-1])


def check_errors(rollup: Rollup, error: str, shown: Mapping[Key, Figures], groups: Mapping[Key, list[Event]]) -> None:
    place = group_keys(rollup).index("status")
    for key, row in shown.items():
        same = [other for other in groups if other[:place] + other[place + 1 :] == key[:place] + key[place + 1 :]]
        lines = sum(len(groups[other]) for other in same)
        errors = sum(len(groups[other]) for other in same if other[place] == error)
        assert row["error_count"] == (len(groups[key]) if key[place] == error else 0)
        assert row["error_rate"] == pytest.approx(errors / lines)


@pytest.mark.parametrize("table", COUNTED, ids=lambda each: each.name)
@settings(
    max_examples=10,
    deadline=None,
    # Explaining a failure traces every line, which takes longer than a test may.
    phases=set(Phase) - {Phase.explain},
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
async def test_every_figure_of_every_view(migrated: Database, table: Table, data: st.DataObject) -> None:
    # The database is shared by the examples: each has a project of its own.
    project = uuid.uuid4().hex
    batches = [placed(batch, table, project) for batch in data.draw(batches_of(table))]
    async with connected(migrated) as driver:
        for sent in data.draw(st.permutations([batch for batch in batches for _ in range(batch.sends)])):
            await send(driver, table, sent)
    for rollup in table.rollups:
        check_figures(rollup, read(migrated, rollup, project), batches)
        migrated.query(f"OPTIMIZE TABLE {target_name(rollup, prefix=DEFAULT_PREFIX)} FINAL")
        check_figures(rollup, read(migrated, rollup, project), batches)


async def test_a_view_has_the_columns_that_it_is_described_with(migrated: Database) -> None:
    for rollup in (rollup for table in COUNTED for rollup in table.rollups):
        name = view_name(rollup, prefix=DEFAULT_PREFIX)
        assert [row[0] for row in migrated.query(f"DESCRIBE TABLE {name}")] == shown_columns(rollup)


@pytest.mark.parametrize("table", COUNTED, ids=lambda each: each.name)
async def test_a_repeated_token_is_dropped_by_the_table_and_by_the_targets(migrated: Database, table: Table) -> None:
    end = {"end_time": NOW} if "end_time" in {column.name for column in table.columns} else {}
    events = [event(table, **end) for _ in range(3)]
    first, second = (Batch(id=uuid.uuid4().hex, events=events) for _ in range(2))
    async with connected(migrated) as driver:
        for batch in (first, first, second, first, second):
            await send(driver, table, batch)
    assert migrated.query(f"SELECT count() FROM {DEFAULT_PREFIX}{table.name}") == [(6,)]
    for rollup in table.rollups:
        target = target_name(rollup, prefix=DEFAULT_PREFIX)
        assert sorted(migrated.query(f"SELECT batch_id, sum(lines) FROM {target} GROUP BY batch_id")) == sorted(
            [(first.id, 3), (second.id, 3)]
        )


async def test_the_sum_of_absurd_durations_does_not_wrap_around(migrated: Database) -> None:
    events = [event(TRACES, end_time=NOW, duration_ms=2**63 - 1) for _ in range(5)]
    async with connected(migrated) as driver:
        await send(driver, TRACES, Batch(id="b", events=events))
    (row,) = read(migrated, TRACES.rollups[0], "").values()
    assert row["total_duration_ms"] == pytest.approx(5 * 2**63)
    assert row["avg_duration_ms"] == pytest.approx(2**63)


async def test_equal_values_have_themselves_as_their_quantiles(migrated: Database) -> None:
    async with connected(migrated) as driver:
        await send(driver, TRACES, Batch(id="b", events=[event(TRACES, end_time=NOW, duration_ms=507)] * 9))
    (row,) = read(migrated, TRACES.rollups[0], "").values()
    assert [row[f"p{level}_duration_ms"] for level in (50, 95, 99)] == [507, 507, 507]


async def test_a_span_is_counted_once_though_it_is_written_at_its_start_and_at_its_end(migrated: Database) -> None:
    async with connected(migrated) as driver:
        for number in range(3):
            await send(driver, SPANS, Batch(id=f"start {number}", events=[event(SPANS, span_id=str(number))]))
        ends = [event(SPANS, span_id=str(number), end_time=NOW, status="error") for number in range(3)]
        await send(driver, SPANS, Batch(id="ends", events=ends))
    (row,) = read(migrated, SPANS.rollups[0], "").values()
    assert (row["count"], row["error_count"], row["error_rate"]) == (3, 3, 1)


async def test_a_filter_on_the_status_does_not_change_the_error_rate(migrated: Database) -> None:
    statuses = ["error", "ok", "ok", "unset"]
    async with connected(migrated) as driver:
        events = [event(TRACES, end_time=NOW, status=status) for status in statuses]
        await send(driver, TRACES, Batch(id="b", events=events))
    view = view_name(TRACES.rollups[0], prefix=DEFAULT_PREFIX)
    assert migrated.query(f"SELECT error_rate FROM {view} WHERE status = 'error'") == [(0.25,)]
    assert migrated.query(f"SELECT error_rate FROM {view} WHERE status = 'ok'") == [(0.25,)]
    assert migrated.query(f"SELECT sum(error_count) / sum(count) FROM {view}") == [(0.25,)]


async def test_quantiles_of_several_rows_come_from_the_merged_states(migrated: Database) -> None:
    async with connected(migrated) as driver:
        for hour in range(4):
            events = [
                event(METRICS, timestamp=NOW - timedelta(hours=hour), value=float(hour * 64 + number))
                for number in range(64)
            ]
            await send(driver, METRICS, Batch(id=str(hour), events=events))
    (rollup,) = METRICS.rollups
    assert rollup.measure is not None
    merged = f"{SKETCH.format('Merge')}({quantiles_column(rollup.measure)})"
    (answer,) = migrated.query(f"SELECT {merged} FROM {target_name(rollup, prefix=DEFAULT_PREFIX)}")
    assert answer == ([127.0, 243.0, 253.0],)


async def test_batches_are_folded_by_the_age_of_their_ingest_and_not_of_their_events(migrated: Database) -> None:
    """A young batch of old events may still be looked for: once folded, it would be taken for lost and sent again."""
    (rollup,) = LOGS.rollups
    target = target_name(rollup, prefix=DEFAULT_PREFIX)
    long_ago = event(LOGS, timestamp=NOW - timedelta(days=300))
    old = [Batch(id=f"a{number}", events=[long_ago], age=OLD) for number in range(4)]
    young = [Batch(id=f"b{number}", events=[long_ago]) for number in range(4)]
    async with connected(migrated) as driver:
        for batch in (*old, *young):
            await send(driver, LOGS, batch)
    migrated.query(f"OPTIMIZE TABLE {target} FINAL")
    left = dict(migrated.query(f"SELECT batch_id, lines FROM {target}"))
    assert {batch.id for batch in young} <= left.keys()
    assert len(left) == len(young) + 1
    assert sum(left.values()) == 8
    check_figures(rollup, read(migrated, rollup, ""), [*old, *young])
