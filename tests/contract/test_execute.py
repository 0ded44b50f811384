"""Statements and their answers: the same values from every driver, and no value that could become SQL."""

import asyncio

import pytest

from spoolhouse.errors import OperatorError
from spoolhouse.store.clickhouse.driver import Driver, Parameter
from tests.contract.place import Place

AWKWARD = (
    "",
    "it's",
    "back\\slash",
    "\\",
    "\\'",
    "'; DROP TABLE logs; --",
    "{name:String}",
    "tab\tnewline\nreturn\rnul\0bell\a",
    "\\N",
    "NULL",
    "ünï¢ödé 🎈",
    "%41 & = ? # + ;",
    '`back` "quotes"',
)


async def test_ping(driver: Driver) -> None:
    await driver.ping()


@pytest.mark.parametrize("text", AWKWARD)
async def test_text_is_bound_as_it_is(driver: Driver, text: str) -> None:
    assert await driver.execute("SELECT {text:String}, length({text:String})", {"text": text}) == [
        (text, len(text.encode()))
    ]


async def test_list_is_bound_as_it_is(driver: Driver) -> None:
    sql = "SELECT {texts:Array(String)}, {none:Array(String)}"
    assert await driver.execute(sql, {"texts": AWKWARD, "none": []}) == [(list(AWKWARD), [])]


async def test_large_list_is_bound(driver: Driver) -> None:
    ids = [f"{number:032x}" for number in range(2000)]
    assert await driver.execute("SELECT length({ids:Array(String)})", {"ids": ids}) == [(2000,)]


async def test_numbers_are_bound_exactly(driver: Driver) -> None:
    parameters: dict[str, Parameter] = {
        "least": -(2**63),
        "most": 2**64 - 1,
        "tiny": 5e-324,
        "huge": 1.7976931348623157e308,
    }
    sql = "SELECT {least:Int64}, {most:UInt64}, {tiny:Float64}, {huge:Float64}"
    assert await driver.execute(sql, parameters) == [tuple(parameters.values())]


async def test_time_is_bound(driver: Driver) -> None:
    sql = "SELECT {time:DateTime64(3, 'UTC')}"
    assert await driver.execute(sql, {"time": "2026-01-31 12:00:00.250"}) == [("2026-01-31 12:00:00.250",)]


async def test_number_limits_an_answer(driver: Driver) -> None:
    assert await driver.execute("SELECT number FROM numbers(10) LIMIT {n:UInt64}", {"n": 2}) == [(0,), (1,)]


async def test_identifier_is_bound(driver: Driver, place: Place) -> None:
    name = "a `strange` name"
    await driver.execute("CREATE TABLE {table:Identifier} (x UInt8) ENGINE = Memory", {"table": name})
    assert place.query("SELECT name FROM system.tables WHERE database = currentDatabase()") == [(name,)]


async def test_braces_in_strings_are_no_parameters(driver: Driver) -> None:
    sql = "SELECT '{text:String}', {text:String} /* {other:String} */ -- {third:String}"
    assert await driver.execute(sql, {"text": "value"}) == [("{text:String}", "value")]


async def test_missing_parameter_is_the_callers_fault(driver: Driver) -> None:
    with pytest.raises(OperatorError) as refusal:
        await driver.execute("SELECT {text:String}")
    assert refusal.value.code == 456


VALUES = (
    ("true", True),
    ("toUInt64(18446744073709551615)", 2**64 - 1),
    ("toInt64(-9223372036854775808)", -(2**63)),
    ("toInt256('-170141183460469231731687303715884105729')", -(2**127) - 1),
    ("toFloat64(1)", 1.0),
    ("toFloat32(0.1)", 0.10000000149011612),
    ("nan", None),
    ("-inf", None),
    ("NULL", None),
    ("CAST(NULL, 'Nullable(String)')", None),
    ("'a\\0b'", "a\0b"),
    ("unhex('61FF62')", "a\ufffdb"),
    ("toLowCardinality('low')", "low"),
    ("toFixedString('ab', 3)", "ab\0"),
    ("CAST('x', 'Enum8(\\'x\\' = 1, \\'y(,)\\' = 2)')", "x"),
    ("toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')", "61f0c404-5cb3-11e7-907b-a6006ad3dba0"),
    ("toDate('2026-01-31')", "2026-01-31"),
    ("toDateTime('2026-01-31 12:00:00', 'UTC')", "2026-01-31 12:00:00"),
    ("toDateTime('2026-01-31 12:00:00', 'Asia/Tokyo')", "2026-01-31 12:00:00"),
    ("toDateTime64('2026-01-31 12:00:00.25', 3, 'UTC')", "2026-01-31 12:00:00.250"),
    ("toDateTime64('1969-12-31 23:59:59.999999', 6, 'UTC')", "1969-12-31 23:59:59.999999"),
    ("toDateTime64('2026-01-31 12:00:00.9', 0, 'UTC')", "2026-01-31 12:00:00"),
    ("[toFloat64(1), 2.5]", [1.0, 2.5]),
    ("[[NULL, 'a,)'], []]", [[None, "a,)"], []]),
    ("(1, 'two', [3])", [1, "two", [3]]),
    ("CAST((1, 'x'), 'Tuple(number UInt8, name Nullable(String))')", [1, "x"]),
)


@pytest.mark.parametrize(("expression", "expected"), VALUES)
async def test_value_of_each_type(driver: Driver, expression: str, expected: object) -> None:
    [(value,)] = await driver.execute(f"SELECT {expression}")
    assert value == expected
    assert type(value) is type(expected)


async def test_other_types_are_refused(driver: Driver) -> None:
    with pytest.raises(OperatorError, match=r"Decimal.*cast it"):
        await driver.execute("SELECT toDecimal32(1, 2)")
    await driver.ping()


async def test_no_rows_and_no_answer(driver: Driver) -> None:
    assert await driver.execute("CREATE TABLE empty (x UInt8) ENGINE = Memory") == []
    assert await driver.execute("SELECT * FROM empty") == []
    assert await driver.execute("INSERT INTO empty SELECT 1") == []
    assert await driver.execute("SELECT * FROM empty") == [(1,)]


async def test_answers_of_many_blocks_are_whole(driver: Driver) -> None:
    rows = await driver.execute("SELECT number, toString(number) FROM numbers(200000)")
    assert rows == [(number, str(number)) for number in range(200_000)]


async def test_used_by_several_tasks_at_once(driver: Driver) -> None:
    answers = await asyncio.gather(
        *(driver.execute("SELECT {n:UInt64}, sum(number) FROM numbers(100000)", {"n": n}) for n in range(20))
    )
    assert answers == [[(n, 4_999_950_000)] for n in range(20)]


@pytest.mark.parametrize("kind", ["native", "http"])  # the embedded engine has no profiles
async def test_hostile_profile_does_not_change_answers(hostile_driver: Driver) -> None:
    # 5000 rows: such a profile cuts answers to ten rows, and leaves out the first three.
    sql = "SELECT toInt64(number), number / 2, toDateTime64('2026-01-31 12:00:00.25', 3, 'UTC') FROM numbers(5000)"
    rows = await hostile_driver.execute(sql)
    assert rows == [(number, number / 2, "2026-01-31 12:00:00.250") for number in range(5000)]
