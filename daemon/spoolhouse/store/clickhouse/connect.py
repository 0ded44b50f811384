"""From the settings to a driver."""

from spoolhouse.core.ports import Driver
from spoolhouse.store.clickhouse.embedded import EmbeddedDriver
from spoolhouse.store.clickhouse.http import HttpDriver
from spoolhouse.store.clickhouse.native import NativeDriver
from spoolhouse.store.clickhouse.url import Protocol, parse


def connect(
    url: str,
    *,
    username: str | None = None,
    password: str | None = None,
    database: str | None = None,
    connect_timeout: float = 10.0,
    timeout: float = 300.0,
) -> Driver:
    """Return the driver that the scheme of `url` asks for; nothing is connected to before its first use.

    An argument that is not None wins over what the URL says. `connect_timeout` and `timeout` are seconds: until a
    server counts as unreachable, and until its silence counts as a broken connection. A database that does not exist is
    an `OperatorError` with code 81 on use. Raises `BadSettingError`.
    """
    address = parse(url, username=username, password=password, database=database)
    match address.protocol:
        case Protocol.NATIVE:
            return NativeDriver(address, connect_timeout=connect_timeout, timeout=timeout)
        case Protocol.HTTP:
            return HttpDriver(address, connect_timeout=connect_timeout, timeout=timeout)
        case Protocol.EMBEDDED:
            return EmbeddedDriver(address)
