"""Giving up a host: what its dead instances claimed and never sent goes back to where it was dropped.

What was journalled may have been sent, in whole or in part; only a daemon that replays the journal, here, can tell.
"""

from dataclasses import dataclass
from pathlib import Path, PurePath

from spoolhouse.core import recovery
from spoolhouse.errors import SpoolhouseError
from spoolhouse.spool import instances, layout
from spoolhouse.spool.facts import fact
from spoolhouse.spool.home import Home
from spoolhouse.spool.journal import FileState


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What came of one instance's folder."""

    instance: str
    released: tuple[PurePath, ...] = ()
    """Where the files are now, relative to the spool; or, if it was only to be told, where they are claimed."""
    kept: int = 0
    """Files that stay claimed."""
    trouble: str = ""
    """Why they stay, or why nothing was done."""


def release(spool: Path, instance: str, *, dry_run: bool) -> Released:
    """Put back what was claimed and never journalled, under the instance's lock; remove its folder if that was all."""
    try:
        home = Home.adopt(spool, instance)
        if home is None:
            folder = layout.state_folder(spool) / instance
            kept = sum(1 for _ in instances.walk(folder / layout.CLAIMED))
            trouble = "it is running: stop it first" if folder.exists() else ""
            return Released(instance=instance, kept=kept, trouble=trouble)
        try:
            return _release(home, dry_run=dry_run)
        finally:
            home.close()
    except OSError as error:
        return Released(instance=instance, trouble=error.strerror or str(error), kept=_claimed(spool, instance))
    except SpoolhouseError as error:
        return Released(instance=instance, trouble=str(error), kept=_claimed(spool, instance))


def _release(home: Home, *, dry_run: bool) -> Released:
    contents = home.load()
    home.rename_back(file.number for file in contents.files)
    facts = [fact(home, file) for file in contents.files]
    places = recovery.plan(home.listing(), facts, home.unacknowledged).release
    kept = sum(file.state is not FileState.FINAL or file.number in contents.open_files for file in contents.files)
    released = tuple(place.relative if dry_run else home.release(place) for place in places)
    if not dry_run and home.is_empty():
        home.remove()
    trouble = "they may have been sent: let a daemon on this spool finish them" if kept else ""
    return Released(instance=home.instance, released=released, kept=kept, trouble=trouble)


def _claimed(spool: Path, instance: str) -> int:
    try:
        return sum(1 for _ in instances.walk(layout.state_folder(spool) / instance / layout.CLAIMED))
    except SpoolhouseError:
        return 1
