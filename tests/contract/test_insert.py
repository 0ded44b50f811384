"""What an insert puts into the table: everything, once, in one block, whatever the user's profile says."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import TransientError
from spoolhouse.events.builtin import LOGS
from spoolhouse.events.declaration import Rollup
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.quoting import identifier
from spoolhouse.store.clickhouse.schema.backfill_sql import counting
from spoolhouse.store.clickhouse.schema.rollups import rollup_definition
from tests.contract.place import SCHEMES, Place, connected
from tests.contract.tables import CLOCK_MS, create_rollup, create_table, insert_of, log_pieces, stream
from tests.engine import Database

BATCH = "0196f0a2-7b1c-7d40-9f0e-6a1c4b1f2e33:logs"


def blocks_of(place: Place, table: str) -> list[tuple[str, int]]:
    """Return the parts that inserts, not merges, made in each partition."""
    return place.query(
        "SELECT partition, count() FROM system.parts "
        f"WHERE database = currentDatabase() AND table = '{table}' AND level = 0 GROUP BY partition ORDER BY partition"
    )


async def test_rows_of_several_pieces_land(driver: Driver, place: Place) -> None:
    await driver.execute(create_table(LOGS, "logs"))
    await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(3500)))
    assert place.query("SELECT count(), uniqExact(id), min(length(message)) FROM logs") == [(3500, 3500, 16)]


async def test_each_row_carries_batch_and_clock(driver: Driver, place: Place) -> None:
    batch = 'it\'s \\ a {name:String} "batch" `id` 🎈'
    await driver.execute(create_table(LOGS, "logs"))
    await driver.insert_rows(insert_of(LOGS, "logs", batch), stream(log_pieces(2)))
    assert place.query("SELECT DISTINCT batch_id, toUnixTimestamp64Milli(ingested_at) FROM logs") == [(batch, CLOCK_MS)]


async def test_nothing_is_sent_for_no_rows(driver: Driver) -> None:
    nothing = insert_of(LOGS, "table_that_does_not_exist", BATCH)
    await driver.insert_rows(nothing, stream([]))
    await driver.insert_rows(nothing, stream([Rows(data=b"", count=0)]))


async def test_empty_pieces_are_skipped(driver: Driver, place: Place) -> None:
    empty = Rows(data=b"", count=0)
    first, second = log_pieces(20, per_piece=10)
    await driver.execute(create_table(LOGS, "logs"))
    await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream([empty, first, empty, empty, second, empty]))
    assert place.count("logs") == 20


async def test_same_batch_again_changes_nothing(driver: Driver, place: Place) -> None:
    await driver.execute(create_table(LOGS, "logs"))
    for per_piece in (1000, 37, 5000):  # a retry may cut the rows elsewhere
        await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(4000, per_piece=per_piece)))
    assert place.count("logs") == 4000


async def test_same_rows_in_another_batch_are_other_rows(driver: Driver, place: Place) -> None:
    await driver.execute(create_table(LOGS, "logs"))
    for batch in ("first", "second"):
        await driver.insert_rows(insert_of(LOGS, "logs", batch), stream(log_pieces(10)))
    assert place.count("logs") == 20


async def test_same_batch_again_is_counted_once_in_rollup(driver: Driver, place: Place) -> None:
    await driver.execute(create_table(LOGS, "logs"))
    for statement in create_rollup("logs", "hourly", "project_id", "timestamp"):
        await driver.execute(statement)
    for _ in range(2):
        await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(4000)))
    assert place.query("SELECT sum(lines) FROM hourly") == [(4000,)]


async def test_batch_is_one_block_under_hostile_profile(hostile_driver: Driver, hostile_place: Place) -> None:
    place = hostile_place
    place.query(create_table(LOGS, "logs"))
    for statement in create_rollup("logs", "by_id", "id", "timestamp"):  # a group for each line: many blocks
        place.query(statement)
    for per_piece in (2000, 1500):
        pieces = log_pieces(200_000, per_piece=per_piece)
        await hostile_driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(pieces))
    assert place.query("SELECT count(), uniqExact(id), uniqExact(message) FROM logs") == [(200_000,) * 3]
    assert place.query("SELECT sum(lines), uniqExact(key) FROM by_id") == [(200_000, 200_000)]
    assert blocks_of(place, "logs") == [("202510", 1), ("202511", 1), ("202512", 1), ("202601", 1)]
    assert blocks_of(place, "by_id") == [("202510", 1), ("202511", 1), ("202512", 1), ("202601", 1)]


@pytest.mark.parametrize("kind", ["native", "aioch", "http"])  # the embedded engine has no profiles
async def test_figures_are_one_part_under_hostile_profile(hostile_driver: Driver, hostile_place: Place) -> None:
    """What is counted by hand into a rollup: there as a whole, or not at all."""
    place = hostile_place
    rollup = Rollup(name="by_id", time="timestamp", keys=("id",))
    definition = rollup_definition(LOGS, rollup, database=None, prefix="")
    place.query(create_table(LOGS, "logs"))
    place.query(definition.target.create(None))
    await hostile_driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(100_000)))
    for lines in (1, 2):  # and nothing remembers it: the server may have lost what it remembers
        await hostile_driver.execute(counting(definition, None, source=identifier("logs")))
        name = definition.target.name
        assert place.query(f"SELECT sum(lines), uniqExact(id) FROM {name}") == [(100_000 * lines, 100_000)]
        assert blocks_of(place, name) == [(month, lines) for month in ("202510", "202511", "202512", "202601")]


async def test_several_inserts_at_once(driver: Driver, place: Place) -> None:
    await driver.execute(create_table(LOGS, "logs"))
    await asyncio.gather(
        *(
            driver.insert_rows(insert_of(LOGS, "logs", f"batch {n}"), stream(log_pieces(500, first=n * 500)))
            for n in range(8)
        )
    )
    assert place.query("SELECT count(), uniqExact(id), uniqExact(batch_id) FROM logs") == [(4000, 4000, 8)]


async def test_batch_of_many_partitions_lands_once(driver: Driver, place: Place) -> None:
    place.query(create_table(LOGS, "logs").replace("toYYYYMM(timestamp)", "id"))  # 300: the server's own limit is 100
    for _ in range(2):
        await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(300)))
    assert place.count("logs") == 300


@pytest.mark.parametrize("kind", ["native", "aioch", "http"])  # the embedded engine does one thing at a time
async def test_two_attempts_of_a_batch_never_race(driver: Driver, place: Place) -> None:
    await driver.execute(create_table(LOGS, "logs"))
    insert = insert_of(LOGS, "logs", BATCH)
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def held() -> AsyncGenerator[Rows]:
        for piece in log_pieces(40_000):
            yield piece
        under_way.set()
        await go_on.wait()

    first = asyncio.create_task(driver.insert_rows(insert, held()))
    await under_way.wait()
    with pytest.raises(TransientError) as refusal:
        await driver.insert_rows(insert, stream(log_pieces(40_000)))
    assert (refusal.value.code, refusal.value.ambiguous) == (216, True)
    go_on.set()
    await first
    await driver.insert_rows(insert, stream(log_pieces(40_000)))
    assert place.count("logs") == 40_000


async def test_driver_is_of_use_while_rows_are_coming(driver: Driver, place: Place) -> None:
    async def trickle() -> AsyncGenerator[Rows]:
        for piece in log_pieces(30, per_piece=10):
            await driver.ping()  # something else goes on meanwhile, over the same driver
            yield piece

    await driver.execute(create_table(LOGS, "logs"))
    await driver.insert_rows(insert_of(LOGS, "logs", BATCH), trickle())
    assert place.count("logs") == 30


async def test_batch_may_be_repeated_over_the_other_native_client(database: Database) -> None:
    """Tokens go with the number of blocks: both cut them alike."""
    database.query(create_table(LOGS, "logs"))
    for kind, per_piece in (("native", 1000), ("aioch", 37), ("native", 5000)):
        async with connected(database.server.endpoint.url(SCHEMES[kind], database.name)) as driver:
            await driver.insert_rows(insert_of(LOGS, "logs", BATCH), stream(log_pieces(60_000, per_piece=per_piece)))
    assert database.query("SELECT count() FROM logs") == [(60_000,)]
