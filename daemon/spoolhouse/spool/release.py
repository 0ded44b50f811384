"""Release a host: files that its dead instances claimed and never sent return to their pending places.

Journalled files may have been sent, in whole or in part; only a daemon that replays the journal, here, can find out.
"""

from pathlib import Path, PurePath

from msgspec import Struct

from spoolhouse.errors import SpoolhouseError
from spoolhouse.spool import instance_dirs, layout, recovery
from spoolhouse.spool.file_locations import fact
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal_files import FileState


class Released(Struct, frozen=True, kw_only=True):
    """The result for one instance's folder."""

    instance: str
    released: tuple[PurePath, ...] = ()
    """The present places of the files, relative to the spool; in a dry run, their claimed places."""
    kept: int = 0
    """The number of files that stay claimed."""
    trouble: str = ""
    """The reason why they stay, or why nothing was done."""


def release(spool: Path, instance_id: str, *, dry_run: bool) -> Released:
    """Put back claimed files that were never journalled, under the instance's lock; remove its empty folder."""
    try:
        instance = Instance.adopt(spool, instance_id)
        if instance is None:
            folder = layout.state_folder(spool) / instance_id
            kept = sum(1 for _ in instance_dirs.walk(folder / layout.CLAIMED))
            trouble = "it is running: stop it first" if folder.exists() else ""
            return Released(instance=instance_id, kept=kept, trouble=trouble)
        try:
            return _release(instance, dry_run=dry_run)
        finally:
            instance.close()
    except OSError as error:
        return Released(instance=instance_id, trouble=error.strerror or str(error), kept=_claimed(spool, instance_id))
    except SpoolhouseError as error:
        return Released(instance=instance_id, trouble=str(error), kept=_claimed(spool, instance_id))


def _release(instance: Instance, *, dry_run: bool) -> Released:
    contents = instance.load()
    instance.rename_back(file.number for file in contents.files)
    facts = [fact(instance, file) for file in contents.files]
    places = recovery.plan(instance.listing(), facts, instance.unacknowledged).release
    kept = sum(file.state is not FileState.FINAL or file.number in contents.open_files for file in contents.files)
    released = tuple(place.relative if dry_run else instance.release(place) for place in places)
    if not dry_run and instance.is_empty():
        instance.remove()
    trouble = "they may have been sent: let a daemon on this spool finish them" if kept else ""
    return Released(instance=instance.id, released=released, kept=kept, trouble=trouble)


def _claimed(spool: Path, instance_id: str) -> int:
    try:
        return sum(1 for _ in instance_dirs.walk(layout.state_folder(spool) / instance_id / layout.CLAIMED))
    except SpoolhouseError:
        return 1
