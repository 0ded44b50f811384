"""The pure half of the drivers: INSERTs, literals, bound values, blocks, and the settings that are sent."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import OperatorError
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.declaration import Column, Kind
from spoolhouse.store.clickhouse.driver import Parameter, RowsInsert
from spoolhouse.store.clickhouse.drivers import query_settings
from spoolhouse.store.clickhouse.drivers.blocks import Blocks
from spoolhouse.store.clickhouse.drivers.parameters import bind, posted
from spoolhouse.store.clickhouse.drivers.statements import (
    embedded_insert,
    extracted_type,
    http_insert,
    native_insert,
    parsed_type,
)
from spoolhouse.store.clickhouse.quoting import identifier, literal

INSERT = RowsInsert(
    table="logs",
    columns=(
        Column(name="id", kind=Kind.TEXT, keys=("id",)),
        Column(name="level", kind=Kind.CHOICE, keys=("level",), choices={"it's": 1, "low": -2}),
        Column(name="at", kind=Kind.TIME, keys=("at",)),
        Column(name="end", kind=Kind.TIME, keys=("end",), nullable=True),
    ),
    batch_id="a'b\\c",
    token="a'b\\c",
    clock_ms=1_700_000_000_000,
)
TARGET = "INSERT INTO `logs` (`id`, `level`, `at`, `end`, ingested_at, batch_id) SELECT "
CONSTANTS = "fromUnixTimestamp64Milli(toInt64(1700000000000), 'UTC'), 'a\\'b\\\\c' FROM "
STRUCTURE = (
    "'`id` String, `level` Enum8(\\'it\\\\\\'s\\' = 1, \\'low\\' = -2), `at` DateTime64(3, \\'UTC\\'), "
    "`end` Nullable(DateTime64(3, \\'UTC\\'))'"
)


def test_native_insert() -> None:
    assert native_insert(INSERT) == (
        TARGET + "t.1, t.2, parseDateTime64BestEffort(t.3, 3, 'UTC'), "
        "if(isNull(t.4), NULL, parseDateTime64BestEffort(ifNull(t.4, '1970-01-01'), 3, 'UTC')), " + CONSTANTS + "("
        "SELECT JSONExtract(line, 'Tuple(String, String, String, Nullable(String))') AS t FROM ("
        "SELECT arrayJoin(arrayPopBack(splitByChar('\\n', piece))) AS line FROM input('piece String'))) FORMAT Native"
    )


def test_http_insert() -> None:
    assert http_insert(INSERT) == (
        TARGET + "`id`, `level`, `at`, `end`, " + CONSTANTS + f"input({STRUCTURE}) FORMAT JSONCompactEachRow"
    )


def test_embedded_insert() -> None:
    assert embedded_insert(INSERT, "/data/it's", "a = 1") == (
        TARGET
        + "`id`, `level`, `at`, `end`, "
        + CONSTANTS
        + f"file('/data/it\\'s', 'JSONCompactEachRow', {STRUCTURE}) "
        "SETTINGS a = 1"
    )


@pytest.mark.parametrize("event", BUILT_IN)
def test_every_declared_column_has_a_type(event: str) -> None:
    for column in BUILT_IN[event].table.columns:
        assert parsed_type(column).startswith("Nullable(") is column.nullable
        assert extracted_type(column).startswith("Nullable(") is column.nullable


def test_literal_has_no_way_out() -> None:
    assert literal("'; DROP\\\n\0") == "'\\'; DROP\\\\\\n\\0'"
    assert identifier("a`b\\") == "`a\\`b\\\\`"


BOUND: tuple[tuple[str, dict[str, Parameter], str], ...] = (
    ("{a:String}", {"a": "it's"}, "CAST('it\\'s' AS String)"),
    ("{ a : UInt64 }", {"a": 5}, "CAST(5 AS UInt64)"),
    ("{a:UInt8}", {"a": True}, "CAST(1 AS UInt8)"),
    ("{a:Float64}", {"a": 0.1}, "CAST('0.1' AS Float64)"),
    ("{a:Array(String)}", {"a": ["x'", "y"]}, "CAST(['x\\'', 'y'] AS Array(String))"),
    ("{a:Array(String)}", {"a": ()}, "CAST([] AS Array(String))"),
    ("{a:DateTime64(3, 'UTC')}", {"a": "2026"}, "CAST('2026' AS DateTime64(3, 'UTC'))"),
    ("{t:Identifier}.x", {"t": "a`b"}, "`a\\`b`.x"),
    ("{a:String}{a:String}", {"a": "{a:String}"}, "CAST('{a:String}' AS String)" * 2),
    ("'{a:String}' \"{a:String}\" `{a:String}`", {}, "'{a:String}' \"{a:String}\" `{a:String}`"),
    ("'it''s {a:String}' 'x\\'{a:String}'", {}, "'it''s {a:String}' 'x\\'{a:String}'"),
    ("1 -- {a:String}\n/* {a:String} */", {}, "1 -- {a:String}\n/* {a:String} */"),
    ("{'key': 1}", {}, "{'key': 1}"),
)


@pytest.mark.parametrize(("sql", "parameters", "bound"), BOUND)
def test_bind(sql: str, parameters: dict[str, Parameter], bound: str) -> None:
    assert bind(sql, parameters) == bound


def test_bind_wants_every_value() -> None:
    with pytest.raises(OperatorError, match="no value for the parameter b"):
        bind("{a:String} {b:String}", {"a": "x"})


@given(st.text())
def test_bound_text_is_one_literal(text: str) -> None:
    sql = bind("{a:String}", {"a": text})
    inside = sql.removeprefix("CAST('").removesuffix("' AS String)")
    unescaped = inside.replace("\\\\", "").replace("\\'", "")
    assert "'" not in unescaped
    assert not unescaped.endswith("\\")


def test_posted_values_are_escaped() -> None:
    assert posted({"a": "tab\tnl\n\\N", "b": 5, "c": 0.5, "d": ["it's", "x"]}) == {
        "param_a": "tab\\tnl\\n\\\\N",
        "param_b": "5",
        "param_c": "0.5",
        "param_d": "['it\\'s', 'x']",
    }


def test_settings_carry_the_token_and_leave_out_what_is_unknown() -> None:
    sent = query_settings.for_insert(INSERT, query_settings.NAMES)
    questions = query_settings.OPTIONAL - {"max_partitions_per_insert_block", "send_profile_events"}
    assert set(sent) == set(query_settings.NAMES) - questions
    assert sent["insert_deduplication_token"] == INSERT.batch_id
    assert query_settings.for_insert(INSERT, {"async_insert"}) == {"async_insert": 0}
    assert query_settings.for_reading({"async_insert"}) == {}
    skipping = {"use_skip_indexes_if_final": 1, "use_skip_indexes_if_final_exact_mode": 1}
    assert query_settings.for_reading({*skipping}, skipping) == skipping
    assert query_settings.for_reading({"use_skip_indexes_if_final"}, skipping) == {}


async def pieces_of(data: bytes, cuts: list[int]) -> AsyncGenerator[Rows]:
    ends = sorted({data.find(b"\n", cut % len(data)) + 1 for cut in cuts} | {len(data)})
    start = 0
    for end in ends:
        yield Rows(data=data[start:end], count=data.count(b"\n", start, end))
        start = end


async def blocks_of(data: bytes, cuts: list[int], size: int) -> list[bytes]:
    blocks, found = Blocks(pieces_of(data, cuts), size=size), []
    while parts := await blocks.next():
        assert all(part.endswith(b"\n") for part in parts)
        found.append(b"".join(parts))
    assert await blocks.next() == []
    return found


@given(
    lines=st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")), min_size=1, max_size=40),
    cuts=st.lists(st.integers(0, 1000), max_size=8),
    size=st.integers(1, 60),
)
def test_borders_of_blocks_do_not_depend_on_the_pieces(lines: list[bytes], cuts: list[int], size: int) -> None:
    data = b"".join(line + b"\n" for line in lines)
    whole = asyncio.run(blocks_of(data, [], size))
    assert asyncio.run(blocks_of(data, cuts, size)) == whole
    assert b"".join(whole) == data
    for block in whole[:-1]:  # each ends at the first line end that makes it large enough
        assert len(block) >= size > len(block[:-1].rpartition(b"\n")[0])
