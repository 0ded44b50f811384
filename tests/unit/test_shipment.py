"""Packing: every span in one pack of its type, in order, full or ripe; cuts are even; batch ids tell batches apart."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoolhouse.spool.shipment import FileStats, Limits, Pack, Packer, Packing, Shipment, Span, equal_cuts

MAX_BYTES, MAX_FILES, LINGER = 10, 3, 5.0


def span(file: int, weight: int) -> Span:
    return Span(file=file, start=0, end=weight, weight=weight)


def packer() -> Packer:
    return Packer(Packing(max_bytes=MAX_BYTES, max_files=MAX_FILES, linger=LINGER))


SPANS = st.lists(st.tuples(st.sampled_from("ab"), st.builds(span, st.integers(0, 5), st.integers(0, 25))), max_size=30)


@given(SPANS)
def test_every_span_is_packed_once_in_order_with_its_own_type(spans: list[tuple[str, Span]]) -> None:
    packing = packer()
    packs = [pack for type_name, one in spans for pack in packing.add(type_name, one, 0.0)]
    packs += packing.rest()
    assert not packing
    for name in "ab":
        assert [one for pack in packs if pack.type == name for one in pack.spans] == [
            one for type_name, one in spans if type_name == name
        ]


@given(SPANS)
def test_a_pack_keeps_its_limits(spans: list[tuple[str, Span]]) -> None:
    packing = packer()
    full = [pack for type_name, one in spans for pack in packing.add(type_name, one, 0.0)]
    rest = list(packing.rest())
    for pack in full + rest:
        assert pack.spans
        assert pack.weight == sum(one.weight for one in pack.spans)
        assert pack.files == {one.file for one in pack.spans}
        assert pack.weight <= MAX_BYTES or len(pack.spans) == 1
        assert len(pack.files) <= MAX_FILES
    for pack in rest:
        assert pack.weight < MAX_BYTES
        assert len(pack.files) < MAX_FILES
    assert len(rest) <= 2


def test_a_span_that_does_not_fit_sends_off_what_waits() -> None:
    packing = packer()
    assert list(packing.add("a", span(1, 6), 0.0)) == []
    (pack,) = packing.add("a", span(2, 5), 1.0)
    assert [one.file for one in pack.spans] == [1]
    assert packing.due() == 1.0 + LINGER


def test_a_large_span_has_a_pack_of_its_own_at_once() -> None:
    packing = packer()
    assert list(packing.add("a", span(1, 6), 0.0)) == []
    assert [[one.file for one in pack.spans] for pack in packing.add("a", span(2, 25), 0.0)] == [[1], [2]]
    assert not packing


def test_spans_of_one_file_count_as_one_file() -> None:
    packing = packer()
    assert [pack for _ in range(9) for pack in packing.add("a", span(1, 1), 0.0)] == []


def test_a_pack_waits_for_company_since_its_first_span() -> None:
    packing = packer()
    assert packing.due() is None
    assert not packing
    assert list(packing.add("a", span(1, 1), 1.0)) == []
    assert list(packing.add("a", span(2, 1), 5.0)) == []
    assert list(packing.add("b", span(3, 1), 2.0)) == []
    assert packing
    assert packing.due() == 6.0
    assert list(packing.take_due(5.9)) == []
    assert [(pack.type, len(pack.spans)) for pack in packing.take_due(6.0)] == [("a", 2)]
    assert packing.due() == 7.0
    assert [pack.type for pack in packing.take_due(100.0)] == ["b"]
    assert packing.due() is None


def test_packs_do_not_share_what_they_hold() -> None:
    one, other = Pack(type="a", opened=0.0), Pack(type="a", opened=0.0)
    one.spans.append(span(1, 1))
    one.files.add(1)
    assert other == Pack(type="a", opened=0.0)


@given(st.integers(0, 2**50), st.integers(0, 10_000), st.integers(1, 700))
def test_cuts_are_even(start: int, length: int, max_bytes: int) -> None:
    edges = [start, *equal_cuts(start, start + length, max_bytes), start + length]
    sizes = [high - low for low, high in pairwise(edges)]
    assert max(sizes) <= max_bytes
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == max(1, -(-length // max_bytes))


@pytest.mark.parametrize(("end", "cuts"), [(10, []), (110, []), (111, [60]), (310, [110, 210])])
def test_a_range_is_cut_no_more_than_it_must_be(end: int, cuts: list[int]) -> None:
    assert equal_cuts(10, end, 100) == cuts


def shipment(identity: str) -> Shipment:
    limits = Limits(max_rows=1, max_insert_bytes=1, side_bytes=1, max_line=1, project="warn")
    return Shipment(
        id=identity, instance="i", type="span", segments=(), clock_ms=0, fingerprint="f", limits=limits
    )  # fmt: skip


def test_a_batch_id_names_shipment_table_and_round() -> None:
    assert shipment("s").batch_id("spans", 0) == "s:spans"
    assert shipment("s").batch_id("spans", 2) == "s:spans.2"


def test_no_two_batches_have_one_id() -> None:
    ids = {
        shipment(identity).batch_id(table, number)
        for identity in ("s1", "s2")
        for table in ("spans", "logs")
        for number in range(12)
    }
    assert len(ids) == 48


def test_figures_add_up() -> None:
    stats = FileStats(lines=1, rejected=1, rows={"spans": 2})
    stats.add(FileStats(lines=2, mismatched=1, rows={"spans": 1, "logs": 1}, failure="gone"))
    stats.add(FileStats(failure="later"))
    assert stats == FileStats(lines=3, rejected=1, mismatched=1, rows={"spans": 3, "logs": 1}, failure="gone")
