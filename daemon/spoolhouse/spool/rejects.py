"""The file that keeps the rejected lines of one shipment.

One JSON object a line: `file`, `line` (from 1), `offset` (bytes into the file's content), `reason`, `field`, `detail`
and the original bytes, as `raw` where they are UTF-8, else as `raw_base64`. A line over the limit is kept beside it
as `{shipment}.{number}.line`, named in `raw_file`. A row that ClickHouse refused has its `batch`, its number there as
`row`, and as `nth` its number among the rows that its line gave. Many short neighbours with the same complaint share a
record: `lines` says how many they are, and `raw` holds them as they stood, line ends between them.
"""

import base64
import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from spoolhouse.core.reject import Reason, Reject
from spoolhouse.errors import SpoolError
from spoolhouse.failpoints import reach
from spoolhouse.spool import files, layout

_RECORDS_AT_ONCE = 200
_SHORT = 64
_SHORTEST_RUN = 8
_LONGEST_RUN = 4 << 10
"""Only many short lines share a record, of so many bytes at the most: a record costs some 150 bytes beside its line.
Few, or longer ones, are better read one by one."""


def read(path: Path) -> Iterator[dict[str, object]]:
    """Yield the records of a file, in order. Raises `SpoolError` for a file that is not ours, OSError."""
    with path.open("rb") as content:
        for number, line in enumerate(content, start=1):
            try:
                record = json.loads(line)
                _check(record)
            except (ValueError, TypeError, KeyError):
                raise SpoolError(f"{path}: line {number} is no record of a rejected line") from None
            yield record


def _check(record: Mapping[str, object]) -> None:
    """Raise ValueError, TypeError or KeyError for what is no record of ours."""
    _, _, _ = str(record["file"]).split("/")
    lines_in(record)
    if "raw_file" not in record:
        raw_of(record)
    if record["reason"] == Reason.REFUSED:
        str(record["batch"]), int(str(record["row"])), int(str(record["nth"]))


def lines_in(record: Mapping[str, object]) -> int:
    """Return how many rejected lines a record stands for."""
    return int(str(record.get("lines", 1)))


def raw_of(record: Mapping[str, object]) -> bytes:
    """Return the bytes that a record holds, without the last line end; a line with a `raw_file` is not among them."""
    return str(record["raw"]).encode() if "raw" in record else base64.b64decode(str(record["raw_base64"]))


class _Growing:
    """A file under a temporary name, written so that a write which failed half-way is simply done again."""

    def __init__(self, path: Path, folder: int) -> None:
        self._name = _temporary(path).name
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self._name, flags, 0o666, dir_fd=folder)
        self.end = 0
        """Bytes that count; what stands behind them is of a write that failed."""

    def write(self, data: bytes, at: int) -> int:
        """Write `data` at offset `at`; return the offset behind it. It counts once `end` is set to that."""
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


class RejectFile:
    """Written under a temporary name and renamed whole, so that a replay of the shipment overwrites it.

    Blocks on the disk: use it from a worker thread, one thread at a time. Nothing is created until the first reject.
    A method that raised OSError (a full disk) has changed nothing that counts, and may be called again. Memory is
    bounded: records are written as they are made.
    """

    def __init__(self, spool: Path, shipment: str, clock_ms: int) -> None:
        """Prepare for the rejects of `shipment`."""
        self._spool = spool
        self._path = spool / layout.rejected_path(shipment, clock_ms)
        self._file: _Growing | None = None
        self._long: _Growing | None = None
        self._long_paths: list[Path] = []
        self._named = False
        """It has its final name."""

    def add(self, file: str, lines_before: int, rejects: Sequence[Reject]) -> None:
        """Append rejected lines of `file` from a piece that `lines_before` lines stand before."""
        self._write(_record(file, lines_before, run) for run in _runs(rejects))

    def add_long_part(self, data: bytes) -> None:
        """Stream a part of a line that is too long to be held."""
        reach("rejects.long_part")
        if self._long is None:
            self._long = self._open(self._long_path())
        self._long.end = self._long.write(data, self._long.end)

    def end_long(self, file: str, line: int, offset: int) -> None:
        """Record the line whose parts were streamed."""
        if self._long is not None:
            self._long.sync()
        reason = Reason.TOO_LONG.value
        detail = "longer than spool.max_line"
        record = {"file": file, "line": line, "offset": offset, "reason": reason, "field": ""}
        self._write([{**record, "detail": detail, "raw_file": self._long_path().name}])
        self._long_paths.append(self._long_path())
        if self._long is not None:
            self._long.close()
            self._long = None

    def drop_long(self) -> None:
        """Forget the parts of a line whose end never comes: its archive is damaged. Without such parts, do nothing."""
        if self._long is not None:
            reach("rejects.drop_long")
            _temporary(self._long_path()).unlink(missing_ok=True)
            self._long.close()
            self._long = None

    def finish(self) -> None:
        """Make it durable under its final name; nothing if there were no rejects."""
        self.drop_long()
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
            files.sync_folder(self._path.parent)
            self._file.close()
            self._file = None

    def abort(self) -> None:
        """Leave nothing half-written behind; after `finish`, nothing at all is changed. Does not raise."""
        with contextlib.suppress(OSError):
            self.drop_long()
        if self._file is not None:
            self._file.close()
            self._file = None
            for path in (*self._long_paths, self._path):
                with contextlib.suppress(OSError):
                    _temporary(path).unlink(missing_ok=True)
        self._long_paths.clear()

    def _write(self, records: Iterable[dict[str, object]]) -> None:
        """Append all of `records`, or none of them."""
        lines = (json.dumps(r, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n" for r in records)
        at = None if self._file is None else self._file.end
        while some := list(islice(lines, _RECORDS_AT_ONCE)):
            if self._file is None:
                self._file = self._open(self._path)
            at = self._file.write(b"".join(some), at or 0)
        if self._file is not None and at is not None:
            self._file.end = at

    def _open(self, path: Path) -> _Growing:
        with files.opened_folders(path.parent, below=self._spool) as folder:
            return _Growing(path, folder)

    def _long_path(self) -> Path:
        return self._path.with_name(f"{self._path.stem}.{len(self._long_paths)}.line")


def _runs(rejects: Iterable[Reject]) -> Iterator[list[Reject]]:
    """Yield neighbours that share a reason together: joined by line ends, they are again the bytes of the file."""
    run: list[Reject] = []
    size = 0
    for reject in rejects:
        if run and (size > _LONGEST_RUN or not _follows(run[-1], reject)):
            yield from [run] if len(run) >= _SHORTEST_RUN else ([one] for one in run)
            run, size = [], 0
        run.append(reject)
        size += len(reject.raw) + 1
    yield from [run] if len(run) >= _SHORTEST_RUN else ([one] for one in run)


def _follows(one: Reject, other: Reject) -> bool:
    if max(len(one.raw), len(other.raw)) > _SHORT or one.batch:
        return False
    same = (one.reason, one.field, one.detail) == (other.reason, other.field, other.detail)
    return same and one.line + 1 == other.line and one.offset + len(one.raw) + 1 == other.offset


def _record(file: str, lines_before: int, run: Sequence[Reject]) -> dict[str, object]:
    reject = run[0]
    record: dict[str, object] = {"file": file, "line": lines_before + reject.line, "offset": reject.offset}
    if len(run) > 1:
        record["lines"] = len(run)
    record |= {"reason": reject.reason.value, "field": reject.field, "detail": reject.detail}
    if reject.batch:
        record |= {"batch": reject.batch, "row": reject.row, "nth": reject.nth}
    raw = b"\n".join(line.raw for line in run)
    try:
        record["raw"] = raw.decode()
    except UnicodeDecodeError:
        record["raw_base64"] = base64.b64encode(raw).decode()
    return record


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")
