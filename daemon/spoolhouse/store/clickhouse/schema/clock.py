"""The server's clock, by which it compacts rollups and expires rows."""

from spoolhouse.errors import OperatorError
from spoolhouse.store.clickhouse.driver import Driver

LARGEST_SKEW_MS = 24 * 3600 * 1000
"""The largest accepted difference. Batches of a clock that is a month behind are compacted as soon as they land, and
cannot be found by id. `schema.rollups.COMPACT_DAYS` leaves a day for the difference."""


async def server_ms(driver: Driver) -> int:
    """Return the server's time in ms since 1970. Raises `StoreError`."""
    ((there,),) = await driver.execute("SELECT toInt64(toUnixTimestamp64Milli(now64(3)))")
    return int(str(there))


async def expect_same_day(driver: Driver, own_ms: int, *, host: str = "") -> None:
    """Raise `OperatorError` if `own_ms`, the time here, is more than a day from the server's. Raises `StoreError`.

    `host` tells which of several servers that is.
    """
    skew = own_ms - await server_ms(driver)
    if abs(skew) > LARGEST_SKEW_MS:
        days = abs(skew) / LARGEST_SKEW_MS
        which = f" ({host})" if host else ""
        order = "ahead of" if skew > 0 else "behind"
        raise OperatorError(
            f"this machine's clock is {days:.0f} days {order} the ClickHouse server's{which}",
            hint="set the clock that is wrong, and run a time service (chrony, systemd-timesyncd) on both machines",
        )
