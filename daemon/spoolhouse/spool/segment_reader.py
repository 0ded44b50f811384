"""Read the bytes of a segment into decoded pieces. Synchronous and CPU-bound: runs in worker threads."""

import bz2
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Protocol

import zstandard
from msgspec import Struct
from msgspec.structs import replace

from spoolhouse.decode.line_decoder import Decoded, LineDecoder, Origin
from spoolhouse.decode.line_splitter import LineCutter, LongPart, Piece
from spoolhouse.failpoints import reach
from spoolhouse.spool import fs
from spoolhouse.spool.layout import Encoding
from spoolhouse.spool.shipment import CHUNK_BYTES

_ZSTD_INPUT = 256
"""Bytes fed to zstd at once: four bytes may hold a block of 128 KiB, so this bounds the output to 8 MiB."""
_ZSTD_WINDOW = 128 << 20
MOST_LINES = 1 << 14
"""The most lines of a piece: 64 bytes each of a full chunk. Events are longer; shorter lines are rubbish, and a
rejected line costs a hundred times its bytes in memory until it is written."""

_XZ_MEMORY = 128 << 20
_SLICE_BYTES = 4096
"""Bytes that bzip2 and xz give at once, so that an error later in their input takes no more with it than that."""


class DamagedError(Exception):
    """An archive of bzip2, whose library says so by an OSError as of the disk, or of xz is damaged."""


CORRUPT = (EOFError, zlib.error, zstandard.ZstdError, DamagedError)
"""Errors of a damaged or truncated archive."""


class Read(Struct, frozen=True, kw_only=True):
    """The result of one piece.

    `lines_before` counts the lines of the file before it; only valid if that was asked for, or any are rejected.
    """

    piece: Piece
    decoded: Decoded
    lines_before: int = 0


class LongLine(Struct, frozen=True, kw_only=True):
    """A part of a line over the limit; `line` counts from 1, and comes with the last part."""

    part: LongPart
    line: int = 0


class _Unpack(Protocol):
    def feed(self, chunk: bytes) -> Iterator[bytes]: ...
    def finish(self) -> None: ...


class _Plain:
    def feed(self, chunk: bytes) -> Iterator[bytes]:
        yield chunk

    def finish(self) -> None:
        pass


class _Gzip:
    """Members may follow one another, as `cat a.gz b.gz` makes them; zeros between them are padding."""

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        while True:
            if self._member is None:
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    return
                self._member = zlib.decompressobj(wbits=31)
            before = self._member.copy()
            try:
                # A bounded output at a time: a bomb costs time, not memory.
                data = self._member.decompress(chunk, CHUNK_BYTES)
            except zlib.error:
                # zlib returns nothing of a chunk that is damaged anywhere: read the part before the damage byte by
                # byte.
                yield from _up_to_the_damage(before, chunk)
                raise
            chunk = self._member.unconsumed_tail
            if self._member.eof:
                chunk = self._member.unused_data
                self._member = None
            if data:
                yield data
            # A full output may have more behind it although the input is used up.
            if not chunk and len(data) < CHUNK_BYTES:
                return

    def finish(self) -> None:
        if self._member is not None:
            raise EOFError("the gzip stream ends early")


def _up_to_the_damage(member: "zlib._Decompress", chunk: bytes) -> Iterator[bytes]:
    """Yield the content of `chunk` before the damage in `member`. A byte gives two kilobytes at the most."""
    found = bytearray()
    for start in range(len(chunk)):
        try:
            found += member.decompress(chunk[start : start + 1])
        except zlib.error:
            break
        if len(found) >= CHUNK_BYTES:
            yield bytes(found)
            found.clear()
    if found:
        yield bytes(found)


class _Zstd:
    """Frames may follow one another. In a damaged archive, the last 256 bytes before the damage give nothing."""

    def __init__(self) -> None:
        self._member: zstandard.ZstdDecompressionObj | None = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        for start in range(0, len(chunk), _ZSTD_INPUT):
            part = chunk[start : start + _ZSTD_INPUT]
            while part:
                if self._member is None:
                    self._member = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
                data = self._member.decompress(part)
                part = b""
                if self._member.eof:
                    part = self._member.unused_data
                    self._member = None
                for low in range(0, len(data), CHUNK_BYTES):
                    yield data[low : low + CHUNK_BYTES]

    def finish(self) -> None:
        if self._member is not None:
            raise EOFError("the zstd stream ends early")


class _Decompressor(Protocol):
    """The common interface of the bzip2 and xz decompressors."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Streams:
    """Streams may follow one another, with zeros between them.

    In a damaged archive, the last 4 KiB of content before the damage are not given.
    """

    def __init__(self, make: Callable[[], _Decompressor], name: str) -> None:
        self._make = make
        self._name = name
        self._member: _Decompressor | None = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        found = bytearray()
        while True:
            if self._member is None:
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    break
                self._member = self._make()
            try:
                found += self._member.decompress(chunk, _SLICE_BYTES)
            except (OSError, lzma.LZMAError) as error:
                if found:
                    yield bytes(found)
                raise DamagedError(f"the {self._name} stream is damaged: {error}") from error
            chunk = b""
            if len(found) >= CHUNK_BYTES:
                yield bytes(found)
                found.clear()
            if self._member.eof:
                chunk = self._member.unused_data
                self._member = None
            elif self._member.needs_input:
                break
        if found:
            yield bytes(found)

    def finish(self) -> None:
        if self._member is not None:
            raise EOFError(f"the {self._name} stream ends early")


def _bzip2() -> _Unpack:
    return _Streams(bz2.BZ2Decompressor, "bzip2")


def _xz() -> _Unpack:
    return _Streams(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY), "xz")


_UNPACKERS: dict[Encoding, Callable[[], _Unpack]] = {
    Encoding.PLAIN: _Plain,
    Encoding.GZIP: _Gzip,
    Encoding.ZSTD: _Zstd,
    Encoding.BZIP2: _bzip2,
    Encoding.XZ: _xz,
}


class SegmentReader:
    """Takes the chunks of one segment in order and yields their content.

    The pieces depend on the bytes, the chunk size and `max_line` alone.
    """

    def __init__(  # a byte range, and how to read it
        self,
        start: int,
        encoding: Encoding,
        decoder: LineDecoder,
        origin: Origin,
        max_line: int,
        *,
        numbered: bool = False,
    ) -> None:
        """Read from byte `start` of a file; a packed file's content counts from 0 again.

        `numbered`: give each piece the number of lines before it.
        """
        self._plain = encoding is Encoding.PLAIN
        self._start = start if self._plain else 0
        self._decoder = decoder
        self._origin = origin
        self._unpack = _UNPACKERS[encoding]()
        self._max_line = max_line
        self._cutter = LineCutter(offset=self._start, max_line=max_line)
        self._numbered = numbered
        self._lines = 0
        """Lines before `_counted_to`."""
        self._counted_to = 0

    def feed(self, chunk: bytes) -> Iterator[Read | LongLine]:
        """Yield the pieces that `chunk` completes. Raises `CORRUPT` errors after all pieces before the damage."""
        for content in self._unpack.feed(chunk):
            # Unpacked content may be longer than a line may be; the splitter takes less at once.
            for low in range(0, len(content), self._max_line):
                for item in self._cutter.feed(content[low : low + self._max_line]):
                    yield from map(self._decoded, _few_lines(item))

    def finish(self) -> Iterator[Read | LongLine]:
        """Yield the unterminated last line. Raises EOFError, without that line, if the archive is truncated."""
        self._unpack.finish()
        for item in self._cutter.finish():
            yield from map(self._decoded, _few_lines(item))

    def _decoded(self, item: Piece | LongPart) -> Read | LongLine:
        # A packed file cannot be read again from the middle, so its lines are counted as they pass.
        if isinstance(item, LongPart):
            if item.last and not self._plain:
                self._lines += 1
            return LongLine(part=item, line=self._lines)
        before = self._lines
        if not self._plain:
            self._lines += item.data.count(b"\n")
        return Read(piece=item, decoded=self._decoder.decode(item, self._origin), lines_before=before)

    def cut(self, step: Read | LongLine, end: int) -> Read | LongLine:
        """Return a step up to byte `end` of the content: where the first to read it came to its end."""
        if isinstance(step, LongLine) or step.piece.offset + len(step.piece.data) <= end:
            return step
        piece = Piece(offset=step.piece.offset, data=step.piece.data[: end - step.piece.offset])
        return replace(step, piece=piece, decoded=self._decoder.decode(piece, self._origin))

    def asks(self, step: Read | LongLine) -> bool:
        """Return whether a step needs `number`. A plain file is read once more for it, which costs time."""
        if isinstance(step, LongLine):
            return self._plain and step.part.last
        return self._plain and (self._numbered or bool(step.decoded.rejects))

    def number(self, descriptor: int, step: Read | LongLine) -> Read | LongLine:
        """Return a step with its line numbers, counted in its open file; call it with the steps in order.

        Raises OSError; then it may be repeated.
        """
        if not self.asks(step):
            return step
        if isinstance(step, LongLine):
            return replace(step, line=self._lines_before(descriptor, step.part.offset) + 1)
        return replace(step, lines_before=self._lines_before(descriptor, step.piece.offset))

    def _lines_before(self, descriptor: int, offset: int) -> int:
        """Return the number of line ends of a plain file before `offset`."""
        while self._counted_to < offset:
            reach("read.count", offset)
            block = os.pread(descriptor, min(CHUNK_BYTES, offset - self._counted_to), self._counted_to)
            if not block:
                break
            self._lines += block.count(b"\n")
            self._counted_to += len(block)
        return self._lines


def content(path: Path, encoding: Encoding) -> Iterator[bytes]:
    """Yield the unpacked content of a file. Raises OSError, and `CORRUPT` errors behind the last good byte."""
    unpack = _UNPACKERS[encoding]()
    descriptor, _ = fs.open_regular(path)
    try:
        position = 0
        while chunk := os.pread(descriptor, CHUNK_BYTES, position):
            position += len(chunk)
            yield from unpack.feed(chunk)
        unpack.finish()
    finally:
        os.close(descriptor)


def _few_lines(item: Piece | LongPart) -> Iterator[Piece | LongPart]:
    """Yield a piece, split so that no part has more than `MOST_LINES`."""
    # A copy without the line ends tells how many there are in a sixth of the time of `bytes.count`.
    if isinstance(item, LongPart) or len(item.data) - len(item.data.replace(b"\n", b"")) <= MOST_LINES:
        yield item
        return
    offset, lines = item.offset, BytesIO(item.data)
    while data := b"".join(islice(lines, MOST_LINES)):
        yield Piece(offset=offset, data=data)
        offset += len(data)
