"""What operators see."""

from typing import Literal

from pydantic import field_validator

from spoolhouse.settings.group import Group, Live

OFF = "off"
_LAST_PORT = 65535


class HttpSettings(Group):
    """Where the daemon can be looked at: /livez, /readyz, /metrics, /status, and at / a page for people."""

    listen: str = "127.0.0.1:9464"
    """Address and port; port 0 takes one that is free, "off" serves nothing. Nothing asks for a password: whoever
    reaches it sees the names of files and why lines were rejected. Where this default is taken (a second instance on
    one host), a free port is used; one that was asked for and is taken is an error. `spoolhouse status` finds either.
    With --once it is served only if this is set, and then a taken port gives way too."""

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


class LogSettings(Group):
    """What is said on standard error."""

    level: Live[Literal["debug", "info", "warning", "error"]] = "info"
    """The least important level that is written."""
    format: Live[Literal["auto", "json", "console"]] = "auto"
    """`auto` is `console` on a terminal and `json` elsewhere."""
