"""Spans as text: all of them come back, neighbours joined; what repeats costs little; what is not ours is refused."""

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoolhouse.spool.line_spans import SpanPacker, spans_of

_GAPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1 << 70), st.integers(0, 1 << 40)), max_size=50)


@given(_GAPS)
def test_every_line_comes_back_where_it_stood(gaps: list[tuple[int, int, int]]) -> None:
    packer, lines, line, offset = SpanPacker(), [], 1, 0
    for lines_between, bytes_between, length in gaps:
        line, offset = line + lines_between, offset + bytes_between
        lines.append((line, offset, length))
        packer.add(line, offset, length)
        line, offset = line + 1, offset + length + 1
    found = list(spans_of(packer.text()))
    assert sum(span.lines for span in found) == len(lines)
    covered = [(span.offset, span.offset + span.length) for span in found]
    assert all(any(low <= at and at + size <= high for low, high in covered) for _, at, size in lines)
    assert {span.line for span in found} <= {line for line, _, _ in lines}


def test_neighbours_share_a_span() -> None:
    packer = SpanPacker()
    for number in range(5):
        packer.add(10 + number, 100 + 4 * number, 3)
    packer.add(20, 200, 3)
    assert [(span.line, span.lines, span.offset, span.length) for span in spans_of(packer.text())] == [
        (10, 5, 100, 19), (20, 1, 200, 3),
    ]  # fmt: skip


def test_what_repeats_costs_little() -> None:
    packer = SpanPacker()
    for number in range(10_000):
        packer.add(2 * number + 1, 300 * number, 3)
    assert len(packer.text()) < 500


@pytest.mark.parametrize(
    "packed", [b"", b"\x80", b"\x01\x02\x03", b"\x01" * ((4 << 20) + 8)], ids=["none", "half", "three", "bomb"]
)
def test_what_is_none_of_ours_is_refused(packed: bytes) -> None:
    text = base64.b64encode(zlib.compress(packed)).decode()
    if packed in {b"", b"\x80"}:
        assert list(spans_of(text)) == []
    else:
        with pytest.raises(ValueError, match=r".+"):
            list(spans_of(text))


@pytest.mark.parametrize("text", ["", "!", "AAAA", base64.b64encode(zlib.compress(b"1234")[:-3]).decode()])
def test_what_is_no_packed_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        list(spans_of(text))
