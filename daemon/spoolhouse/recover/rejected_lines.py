"""Resubmits rejected lines: each is dropped into the spool again once, wherever a run is interrupted.

The selected lines are first gathered in `rejected/.replay/{rejects file}.{its hash}/`, at their paths in the spool.
Then the rejects file is replaced by one with the other lines: from then on the gathered files are only renamed. The
hash tells a later run whether an interrupted one came so far. That nothing of a rejected line has landed, also if the
store alone refused a row of it, is the pipeline's promise.
"""

import glob
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import BinaryIO

from msgspec import Struct, field

from spoolhouse.errors import SpoolError
from spoolhouse.failpoints import reach
from spoolhouse.spool import fs, layout, reject_sources, replay_origins
from spoolhouse.spool.archive import listed
from spoolhouse.spool.free_names import rename_to_free_name
from spoolhouse.spool.line_spans import Span, spans_of
from spoolhouse.spool.reject_records import RejectRecord, read, read_lines

GATHERED = ".replay"
_LOCK = "replay.lock"
_HASH_CHARACTERS = 16


class Selection(Struct, frozen=True, kw_only=True):
    """Which lines are resubmitted: by reason and by the place of their file; empty is all."""

    reasons: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()

    def has(self, record: RejectRecord) -> bool:
        """Tell whether a line is selected."""
        return (not self.reasons or record.reason in self.reasons) and (not self.places or record.file in self.places)


class RejectsFile(Struct, kw_only=True):
    """One file of `rejected/`. Blocks on the disk; a run holds the lock of the spool's replays (`lock`)."""

    spool: Path
    path: Path
    dropped: Counter[str] = field(default_factory=Counter)
    """Lines that were dropped again, by reason."""
    lost: Counter[str] = field(default_factory=Counter)
    """Lines whose bytes were not found, by the hint for them."""

    @property
    def shipment(self) -> str:
        """The shipment that rejected the lines."""
        return self.path.name.partition(".")[0]

    def is_under_way(self) -> bool:
        """Tell whether any of its files is claimed: an instance that repeats the shipment would write it again."""
        claimed = list(layout.state_folder(self.spool).glob(f"*/{layout.CLAIMED}"))
        places = {record.replayed or record.file for record in self.records()}
        return any((folder / place).exists() for folder in claimed for place in places)

    def records(self) -> Iterator[RejectRecord]:
        """Yield the lines' records, in order. Raises `SpoolError` for a file that is not ours."""
        return read(self.path)

    def selected(self, selection: Selection) -> int:
        """Return how many lines are selected."""
        return sum(record.lines for record in self.records() if selection.has(record))

    def drop_again(self, selection: Selection) -> None:
        """Drop the selected lines into the spool, and remove them from the file."""
        gathered = self._gathered()
        with ExitStack() as stack:
            outputs: dict[PurePath, _Output] = {}
            stays = _new(self.path.with_name(f".{self.path.name}.stays"), stack)
            left = 0
            done = []
            for record, line in read_lines(self.path):
                if selection.has(record) and (content := self._content(record)) is not None:
                    place = self._place(record, gathered.name)
                    if place not in outputs:
                        outputs[place] = _Output(self.spool, gathered, place, stack)
                    outputs[place].add(record, content)
                    self.dropped[record.reason] += record.lines
                    if record.raw_file is not None:
                        done.append(self.path.with_name(Path(record.raw_file).name))
                else:
                    stays.write(line.rstrip(b"\n") + b"\n")
                    left += 1
            for output in outputs.values():
                output.finish()
            _sync(stays)
        self._commit(Path(stays.name), left, done)
        drop_gathered(self.spool, gathered)

    def _content(self, record: RejectRecord) -> Iterable[bytes] | None:
        """Return the bytes of a record's lines; None, counted in `lost`, if no file holds them."""
        kept = record.kept()
        if kept is not None:
            return [kept]
        try:
            return reject_sources.find(self.spool, record).lines()
        except SpoolError as error:
            self.lost[str(error)] += record.lines
            return None

    def _commit(self, stays: Path, left: int, done: list[Path]) -> None:
        """Replace the file by the one with the lines that stay: the selected lines are out of it from here on."""
        fs.sync_folder(stays.parent)
        reach("replay.before_commit")
        if left:
            stays.replace(self.path)
        else:
            self.path.unlink()
            stays.unlink()
        fs.sync_folder(self.path.parent)
        reach("replay.committed")
        for path in done:
            path.unlink(missing_ok=True)

    def _gathered(self) -> Path:
        """Return the folder where the lines are gathered; the hash in its name is that of the file as it is now."""
        return self.spool / layout.REJECTED / GATHERED / f"{self.path.stem}.{_hash(self.path)}"

    def _place(self, record: RejectRecord, name: str) -> PurePath:
        kind, _, rest = record.file.partition("/")
        project, _, file = rest.partition("/")
        if not (kind and project and file) or {kind, project} & {".", ".."} or "/" in file:
            raise SpoolError(f"{self.path}: {record.file!r} is not {{type}}/{{project}}/{{name}}")
        return PurePath(kind, project, name + replay_origins.SUFFIX)


class _Output:
    """A file of gathered lines, and beside it the origin of each: its file and line when it was first rejected."""

    def __init__(self, spool: Path, gathered: Path, place: PurePath, stack: ExitStack) -> None:
        self._paths = (gathered / place, replay_origins.path_of(spool, place))
        for path in self._paths:
            fs.make_folders(path.parent, below=spool)
        self._lines, noted = (_new(path, stack) for path in self._paths)
        self._origins = replay_origins.OriginsWriter(noted)

    def add(self, record: RejectRecord, content: Iterable[bytes]) -> None:
        self._lines.writelines(content)
        self._lines.write(b"\n")
        kept = record.kept()
        if kept is not None:
            spans: Iterable[Span] = [Span(line=record.line, lines=record.lines, offset=record.offset, length=len(kept))]
        else:
            spans = spans_of(record.spans or "")
        for span in spans:
            self._origins.add(record.file, span)

    def finish(self) -> None:
        self._origins.end()
        for output in (self._lines, self._origins.output):
            _sync(output)
        fs.sync_folders(path.parent for path in self._paths)


def _sync(output: BinaryIO) -> None:
    output.flush()
    os.fsync(output.fileno())


def _new(path: Path, stack: ExitStack) -> BinaryIO:
    """Open a new file for writing, and remove an older one of its name first; no link is followed."""
    path.unlink(missing_ok=True)
    return stack.enter_context(path.open("xb"))


def all_rejects(spool: Path) -> list[RejectsFile]:
    """Return the files of rejected lines, oldest day first. Raises OSError."""
    found = (entry for day in listed(spool / layout.REJECTED) for entry in listed(Path(day.path)))
    return [RejectsFile(spool=spool, path=Path(entry.path)) for entry in found if entry.name.endswith(".jsonl")]


def lock_replays(spool: Path) -> int:
    """Lock the spool against other replays; close the descriptor to unlock. Raises `SpoolError` if another one runs."""
    folder = layout.state_folder(spool)
    fs.make_folders(folder, below=spool)
    taken = fs.lock(folder / _LOCK)
    if taken is None:
        raise SpoolError(f"{spool}: another replay is running")
    return taken


def finish_earlier(spool: Path) -> int:
    """Drop the files that an interrupted run had removed from the rejects and not dropped; return their number.

    Lines that it had gathered only are discarded: they are still in their rejects file.
    """
    forget_origins(spool)
    root = spool / layout.REJECTED / GATHERED
    count = 0
    for gathered in sorted(root.glob("*")):
        stem, _, digest = gathered.name.rpartition(".")
        standing = [path for path in (spool / layout.REJECTED).glob(f"*/{stem}.jsonl") if _hash(path) == digest]
        if standing:
            shutil.rmtree(gathered)
        else:
            count += drop_gathered(spool, gathered)
    return count


def forget_origins(spool: Path) -> None:
    """Delete the origins of lines whose file is not kept: its lines are read no more."""
    root = spool / layout.REJECTED / replay_origins.FOLDER
    for path in sorted(root.rglob(f"*{replay_origins.SUFFIX}")):
        place = path.relative_to(root)
        # In this order, a file that is claimed in between is seen.
        pending = os.path.lexists(spool / place)
        settled = [place.parent / folder / place.name for folder in (layout.PROCESSED, layout.FAILED)]
        gathered = next((spool / layout.REJECTED / GATHERED).glob(f"*/{glob.escape(os.fspath(place))}"), None)
        claimed = layout.state_folder(spool).glob(f"*/{layout.CLAIMED}/{glob.escape(os.fspath(place))}")
        is_waiting = pending or gathered is not None or next(claimed, None) is not None
        if not is_waiting and not any(os.path.lexists(spool / one) for one in settled):
            path.unlink(missing_ok=True)


def drop_gathered(spool: Path, gathered: Path) -> int:
    """Rename the gathered files to where producers drop files; return their number."""
    count = 0
    for path in sorted(path for path in gathered.rglob("*") if path.is_file()):
        folder = spool / path.relative_to(gathered).parent
        fs.make_folders(folder, below=spool)
        rename_to_free_name(path, folder / path.name)
        reach("replay.dropped")
        fs.sync_folders([path.parent, folder])
        count += 1
    shutil.rmtree(gathered, ignore_errors=True)
    return count


def _hash(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:_HASH_CHARACTERS]
