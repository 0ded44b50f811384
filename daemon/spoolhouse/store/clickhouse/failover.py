"""Several servers that hold the same tables: which of them work goes to. Pure: events and times are arguments."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from msgspec import Struct

from spoolhouse.retry import delay


def urls_of(url: str) -> tuple[str, ...]:
    """Return one URL for each host of `clickhouse.url`, in their order: the hosts stand there with commas between."""
    scheme, colon, rest = url.partition("://")
    netloc, slash, path = rest.partition("/")
    if not colon or scheme == "chdb" or "," not in netloc:
        return (url,)
    login, at, hosts = netloc.rpartition("@")
    return tuple(f"{scheme}://{login}{at}{host}{slash}{path}" for host in hosts.split(","))


def name_of(url: str) -> str:
    """Return the name of the server in a URL of one host: host and port."""
    return urlsplit(url).netloc.rpartition("@")[2]


class _Host(Struct, kw_only=True):
    failures: int = 0
    """Since it last answered."""
    failed_at: float = 0.0
    """When it was last asked in vain."""
    fraction: float = 0.0
    """Of the longest pause that may follow."""


class HostSelector:
    """Which host new work goes to: the same one for as long as it answers, then the next that does.

    A host that was never asked counts as up. Times are seconds of a monotonic clock.
    """

    def __init__(self, names: Iterable[str], *, first: float, cap: float) -> None:
        """Take the hosts in the order in which they are to be tried; `first` and `cap` are those of `delay`."""
        self._hosts = {name: _Host() for name in names}
        self.first = first
        """May be changed at any time, as may `cap`: pauses that have begun are as long as they say, too."""
        self.cap = cap
        self.current = next(iter(self._hosts))
        """The host that was chosen last."""

    def choose(self, now: float) -> str:
        """Return the host for new work. If none is up, it is one that is due again, or else the one that is due first.

        Always returns a host, so that the caller gets its error.
        """
        names = list(self._hosts)
        at = names.index(self.current)
        in_turn = names[at:] + names[:at]
        up = [name for name in in_turn if self.is_up(name)]
        due = [name for name in in_turn if self.may_be_asked(name, now)]
        self.current = [*up, *due, min(in_turn, key=self._due)][0]
        return self.current

    def failed(self, name: str, now: float, fraction: float) -> bool:
        """Note that a host did not answer; `fraction` is random, from 0 to 1. Return true if it was up before."""
        host = self._hosts[name]
        host.failures += 1
        host.failed_at, host.fraction = now, fraction
        return host.failures == 1

    def answered(self, name: str) -> bool:
        """Note that a host did answer. Return true if it was down before."""
        was_down = not self.is_up(name)
        self._hosts[name].failures = 0
        return was_down

    def is_up(self, name: str) -> bool:
        """Tell whether a host answered when it was last asked."""
        return not self._hosts[name].failures

    def may_be_asked(self, name: str, now: float) -> bool:
        """Tell whether a host is up, or was away long enough to be tried again."""
        return self.is_up(name) or self._due(name) <= now

    def _due(self, name: str) -> float:
        """Return when a host may be tried again; it means nothing for one that is up."""
        host = self._hosts[name]
        return host.failed_at + delay(max(1, host.failures), first=self.first, cap=self.cap, fraction=host.fraction)

    @property
    def is_split(self) -> bool:
        """Whether some hosts are up and some are not."""
        return len({self.is_up(name) for name in self._hosts}) > 1
