"""Find the files of an instance, for `recovery` to decide about. Blocks on the disk."""

from pathlib import Path

from spoolhouse.failpoints import reach
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal_files import FileState, JournalledFile
from spoolhouse.spool.layout import Place
from spoolhouse.spool.recovery import FileFact


def fact(instance: Instance, file: JournalledFile) -> FileFact[Place]:
    """Look where a journalled file stands."""
    aside = file.number in instance.leaving
    return FileFact(
        number=file.number,
        key=file.place,
        final=file.state is FileState.FINAL,
        here=not aside and _is(file, instance.claimed / file.place.relative, device=file.device),
        aside=aside,
        at_target=file.target is not None and _is(file, instance.spool / file.target),
    )


def _is(file: JournalledFile, path: Path, *, device: int | None = None) -> bool:
    """Tell whether the file at `path` is the one that was claimed. Raises OSError if that cannot be seen just now."""
    try:
        reach("adopt.look")
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return status.st_ino == file.inode and device in {None, status.st_dev}
