"""Claiming: files are renamed from where they were dropped into an instance's folder. Blocks on the disk.

A folder is opened once for all of its files, although the files of several folders come in turn. Each file costs six
system calls.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from msgspec import Struct

from spoolhouse.failpoints import reach
from spoolhouse.spool import fs, layout
from spoolhouse.spool.layout import Place


class Claim(Struct, frozen=True, kw_only=True):
    """A claimed file."""

    place: Place
    size: int
    device: int
    inode: int
    is_ended: bool = False
    """Its last byte is a line end, so that its last line is whole."""


class Claiming(Struct, frozen=True):
    """Where to claim files."""

    spool: Path
    folder: Path
    """The instance's."""
    still_open: Callable[[], AbstractContextManager[None]]
    """Keep the folder open for the duration; OSError if it is closed."""
    release: Callable[[Place], object]
    """Put a claimed file back."""
    syncs: fs.FolderSyncs
    """Gets the folders that files were claimed from and into."""

    def claim(self, places: Sequence[Place]) -> list[tuple[Place, Claim | OSError]]:
        """Return a claim or an error for each of `places`, folder by folder."""
        claimed = self.folder / layout.CLAIMED
        by_folder: dict[tuple[str, str], list[Place]] = {}
        for place in places:
            by_folder.setdefault((place.type, place.project), []).append(place)
        groups = {claimed / kind / project: group for (kind, project), group in by_folder.items()}
        made: Collection[Path] = ()
        with contextlib.suppress(OSError), self.still_open():
            # All at once: the folder above them is synced once. An error here recurs below, for its own files.
            fs.make_folders(*groups, below=self.folder)
            made = groups.keys()
        results: list[tuple[Place, Claim | OSError]] = []
        for folder, group in groups.items():
            try:
                with self._opened(group[0], folder, is_made=folder in made) as (pending, target):
                    found = [(place, self._claim(place, pending, target)) for place in group]
                    results += found
                    if any(isinstance(result, Claim) for _, result in found):
                        self.syncs.changed(self.spool / group[0].type / group[0].project)
                        self.syncs.changed(folder)
                        self.syncs.begin()
            except OSError as error:
                results += [(place, error) for place in group]
        return results

    @contextlib.contextmanager
    def _opened(self, place: Place, target: Path, *, is_made: bool) -> Iterator[tuple[int, int]]:
        """Open the pending folder of `place`, and the folder `target`, which is made unless it `is_made`."""
        with _pending_folder(self.spool, place) as pending:
            if not is_made:
                with self.still_open():
                    fs.make_folders(target, below=self.folder)
            claimed = fs.open_folder(target)
            try:
                yield pending, claimed
            finally:
                os.close(claimed)

    def _claim(self, place: Place, pending: int, claimed: int) -> Claim | OSError:
        """Claim a file out of the open folder `pending` into the open folder `claimed`."""
        try:
            # An unreadable file stays where it is: a missing permission is easier to see there than in `failed/`.
            descriptor, opened = fs.open_regular(place.name, folder=pending)
            try:
                return self._claim_open(place, descriptor, opened, pending, claimed)
            finally:
                os.close(descriptor)
        except OSError as error:
            return error

    def _claim_open(  # a file, open, and where it goes
        self, place: Place, descriptor: int, opened: os.stat_result, pending: int, claimed: int
    ) -> Claim:
        with self.still_open():
            reach("instance.before_claim")
            fs.rename_without_clobber(place.name, place.name, folder=pending, target_folder=claimed)
        try:
            reach("instance.claimed")
            named = os.stat(place.name, dir_fd=claimed, follow_symlinks=False)
        except OSError:
            # Only the next start would find it among the claimed files.
            self.release(place)
            raise
        if (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino):
            # Another file, or a link, took the name meanwhile: put it back, to be scanned anew.
            self.release(place)
            raise OSError(errno.EAGAIN, "another file took its name", place.path)
        return Claim(
            place=place,
            size=named.st_size,
            device=named.st_dev,
            inode=named.st_ino,
            is_ended=_is_ended(descriptor, named.st_size),
        )


def _is_ended(descriptor: int, size: int) -> bool:
    """Tell whether the last byte is a line end; false if it cannot be read now: the claim stage tries again."""
    try:
        reach("claim.check_end", size)
        return size > 0 and os.pread(descriptor, 1, size - 1) == b"\n"
    except OSError:
        return False


@contextlib.contextmanager
def _pending_folder(spool: Path, place: Place) -> Iterator[int]:
    """Open the folder of a pending file through no link: a link made after the scan could lead out of the spool."""
    outer = fs.open_folder(spool / place.type)
    try:
        inner = fs.open_folder(place.project, folder=outer)
        try:
            yield inner
        finally:
            os.close(inner)
    finally:
        os.close(outer)
