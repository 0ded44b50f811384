"""Prepare for the first claim: wait for the store, bring its schema up to date, and check that it is safe."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from spoolhouse.errors import OperatorError, StoreError, UnreachableError
from spoolhouse.events.declaration import EventType
from spoolhouse.monitoring import heartbeat
from spoolhouse.monitoring.health import GUARD, SERVER, Health
from spoolhouse.retry import delay
from spoolhouse.service.backend import NOTHING_REFUSED, Backend, DiffersError
from spoolhouse.settings import Settings

_SOON = 2.0
"""Seconds between two probes of a server that is away, at the most."""


async def await_ready(
    settings: Settings,
    backend: Backend,
    health: Health,
    stop: asyncio.Event,
    *,
    once: bool,
    events: Mapping[str, EventType],
) -> bool:
    """Return true once the store answers and has the schema; false after a stop, or with `once` if it does not.

    Nothing is claimed before: a file that cannot be sent stays in its pending place.
    """
    attempt = 0
    while not stop.is_set():
        attempt += 1
        try:
            await prepare_and_guard(backend, health, events)
        except StoreError as error:
            health.bad(SERVER, error)
            if once:
                return False
            pause = delay(attempt, first=settings.retry.first, cap=min(settings.retry.cap, _SOON), fraction=1.0)
            try:
                async with asyncio.timeout(pause):
                    await stop.wait()
            except TimeoutError:
                continue
        else:
            health.good(SERVER)
            return True
    return False


async def prepare_and_guard(backend: Backend, health: Health, events: Mapping[str, EventType]) -> None:
    """Bring the schema up to date (where wanted), and hold the tables that are not safe. Raises `StoreError`."""
    refused = await backend.prepare(events)
    await guard(backend, health, events, refused)


async def guard(
    backend: Backend, health: Health, events: Mapping[str, EventType], refused: Mapping[str, OperatorError]
) -> None:
    """Hold each table that differs from its declaration (`refused`), or that is not safe to insert into.

    Other tables stay open, and a fixed table is opened again. Called again and again: a view can be added to a table
    at any time. Batches that were claimed before still land: one in doubt is checked before it is sent again.
    Raises `StoreError`.
    """
    holds = await backend.unsafe_tables(events, refused)
    for table, error in holds.items():
        health.hold(table, error)
    for table in health.holds.keys() - holds.keys():
        health.release(table)


async def keep_guard(
    current: Callable[[], Settings],
    backend: Backend,
    health: Health,
    stop: asyncio.Event,
    events: Mapping[str, EventType],
) -> None:
    """Check the store and its tables every `retry.cap` until `stop`; at once and often during an outage.

    Not at the start: `await_ready` has just done so. An idle daemon inserts nothing, so only this probe notices an
    outage and its end. `current` returns the settings in force. The caller that sets `stop` sets `health.probe`, too.
    """
    failures = 0
    while True:
        retry = current().retry
        soon = delay(failures, first=retry.first, cap=min(retry.cap, _SOON), fraction=1.0)
        with suppress(TimeoutError), heartbeat.idle():
            async with asyncio.timeout(soon if failures else retry.cap):
                # During an outage the probe keeps its pace, however many callers report the outage.
                await (stop if failures else health.probe).wait()
        if stop.is_set():
            return
        try:
            health.probe.clear()
            await backend.ping()
            health.speaks()
            # Only another run of the migration can find that its refusal is resolved.
            differs = any(isinstance(error, DiffersError) for error in health.holds.values())
            refused = await backend.prepare(events) if differs else NOTHING_REFUSED
            await guard(backend, health, events, refused)
            await backend.maintain(events)
        except UnreachableError as error:
            failures += 1
            health.silent(error)
        except StoreError as error:
            failures += 1
            health.bad(GUARD, error)
        else:
            if failures:
                health.good(SERVER)
                health.good(GUARD)
            failures = 0
