"""Find the files of an instance, for `recovery` to decide about. Blocks on the disk."""

from pathlib import Path

from spoolhouse.failpoints import reach
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal_files import FileState, JournalledFile
from spoolhouse.spool.layout import Place
from spoolhouse.spool.recovery import FileFact


def fact(instance: Instance, file: JournalledFile) -> FileFact[Place]:
    """Look where a journalled file stands. Raises OSError if that cannot be seen just now."""
    final, aside = file.state is FileState.FINAL, file.number in instance.leaving
    here = not (final or aside) and _is(file, instance.claimed / file.place.relative, device=file.device)
    # Last: its folder may be closed to us just now, which is to hold no other file of the instance.
    is_elsewhere = not (final or aside or here)
    return FileFact(
        number=file.number,
        key=file.place,
        final=final,
        here=here,
        aside=aside,
        at_target=is_elsewhere and file.target is not None and _is(file, instance.spool / file.target),
    )


def _is(file: JournalledFile, path: Path, *, device: int | None = None) -> bool:
    """Tell whether the file at `path` is the one that was claimed. Raises OSError if that cannot be seen just now."""
    try:
        reach("adopt.look")
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return status.st_ino == file.inode and device in {None, status.st_dev}
