"""Write the file of a shipment's rejected lines; `reject_records` describes its content."""

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from msgspec import Struct, field

from spoolhouse.decode.reject import Reason, Reject
from spoolhouse.errors import LowDiskError
from spoolhouse.failpoints import reach
from spoolhouse.spool import fs, layout, replay_origins
from spoolhouse.spool.disk_space import MinFree, free_space, shortage
from spoolhouse.spool.layout import Place
from spoolhouse.spool.line_spans import SpanPacker
from spoolhouse.spool.replay_origins import Origins

_RECORDS_AT_ONCE = 200
_SHORT = 64
_SHORTEST_RUN = 8
_LONGEST_RUN = 4 << 10
"""The most bytes of a record for many short lines: a record costs some 150 bytes beside its line. A few, or longer
ones, are more readable in records of their own."""
_GROWTH = 16
_BLOCK = 4 << 10
"""The most bytes of `rejected/` per byte of input, and the least allowance of a file."""
_FULL = 64 << 10
_SHARED_AT_ONCE = 64
"""The most bytes of a record, and of all records in memory, for lines that are not kept."""
_TOO_LONG = "longer than spool.max_line"
_NO_LEAST = MinFree(bytes=0, inodes=0)

Record = dict[str, object]


class Source(Struct, frozen=True, kw_only=True):
    """The source of rejected lines: `stored` bytes of a file on the disk, from `start` on."""

    place: Place
    start: int = 0
    stored: int = 0

    @property
    def file(self) -> str:
        """Return the file's pending place, as text."""
        return str(self.place)

    @property
    def allowance(self) -> int:
        """Return the number of bytes that it may take in `rejected/`."""
        return _GROWTH * max(self.stored, _BLOCK)


class _Growing:
    """A file under a temporary name; a write that failed half-way is repeated."""

    def __init__(self, path: Path, folder: int) -> None:
        self._name = _temporary(path).name
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self._name, flags, 0o666, dir_fd=folder)
        self.end = 0
        """The bytes that count; bytes behind them come from a failed write."""

    def write(self, data: bytes, at: int) -> int:
        """Write `data` at offset `at`; return the offset behind it. The bytes count once `end` is set to that."""
        reach("rejects.write")
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, at)
            view = view[written:]
            at += written
        return at

    def sync(self) -> None:
        reach("rejects.sync")
        os.ftruncate(self._descriptor, self.end)
        os.fsync(self._descriptor)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


class _Line(Struct, frozen=True):
    """A rejected line, and its first place, by the numbers of its file."""

    file: str
    line: int
    offset: int
    reject: Reject
    here: int
    """The line's number in the file that it was read from."""


class _LeftOut(Struct):
    """Lines of one file and one reason whose bytes are not kept."""

    record: Record
    spans: SpanPacker = field(default_factory=SpanPacker)
    replayed: SpanPacker = field(default_factory=SpanPacker)
    """The same lines in the replayed file, if they come from one."""
    lines: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, line: _Line) -> None:
        """Add a line."""
        if self.lines:
            self.digest.update(b"\n")
        self.digest.update(line.reject.raw)
        self.place(line, len(line.reject.raw))

    def place(self, line: _Line, length: int) -> None:
        """Add the position of a line whose bytes are in the digest."""
        self.spans.add(line.line, line.offset, length)
        self.replayed.add(line.here, line.reject.offset, length)
        self.lines += 1

    def has_room(self, line: int) -> bool:
        """Return whether a line can be added."""
        return len(self.spans) < _FULL and self.spans.is_before(line)

    def finished(self) -> Record:
        """Return the record of all these lines."""
        counted = {"lines": self.lines} if self.lines > 1 else {}
        record = {**self.record, **counted, "sha256": self.digest.hexdigest(), "spans": self.spans.text()}
        return record | {"replayed_spans": self.replayed.text()} if "replayed" in record else record


class RejectFile:
    """Written under a temporary name and renamed whole, so that a replay of the shipment overwrites it.

    Blocks on the disk: use it in a worker thread, one thread at a time. Nothing is created until the first reject. A
    method that raised OSError (a full disk) or `LowDiskError` has changed nothing that counts, and may be repeated.
    Memory is bounded: records are written as they are made.
    """

    def __init__(self, spool: Path, shipment: str, clock_ms: int, *, least: MinFree = _NO_LEAST) -> None:
        """Prepare for the rejects of `shipment`; create nothing yet."""
        self.least = least
        """The space that must stay free on the disk; may be changed at any time."""
        self._spool = spool
        self._path = spool / layout.rejected_path(shipment, clock_ms)
        self._time = datetime.fromtimestamp(clock_ms / 1000, UTC).isoformat(timespec="milliseconds")
        self._file: _Growing | None = None
        self._source: Source | None = None
        self._origins: Origins | None = None
        """The origins of the lines of `_source`, if that is a replayed file."""
        self._allowance = 0
        """The remaining allowance of `_source`."""
        self._left_out: dict[tuple[str, Reason], _LeftOut] = {}
        self._ended: list[Record] = []
        """The records to write next."""
        self._long: _Growing | None = None
        self._long_length = 0
        self._long_digest = hashlib.sha256()
        self._long_paths: list[Path] = []
        self._named = False
        """The file has its final name."""

    def add(self, source: Source, lines_before: int, rejects: Sequence[Reject]) -> int:
        """Append rejected lines of `source`, from a piece behind `lines_before` lines of its file.

        Return the number of lines that are not kept.
        """
        self._turn_to(source)
        self._write_ended()
        lines = [self._placed(lines_before + reject.line, reject) for reject in rejects]
        allowance = self._allowance
        left_out = list[_Line]()

        def kept() -> Iterator[Record]:
            nonlocal allowance
            for run in _runs(lines):
                record = self._record(run)
                size = len(_encoded(record))
                if size <= allowance:
                    allowance -= size
                    yield record
                else:
                    left_out.extend(run)

        self._write(kept())
        self._allowance = allowance
        for line in left_out:
            self._shared(line).add(line)
        return len(left_out)

    def add_long_part(self, source: Source, data: bytes, most: int) -> None:
        """Add a part of a line that is too long to be held; of all its parts at most `most` bytes are kept."""
        self._turn_to(source)
        reach("rejects.long_part")
        room = min(most - (0 if self._long is None else self._long.end), self._allowance)
        if room > 0 and data:
            self._expect_room()
            if self._long is None:
                self._long = self._open(self._long_path())
            self._long.end = self._long.write(data[:room], self._long.end)
            self._allowance -= len(data[:room])
        self._long_length += len(data)
        self._long_digest.update(data)

    def end_long(self, source: Source, line: int, offset: int) -> None:
        """Record the line of the added parts."""
        self._turn_to(source)
        self._write_ended()
        whole = Reject(line=line, offset=offset, reason=Reason.TOO_LONG, field="", detail=_TOO_LONG, raw=b"")
        placed = self._placed(line, whole)
        record = self._head(placed) | {"length": self._long_length}
        if self._long is not None:
            self._long.sync()
            record["raw_file"] = self._long_path().name
        alone = _LeftOut(record=record, digest=self._long_digest)
        alone.place(placed, self._long_length)
        self._write([alone.finished()])
        self._allowance -= _BLOCK // 8
        if self._long is not None:
            self._long_paths.append(self._long_path())
            self._long.close()
        self._long, self._long_length, self._long_digest = None, 0, hashlib.sha256()

    def drop_long(self) -> None:
        """Forget the parts of a line whose end never comes: its archive is damaged. Without such parts, do nothing."""
        self._long_length, self._long_digest = 0, hashlib.sha256()
        if self._long is not None:
            reach("rejects.drop_long")
            _temporary(self._long_path()).unlink(missing_ok=True)
            self._long.close()
            self._long = None

    def finish(self) -> None:
        """Make the file durable under its final name; without rejects remove what a dead process has left there."""
        self.drop_long()
        self._turn_to(None)
        self._write_ended()
        if self._file is not None:
            self._file.sync()
            while self._long_paths:
                reach("rejects.rename_long")
                _temporary(self._long_paths[-1]).replace(self._long_paths[-1])
                self._long_paths.pop()
            if not self._named:
                reach("rejects.rename")
                _temporary(self._path).replace(self._path)
                self._named = True
            reach("rejects.renamed")
            fs.sync_folder(self._path.parent)
            self._file.close()
            self._file = None
        elif not self._named and os.path.lexists(self._path):
            self._path.unlink()

    def abort(self) -> None:
        """Remove half-written files; after `finish`, change nothing. Does not raise."""
        with contextlib.suppress(OSError):
            self.drop_long()
        if self._file is not None:
            self._file.close()
            self._file = None
            for path in (*self._long_paths, self._path):
                with contextlib.suppress(OSError):
                    _temporary(path).unlink(missing_ok=True)
        self._long_paths.clear()

    def _turn_to(self, source: Source | None) -> None:
        """Begin with another source, unless it is the present one."""
        if source == self._source:
            return
        self._end_shared()
        self._source, self._allowance, self._origins = source, 0, None
        if source is not None:
            self._allowance = source.allowance
            if source.place.name.endswith(replay_origins.SUFFIX):
                self._origins = Origins(replay_origins.path_of(self._spool, source.place.relative))

    def _placed(self, line: int, reject: Reject) -> _Line:
        """Return a line of the source with its first place."""
        assert self._source is not None  # noqa: S101  # `_turn_to` was called
        origin = None if self._origins is None else self._origins.of(line, reject.offset)
        if origin is None:
            return _Line(self._source.file, line, reject.offset, reject, line)
        return _Line(origin.file, origin.line, origin.offset, reject, line)

    def _head(self, line: _Line) -> Record:
        """Return a record without the facts about its bytes."""
        assert self._source is not None  # noqa: S101  # `_turn_to` was called
        reject = line.reject
        record: Record = {"file": line.file, "line": line.line, "offset": line.offset, "time": self._time}
        record |= {"reason": reject.reason.value, "field": reject.field, "detail": reject.detail}
        if reject.batch:
            record |= {"batch": reject.batch, "row": reject.row}
        return record if line.file == self._source.file else record | {"replayed": self._source.file}

    def _record(self, run: Sequence[_Line]) -> Record:
        """Return a record that keeps all bytes of its lines."""
        record = self._head(run[0])
        if len(run) > 1:
            record["lines"] = len(run)
        raw = b"\n".join(line.reject.raw for line in run)
        try:
            record["raw"] = raw.decode()
        except UnicodeDecodeError:
            record["raw_base64"] = base64.b64encode(raw).decode()
        return record

    def _shared(self, line: _Line) -> _LeftOut:
        """Return the shared record for a line that is not kept."""
        key = line.file, line.reject.reason
        shared = self._left_out.get(key)
        if shared is None and len(self._left_out) >= _SHARED_AT_ONCE:
            self._end_shared()
        elif shared is not None and not shared.has_room(line.line):
            self._ended.append(self._left_out.pop(key).finished())
        return self._left_out.setdefault(key, _LeftOut(record=self._head(line)))

    def _end_shared(self) -> None:
        self._ended += [shared.finished() for shared in self._left_out.values()]
        self._left_out.clear()

    def _write_ended(self) -> None:
        self._write(self._ended)
        self._ended.clear()

    def _write(self, records: Iterable[Record]) -> None:
        """Append all of `records`, or none of them."""
        lines = map(_encoded, records)
        at = None if self._file is None else self._file.end
        while some := list(islice(lines, _RECORDS_AT_ONCE)):
            self._expect_room()
            if self._file is None:
                self._file = self._open(self._path)
            at = self._file.write(b"".join(some), at or 0)
        if self._file is not None and at is not None:
            self._file.end = at

    def _expect_room(self) -> None:
        """Raise `LowDiskError` while the disk has too little free space."""
        if self.least != _NO_LEAST and (short := shortage(free_space(self._spool), self.least, was_short=False)):
            raise LowDiskError(
                f"{self._spool / layout.REJECTED}: {short}: rejected lines wait",
                hint="make room; what is rejected is written then, and nothing is lost meanwhile",
            )

    def _open(self, path: Path) -> _Growing:
        with fs.opened_folders(path.parent, below=self._spool) as folder:
            # Also where they were there: by a process that died before it synced their names.
            fs.sync_folders((path.parent.parent, self._spool))
            return _Growing(path, folder)

    def _long_path(self) -> Path:
        return self._path.with_name(f"{self._path.stem}.{len(self._long_paths)}.line")


def _runs(lines: Iterable[_Line]) -> Iterator[list[_Line]]:
    """Yield neighbours that share a reason together: joined by line ends, they are again the bytes of the file."""
    run: list[_Line] = []
    size = 0
    for line in lines:
        if run and (size > _LONGEST_RUN or not _follows(run[-1], line)):
            yield from [run] if len(run) >= _SHORTEST_RUN else ([one] for one in run)
            run, size = [], 0
        run.append(line)
        size += len(line.reject.raw) + 1
    yield from [run] if len(run) >= _SHORTEST_RUN else ([one] for one in run)


def _follows(line: _Line, other: _Line) -> bool:
    one, two = line.reject, other.reject
    if max(len(one.raw), len(two.raw)) > _SHORT or one.batch:
        return False
    same = (line.file, one.reason, one.field, one.detail) == (other.file, two.reason, two.field, two.detail)
    return same and line.line + 1 == other.line and line.offset + len(one.raw) + 1 == other.offset


def _encoded(record: Record) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")
