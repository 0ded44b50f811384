"""Judges the settings alone."""

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from spoolhouse.doctor.finding import Finding, good, warning
from spoolhouse.settings import Settings

SUBJECT = "settings"
_OPEN = ("clickhouse", "clickhouse+aioch", "http")
_CONTAINERS_WAIT = 30.0


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield all findings."""
    if settings.store.path is None:
        yield from _clickhouse(settings)
    else:
        yield good(SUBJECT, f"DuckDB in {settings.store.path}, tables {settings.clickhouse.table_prefix}*")
    if settings.shutdown.grace >= _CONTAINERS_WAIT:
        why = "container runtimes kill 30 s after SIGTERM, unless they are configured otherwise"
        hint = "lower it, or raise terminationGracePeriodSeconds, --stop-timeout or TimeoutStopSec above it"
        yield warning(SUBJECT, f"shutdown.grace is {settings.shutdown.grace:g} s", why=why, hint=hint)


def _clickhouse(settings: Settings) -> Iterator[Finding]:
    clickhouse = settings.clickhouse
    parts = urlsplit(clickhouse.url)
    where = f"{clickhouse.url}, database {clickhouse.database}, user {clickhouse.username}"
    yield good(SUBJECT, f"ClickHouse at {where}, tables {clickhouse.table_prefix}*")
    hosts = [urlsplit(url).hostname or "" for url in clickhouse.hosts.values()]
    if parts.scheme in _OPEN and not all(map(_is_local, hosts)):
        why = "events and the password can be read on the network"
        hint = "use clickhouses:// or https://, unless the network is trusted"
        yield warning(SUBJECT, f"clickhouse.url: {parts.scheme}:// is not encrypted", why=why, hint=hint)
    if not clickhouse.tls_verify:
        why = "anybody between here and the server can read and change what is sent"
        yield warning(SUBJECT, "clickhouse.tls_verify is off", why=why, hint="set clickhouse.tls_ca instead")
    if clickhouse.password is None and clickhouse.username == "default" and parts.scheme != "chdb":
        why = "in many installations the user default has all rights and no password"
        hint = "create a user for Spoolhouse, and set clickhouse.username and clickhouse.password_file"
        yield warning(SUBJECT, "the user default, without a password", why=why, hint=hint)


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
