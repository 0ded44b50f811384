"""The rest of a mended archive: what stood behind its damage, back into the spool as a file of its own, once.

The ledger says up to where an archive was read. What follows is dropped under a name that this taking of the archive
gives, and no other: whoever was interrupted, and does it again, finds it pending, claimed, or in the ledger.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from spoolhouse.errors import SpoolError
from spoolhouse.failpoints import reach
from spoolhouse.spool import fs, instance_dirs, layout
from spoolhouse.spool.layout import Place
from spoolhouse.spool.segment_reader import CORRUPT, content
from spoolhouse.store.clickhouse.landing.ledger_read import Traced


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What follows byte `start` of the content of an archive, and where it goes. Methods block on the disk."""

    archive: Path
    start: int
    place: Place

    def is_on_its_way(self, spool: Path) -> bool:
        """Tell whether it is pending or claimed. Who asks the ledger after that, misses no move of it."""
        if _is_there(spool / self.place.relative):
            return True
        instances = [layout.state_folder(spool) / name for name in instance_dirs.names(spool)]
        return any(_is_there(instance / layout.CLAIMED / self.place.relative) for instance in instances)

    def size(self) -> int:
        """Return how many bytes it has. Raises as `drop`."""
        return sum(map(len, self._bytes()))

    def drop(self, spool: Path) -> bool:
        """Write it to where it goes; return false if there is nothing. Raises OSError.

        Raises `SpoolError`, with nothing done, if the archive cannot be read to its end, or is not the one that it was.
        """
        hidden, name = Path(f".{self.place.name}.tmp"), Path(self.place.name)
        with fs.opened_folders(spool / self.place.relative.parent, below=spool) as folder:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(hidden, dir_fd=folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                with open(os.open(hidden, flags, 0o666, dir_fd=folder), "wb") as file:  # noqa: PTH123  # by descriptor
                    size = sum(map(file.write, self._bytes()))
                    file.flush()
                    os.fsync(file.fileno())
                if size:
                    with contextlib.suppress(FileExistsError):
                        fs.rename_without_clobber(hidden, name, folder=folder, target_folder=folder)
                    os.fsync(folder)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(hidden, dir_fd=folder)
        reach("replay.rest_dropped")
        return size > 0

    def _bytes(self) -> Iterator[bytes]:
        end, before = 0, b"\n"
        try:
            for data in content(self.archive, layout.encoding(self.archive.name) or layout.Encoding.PLAIN):
                head = data[: max(0, self.start - end)]
                before = head[-1:] or before
                end += len(data)
                yield data[len(head) :]
        except OSError as error:
            raise SpoolError(f"{self.archive}: {error.strerror}") from error
        except CORRUPT as error:
            raise SpoolError(
                f"{self.archive}: bytes 0 to {self.start} of its content have landed, or are in {layout.REJECTED}/;"
                f" the rest cannot be read ({error}): mend it, or put a mended copy in its place"
            ) from error
        if end < self.start or before != b"\n":
            raise SpoolError(f"{self.archive}: byte {self.start} of its content is no line's start, as it was")


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def rest_of(archive: Path, taken: Sequence[Traced]) -> Rest | None:
    """Return the rest of an archive in `failed/`; None if nothing of it was ever read.

    Raises `SpoolError` if nobody can tell what that is.
    """
    if len({line.batch.partition(":")[0] for line in taken}) > 1:
        raise SpoolError(f"{archive}: it was written to while it was shipped; nobody can tell what of it has landed")
    start = max(line.end for line in taken)
    if not start:
        return None
    file, claimed_ms, inode = taken[0].taking
    settle_options = f".rest-{claimed_ms:x}-{inode:x}-{start}.jsonl"
    name = layout.extended(file.rpartition("/")[2].partition(".jsonl")[0], settle_options)
    kind, project = archive.parts[-4:-2]
    return Rest(archive=archive, start=start, place=Place(type=kind, project=project, name=name))
