"""The positions of some lines of a file, in a few bytes: they find rejected lines that are not kept.

As text: base64 of zlib of four numbers a span (lines since the span before, lines in it, bytes since the span before,
bytes in it), each as a varint. Repetition in the file repeats here, and compresses as well.
"""

import base64
import zlib
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

_LONGEST = 4 << 20
"""The longest unpacked text, in bytes: the text may come from anybody."""
_SEVEN_BITS = 0x7F
_MORE = 0x80


class Span(Struct, frozen=True, kw_only=True):
    """Neighbouring lines of a file, from `line` (from 1) on, whose bytes start at `offset`; the last line end is not
    among the `length` bytes.
    """

    line: int
    lines: int
    offset: int
    length: int


class SpanPacker:
    """Packs lines of one file, in order."""

    def __init__(self) -> None:
        """Begin without spans."""
        self._packed = bytearray()
        self._at = (0, 0)
        """The line and the offset behind the last packed span."""
        self._last: Span | None = None

    def __len__(self) -> int:
        """Return the bytes of the packed spans before compression."""
        return len(self._packed)

    def is_before(self, line: int) -> bool:
        """Return whether a line may be added: it stands behind all others."""
        last = self._last
        return line >= (self._at[0] if last is None else last.line + last.lines)

    def add(self, line: int, offset: int, length: int, *, lines: int = 1) -> None:
        """Add a line, or some neighbours; lines right behind the last ones share their span."""
        last = self._last
        if last is not None and (last.line + last.lines, last.offset + last.length + 1) == (line, offset):
            end = offset + length
            self._last = replace(last, lines=last.lines + lines, length=end - last.offset)
            return
        self._settle()
        self._last = Span(line=line, lines=lines, offset=offset, length=length)

    def text(self) -> str:
        """Return all spans as text."""
        self._settle()
        return base64.b64encode(zlib.compress(self._packed)).decode()

    def _settle(self) -> None:
        last = self._last
        if last is not None:
            for number in (last.line - self._at[0], last.lines, last.offset - self._at[1], last.length):
                _put(self._packed, number)
            self._at, self._last = (last.line + last.lines, last.offset + last.length), None


def spans_of(text: str) -> Iterator[Span]:
    """Yield the spans of a text. Raises ValueError for a text that is not ours."""
    unpacking = zlib.decompressobj()
    try:
        packed = unpacking.decompress(base64.b64decode(text, validate=True), _LONGEST)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacking.eof:
        raise ValueError("too long, or cut off")
    numbers = _numbers(packed)
    line = offset = 0
    # In groups of four, all from one iterator.
    for lines_between, lines, bytes_between, length in zip(numbers, numbers, numbers, numbers, strict=True):
        line, offset = line + lines_between, offset + bytes_between
        yield Span(line=line, lines=lines, offset=offset, length=length)
        line, offset = line + lines, offset + length


def _put(packed: bytearray, number: int) -> None:
    while number > _SEVEN_BITS:
        packed.append(number & _SEVEN_BITS | _MORE)
        number >>= 7
    packed.append(number)


def _numbers(packed: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in packed:
        number |= (byte & _SEVEN_BITS) << shift
        shift += 7
        if not byte & _MORE:
            yield number
            number = shift = 0
