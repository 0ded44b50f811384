"""Part pressure as a number, and what follows from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoolhouse.spool import linger
from spoolhouse.spool.linger import LONGEST_LINGER, LONGEST_WAIT, PartLimits
from spoolhouse.spool.shipment import Packer, Packing, Span

USUAL = PartLimits(delay_at=1000, throw_at=3000)
LIMITS = st.builds(PartLimits, delay_at=st.integers(0, 10_000), throw_at=st.integers(0, 10_000))


@pytest.mark.parametrize(("parts", "strain"), [(0, 0), (500, 0), (501, 0.002), (750, 0.5), (1000, 1), (9000, 1)])
def test_it_grows_from_half_of_the_parts_that_delay_inserts(parts: int, strain: float) -> None:
    assert linger.pressure(parts, USUAL) == pytest.approx(strain)


@pytest.mark.parametrize(("delay_at", "throw_at"), [(0, 100), (1000, 100)])
def test_without_a_delay_before_it_the_refusal_counts(delay_at: int, throw_at: int) -> None:
    limits = PartLimits(delay_at=delay_at, throw_at=throw_at)
    assert linger.pressure(75, limits) == 1
    assert 0 < linger.pressure(60, limits) < 1
    assert linger.pressure(37, limits) == 0


def test_without_limits_there_is_none() -> None:
    assert linger.pressure(10**9, PartLimits(delay_at=0, throw_at=0)) == 0


@given(st.integers(0, 20_000), LIMITS)
def test_more_parts_never_press_less_and_it_is_full_before_the_refusal(parts: int, limits: PartLimits) -> None:
    strain = linger.pressure(parts, limits)
    assert 0 <= strain <= linger.pressure(parts + 1, limits) <= 1
    if limits.throw_at and parts >= limits.throw_at:
        assert strain == 1


@given(st.floats(0.001, 3600), st.floats(0, 1))
def test_shipments_linger_longer_but_never_less_than_the_setting(seconds: float, strain: float) -> None:
    assert linger.linger(seconds, 0) == seconds
    assert seconds <= linger.linger(seconds, strain) <= max(seconds, LONGEST_LINGER) + 1e-9


@given(st.floats(0, 1))
def test_inserts_wait_for_a_bounded_time(strain: float) -> None:
    assert 0 <= linger.wait(strain) <= LONGEST_WAIT
    assert linger.wait(0) == 0


def test_a_pack_of_a_type_under_pressure_waits_for_more_company() -> None:
    strain = {"a": 0.0, "b": 1.0}
    packer = Packer(Packing(max_bytes=100, max_files=3, linger=1.0), strain=strain.__getitem__)
    for name in "ab":
        assert list(packer.add(name, Span(file=1, start=0, end=1, weight=1), 0.0)) == []
    assert packer.due() == 1.0
    assert [pack.type for pack in packer.take_due(1.0)] == ["a"]
    assert packer.due() == LONGEST_LINGER
    # Full it leaves all the same, and a pressure that ends lets it go.
    strain["b"] = 0.0
    assert [pack.type for pack in packer.take_due(1.0)] == ["b"]
