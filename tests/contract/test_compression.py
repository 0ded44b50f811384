"""Rows that are compressed on their way: what lands is the same, and so is what a repeat changes (nothing)."""

import pytest

from spoolhouse.events.builtin import LOGS
from spoolhouse.store.clickhouse.drivers.transport import Compression
from tests.contract.place import SCHEMES, Place, connected
from tests.contract.proxy import proxy_to
from tests.contract.tables import create_table, insert_of, log_pieces, stream


@pytest.mark.parametrize("compression", [Compression.LZ4, Compression.ZSTD])
async def test_what_lands_is_the_same(remote_place: Place, compression: Compression) -> None:
    place = remote_place
    pieces = log_pieces(60_000, per_piece=700)
    plain = sum(len(piece.data) for piece in pieces)
    for table in ("plain", "packed"):
        place.query(create_table(LOGS, table))
    async with connected(place.url) as driver:
        await driver.insert_rows(insert_of(LOGS, "plain", "batch"), stream(pieces))
    port = int(place.url.rpartition(":")[2].partition("/")[0])
    async with proxy_to("127.0.0.1", port) as proxy:
        url = f"{SCHEMES[place.kind]}://127.0.0.1:{proxy.port}/{place.database}"
        async with connected(url, compression=compression) as driver:
            await driver.insert_rows(insert_of(LOGS, "packed", "batch"), stream(pieces))
            assert proxy.sent < plain / 3
            await driver.insert_rows(insert_of(LOGS, "packed", "batch"), stream(log_pieces(60_000, per_piece=5000)))
            assert await driver.execute("SELECT count() FROM packed") == [(60_000,)]
    columns = "* EXCEPT (ingested_at)"
    difference = f"SELECT {columns} FROM plain EXCEPT SELECT {columns} FROM packed"
    assert place.query(f"SELECT count() FROM ({difference})") == [(0,)]


@pytest.mark.parametrize("compression", [Compression.LZ4, Compression.ZSTD])
async def test_a_batch_of_one_row(remote_place: Place, compression: Compression) -> None:
    remote_place.query(create_table(LOGS, "logs"))
    async with connected(remote_place.url, compression=compression) as driver:
        await driver.insert_rows(insert_of(LOGS, "logs", "batch"), stream(log_pieces(1)))
    assert remote_place.count("logs") == 1
