"""The error table, held against the real server: it raises what it can be made to raise, and each code is decided."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import OperatorError, RejectedDataError, StoreError, TransientError
from spoolhouse.events.builtin import LOGS
from spoolhouse.store.clickhouse.codes import CODES
from tests.contract.place import connected
from tests.contract.tables import create_table, insert_of, log_line, log_pieces, stream
from tests.engine import Config, Database, LocalServer, Server, User, find_engine

OTHERS = Path(__file__).with_name("other_codes.txt")
URLS = ["native_url", "http_url"]

PROFILES: dict[str, dict[str, str | int]] = {
    "hurried": {"max_execution_time": 1},
    "slow": {"min_execution_speed": 10**9, "timeout_before_checking_execution_speed": 0},
    "poor": {"max_memory_usage": 1_000_000},
    "single": {"max_concurrent_queries_for_user": 1},
    "rows": {"max_rows_to_read": 10},
    "bytes": {"max_bytes_to_read": 10},
    "result": {"max_result_rows": 3, "result_overflow_mode": "throw"},
    "flat": {"max_ast_depth": 3},
    "fixed": {"constraints/async_insert/readonly": ""},
    "reader": {"readonly": 2},
    "no_ddl": {"allow_ddl": 0},
}
STATEMENTS: dict[str, tuple[int, type[StoreError], str]] = {
    "hurried": (159, TransientError, "SELECT sleepEachRow(1) FROM numbers(5) SETTINGS max_block_size = 1"),
    "slow": (160, TransientError, "SELECT sleepEachRow(0.1) FROM numbers(20) SETTINGS max_block_size = 1"),
    "poor": (241, TransientError, "SELECT number FROM numbers(1000000) ORDER BY rand()"),
    "reader": (164, TransientError, "CREATE TABLE t (a Int8) ENGINE = Memory"),
    "rows": (158, OperatorError, "SELECT count() FROM (SELECT number FROM numbers(1000))"),
    "bytes": (307, OperatorError, "SELECT sum(number) FROM numbers(1000)"),
    "result": (396, OperatorError, "SELECT number FROM numbers(1000)"),
    "flat": (167, OperatorError, "SELECT 1 + (2 * (3 + (4 * 5)))"),
    "no_ddl": (392, OperatorError, "CREATE TABLE t (a Int8) ENGINE = Memory"),
}
"""What a user of the profile of that name meets."""
ANYBODYS: dict[int, tuple[type[StoreError], str]] = {
    519: (TransientError, "SELECT * FROM remote('127.0.0.1:1', system.one)"),
    225: (TransientError, "CREATE TABLE t (a Int8) ENGINE = ReplicatedMergeTree('/t', 'r') ORDER BY a"),
    16: (OperatorError, "INSERT INTO known (b) SELECT 1"),
    43: (OperatorError, "SELECT toStartOfHour('x')"),
    46: (OperatorError, "SELECT no_such_function(1)"),
    47: (OperatorError, "SELECT b FROM known"),
    50: (OperatorError, "CREATE TABLE t (a NoSuchType) ENGINE = Memory"),
    56: (OperatorError, "CREATE TABLE t (a Int8) ENGINE = NoSuchEngine"),
    60: (OperatorError, "SELECT * FROM unknown"),
    62: (OperatorError, "INSERT INTO"),
    81: (OperatorError, "SELECT * FROM no_such_database.t"),
    115: (OperatorError, "SELECT 1 SETTINGS no_such_setting = 1"),
    701: (OperatorError, "CREATE TABLE t ON CLUSTER no_such_cluster (a Int8) ENGINE = Memory"),
}

GOOD = log_line(1)
TIME = b'"2025-11-02T08:30:01.001Z"'
BAD_ROWS: dict[str, tuple[int, bytes]] = {
    "no row": (27, b"x\n"),
    "too short": (27, b'["a"]\n'),
    "too long": (27, GOOD.replace(b"]\n", b',"x"]\n')),
    "not closed": (27, GOOD.replace(b"]\n", b"\n")),
    "a number for a text": (26, GOOD.replace(b'"log-1"', b"1")),
    "null for a text": (26, GOOD.replace(b'"log-1"', b"null")),
    "a text that does not end": (26, b'["a\n'),
    "half of a surrogate pair": (25, GOOD.replace(b'"log-1"', rb'"\ud800"')),
    "no time": (41, GOOD.replace(TIME, b'"yesterday"', 1)),
    "no such choice": (691, GOOD.replace(b'"info"', b'"loud"')),
}
"""Over HTTP the server itself judges each value, so it can be made to; decode lets none of these pass."""
OTHER_TYPES = {
    "UUID": 376,
    "UInt8": 6,
    "Decimal(5, 2)": 6,
    "Date": 38,
    "DateTime": 41,
    "IPv4": 675,
    "IPv6": 676,
    "Bool": 467,
    "Array(UInt8)": 130,
    "FixedString(2)": 131,
    "Tuple(UInt8, UInt8)": 27,
    "Map(String, String)": 53,
}
"""What a text column may have become behind our back, and what the server then says of any text."""


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """Run a server with a user for each limit, and a disk without room."""
    root = tmp_path_factory.mktemp("strict")
    config = Config(
        users=(
            *(User(name=name, password="p", profile=name) for name in PROFILES),
            User(name="stranger", password="p", grants=("GRANT SELECT ON system.*",)),
        ),
        profiles=PROFILES,
        server={
            "storage_configuration/disks/full/path": f"{root}/full/",
            "storage_configuration/disks/full/keep_free_space_bytes": 1 << 60,
            "storage_configuration/policies/full/volumes/only/disk": "full",
        },
    )
    with LocalServer(find_engine(), root, config) as local:
        yield local


@pytest.fixture
def strict(strict_server: LocalServer) -> Iterator[Database]:
    """Make an empty database on the strict server."""
    with Database.new(strict_server) as made:
        yield made


def url_of(database: Database, user: str) -> str:
    """Return the URL of a database as one of the users sees it."""
    return database.server.endpoint.url("clickhouse", database.name, user=user, password="p")


async def refused(url: str, statement: str) -> StoreError:
    """Run a statement that is refused."""
    async with connected(url) as driver:
        with pytest.raises(StoreError) as refusal:
            await driver.execute(statement)
    return refusal.value


async def insert_refused(url: str, *rows: bytes) -> StoreError:
    """Insert rows into `logs`, which is refused."""
    pieces = [Rows(data=row, count=1) for row in rows or (GOOD,)]
    async with connected(url) as driver:
        with pytest.raises(StoreError) as refusal:
            await driver.insert_rows(insert_of(LOGS, "logs", "batch"), stream(pieces))
    return refusal.value


@pytest.mark.parametrize("user", STATEMENTS)
async def test_limits_of_a_user(strict: Database, user: str) -> None:
    code, decision, statement = STATEMENTS[user]
    refusal = await refused(url_of(strict, user), statement)
    assert (refusal.code, type(refusal)) == (code, decision)


@pytest.mark.parametrize("code", ANYBODYS)
async def test_what_is_wrong_with_a_statement(strict: Database, code: int) -> None:
    strict.query("CREATE TABLE known (a Int8) ENGINE = Memory")
    decision, statement = ANYBODYS[code]
    refusal = await refused(strict.native_url, statement)
    assert (refusal.code, type(refusal)) == (code, decision)


@pytest.mark.parametrize("case", BAD_ROWS)
async def test_a_row_is_at_fault(database: Database, case: str) -> None:
    database.query(create_table(LOGS, "logs"))
    code, row = BAD_ROWS[case]
    refusal = await insert_refused(database.http_url, GOOD, row)
    assert (refusal.code, type(refusal), refusal.ambiguous) == (code, RejectedDataError, False)
    assert database.query("SELECT count() FROM logs") == [(0,)]


@pytest.mark.parametrize("url", URLS)
async def test_a_constraint_forbids_a_row(database: Database, url: str) -> None:
    database.query(create_table(LOGS, "logs"))
    database.query("ALTER TABLE logs ADD CONSTRAINT short CHECK length(message) < 3")
    refusal = await insert_refused(getattr(database, url))
    assert (refusal.code, type(refusal), refusal.ambiguous) == (469, RejectedDataError, False)


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("kind", OTHER_TYPES)
async def test_a_column_of_another_type_is_no_rows_fault(database: Database, url: str, kind: str) -> None:
    """It would refuse each and every row; to reject them one after another would empty the spool into `rejected/`."""
    database.query(create_table(LOGS, "logs"))
    database.query("ALTER TABLE logs DROP COLUMN message")
    database.query(f"ALTER TABLE logs ADD COLUMN message {kind}")
    refusal = await insert_refused(getattr(database, url))
    assert (refusal.code, type(refusal)) == (OTHER_TYPES[kind], OperatorError)
    assert "spoolhouse migrate --check" in refusal.hint


@pytest.mark.parametrize("url", URLS)
async def test_a_column_that_takes_no_null_any_more(database: Database, url: str) -> None:
    database.query(create_table(LOGS, "logs"))
    database.query("ALTER TABLE logs DROP COLUMN trace_id")
    database.query("ALTER TABLE logs ADD COLUMN trace_id String")
    refusal = await insert_refused(getattr(database, url))
    assert (refusal.code, type(refusal)) == (349, OperatorError)


async def test_a_table_without_one_of_our_columns(database: Database) -> None:
    database.query(create_table(LOGS, "logs"))
    database.query("ALTER TABLE logs DROP COLUMN attributes")
    refusal = await insert_refused(database.native_url)
    assert (refusal.code, type(refusal)) == (16, OperatorError)


@pytest.mark.parametrize("user", ["reader", "fixed", "stranger"])
async def test_a_user_who_may_not_insert_like_this(strict: Database, user: str) -> None:
    strict.query(create_table(LOGS, "logs"))
    refusal = await insert_refused(url_of(strict, user))
    expected = {"reader": (164, TransientError), "fixed": (452, OperatorError), "stranger": (497, OperatorError)}
    assert (refusal.code, type(refusal)) == expected[user]
    assert "clickhouse.username" in refusal.hint


@pytest.mark.parametrize(
    ("settings", "code", "decision"),
    [
        ("storage_policy = 'full'", 243, TransientError),
        ("table_readonly = 1", 774, OperatorError),
    ],
)
async def test_a_table_that_takes_no_rows(
    strict: Database, settings: str, code: int, decision: type[StoreError]
) -> None:
    strict.query(f"{create_table(LOGS, 'logs')}, {settings}")
    refusal = await insert_refused(strict.native_url)
    assert (refusal.code, type(refusal)) == (code, decision)


@pytest.mark.parametrize("url", URLS)
async def test_too_many_parts(database: Database, url: str) -> None:
    database.query(f"{create_table(LOGS, 'logs')}, parts_to_delay_insert = 1, parts_to_throw_insert = 1")
    database.query("SYSTEM STOP MERGES logs")
    database.query("INSERT INTO logs (id, timestamp) VALUES ('x', now64())")
    refusal = await insert_refused(getattr(database, url))
    assert (refusal.code, type(refusal)) == (252, TransientError)


async def test_a_view_fails(database: Database) -> None:
    """Whatever it says, the rows are in the table by then, and none of them is at fault."""
    database.query(create_table(LOGS, "logs"))
    database.query("CREATE TABLE target (a UInt8) ENGINE = MergeTree ORDER BY a")
    database.query("CREATE MATERIALIZED VIEW v TO target AS SELECT toUInt8(message) AS a FROM logs")
    refusal = await insert_refused(database.native_url)
    assert (refusal.code, type(refusal), refusal.ambiguous) == (6, OperatorError, True)
    assert "view" in refusal.hint


async def test_the_target_of_a_view_is_gone(database: Database) -> None:
    database.query(create_table(LOGS, "logs"))
    database.query("CREATE TABLE target (id String) ENGINE = MergeTree ORDER BY id")
    database.query("CREATE MATERIALIZED VIEW v TO target AS SELECT id FROM logs")
    database.query("DROP TABLE target SYNC")
    refusal = await insert_refused(database.native_url)
    assert (refusal.code, type(refusal)) == (60, OperatorError)


async def held(under_way: asyncio.Event, go_on: asyncio.Event) -> AsyncGenerator[Rows]:
    """Yield rows that are half sent until the test goes on."""
    for piece in log_pieces(40_000):
        yield piece
    under_way.set()
    await go_on.wait()
    for piece in log_pieces(1000):
        yield piece


async def test_an_insert_is_killed(database: Database) -> None:
    database.query(create_table(LOGS, "logs"))
    under_way, go_on = asyncio.Event(), asyncio.Event()
    async with connected(database.native_url) as driver:
        inserting = asyncio.create_task(driver.insert_rows(insert_of(LOGS, "logs", "killed"), held(under_way, go_on)))
        await under_way.wait()
        database.query("KILL QUERY WHERE query_id = 'spoolhouse:killed' ASYNC")
        go_on.set()
        with pytest.raises(TransientError) as refusal:
            await inserting
    assert (refusal.value.code, refusal.value.ambiguous) == (394, True)


async def test_too_many_queries(strict: Database) -> None:
    strict.query(create_table(LOGS, "logs"))
    under_way, go_on = asyncio.Event(), asyncio.Event()
    url = url_of(strict, "single")
    async with connected(url) as driver, connected(url) as other:
        await other.ping()  # it asks for what the server knows, which is a query, too
        inserting = asyncio.create_task(driver.insert_rows(insert_of(LOGS, "logs", "b"), held(under_way, go_on)))
        await under_way.wait()
        with pytest.raises(TransientError) as refusal:
            await other.ping()
        assert refusal.value.code == 202
        go_on.set()
        await inserting


def test_every_code_of_the_server_is_decided(server: Server) -> None:
    """Each is in the error table, or listed as one that no insert of ours can meet: a new one has to be looked at."""
    known = dict(server.query("SELECT number, errorCodeToName(number) AS name FROM numbers(1, 2000) WHERE name != ''"))
    others = dict(re.findall(r"^(\d+) (\w+)$", OTHERS.read_text(), flags=re.MULTILINE))
    assert not {code for code in CODES if str(code) in others}
    assert {code: name for code, name in known.items() if code not in CODES and str(code) not in others} == {}
