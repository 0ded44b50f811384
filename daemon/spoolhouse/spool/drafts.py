"""Drafts of dead writers: files that a producer had not made visible when it ended. Blocks on the disk.

A living writer holds a lock on each of its drafts (`producer.draft`).
"""

import contextlib
import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from spoolhouse import file_names
from spoolhouse.file_names import DRAFT, Spilled
from spoolhouse.spool import fs
from spoolhouse.spool.rename import exists
from spoolhouse.spool.storage import LocalFileStorage

_NAME = re.compile(r"\.[0-9a-f]{32}(?:\.(.+))?" + re.escape(DRAFT))


class Dead(Struct, frozen=True):
    """A draft without a writer."""

    path: Path
    size: int
    """Bytes."""


def dead(spool: Path) -> Iterator[Dead]:
    """Yield the drafts of dead writers in a spool."""
    for path in _drafts(spool):
        with _locked(path) as descriptor:
            if descriptor is not None:
                yield Dead(path, os.fstat(descriptor).st_size)


def take_up(spool: Path, path: Path, now_ms: int) -> Path | None:
    """Make the draft of a dead writer visible, durably; return its name. An empty draft is removed.

    That of a spilled batch gets the batch's name: the batch may have landed.

    Returns None for one that is gone, empty, or has a writer. An unfinished last line is for the daemon to judge.
    Raises OSError.
    """
    with _locked(path) as descriptor:
        if descriptor is None:
            return None
        if os.fstat(descriptor).st_size == 0:
            path.unlink()
            return None
        os.fsync(descriptor)
        batch = _spilled(path.name)
        if batch is not None:
            with contextlib.suppress(FileExistsError):
                return _shown(spool, path, batch.file_name)
        return _shown(spool, path, f"{now_ms}_{uuid.uuid4().hex}.jsonl")


def _shown(spool: Path, path: Path, name: str) -> Path:
    """Give a draft its final name, and return its path. Raises OSError."""
    target = path.with_name(name)
    LocalFileStorage(spool).move(*(one.relative_to(spool).as_posix() for one in (path, target)))
    return target


def _spilled(draft: str) -> Spilled | None:
    """Return the batch that a draft of this name is; None for other drafts."""
    found = _NAME.fullmatch(draft)
    return None if found is None else file_names.spilled(found[1] or "")


def _drafts(spool: Path) -> Iterator[Path]:
    for path in spool.glob(f"[!.]*/[!.]*/.*{DRAFT}"):
        found = _NAME.fullmatch(path.name)
        if found is not None and (found[1] is None or file_names.spilled(found[1]) is not None):
            yield path


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """Take a draft's lock while the block runs; None if it has a writer, or the draft is gone."""
    try:
        descriptor, _ = fs.open_regular(path)
    except OSError:
        yield None
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None
        else:
            # Its writer may have made it visible in between.
            yield descriptor if exists(path) else None
    finally:
        os.close(descriptor)
