"""Make a driver from the settings."""

from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.drivers.transport import Transport
from spoolhouse.store.clickhouse.drivers.url import Protocol, parse

DEFAULT = Transport()


def connect(
    url: str,
    *,
    username: str | None = None,
    password: str | None = None,
    database: str | None = None,
    transport: Transport = DEFAULT,
) -> Driver:
    """Return the driver for the scheme of `url`; it connects on first use.

    An argument that is not None wins over the URL. A missing database is an `OperatorError` with code 81 on use. Raises
    `BadSettingError`.
    """
    address = parse(url, username=username, password=password, database=database)
    # Each driver is imported on demand: with its library the import takes a tenth of a second.
    match address.protocol:
        case Protocol.NATIVE:
            from spoolhouse.store.clickhouse.drivers.asynch_connection import AsynchConnection  # noqa: PLC0415  # see above
            from spoolhouse.store.clickhouse.drivers.native import NativeDriver  # noqa: PLC0415  # see above

            return NativeDriver(address, transport, AsynchConnection)
        case Protocol.THREADED:
            from spoolhouse.store.clickhouse.drivers.aioch_connection import AiochConnection  # noqa: PLC0415  # see above
            from spoolhouse.store.clickhouse.drivers.native import NativeDriver  # noqa: PLC0415  # see above

            return NativeDriver(address, transport, AiochConnection)
        case Protocol.HTTP:
            from spoolhouse.store.clickhouse.drivers.http import HttpDriver  # noqa: PLC0415  # see above

            return HttpDriver(address, transport)
        case Protocol.EMBEDDED:
            from spoolhouse.store.clickhouse.drivers.embedded import EmbeddedDriver  # noqa: PLC0415  # see above

            return EmbeddedDriver(address)
