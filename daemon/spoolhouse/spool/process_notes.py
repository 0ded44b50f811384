"""What processes write into an instance's folder about themselves, for `spoolhouse status`. Blocks on the disk."""

import contextlib
import json
import os
import socket
from pathlib import Path

from spoolhouse.spool import layout


def note_address(folder: Path, url: str | None) -> None:
    """Write down this process, and the address of its HTTP server (None: it has none). Raises OSError."""
    _write(folder / layout.ANNOUNCEMENT, {"url": url})


def note_adopter(folder: Path) -> None:
    """Write down that this process has taken the folder over.

    Process ids cannot tell that: they differ between containers, and two daemons may have the same one.
    """
    with contextlib.suppress(OSError):  # a full disk leaves it empty, which tells enough
        _write(folder / layout.ADOPTER, {})


def address(folder: Path) -> dict[str, object]:
    """Return what the instance wrote; nothing where it cannot be read."""
    return _read(folder / layout.ANNOUNCEMENT)


def adopter(folder: Path) -> dict[str, object] | None:
    """Return what the last adopter wrote, if there was one; nothing where that cannot be read."""
    path = folder / layout.ADOPTER
    return _read(path) if os.path.lexists(path) else None


def _write(path: Path, more: dict[str, object]) -> None:
    told = {**more, "pid": os.getpid(), "host": socket.gethostname()}
    path.write_text(json.dumps(told) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, object]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
