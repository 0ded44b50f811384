"""From the settings to a driver."""

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
    """Return the driver that the scheme of `url` asks for; nothing is connected to before its first use.

    An argument that is not None wins over what the URL says. A database that does not exist is an `OperatorError` with
    code 81 on use. Raises `BadSettingError`.
    """
    address = parse(url, username=username, password=password, database=database)
    # Each driver is imported only where it is wanted: with its library it takes a tenth of a second.
    match address.protocol:
        case Protocol.NATIVE:
            from spoolhouse.store.clickhouse.drivers.asynch_connection import Wire  # noqa: PLC0415  # see above
            from spoolhouse.store.clickhouse.drivers.native import NativeDriver  # noqa: PLC0415  # see above

            return NativeDriver(address, transport, Wire)
        case Protocol.THREADED:
            from spoolhouse.store.clickhouse.drivers.aioch_connection import ThreadedWire  # noqa: PLC0415  # see above
            from spoolhouse.store.clickhouse.drivers.native import NativeDriver  # noqa: PLC0415  # see above

            return NativeDriver(address, transport, ThreadedWire)
        case Protocol.HTTP:
            from spoolhouse.store.clickhouse.drivers.http import HttpDriver  # noqa: PLC0415  # see above

            return HttpDriver(address, transport)
        case Protocol.EMBEDDED:
            from spoolhouse.store.clickhouse.drivers.embedded import EmbeddedDriver  # noqa: PLC0415  # see above

            return EmbeddedDriver(address)
