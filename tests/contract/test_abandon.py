"""An insert that is given up, by its rows or by a cancellation: nothing of it lands, and the batch can be sent anew."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable

import pytest
import uvloop

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import SpoolError
from spoolhouse.events.builtin import LOGS
from spoolhouse.store.clickhouse.driver import Driver
from tests.contract.place import Place, connected
from tests.contract.tables import create_table, insert_of, log_line, log_pieces, stream

BATCH = "0196f0a2-7b1c-7d40-9f0e-6a1c4b1f2e33:logs"
FEW, MANY = 10, 60_000
"""Fewer rows than fill any buffer on the way, and more."""
TORN = Rows(data=log_line(3)[:40] + b"\n", count=1)


async def failing(pieces: Iterable[Rows], error: BaseException) -> AsyncGenerator[Rows]:
    """Yield pieces, then fail as a file does that cannot be read to its end."""
    for piece in pieces:
        yield piece
    raise error


async def stuck(pieces: Iterable[Rows], reached: asyncio.Event) -> AsyncGenerator[Rows]:
    """Yield pieces, then wait for ever; `reached` is set by then."""
    for piece in pieces:
        yield piece
    reached.set()
    await asyncio.Event().wait()


async def landed_after_all(driver: Driver, place: Place) -> int:
    """Return the number of rows once the server has no insert under way any more."""
    while place.kind != "embedded" and place.query(
        "SELECT 1 FROM system.processes WHERE current_database = currentDatabase() AND query_kind = 'Insert'"
    ):
        await driver.ping()
    return place.count("logs")


@pytest.mark.parametrize(
    ("count", "error"),
    [
        (FEW, SpoolError("gone")),
        (MANY, SpoolError("gone")),
        (FEW, GeneratorExit()),
        (MANY, GeneratorExit()),
        (FEW, OSError(5, "Input/output error")),
        (FEW, TimeoutError("slow")),
        (FEW, ValueError()),
    ],
)
async def test_failure_of_the_rows_abandons_the_insert(
    driver: Driver, place: Place, count: int, error: BaseException
) -> None:
    await driver.execute(create_table(LOGS, "logs"))
    insert = insert_of(LOGS, "logs", BATCH)
    with pytest.raises(type(error)) as raised:
        await driver.insert_rows(insert, failing(log_pieces(count), error))
    assert raised.value is error
    assert await landed_after_all(driver, place) == 0
    await driver.insert_rows(insert, stream(log_pieces(count)))  # the token was not used up
    assert place.count("logs") == count


async def test_row_that_is_cut_short_never_lands(driver: Driver, place: Place) -> None:
    await driver.execute(create_table(LOGS, "logs"))
    whole = log_line(1)
    with pytest.raises(SpoolError):
        await driver.insert_rows(
            insert_of(LOGS, "logs", BATCH), failing([Rows(data=whole, count=1), TORN], SpoolError("gone"))
        )
    assert await landed_after_all(driver, place) == 0


async def test_unended_line_is_refused(driver: Driver, place: Place) -> None:
    await driver.execute(create_table(LOGS, "logs"))
    unended = Rows(data=log_line(1).rstrip(b"\n"), count=1)
    with pytest.raises(ValueError, match="newline"):
        await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream([*log_pieces(10), unended]))
    assert await landed_after_all(driver, place) == 0


async def cancel_in_the_middle(driver: Driver, count: int) -> AsyncGenerator[Rows]:
    """Start an insert that cannot end, cancel it when its rows have been taken, and return the rows' generator."""
    reached = asyncio.Event()
    rows = stuck(log_pieces(count), reached)
    inserting = asyncio.create_task(driver.insert_rows(insert_of(LOGS, "logs", BATCH), rows))
    waiting = asyncio.create_task(reached.wait())
    await asyncio.wait({inserting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    assert waiting.done(), inserting
    inserting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await inserting
    return rows


@pytest.mark.parametrize("count", [FEW, MANY])
async def test_cancellation_abandons_the_insert(driver: Driver, place: Place, count: int) -> None:
    await driver.execute(create_table(LOGS, "logs"))
    rows = await cancel_in_the_middle(driver, count)
    await rows.aclose()  # fails if somebody were still in the middle of it
    assert await landed_after_all(driver, place) == 0
    await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(count)))
    assert place.count("logs") == count


async def test_cancelled_query_leaves_no_answer_behind(remote_driver: Driver, remote_place: Place) -> None:
    slow = "SELECT number, sleepEachRow(0.001) FROM numbers(10000) SETTINGS max_block_size = 10"
    for _ in range(3):
        asking = asyncio.create_task(remote_driver.execute(slow))
        running = f"SELECT 1 FROM system.processes WHERE query LIKE '{slow}%'"
        while not remote_place.query(running):
            await remote_driver.ping()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await remote_driver.execute("SELECT 'mine'") == [("mine",)]


async def all_of_it(place: Place) -> None:
    async with connected(place.url, database=place.database) as driver:
        await driver.execute(create_table(LOGS, "logs"))
        with pytest.raises(SpoolError):
            await driver.insert_rows(insert_of(LOGS, "logs", BATCH), failing(log_pieces(MANY), SpoolError("gone")))
        assert await landed_after_all(driver, place) == 0
        await (await cancel_in_the_middle(driver, MANY)).aclose()
        assert await landed_after_all(driver, place) == 0
        for _ in range(2):
            await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(MANY)))
        assert await driver.execute("SELECT count() FROM logs") == [(MANY,)]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_same_on_both_event_loops(place: Place, run: Callable[[Coroutine[object, object, None]], None]) -> None:
    run(all_of_it(place))
