"""The address of a ClickHouse, and the user: `clickhouse.url` and the settings beside it, parsed once."""

from enum import StrEnum
from typing import Never
from urllib.parse import SplitResult, quote, unquote, urlsplit

from msgspec import Struct

from spoolhouse.errors import BadSettingError

ACCEPTED = (
    "clickhouse://host:9000, clickhouses://host:9440 (TLS), the same with +aioch, http://host:8123, https://host:8443 "
    "or chdb:///absolute/path; a database may follow the host as /name"
)


class Protocol(StrEnum):
    """The protocol to a server; each has its driver."""

    NATIVE = "native"
    THREADED = "threaded"
    HTTP = "http"
    EMBEDDED = "embedded"


_SCHEMES = {
    "clickhouse": (Protocol.NATIVE, False, 9000),
    "clickhouses": (Protocol.NATIVE, True, 9440),
    "clickhouse+aioch": (Protocol.THREADED, False, 9000),
    "clickhouses+aioch": (Protocol.THREADED, True, 9440),
    "http": (Protocol.HTTP, False, 8123),
    "https": (Protocol.HTTP, True, 8443),
}


class Address(Struct, frozen=True, kw_only=True):
    """A parsed URL. `host`, `port`, `user` and `password` mean nothing where `path` is set."""

    protocol: Protocol
    host: str = ""
    port: int = 0
    secure: bool = False
    user: str = "default"
    password: str = ""
    database: str = "default"
    path: str = ""
    """The folder of an embedded engine, absolute; else empty."""

    def __repr__(self) -> str:
        """Return it without the password."""
        return f"Address({self.shown!r})"

    @property
    def shown(self) -> str:
        """The URL without the password, for logs."""
        if self.protocol is Protocol.EMBEDDED:
            return f"chdb://{quote(self.path)}"
        scheme = next(
            name
            for name, (protocol, secure, _) in _SCHEMES.items()
            if (protocol, secure) == (self.protocol, self.secure)
        )
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{quote(self.user, safe='')}@{host}:{self.port}/{quote(self.database, safe='')}"


def parse(
    url: str, *, username: str | None = None, password: str | None = None, database: str | None = None
) -> Address:
    """Return the address in `url`; an argument that is not None wins over the URL.

    Raises `BadSettingError`, which names `clickhouse.url` and never repeats the URL itself: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        _refuse("is no URL")
    if parts.query or parts.fragment:
        _refuse("takes nothing after ? or #")
    if parts.scheme == "chdb":
        return _embedded(parts, database)
    if parts.scheme not in _SCHEMES:
        _refuse("has an unknown scheme" if parts.scheme else "has no scheme")
    if not parts.hostname:
        _refuse("names no host")
    named = unquote(parts.path.removeprefix("/").removesuffix("/"))
    if "/" in named:
        _refuse("has a path that is no database")
    protocol, secure, usual_port = _SCHEMES[parts.scheme]
    return Address(
        protocol=protocol,
        host=parts.hostname,
        port=usual_port if port is None else port,
        secure=secure,
        user=_first(username, unquote(parts.username or ""), "default"),
        password=unquote(parts.password or "") if password is None else password,
        database=_database(database, named),
    )


def _embedded(parts: SplitResult, database: str | None) -> Address:
    path = unquote(parts.path)
    if parts.netloc:
        _refuse("has a host, but an embedded engine has a path: chdb:/// with three slashes")
    if not path.strip("/") or "\0" in path:
        _refuse("names no folder")
    return Address(protocol=Protocol.EMBEDDED, path=path, database=_database(database))


def _database(*candidates: str | None) -> str:
    name = _first(*candidates, "default")
    if any(character < " " for character in name):
        _refuse("names a database with control characters")
    return name


def _first(*candidates: str | None) -> str:
    return next(candidate for candidate in candidates if candidate)


def _refuse(why: str) -> Never:
    raise BadSettingError(f"clickhouse.url {why}; accepted: {ACCEPTED}")
