"""What goes wrong, and the decision that each error asks for: wait, find the bad row, or call a person."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import OperatorError, RejectedDataError, StoreError, TransientError
from spoolhouse.events.builtin import LOGS
from spoolhouse.store.clickhouse.driver import Driver
from tests.contract.conftest import GUARDED
from tests.contract.place import SCHEMES, Place, connected
from tests.contract.proxy import Proxy, proxy_to
from tests.contract.tables import create_table, encoded, insert_of, log_line, log_pieces, stream
from tests.engine import Database, StartServer

BATCH = "0196f0a2-7b1c-7d40-9f0e-6a1c4b1f2e33:logs"
COUNT = 40_000
INSERTS_UNDER_WAY = (
    "SELECT 1 FROM system.processes WHERE current_database = currentDatabase() AND query_kind = 'Insert'"
)


def through(proxy: Proxy, place: Place, *, patience: float = 60) -> AbstractAsyncContextManager[Driver]:
    """Connect to a place through a proxy."""
    return connected(f"{SCHEMES[place.kind]}://127.0.0.1:{proxy.port}/{place.database}", patience=patience)


def port_of(place: Place) -> int:
    """Return the server's port."""
    return int(place.url.rpartition(":")[2].partition("/")[0])


# What the statement, the table or the rows are to blame for.


async def test_unknown_table(driver: Driver) -> None:
    with pytest.raises(OperatorError) as refusal:
        await driver.execute("SELECT * FROM missing")
    assert (refusal.value.code, refusal.value.ambiguous) == (60, False)


async def test_insert_into_unknown_table(driver: Driver) -> None:
    with pytest.raises(OperatorError, match=r"`spoolhouse migrate`") as refusal:
        await driver.insert_rows(insert_of(LOGS, "missing", BATCH), stream(log_pieces(COUNT)))
    assert (refusal.value.code, refusal.value.ambiguous) == (60, False)


async def test_insert_into_table_without_a_column(driver: Driver) -> None:
    await driver.execute(create_table(LOGS, "logs"))
    await driver.execute("ALTER TABLE logs DROP COLUMN attributes")
    with pytest.raises(OperatorError) as refusal:
        await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(10)))
    assert refusal.value.code == 16


async def test_missing_database(place: Place) -> None:
    async with connected(place.url, database="no_such_database") as driver:
        for _ in range(2):
            with pytest.raises(OperatorError, match=r"clickhouse\.database") as refusal:
                await driver.ping()
            assert refusal.value.code == 81
        with pytest.raises(OperatorError) as refusal:
            await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(10)))
        assert refusal.value.code == 81


@pytest.mark.parametrize("place_in_batch", [0, 25_000])
async def test_row_that_the_server_refuses(driver: Driver, place: Place, place_in_batch: int) -> None:
    bad = Rows(data=log_line(1).replace(b"2025-11-02T", b"yesterday "), count=1)
    pieces = log_pieces(COUNT)
    pieces.insert(place_in_batch // 1000, bad)
    await driver.execute(create_table(LOGS, "logs"))
    with pytest.raises(RejectedDataError) as refusal:
        await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(pieces))
    assert not refusal.value.ambiguous
    assert place.count("logs") == 0


@pytest.mark.parametrize("row", [["id", 5], ["only one"], "text", {"id": "x"}, 17, None, ["x"] * 30])
async def test_malformed_row(driver: Driver, place: Place, row: object) -> None:
    # Natively it is the times that give it away: JSONExtract itself would make defaults of it.
    await driver.execute(create_table(LOGS, "logs"))
    with pytest.raises(RejectedDataError):
        await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream([*log_pieces(10), encoded([row])]))  # type: ignore[list-item]  # on purpose
    assert place.count("logs") == 0


async def test_unknown_choice_is_refused(driver: Driver, place: Place) -> None:
    await driver.execute(create_table(LOGS, "logs"))
    bad = Rows(data=log_line(1).replace(b'"info"', b'"loud"'), count=1)
    with pytest.raises(RejectedDataError):
        await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream([bad]))
    assert place.count("logs") == 0


async def test_violated_constraint_is_the_rows_fault(driver: Driver, place: Place) -> None:
    await driver.execute(create_table(LOGS, "logs"))
    await driver.execute("ALTER TABLE logs ADD CONSTRAINT short CHECK length(message) < 10")
    with pytest.raises(RejectedDataError) as refusal:
        await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(10)))
    assert refusal.value.code == 469
    assert place.count("logs") == 0


async def test_failing_view_is_never_the_rows_fault(driver: Driver, place: Place) -> None:
    await driver.execute(create_table(LOGS, "logs"))
    await driver.execute("CREATE TABLE target (number Int64) ENGINE = MergeTree ORDER BY number")
    await driver.execute("CREATE MATERIALIZED VIEW view TO target AS SELECT toInt64(message) AS number FROM logs")
    with pytest.raises(OperatorError, match="view") as refusal:
        await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(10)))
    assert (refusal.value.code, refusal.value.ambiguous) == (6, True)
    # Fixed, the same batch goes on, and lands in both.
    await driver.execute("DROP VIEW view")
    await driver.execute("CREATE MATERIALIZED VIEW view TO target AS SELECT length(message) AS number FROM logs")
    await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(10)))
    assert (place.count("logs"), place.count("target")) == (10, 10)


async def test_driver_lives_on_after_errors(driver: Driver, place: Place) -> None:
    await driver.execute(create_table(LOGS, "logs"))
    for table in ("missing", "logs") * 3:
        try:
            await driver.insert_rows(insert_of(LOGS, table, BATCH), stream(log_pieces(3000)))
        except OperatorError as error:
            assert error.code == 60  # noqa: PT017  # only some of them fail
    assert place.count("logs") == 3000


# What the user may do.


async def test_wrong_password(guarded_database: Database) -> None:
    # Over HTTP only: on its native port, the test engine aborts over a wrong password.
    endpoint = guarded_database.server.endpoint
    async with connected(
        endpoint.url("http", guarded_database.name, user="hostile", password="wrong-password")
    ) as driver:
        with pytest.raises(OperatorError, match=r"clickhouse\.username and clickhouse\.password") as refusal:
            await driver.ping()
        assert refusal.value.code == 516
        assert "wrong-password" not in str(refusal.value)


async def test_missing_right_is_named(remote_kind: str, guarded_database: Database) -> None:
    guarded_database.query(create_table(LOGS, "logs"))
    endpoint, user = guarded_database.server.endpoint, GUARDED.users[2]
    url = endpoint.url(SCHEMES[remote_kind], "system", user=user.name, password=user.password)
    async with connected(url) as driver:
        with pytest.raises(OperatorError, match=rf"GRANT SELECT ON {guarded_database.name}\.logs to ") as refusal:
            await driver.execute(f"SELECT id FROM {guarded_database.name}.logs")
        assert refusal.value.code == 497


async def test_reader_can_read(remote_kind: str, guarded_database: Database) -> None:
    endpoint, user = guarded_database.server.endpoint, GUARDED.users[1]
    url = endpoint.url(SCHEMES[remote_kind], guarded_database.name, user=user.name, password=user.password)
    async with connected(url) as driver:
        assert await driver.execute("SELECT {n:UInt8}", {"n": 1}) == [(1,)]


async def test_right_to_insert_is_enough_to_insert(remote_kind: str, guarded_database: Database) -> None:
    guarded_database.query(create_table(LOGS, "logs"))
    endpoint, user = guarded_database.server.endpoint, GUARDED.users[3]
    url = endpoint.url(SCHEMES[remote_kind], guarded_database.name, user=user.name, password=user.password)
    async with connected(url) as driver:
        await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(10)))
    assert guarded_database.query("SELECT count() FROM logs") == [(10,)]


# The way to the server.


async def test_unreachable_server(remote_kind: str) -> None:
    async with proxy_to("127.0.0.1", 9) as proxy:
        port = proxy.port
    async with connected(f"{SCHEMES[remote_kind]}://127.0.0.1:{port}") as driver:
        with pytest.raises(TransientError, match=r"clickhouse\.url") as failure:
            await driver.ping()
        assert not failure.value.ambiguous
        with pytest.raises(TransientError) as failure:
            await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(10)))
        assert not failure.value.ambiguous


async def test_host_without_a_name(remote_kind: str) -> None:
    async with connected(f"{SCHEMES[remote_kind]}://no-such-host.invalid", connecting=5) as driver:
        with pytest.raises(TransientError, match=r"clickhouse\.url"):
            await driver.ping()


async def test_server_that_says_nothing(remote_kind: str, start_server: StartServer) -> None:
    server = start_server()
    url = server.endpoint.url(SCHEMES[remote_kind])
    async with connected(url, connecting=0.5, patience=0.5) as driver:
        await driver.ping()
        server.pause()
        with pytest.raises(TransientError):
            await driver.ping()
        with pytest.raises(TransientError):
            await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(10)))
        server.resume()
        await driver.ping()
        await asyncio.to_thread(server.restart)
        await driver.ping()  # over a new connection, without an error in between


async def test_connection_that_dies_in_the_middle(remote_place: Place) -> None:
    place = remote_place
    place.query(create_table(LOGS, "logs"))

    async def cutting(proxy: Proxy) -> AsyncGenerator[Rows]:
        pieces = log_pieces(COUNT)
        for piece in pieces[:-1]:
            yield piece
        proxy.cut()
        yield pieces[-1]

    async with proxy_to("127.0.0.1", port_of(place)) as proxy, through(proxy, place) as driver:
        with pytest.raises(TransientError) as failure:
            await driver.insert_rows(insert_of(LOGS, "logs", BATCH), cutting(proxy))
        assert failure.value.ambiguous
        while place.query(INSERTS_UNDER_WAY):  # noqa: ASYNC110  # no events
            await asyncio.sleep(0)  # the question takes its own time
        assert place.count("logs") == 0
        await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(COUNT)))
        assert place.count("logs") == COUNT


async def deafened(proxy: Proxy) -> AsyncGenerator[Rows]:
    """Yield rows; with the last of them the driver stops hearing the server."""
    pieces = log_pieces(COUNT)
    for piece in pieces[:-1]:
        yield piece
    proxy.deaf.set()
    yield pieces[-1]


async def test_refusal_is_heard_while_rows_are_missing(database: Database) -> None:
    # Over HTTP only: natively, the server's answer is looked for when the next block is there.
    database.query(create_table(LOGS, "logs"))

    async def missing() -> AsyncGenerator[Rows]:
        yield encoded([["malformed"]])
        for piece in log_pieces(COUNT):
            yield piece
        await asyncio.Event().wait()

    async with connected(database.http_url) as driver:
        with pytest.raises(RejectedDataError):
            await driver.insert_rows(insert_of(LOGS, "logs", BATCH), missing())


async def test_lost_acknowledgement_is_ambiguous(remote_place: Place) -> None:
    place = remote_place
    place.query(create_table(LOGS, "logs"))
    async with proxy_to("127.0.0.1", port_of(place)) as proxy, through(proxy, place) as driver:
        inserting = asyncio.create_task(driver.insert_rows(insert_of(LOGS, "logs", BATCH), deafened(proxy)))
        # To the end of the query, not only of its rows: natively, the test engine aborts if it cannot send its answer.
        while place.count("logs") < COUNT or place.query(INSERTS_UNDER_WAY):  # noqa: ASYNC110  # no events
            await asyncio.sleep(0)  # the question takes its own time
        proxy.cut()
        with pytest.raises(TransientError) as failure:
            await inserting
        assert failure.value.ambiguous
        proxy.deaf.clear()
        await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(COUNT)))
        assert place.count("logs") == COUNT


async def test_silence_after_the_rows_is_ambiguous(remote_place: Place) -> None:
    remote_place.query(create_table(LOGS, "logs"))
    async with (
        proxy_to("127.0.0.1", port_of(remote_place)) as proxy,
        through(proxy, remote_place, patience=1) as driver,
    ):
        with pytest.raises(TransientError) as failure:
            await driver.insert_rows(insert_of(LOGS, "logs", BATCH), deafened(proxy))
        assert failure.value.ambiguous


async def test_idle_connections_that_died_are_not_used(remote_place: Place) -> None:
    async with proxy_to("127.0.0.1", port_of(remote_place)) as proxy, through(proxy, remote_place) as driver:
        await asyncio.gather(*(driver.ping() for _ in range(4)))
        await proxy.end()
        await asyncio.gather(*(driver.ping() for _ in range(4)))


ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes",
    b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.7\r\n",
    b"\x00\x01\x02",
    b"",
)


@pytest.mark.parametrize("answer", ANSWERS)
async def test_stranger_never_acknowledges(remote_kind: str, answer: bytes) -> None:
    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(stranger, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with connected(f"{SCHEMES[remote_kind]}://127.0.0.1:{port}", patience=5) as driver:
        with pytest.raises(StoreError, match=r"clickhouse\.url"):
            await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(10)))
        with pytest.raises(StoreError, match=r"clickhouse\.url"):
            await driver.ping()
    server.close()


async def test_wrong_port_of_clickhouse(database: Database) -> None:
    endpoint = database.server.endpoint
    for scheme, port in (
        ("clickhouse", endpoint.http_port),
        ("clickhouse+aioch", endpoint.http_port),
        ("http", endpoint.tcp_port),
    ):
        async with connected(f"{scheme}://{endpoint.host}:{port}") as driver:
            with pytest.raises(OperatorError, match=r"clickhouse\.url"):
                await driver.ping()


async def test_folder_that_cannot_be_used(tmp_path: Path, engine: object) -> None:
    (tmp_path / "file").write_text("in the way")
    async with connected(f"chdb://{tmp_path}/file/data") as driver:
        with pytest.raises(OperatorError, match=r"clickhouse\.url"):
            await driver.ping()


async def test_second_folder_is_refused(tmp_path: Path, engine: object) -> None:
    async with connected(f"chdb://{tmp_path}/other") as driver:
        with pytest.raises(OperatorError, match="different path"):
            await driver.ping()
