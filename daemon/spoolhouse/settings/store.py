"""The store that rows land in, and DuckDB's own settings."""

from pathlib import Path

from pydantic import ByteSize, Field, field_validator

from spoolhouse.errors import BadSettingError
from spoolhouse.settings.base import MIB, Group, Size
from spoolhouse.settings.clickhouse import URL_SCHEMES
from spoolhouse.store.duckdb.url import ACCEPTED, path_of


class StoreSettings(Group):
    """The store that rows land in."""

    url: str | None = Field(default=None, examples=["duckdb:///var/lib/spoolhouse/events.db"])
    """`duckdb:///file` is a DuckDB file on this machine, for one daemon and without a server; any other URL is one of
    `clickhouse.url`. Without it, `clickhouse.url` says where rows land; either may hold either."""

    @property
    def path(self) -> Path | None:
        """The DuckDB file; None for ClickHouse."""
        return None if self.url is None else path_of(self.url)

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        # `sources` gives the URL of a ClickHouse to `clickhouse.url`.
        if url is not None:
            try:
                path_of(url)
            except BadSettingError:
                schemes = ", ".join(f"{scheme}://" for scheme in URL_SCHEMES)
                raise ValueError(f"{ACCEPTED}, or a URL that begins with {schemes}") from None
        return url


class DuckDbSettings(Group):
    """DuckDB, where `store.url` names a file of it."""

    memory: Size = ByteSize(1024 * MIB)
    """Memory that it may take at the most; beyond it, it uses temporary files beside its own."""
