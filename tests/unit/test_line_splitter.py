"""Chunks to lines: nothing is lost, no line is cut, and no more is held than one line may be long."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoolhouse.decode.line_splitter import BOM, LineCutter, LongPart, Piece


class File(NamedTuple):
    content: bytes
    chunks: list[bytes]
    offset: int
    max_line: int


@st.composite
def files(draw: st.DrawFn) -> File:
    """Lines about as long as may be, read in chunks of any size up to that."""
    max_line = draw(st.integers(4, 12))
    line = st.binary(max_size=2 * max_line).map(lambda some: some.replace(b"\n", b"")) | st.sampled_from([b"", b"\r"])
    content = draw(st.sampled_from([b"", b"", BOM, BOM[:2], BOM[:1], BOM + BOM]))
    content += b"\n".join(draw(st.lists(line, max_size=6))) + draw(st.sampled_from([b"", b"\n"]))
    chunks = []
    left = content
    while left:
        size = draw(st.integers(1, max_line))
        chunks.append(left[:size])
        left = left[size:]
    return File(content, chunks, draw(st.sampled_from([0, 0, 7])), max_line)


def cut(file: File) -> Iterator[Piece | LongPart]:
    cutter = LineCutter(offset=file.offset, max_line=file.max_line)
    for chunk in file.chunks:
        yield from cutter.feed(chunk)
    yield from cutter.finish()


def lines(file: File) -> list[tuple[int, bytes]]:
    """The lines of a file, and where they start, as plainly as can be."""
    start = len(BOM) if file.offset == 0 and file.content.startswith(BOM) else 0
    found = []
    for line in file.content[start:].split(b"\n"):
        found.append((file.offset + start, line))
        start += len(line) + 1
    return found if found[-1][1] else found[:-1]


@given(files())
def test_every_line_comes_once_whole_and_in_its_place(file: File) -> None:
    found: list[tuple[int, bytes]] = []
    long = b""
    for item in cut(file):
        if isinstance(item, Piece):
            assert long == b""
            assert item.data
            offset = item.offset
            for line in item.data.removesuffix(b"\n").split(b"\n"):
                assert len(line) <= file.max_line
                found.append((offset, line))
                offset += len(line) + 1
        else:
            long += item.data
            if item.last:
                assert len(long) > file.max_line
                found.append((item.offset, long))
                long = b""
    assert long == b""
    assert found == lines(file)


@given(files())
def test_only_the_last_piece_may_have_no_line_end(file: File) -> None:
    items = list(cut(file))
    for item in items[:-1]:
        assert isinstance(item, LongPart) or item.data.endswith(b"\n")
    for one, other in pairwise(items):
        if isinstance(one, Piece) and isinstance(other, Piece):
            assert other.offset == one.offset + len(one.data)


@given(files())
def test_how_a_file_is_read_does_not_change_its_lines(file: File) -> None:
    at_once = [file.content[low : low + file.max_line] for low in range(0, len(file.content), file.max_line)]
    whole = b"".join(item.data for item in cut(file._replace(chunks=at_once)))
    assert b"".join(item.data for item in cut(file)) == whole


@given(files())
def test_no_more_is_held_than_a_line_may_be_long(file: File) -> None:
    cutter = LineCutter(offset=file.offset, max_line=file.max_line)
    for chunk in file.chunks:
        for item in cutter.feed(chunk):
            assert len(item.data) <= file.max_line + len(chunk)
        assert sum(map(len, cutter._held)) <= file.max_line


def test_a_long_line_passes_through_while_it_is_read() -> None:
    cutter = LineCutter(offset=0, max_line=4)
    assert list(cutter.feed(b"abcd")) == []
    assert list(cutter.feed(b"ef")) == [
        LongPart(offset=0, data=b"abcd", last=False),
        LongPart(offset=0, data=b"ef", last=False),
    ]
    assert list(cutter.feed(b"gh")) == [LongPart(offset=0, data=b"gh", last=False)]
    assert list(cutter.feed(b"\nx\ny")) == [
        LongPart(offset=0, data=b"", last=True),
        Piece(offset=9, data=b"x\n"),
    ]
    assert list(cutter.finish()) == [Piece(offset=11, data=b"y")]
    assert list(cutter.finish()) == []


def test_a_long_line_may_be_the_last() -> None:
    cutter = LineCutter(offset=3, max_line=2)
    parts = [*cutter.feed(b"ab"), *cutter.feed(b"c"), *cutter.finish()]
    assert parts == [
        LongPart(offset=3, data=b"ab", last=False),
        LongPart(offset=3, data=b"c", last=False),
        LongPart(offset=3, data=b"", last=True),
    ]


@pytest.mark.parametrize(
    "chunks", [[BOM + b"x\n"], [BOM, b"x\n"], [BOM[:1], BOM[1:] + b"x", b"\n"], [b"", BOM + b"x\n"]]
)
def test_a_byte_order_mark_is_passed_over_however_it_is_read(chunks: list[bytes]) -> None:
    assert list(cut(File(b"", chunks, 0, 8))) == [Piece(offset=3, data=b"x\n")]


def test_a_byte_order_mark_is_only_one_at_the_start_of_a_file() -> None:
    assert list(cut(File(b"", [BOM + b"x\n"], 5, 8))) == [Piece(offset=5, data=BOM + b"x\n")]
    assert list(cut(File(b"", [BOM[:2]], 0, 8))) == [Piece(offset=0, data=BOM[:2])]
    assert list(cut(File(b"", [b"x\n", BOM], 0, 8))) == [Piece(offset=0, data=b"x\n"), Piece(offset=2, data=BOM)]


@pytest.mark.parametrize("chunks", [[], [b""], [BOM]])
def test_an_empty_file_has_no_lines(chunks: list[bytes]) -> None:
    assert list(cut(File(b"", chunks, 0, 8))) == []
