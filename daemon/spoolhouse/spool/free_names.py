"""Names that are free: a file whose name is taken gets a number. Blocks on the disk."""

from pathlib import Path

from spoolhouse.spool import layout
from spoolhouse.spool.fs import rename_without_clobber
from spoolhouse.spool.rename import exists


def rename_to_free_name(
    source: Path | str, target: Path, *, folder: int | None = None, target_folder: int | None = None
) -> str:
    """Rename as `rename_without_clobber` does, with a number in the name if `target` exists; return the name."""
    number = 0
    while True:
        name = layout.numbered(target.name, number)
        try:
            rename_without_clobber(source, target.with_name(name), folder=folder, target_folder=target_folder)
        except FileExistsError:
            number += 1
        else:
            return name


def free_name(name: str, folder: int, number: int = 0) -> str:
    """Return the first numbered form of `name`, from `number` on, that is free in the open folder."""
    while exists(free := layout.numbered(name, number), folder=folder):
        number += 1
    return free
