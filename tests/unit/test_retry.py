"""Backoff: never a hot loop, never longer than the cap, longer with each failure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoolhouse.retry import delay

SECONDS = st.floats(0.001, 10_000)
FRACTION = st.floats(0, 1)


@given(st.integers(1, 10**9), SECONDS, SECONDS, FRACTION)
def test_a_delay_has_bounds(attempt: int, first: float, cap: float, fraction: float) -> None:
    assert min(first, cap) / 10 <= delay(attempt, first=first, cap=cap, fraction=fraction) <= cap


@given(st.integers(1, 100), SECONDS, SECONDS, FRACTION)
def test_delays_do_not_get_shorter(attempt: int, first: float, cap: float, fraction: float) -> None:
    now = delay(attempt, first=first, cap=cap, fraction=fraction)
    assert delay(attempt + 1, first=first, cap=cap, fraction=fraction) >= now


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.5), (2, 1), (3, 2), (6, 16), (7, 30), (10**6, 30)])
def test_the_longest_delay_doubles_up_to_the_cap(attempt: int, longest: float) -> None:
    assert delay(attempt, first=0.5, cap=30, fraction=1) == longest
    assert delay(attempt, first=0.5, cap=30, fraction=0.5) == longest / 2


def test_bad_luck_makes_no_hot_loop() -> None:
    assert delay(1, first=0.5, cap=30, fraction=0) == 0.05
    assert delay(9, first=0.5, cap=30, fraction=0) == 0.05
