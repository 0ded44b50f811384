"""The origins of a replayed file's lines: where they stood when they were first rejected.

A replay drops rejected lines into the spool as a new file. The origin of each of its lines is written to
`rejected/.origins/`, at that file's place: lines that are rejected again are then recorded under their first file and
line, and an id that a line lacks is derived from there. It is kept for as long as the replayed file is. Blocks on the
disk.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePath
from typing import BinaryIO

from msgspec import Struct

from spoolhouse.spool import layout
from spoolhouse.spool.layout import Place
from spoolhouse.spool.line_spans import Span, SpanPacker, spans_of

FOLDER = ".origins"
SUFFIX = ".replayed.jsonl"
_FULL = 64 << 10


class Origin(Struct, frozen=True, kw_only=True):
    """The first place of a line."""

    file: str
    line: int
    offset: int


def path_of(spool: Path, replayed: PurePath) -> Path:
    """Return the path of the origins of a file's lines, given its place in the spool."""
    return spool / layout.REJECTED / FOLDER / replayed


class OriginsWriter:
    """Records the origins of a replayed file's lines, in the order in which they are written to it."""

    def __init__(self, output: BinaryIO) -> None:
        """Write to `output`, which the caller closes."""
        self.output = output
        self._file = ""
        self._spans = SpanPacker()

    def add(self, file: str, span: Span) -> None:
        """Add the origin of the next lines."""
        if file != self._file or not self._spans.is_before(span.line) or len(self._spans) > _FULL:
            self.end()
            self._file = file
        self._spans.add(span.line, span.offset, span.length, lines=span.lines)

    def end(self) -> None:
        """Write the origins that are not written yet."""
        if self._file:
            note = {"file": self._file, "spans": self._spans.text()}
            self.output.write(json.dumps(note).encode() + b"\n")
        self._file, self._spans = "", SpanPacker()


class Origins:
    """The origins of one replayed file's lines; fastest when queried in the order of the lines."""

    def __init__(self, path: Path) -> None:
        """Read the origins from `path`, as far as they exist."""
        self._path = path
        self._begin()

    def _begin(self) -> None:
        self._rest = _read(self._path)
        self._line = 1
        self._offset = 0
        """The position of the lines of `_span` in the replayed file."""
        self._span: tuple[str, Span] | None = next(self._rest, None)

    def of(self, line: int, offset: int) -> Origin | None:
        """Return the first place of a line of the replayed file; None if it is unknown."""
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


class FirstPlaces:
    """Where the bytes of a replayed file's lines stood first; fastest when asked in the order of the file."""

    def __init__(self, path: Path) -> None:
        """Read the origins from `path`, as far as they exist."""
        self._path = path
        self._begin()

    def _begin(self) -> None:
        self._rest = _read(self._path)
        self._at = 0
        """Where the lines of `_span` begin in the replayed file."""
        self._span: tuple[str, Span] | None = next(self._rest, None)

    def runs(self, start: int, end: int) -> Iterator[tuple[int, str, int]]:
        """Yield the whole lines from byte `start` to `end` in runs: the end of each, its first file and offset there.

        The file is empty where it is unknown.
        """
        if start < self._at:
            self._begin()
        while start < end:
            while self._span is not None and start > self._at + self._span[1].length:
                self._at += self._span[1].length + 1
                self._span = next(self._rest, None)
            if self._span is None:
                yield end, "", start
                return
            file, span = self._span
            stop = min(end, self._at + span.length + 1)
            yield stop, file, span.offset + start - self._at
            start = stop


def first_places(spool: Path, place: Place) -> FirstPlaces | None:
    """Return the first places of the lines of a file; None for a file that is not a replayed one."""
    return FirstPlaces(path_of(spool, place.relative)) if place.name.endswith(SUFFIX) else None


def _read(path: Path) -> Iterator[tuple[str, Span]]:
    # If the file was removed or changed, the origins of the lines are lost, but no line.
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError), path.open("rb") as content:
        for line in content:
            note = json.loads(line)
            for span in spans_of(note["spans"]):
                yield str(note["file"]), span
