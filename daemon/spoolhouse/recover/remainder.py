"""The remainder of a repaired file: the lines behind its damage, dropped once, as a file of their own.

The ledger says up to where a damaged file was read. The rest is dropped under a name that is derived from this claim of
the file: a run that was interrupted finds it pending, claimed, or in the ledger when it is repeated.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from spoolhouse.errors import SpoolError
from spoolhouse.failpoints import reach
from spoolhouse.recover.ports import LedgerRow
from spoolhouse.spool import fs, instance_dirs, layout
from spoolhouse.spool.layout import Place
from spoolhouse.spool.segment_reader import CORRUPT, content


class Remainder(Struct, frozen=True, kw_only=True):
    """The bytes from `start` on of a file's content, and where they go. Methods block on the disk."""

    file: Path
    start: int
    place: Place

    def is_on_its_way(self, spool: Path) -> bool:
        """Tell whether it is pending or claimed.

        Ask the ledger after this, not before: a remainder that is claimed and lands in between is then seen.
        """
        if _exists(spool / self.place.relative):
            return True
        instances = [layout.state_folder(spool) / name for name in instance_dirs.names(spool)]
        return any(_exists(instance / layout.CLAIMED / self.place.relative) for instance in instances)

    def size(self) -> int:
        """Return how many bytes it has. Raises as `drop`."""
        return sum(map(len, self._bytes()))

    def drop(self, spool: Path) -> bool:
        """Write it to its place in the spool; return false if it is empty. Raises OSError.

        Raises `SpoolError`, with nothing done, if the file cannot be read to its end, or is another file now.
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
            for data in content(self.file, layout.encoding(self.file.name)):
                head = data[: max(0, self.start - end)]
                before = head[-1:] or before
                end += len(data)
                yield data[len(head) :]
        except OSError as error:
            raise SpoolError(f"{self.file}: {error.strerror}") from error
        except CORRUPT as error:
            raise SpoolError(
                f"{self.file}: bytes 0 to {self.start} of its content have landed, or are in {layout.REJECTED}/;"
                f" the rest cannot be read ({error}): repair it, or put a repaired copy in its place"
            ) from error
        if end < self.start or before != b"\n":
            raise SpoolError(f"{self.file}: no line starts at byte {self.start} of its content any more")


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def remainder_of(path: Path, ledger: Sequence[LedgerRow]) -> Remainder | None:
    """Return the remainder of a file in `failed/`; None if nothing of it was ever read.

    Raises `SpoolError` if the ledger does not tell where it starts.
    """
    if all(line.end <= line.start for line in ledger):
        return None
    breaks = [line.end for line in ledger if not line.table]
    # In several shipments, lines behind the damage may have landed, too.
    if len({line.batch.partition(":")[0] for line in ledger}) > 1 or max(line.end for line in ledger) not in breaks:
        raise SpoolError(
            f"{path}: it is not known which of its lines have landed: it came in several shipments, or no damage of it"
            " is in the ledger (`spoolhouse trace-file` shows which rows have); drop the others as a file of their own"
        )
    start = max(breaks)
    file, claimed_ms, inode = ledger[0].claim
    stem, _ = layout.split(file.rpartition("/")[2])
    name = layout.extended(stem, f".rest-{claimed_ms:x}-{inode:x}-{start}.jsonl")
    kind, project = path.parts[-4:-2]
    return Remainder(file=path, start=start, place=Place(type=kind, project=project, name=name))
