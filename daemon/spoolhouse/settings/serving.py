"""The daemon's HTTP server and its log."""

from string import ascii_letters, digits
from typing import Literal

from pydantic import field_validator

from spoolhouse.settings.base import Group, Live

OFF = "off"
_LAST_PORT = 65535


class HttpSettings(Group):
    """The daemon's HTTP server: `/livez`, `/readyz`, `/metrics`, `/status`, and a status page at `/`."""

    listen: str = "127.0.0.1:9464"
    """Address and port. Port 0 takes a free one; `off` serves nothing. There is no password: everybody who reaches it
    sees the names of files and the reasons of rejected lines. Questions about what has landed (`/api/v1/`, with DuckDB)
    need the token in the file `.daemon` beside the database. If the default port is in use (a second instance on one
    host), a free one is taken; a configured port that is in use is an error. `spoolhouse status` finds either. With
    `--once` it is served only if this is set, and then a port in use is replaced by a free one, too."""

    allowed_hosts: str = ""
    """Host names of the daemon, with commas between them, besides localhost, any address and the host of `listen`:
    "spool.example, spoolhouse". A request for another name gets 421, so that no page in a browser can read along under
    a name that it made point here; /livez answers to all."""

    @property
    def names(self) -> frozenset[str]:
        """The accepted host names, in lower case."""
        own = () if self.address is None else (self.address[0],)
        return frozenset(name.strip().rstrip(".").lower() for name in (*self.allowed_hosts.split(","), *own)) - {""}

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port; None if nothing is served."""
        if self.listen == OFF:
            return None
        host, _, port = self.listen.rpartition(":")
        return host.removeprefix("[").removesuffix("]"), int(port)

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, listen: str) -> str:
        host, _, port = listen.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        plain = listen.isascii() and listen.isprintable() and not set(bare) & set(" /@[]")
        bracketed = (":" in bare) == (host != bare) and host == (f"[{bare}]" if ":" in bare else bare)
        number = port.isdecimal() and int(port) <= _LAST_PORT
        if listen != OFF and not (bare and plain and bracketed and number):
            raise ValueError(f"host:port such as 127.0.0.1:9464 or [::1]:9464, or {OFF}")
        return listen

    @field_validator("allowed_hosts")
    @classmethod
    def _check_allowed_hosts(cls, allowed_hosts: str) -> str:
        if set(allowed_hosts) - set(ascii_letters + digits + "-_., "):
            raise ValueError("names such as spool.example, without a port, with commas between them")
        return allowed_hosts


class LogSettings(Group):
    """The log on standard error."""

    level: Live[Literal["debug", "info", "warning", "error"]] = "info"
    """The least important level that is written."""
    format: Live[Literal["auto", "json", "console"]] = "auto"
    """`auto` is `console` on a terminal and `json` elsewhere."""
