"""Whatever decode may hand over arrives as the value that was written: by every driver, for every kind of column."""

import json
import string
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from spoolhouse.events.declaration import Column, Kind, Table
from spoolhouse.store.clickhouse.driver import Driver
from tests.contract.place import Place, connected
from tests.contract.tables import create_table, encoded, insert_of, stream

CHOICES = {"plain": 0, "it's": 1, 'a "quoted" one': -128, "back\\slash": 127, "ünï🎈": 5}


def column(name: str, kind: Kind, *, nullable: bool = False, low_cardinality: bool = False) -> Column:
    """Declare one column; its JSON keys do not matter here."""
    choices = CHOICES if kind is Kind.CHOICE else {}
    return Column(
        name=name, kind=kind, keys=(name,), nullable=nullable, low_cardinality=low_cardinality, choices=choices
    )


ALL_KINDS = Table(
    name="all_kinds",
    columns=(
        column("number", Kind.INTEGER),
        column("time", Kind.TIME),
        *(column(kind.value + "_", kind) for kind in Kind),
        *(column(f"{kind.value}_or_null", kind, nullable=True) for kind in Kind if not kind.name.endswith("S")),
        column("low", Kind.TEXT, low_cardinality=True),
        column("low_or_null", Kind.TEXT, low_cardinality=True, nullable=True),
        column("order", Kind.TEXT),  # a name that is a word of SQL
    ),
    order_by=("number",),
    time="time",
    ttl_days=1,
)

TEXTS = st.text(max_size=40) | st.text(string.printable, max_size=40) | st.just("\\N") | st.just("null")
INTEGERS = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**64), 2**64).map(float)
TIMES = st.datetimes(
    datetime(1970, 1, 2),  # noqa: DTZ001  # hypothesis adds the zone
    datetime(2105, 12, 30),  # noqa: DTZ001  # ClickHouse's own have no zone
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
VALUES: dict[Kind, st.SearchStrategy[object]] = {
    Kind.TEXT: TEXTS,
    Kind.CHOICE: st.sampled_from(list(CHOICES)),
    Kind.SCALAR: TEXTS,
    Kind.ANY: TEXTS,
    Kind.BOOLEAN: st.booleans(),
    Kind.INTEGER: INTEGERS,
    Kind.INTEGER32: st.integers(-(2**31), 2**31 - 1),
    Kind.NUMBER: NUMBERS,
    Kind.TIME: TIMES,
    Kind.JSON: st.builds(json.dumps, JSON_VALUES, ensure_ascii=st.booleans(), indent=st.sampled_from([None, 2])),
    Kind.NUMBERS: st.lists(NUMBERS, max_size=5),
    Kind.COUNTS: st.lists(st.integers(0, 2**64 - 1), max_size=5),
    Kind.TEXTS: st.lists(TEXTS, max_size=5),
}
ROWS = st.lists(
    st.tuples(
        *(VALUES[column.kind] | st.none() if column.nullable else VALUES[column.kind] for column in ALL_KINDS.columns)
    ),
    min_size=1,
    max_size=12,
)
EXTREMES: dict[Kind, list[object]] = {
    Kind.TEXT: ["", "\0", "\\", "'", '"', "\u2028\u2029\x7f\x1b", "\U0010ffff", "a" * 100_000],
    Kind.CHOICE: list(CHOICES),
    Kind.SCALAR: ["", "-1.50e3", "1e999", "null", "it's"],
    Kind.ANY: ["", '{"a": [1]}', "a\nb"],
    Kind.BOOLEAN: [True, False],
    Kind.INTEGER: [-(2**63), 2**63 - 1, -1, 0],
    Kind.INTEGER32: [-(2**31), 2**31 - 1, -1, 0],
    Kind.NUMBER: [5e-324, -1.7976931348623157e308, 0.1, 1e22, 2.0**64, 123456789.123456789, 1.0],
    Kind.TIME: [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2105, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 3, 29, 2, 30, 0, 1, tzinfo=timezone(timedelta(hours=-11, minutes=-30))),
        datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
    Kind.JSON: ["", "{}", "[1e400]", '{"n": 123456789012345678901234567890123456789}', '"\\ud83c\\udf88"', "{not json"],
    Kind.NUMBERS: [[], [0.0], [5e-324, 1.7976931348623157e308]],
    Kind.COUNTS: [[], [2**64 - 1], [0] * 1000],
    Kind.TEXTS: [[], ["", "a\0b", "it's", '"', "\\", "ü🎈"], ["null"] * 1000],
}
ROWS_OF_EXTREMES = [
    tuple(EXTREMES[column.kind][n % len(EXTREMES[column.kind])] for column in ALL_KINDS.columns) for n in range(28)
]
ROWS_OF_NULLS = [tuple(None if c.nullable else EXTREMES[c.kind][0] for c in ALL_KINDS.columns)]


def as_stored(value: object) -> object:
    """Return what a table gives back for a value: times to the millisecond below, in UTC."""
    if isinstance(value, datetime):
        utc = value.astimezone(UTC)
        return f"{utc:%Y-%m-%d %H:%M:%S}.{utc.microsecond // 1000:03}"
    return value


@pytest_asyncio.fixture
async def table(driver: Driver, place: Place) -> AsyncIterator[None]:
    """Make a table with a column of every kind."""
    place.query(create_table(ALL_KINDS, "all_kinds"))
    yield


async def there_and_back(driver: Driver, batch: str, rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Insert rows as one batch, numbered in their first column, and return what the table then holds of it."""
    numbered = [(number, *row[1:]) for number, row in enumerate(rows)]
    half = len(numbered) // 2
    pieces = [encoded(part) for part in (numbered[:half], numbered[half:]) if part]
    await driver.insert_rows(insert_of(ALL_KINDS, "all_kinds", batch), stream(pieces))
    names = ", ".join(f"`{column.name}`" for column in ALL_KINDS.columns)
    stored = await driver.execute(
        f"SELECT {names} FROM all_kinds WHERE batch_id = {{batch:String}} ORDER BY number", {"batch": batch}
    )
    return [tuple(row) for row in stored]


@pytest.mark.parametrize("rows", [ROWS_OF_EXTREMES, ROWS_OF_NULLS])
async def test_extremes_arrive_as_they_are(driver: Driver, table: None, rows: list[tuple[object, ...]]) -> None:
    stored = await there_and_back(driver, "extremes", rows)
    assert stored == [(number, *map(as_stored, row[1:])) for number, row in enumerate(rows)]


@pytest.mark.timeout(300)
@given(rows=ROWS, batch=TEXTS)
@example(rows=ROWS_OF_EXTREMES, batch="it's \\ a batch")
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
async def test_all_values_arrive_as_they_are(
    driver: Driver, place: Place, table: None, rows: list[tuple[object, ...]], batch: str
) -> None:
    place.query("TRUNCATE TABLE all_kinds")
    stored = await there_and_back(driver, batch or "batch", rows)
    assert stored == [(number, *map(as_stored, row[1:])) for number, row in enumerate(rows)]


async def test_drivers_read_the_same_from_a_table(place: Place, driver: Driver, table: None) -> None:
    await there_and_back(driver, "extremes", ROWS_OF_EXTREMES)
    async with connected(place.url, database=place.database) as other:
        assert await other.execute("SELECT * FROM all_kinds ORDER BY number") == await driver.execute(
            "SELECT * FROM all_kinds ORDER BY number"
        )
