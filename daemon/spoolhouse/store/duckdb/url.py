"""The address of a DuckDB file. It needs nothing of DuckDB."""

import re
from pathlib import Path
from urllib.parse import unquote

from spoolhouse.errors import BadSettingError

SCHEME = "duckdb"
ACCEPTED = "duckdb:/// and the absolute path of a file"
_FILE = re.compile(r"duckdb:///[^?#\0]*[^/?#\0]")


def path_of(url: str) -> Path:
    """Return the file that a URL names. Raises `BadSettingError`."""
    if not _FILE.fullmatch(url) or not url.isprintable():
        raise BadSettingError(f"store.url is not accepted; accepted: {ACCEPTED}")
    return Path(unquote(url.removeprefix("duckdb://")))
