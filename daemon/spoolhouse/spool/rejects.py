"""The file that keeps the rejected lines of one shipment.

One JSON object a line: `file`, `line` (from 1), `offset` (bytes into the file's content), `reason`, `field`, `detail`
and the original bytes, as `raw` where they are UTF-8, else as `raw_base64`. A line over the limit is kept beside it
as `{shipment}.{number}.line`, named in `raw_file`.
"""

import base64
import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from spoolhouse.core.reject import Reason, Reject
from spoolhouse.failpoints import reach
from spoolhouse.spool import files, layout


class RejectFile:
    """Written under a temporary name and renamed whole, so that a replay of the shipment overwrites it.

    Blocks on the disk: use it from a worker thread, one thread at a time. Nothing is created until the first reject.
    """

    def __init__(self, spool: Path, shipment: str, clock_ms: int) -> None:
        """Prepare for the rejects of `shipment`."""
        self._spool = spool
        self._path = spool / layout.rejected_path(shipment, clock_ms)
        self._file: BinaryIO | None = None
        self._long: BinaryIO | None = None
        self._long_paths: list[Path] = []
        self.count = 0

    def add(self, file: str, lines_before: int, rejects: Sequence[Reject]) -> None:
        """Append rejected lines of `file` from a piece that `lines_before` lines stand before."""
        for reject in rejects:
            record: dict[str, object] = {"file": file, "line": lines_before + reject.line, "offset": reject.offset}
            record |= {"reason": reject.reason.value, "field": reject.field, "detail": reject.detail}
            try:
                record["raw"] = reject.raw.decode()
            except UnicodeDecodeError:
                record["raw_base64"] = base64.b64encode(reject.raw).decode()
            self._write(record)

    def add_long_part(self, data: bytes) -> None:
        """Stream a part of a line that is too long to be held."""
        reach("rejects.long_part")
        if self._long is None:
            self._make_folder()
            self._long = _temporary(self._long_path()).open("wb")
        self._long.write(data)

    def end_long(self, file: str, line: int, offset: int) -> None:
        """Record the line whose parts were streamed."""
        if self._long is not None:
            self._sync(self._long)
            self._long = None
        reason = Reason.TOO_LONG.value
        detail = "longer than spool.max_line"
        record = {"file": file, "line": line, "offset": offset, "reason": reason, "field": ""}
        self._write({**record, "detail": detail, "raw_file": self._long_path().name})
        self._long_paths.append(self._long_path())

    def drop_long(self) -> None:
        """Forget the parts of a line whose end never comes: its archive is damaged. Without such parts, do nothing."""
        if self._long is not None:
            _close(self._long)
            self._long = None
            reach("rejects.drop_long")
            _temporary(self._long_path()).unlink(missing_ok=True)

    def finish(self) -> None:
        """Make it durable under its final name; nothing if there were no rejects."""
        self.drop_long()
        if self._file is not None:
            self._sync(self._file)
            for path in (*self._long_paths, self._path):
                reach("rejects.rename")
                _temporary(path).replace(path)
            reach("rejects.renamed")
            self._file = None
            self._long_paths.clear()
            files.sync_folder(self._path.parent)

    def abort(self) -> None:
        """Leave nothing half-written behind; after `finish`, nothing at all is changed. Does not raise."""
        with contextlib.suppress(OSError):
            self.drop_long()
        if self._file is not None:
            _close(self._file)
            self._file = None
            for path in (*self._long_paths, self._path):
                with contextlib.suppress(OSError):
                    _temporary(path).unlink(missing_ok=True)
        self._long_paths.clear()

    def _write(self, record: dict[str, object]) -> None:
        reach("rejects.write")
        if self._file is None:
            self._make_folder()
            self._file = _temporary(self._path).open("wb")
        self._file.write(json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        self.count += 1

    def _make_folder(self) -> None:
        files.make_folders(self._path.parent, below=self._spool)

    def _long_path(self) -> Path:
        return self._path.with_name(f"{self._path.stem}.{len(self._long_paths)}.line")

    @staticmethod
    def _sync(file: BinaryIO) -> None:
        reach("rejects.sync")
        file.flush()
        os.fsync(file.fileno())
        file.close()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _close(file: BinaryIO) -> None:
    """Close what is to be thrown away: that its last bytes cannot be written does not matter."""
    with contextlib.suppress(OSError):
        file.close()
