"""The store that rows land in, and DuckDB's own settings."""

import re
from pathlib import Path
from urllib.parse import unquote

from pydantic import ByteSize, Field, field_validator

from spoolhouse.settings.base import MIB, Group, Size
from spoolhouse.settings.clickhouse import URL_SCHEMES

DUCKDB = "duckdb"
_FILE = re.compile(r"duckdb:///[^?#\0]*[^/?#\0]")


class StoreSettings(Group):
    """The store that rows land in."""

    url: str | None = Field(default=None, examples=["duckdb:///var/lib/spoolhouse/events.db"])
    """`duckdb:///file` is a DuckDB file on this machine, for one daemon and without a server; any other URL is one of
    `clickhouse.url`. Without it, `clickhouse.url` says where rows land; either may hold either."""

    @property
    def path(self) -> Path | None:
        """The DuckDB file; None for ClickHouse."""
        return None if self.url is None else Path(unquote(self.url.removeprefix("duckdb://")))

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        # `sources` gives the URL of a ClickHouse to `clickhouse.url`.
        if url is not None and not (_FILE.fullmatch(url) and url.isprintable()):
            schemes = ", ".join(f"{scheme}://" for scheme in URL_SCHEMES)
            raise ValueError(f"duckdb:/// and the absolute path of a file, or a URL that begins with {schemes}")
        return url


class DuckDbSettings(Group):
    """DuckDB, where `store.url` names a file of it."""

    memory: Size = ByteSize(1024 * MIB)
    """Memory that it may take at the most; beyond it, it uses temporary files beside its own."""
