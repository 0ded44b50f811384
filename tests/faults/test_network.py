"""The way to the server fails, in each way that a network can, at each place: through a proxy of the tests."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import pytest

from tests.contract.proxy import Proxy, proxy_to
from tests.faults.life import LONG, armed, lead_to, recover, wait_until
from tests.faults.oracle import PREFIX, Oracle
from tests.process.daemon import Daemon

IMPATIENT = {"SPOOLHOUSE_CLICKHOUSE__TIMEOUT": "0.7", "SPOOLHOUSE_CLICKHOUSE__CONNECT_TIMEOUT": "0.7"}
PLACES = ("instance.claimed", "insert.before_send", "insert.sending", "{driver}", "insert.answered", "adopt.loaded")
SENT = {"native": "native.all_sent", "http": "http.piece_sent"}


async def reset(proxy: Proxy) -> None:
    proxy.cut()


async def refuse(proxy: Proxy) -> None:
    proxy.refusing = True
    proxy.cut()


async def black_hole(proxy: Proxy) -> None:
    proxy.flowing.clear()


async def deafen(proxy: Proxy) -> None:
    proxy.deaf.set()


async def drip(proxy: Proxy) -> None:
    proxy.piece = 200


async def heal(proxy: Proxy) -> None:
    proxy.refusing = False
    proxy.deaf.clear()
    proxy.piece = 1 << 16
    if not proxy.flowing.is_set():
        proxy.cut()  # what it swallowed would come late, to connections that were given up
        proxy.flowing.set()


FAULTS: tuple[Callable[[Proxy], Awaitable[None]], ...] = (reset, refuse, black_hole, deafen, drip)


@pytest.mark.parametrize("driver", ["native", "http"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_the_network_fails_at_each_place(
    oracle: Oracle, driver: str, fault: Callable[[Proxy], Awaitable[None]]
) -> None:
    """The daemon waits for the way to be open again, and each line has landed once."""
    places = PLACES if LONG else PLACES[FAULTS.index(fault) % 3 :: 3]
    for place in places:
        await strike(oracle, driver, place.format(driver=SENT[driver]), fault)
    oracle.check()


async def strike(oracle: Oracle, driver: str, place: str, fault: Callable[[Proxy], Awaitable[None]]) -> None:
    """Let the fault begin while a daemon is at `place`, and end when it has met it, or came by unhurt."""
    endpoint = oracle.database.server.endpoint
    scheme, port = {"native": ("clickhouse", endpoint.tcp_port), "http": ("http", endpoint.http_port)}[driver]
    here = oracle.spool.parent / "here"
    await asyncio.to_thread(lead_to, oracle, place)
    expected = len(oracle.files)
    async with proxy_to("127.0.0.1", port) as proxy:
        url = f"{scheme}://127.0.0.1:{proxy.port}/{oracle.database.name}"
        with Daemon(url, oracle.spool, env=armed(place, f"wait:{here}") | IMPATIENT) as daemon:

            def has_met_it() -> bool:
                return bool(daemon.events("clickhouse_unavailable")) or oracle.settled() == expected

            await asyncio.to_thread(wait_until, here.exists)
            await fault(proxy)
            here.unlink()
            await asyncio.to_thread(wait_until, has_met_it)
            await heal(proxy)
            # On a busy machine, several attempts may take longer than these timeouts.
            await asyncio.to_thread(wait_until, lambda: oracle.settled() == expected, 90)
            daemon.signal(signal.SIGTERM)
            assert await asyncio.to_thread(daemon.wait, 30) == 0, f"{place}: {daemon.told()}"
            assert not daemon.events("stage_failed"), f"{place}: {daemon.told()}"


@pytest.mark.parametrize("driver", ["native", "http"])
@pytest.mark.parametrize("then", ["goes on", "is killed"])
async def test_an_acknowledgement_is_lost_after_the_server_committed(oracle: Oracle, driver: str, then: str) -> None:
    """The rows are in the table, and nobody knows: the same daemon, or the next one, finds out."""
    endpoint = oracle.database.server.endpoint
    scheme, port = {"native": ("clickhouse", endpoint.tcp_port), "http": ("http", endpoint.http_port)}[driver]
    here = oracle.spool.parent / "here"
    oracle.drop(200, logs=0)  # one insert: another one, deaf before its data was sent, would never end
    async with proxy_to("127.0.0.1", port) as proxy:
        url = f"{scheme}://127.0.0.1:{proxy.port}/{oracle.database.name}"
        # No short timeout: the cut ends the wait for an answer, and a busy machine needs its time for those after it.
        with Daemon(url, oracle.spool, env=armed(SENT[driver], f"wait:{here}")) as daemon:
            await asyncio.to_thread(wait_until, here.exists)
            proxy.deaf.set()
            here.unlink()
            await asyncio.to_thread(wait_until, lambda: rows(oracle))
            proxy.cut()
            proxy.deaf.clear()
            if then == "is killed":
                daemon.kill()
            else:
                await asyncio.to_thread(daemon.wait_for, "file_settled")
                daemon.signal(signal.SIGTERM)
                assert await asyncio.to_thread(daemon.wait, 30) == 0, daemon.told()
    await asyncio.to_thread(recover, oracle)
    oracle.check()


def rows(oracle: Oracle) -> int:
    [(count,)] = oracle.database.query(f"SELECT count() FROM {PREFIX}spans_hourly")
    return int(count)
