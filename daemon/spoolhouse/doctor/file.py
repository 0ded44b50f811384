"""Judges a DuckDB file: its folder, whether it opens, and its schema."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from spoolhouse.doctor.finding import Finding, fault, good, warning
from spoolhouse.doctor.ports import InspectedFile
from spoolhouse.errors import InUseError, StoreError

SUBJECT = "file"
_LITTLE = 0.05
_WHY = "without it, files stay where they are"


async def examine(file: InspectedFile, *, running: bool) -> AsyncIterator[Finding]:
    """Yield all findings; `running`: a daemon of the spool runs, and has the file by right."""
    path = file.path
    for finding in await asyncio.to_thread(lambda: list(_folder(path))):
        yield finding
    if not await asyncio.to_thread(path.exists):
        yield good(SUBJECT, f"{path} does not exist yet; it is created at start")
        return
    try:
        drift = await file.drift()
    except StoreError as error:
        if running and isinstance(error, InUseError):
            yield good(SUBJECT, f"{error.message}, by the daemon as it seems; the schema was not checked")
        else:
            yield fault(SUBJECT, error.message, why=_WHY, hint=error.hint or "see the message")
        return
    yield good(SUBJECT, f"{path} opens")
    for one in drift.refused:
        why = "a migration does not change it; its table is held"
        yield fault("schema", one.text, why=why, hint=f"if the data may be rewritten: {one.statement}")
    if drift.statements:
        hint = "start the daemon, or run `spoolhouse migrate`" if file.migrates else "run `spoolhouse migrate`"
        what = f"{len(drift.statements)} changes are to be made"
        yield warning("schema", what, why="rows wait for the tables and columns that they need", hint=hint)
    elif not drift.refused:
        yield good("schema", "the file agrees with the declarations")


def _folder(path: Path) -> Iterator[Finding]:
    folder = next(one for one in path.parents if one.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        yield fault(
            SUBJECT, f"{folder} is not writable by this user", why=_WHY, hint="see the folder's owner and rights"
        )
    room = shutil.disk_usage(folder)
    what = f"{room.free / room.total:.0%} of the disk at {folder} are free"
    if room.free < room.total * _LITTLE:
        yield warning("disks", what, why="a full disk keeps rows from landing", hint="free or add disk space there")
    else:
        yield good("disks", what)
