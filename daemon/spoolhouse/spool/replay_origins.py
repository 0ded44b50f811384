"""Where the lines of a replayed file stood when they were rejected for the first time.

A replay drops rejected lines into the spool as a new file. Beside the rejects, in `rejected/.origins/` at that file's
place, it is written of each of its lines where that came from: what is rejected again is then recorded under its first
file and line. Nobody needs it once the replayed file is settled. Blocks on the disk.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from spoolhouse.spool import layout
from spoolhouse.spool.line_spans import Span, SpanPacker, spans_of

FOLDER = ".origins"
SUFFIX = ".replayed.jsonl"
_FULL = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a line stood first."""

    file: str
    line: int
    offset: int


def path_of(spool: Path, replayed: PurePath) -> Path:
    """Return where the origins of the lines of a file are, given its place in the spool."""
    return spool / layout.REJECTED / FOLDER / replayed


class OriginsWriter:
    """Notes where the lines of a replayed file come from, in the order in which they are written to it."""

    def __init__(self, output: BinaryIO) -> None:
        """Write to `output`, which stays the caller's to close."""
        self.output = output
        self._file = ""
        self._spans = SpanPacker()

    def add(self, file: str, span: Span) -> None:
        """Note the next lines."""
        if file != self._file or not self._spans.is_before(span.line) or len(self._spans) > _FULL:
            self.end()
            self._file = file
        self._spans.add(span.line, span.offset, span.length, lines=span.lines)

    def end(self) -> None:
        """Write what was noted."""
        if self._file:
            note = {"file": self._file, "spans": self._spans.text()}
            self.output.write(json.dumps(note).encode() + b"\n")
        self._file, self._spans = "", SpanPacker()


class Origins:
    """The origins of one replayed file's lines, best asked for in the order of the lines."""

    def __init__(self, path: Path) -> None:
        """Read them from `path`, as far as they are there."""
        self._path = path
        self._begin()

    def _begin(self) -> None:
        self._rest = _read(self._path)
        self._line = 1
        self._offset = 0
        """Where the lines of `_span` begin in the replayed file."""
        self._span: tuple[str, Span] | None = next(self._rest, None)

    def of(self, line: int, offset: int) -> Origin | None:
        """Return where a line of the replayed file stood first; None if nobody knows."""
        if line < self._line:
            self._begin()  # a write that failed is done again
        while self._span is not None and line >= self._line + self._span[1].lines:
            self._line += self._span[1].lines
            self._offset += self._span[1].length + 1
            self._span = next(self._rest, None)
        if self._span is None:
            return None
        file, span = self._span
        return Origin(file=file, line=span.line + line - self._line, offset=span.offset + offset - self._offset)


def _read(path: Path) -> Iterator[tuple[str, Span]]:
    # Whoever has taken it away, or written to it, has lost where the lines came from, and no line.
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError), path.open("rb") as content:
        for line in content:
            note = json.loads(line)
            for span in spans_of(note["spans"]):
                yield str(note["file"]), span
