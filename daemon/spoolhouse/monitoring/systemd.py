"""Notifications to a service manager (sd_notify): a few words in a datagram to the socket that it names.

`READY=1`, `STOPPING=1`, `RELOADING=1`, `STATUS=` for a person, `WATCHDOG=1` as a sign of life. Without a socket to
send them to, all of it does nothing. The protocol is two lines of code, so no library is taken for it.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping

import structlog

from spoolhouse.monitoring.heartbeat import Heartbeat
from spoolhouse.monitoring.logs import shown

log = structlog.get_logger(__name__)

_PERIOD = 2.0
"""Seconds between two notifications at the most."""
_EXTRA = 10.0
"""Seconds that a stop may take beyond the grace, to close connections and files."""
_MICRO = 1_000_000


class Notifier:
    """The way to the service manager that started this process, where there is one."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Take the socket from the environment, and how often the manager wants a sign of life."""
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._unsent: dict[str, str] = {}
        self._status = ""
        self._failed = False
        self.watchdog = _watchdog(environment) if self.wanted else None
        """Seconds without a sign of life after which systemd kills the daemon; None without a watchdog."""

    @property
    def wanted(self) -> bool:
        """Whether a service manager has named a socket."""
        return self._address is not None

    @property
    def period(self) -> float:
        """Seconds between two calls of `alive`: a sign of life may be lost, and one be late."""
        return _PERIOD if self.watchdog is None else min(_PERIOD, self.watchdog / 3)

    def ready(self, status: str) -> None:
        """Report that the start, or a reload, is over."""
        self._send(READY="1", STATUS=self._new(status))

    def reloading(self) -> None:
        """Report that the settings are being read again; `ready` ends it."""
        self._send(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000))

    def stopping(self, grace: float, status: str) -> None:
        """Report that a stop has begun; it may take `grace` seconds, even if the unit allows less."""
        self._send(STOPPING="1", EXTEND_TIMEOUT_USEC=str(round((grace + _EXTRA) * _MICRO)), STATUS=self._new(status))

    def alive(self, status: str, *, stuck: bool) -> None:
        """Send the status if it has changed, and a sign of life unless something is stuck."""
        fields = {} if self.watchdog is None or stuck else {"WATCHDOG": "1"}
        if status != self._status:
            fields["STATUS"] = self._new(status)
        self._send(**fields)

    def _new(self, status: str) -> str:
        self._status = status
        # A line end would begin another field.
        return shown(status)

    def _send(self, **fields: str) -> None:
        """Send the fields, and earlier ones that could not be sent. Never waits, so the event loop can call it."""
        self._unsent.update(fields)
        if self._address is None or not self._unsent:
            return
        text = "\n".join(f"{name}={value}" for name, value in self._unsent.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as way:
                way.settimeout(0)
                way.sendto(text.encode(), self._address)
        except BlockingIOError:
            return  # its queue is full: with the next call
        except OSError as error:
            if not self._failed:
                self._failed = True
                log.warning("notify_failed", socket=self._address, error=error.strerror)
            return
        self._failed = False
        self._unsent.clear()


async def keep_notifying(notifier: Notifier, heartbeat: Heartbeat, status: Callable[[], str]) -> None:
    """Report the status until cancelled; a stage that is stuck ends the signs of life."""
    known: set[str] = set()
    while True:
        stuck = heartbeat.stuck()
        for stage in stuck.keys() - known:
            hint = "the disk or the network that it uses does not answer; a restart is safe"
            log.error("stage_stuck", stage=stage, seconds=round(stuck[stage]), hint=hint)
        known = set(stuck)
        if notifier.wanted:
            notifier.alive(status(), stuck=bool(stuck))
        await asyncio.sleep(notifier.period)


def _address(text: str) -> str | None:
    """Return the address of the socket; a leading @ stands for the NUL of an abstract one."""
    if text.startswith("/"):
        return text
    if text.startswith("@"):
        return f"\0{text[1:]}"
    if text:
        log.warning("notify_failed", socket=text, error="neither a path nor an abstract name")
    return None


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """Return the seconds that WATCHDOG_USEC gives this process; another one's are not ours to serve."""
    micros, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not micros.isdecimal() or int(micros) == 0 or pid not in {"", str(os.getpid())}:
        return None
    return int(micros) / _MICRO
