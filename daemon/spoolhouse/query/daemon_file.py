"""The file beside a database that says how to ask the daemon that has it: `events.db.daemon`, for its owner's eyes."""

import os
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct


class DaemonFile(Struct, frozen=True, kw_only=True):
    """The way to a daemon. A file that a killed daemon has left leads nowhere, or to one that knows no such token."""

    url: str
    token: str
    pid: int
    table_prefix: str

    @property
    def page(self) -> str:
        """The address of its page; a browser keeps the token in it to itself."""
        return f"{self.url}/#/?token={self.token}"


def beside(database: Path) -> Path:
    """Return the file's path."""
    return database.with_name(f"{database.name}.daemon")


def write(path: Path, content: DaemonFile) -> None:
    """Write the file, whole, readable for its owner alone. Raises `OSError`."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123  # a descriptor
        file.write(msgspec.json.encode(content))
    draft.replace(path)


def read(path: Path) -> DaemonFile | None:
    """Return what it says; None if it is missing, or not for us."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=DaemonFile)
    except (OSError, ValueError):
        return None


def remove(path: Path, token: str) -> None:
    """Remove the file, if it is that of `token`."""
    found = read(path)
    if found is not None and found.token == token:
        with suppress(OSError):
            path.unlink()
