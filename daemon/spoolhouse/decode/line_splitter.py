"""Cuts chunks of bytes into pieces of whole lines."""

from collections.abc import Iterator

from msgspec import Struct

BOM = b"\xef\xbb\xbf"


class Piece(Struct, frozen=True, kw_only=True):
    """Whole lines, the first of which starts at `offset`. The last one has no line end only at the end of a file."""

    offset: int
    data: bytes


def parts(piece: Piece, size: int) -> Iterator[Piece]:
    """Yield a piece in smaller ones, each of which ends at the first line end at or after `size` bytes."""
    start = 0
    while start < len(piece.data):
        end = piece.data.find(b"\n", start + size) + 1 or len(piece.data)
        yield Piece(offset=piece.offset + start, data=piece.data[start:end])
        start = end


class LongPart(Struct, frozen=True, kw_only=True):
    """A part of a line over the limit that starts at `offset`; `last` on its final part. Never held as a whole."""

    offset: int
    data: bytes
    last: bool


class LineCutter:
    """Cuts the chunks of one file (or of a range that starts at a line's start) into pieces of whole lines.

    Holds back at most `max_line` bytes; a longer line passes through as `LongPart`s. Chunks must not be longer than
    `max_line`: then only the first line that a chunk ends can be over the limit, and the others need no check.
    """

    def __init__(self, *, offset: int, max_line: int) -> None:
        """Start at byte `offset`; at 0 a byte order mark is skipped."""
        self._offset = offset
        self._max_line = max_line
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._long = False
        self._fresh = offset == 0

    def feed(self, chunk: bytes) -> Iterator[Piece | LongPart]:
        """Yield the pieces that `chunk` completes."""
        if self._fresh:
            chunk = b"".join((*self._held, chunk))
            if len(chunk) < len(BOM) and BOM.startswith(chunk):
                # A decompressor may yield one byte at a time.
                self._held, self._held_bytes = [chunk], len(chunk)
                return
            self._held, self._held_bytes, self._fresh = [], 0, False
            if chunk.startswith(BOM):
                self._offset += len(BOM)
                chunk = chunk[len(BOM) :]
        first_end = chunk.find(b"\n") + 1
        if not first_end:
            yield from self._hold(chunk)
            return
        if self._long or self._held_bytes + first_end - 1 > self._max_line:
            yield from self._hold(chunk[: first_end - 1])
            yield from self._end_long(line_end=1)
            chunk = chunk[first_end:]
        last_end = chunk.rfind(b"\n") + 1
        if last_end:
            data = b"".join((*self._held, chunk[:last_end])) if self._held else chunk[:last_end]
            yield Piece(offset=self._offset, data=data)
            self._offset += len(data)
            self._held, self._held_bytes = [], 0
        yield from self._hold(chunk[last_end:])

    def finish(self) -> Iterator[Piece | LongPart]:
        """Yield the last line if it has no line end."""
        if self._long:
            yield from self._end_long(line_end=0)
        elif self._held_bytes:
            data = b"".join(self._held)
            self._held, self._held_bytes = [], 0
            yield Piece(offset=self._offset, data=data)
            self._offset += len(data)

    def _hold(self, data: bytes) -> Iterator[LongPart]:
        if data:
            self._held.append(data)
            self._held_bytes += len(data)
        if self._long or self._held_bytes > self._max_line:
            self._long = True
            for part in self._held:
                yield LongPart(offset=self._offset, data=part, last=False)
            self._held = []

    def _end_long(self, *, line_end: int) -> Iterator[LongPart]:
        yield LongPart(offset=self._offset, data=b"", last=True)
        self._offset += self._held_bytes + line_end
        self._held_bytes = 0
        self._long = False
