"""Turns: all items come, each group in its order, and nobody waits for more than one of each other group."""

from collections import Counter
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from spoolhouse.pipeline.round_robin import RoundRobin

ITEMS = st.lists(st.tuples(st.integers(0, 4), st.integers()), max_size=60)


@given(ITEMS)
def test_all_come_in_turn(items: list[tuple[int, int]]) -> None:
    found = list(RoundRobin[tuple[int, int]](lambda item: item[0]).take(items))
    assert Counter(found) == Counter(items)
    for group in range(5):
        assert [item for item in found if item[0] == group] == [item for item in items if item[0] == group]
    counts = Counter(item[0] for item in items)
    served: Counter[int] = Counter()
    for item in found:
        served[item[0]] += 1
        for group, count in counts.items():
            assert served[group] >= min(count, served[item[0]] - 1)


def test_the_first_to_come_is_the_first_to_go() -> None:
    assert list(RoundRobin[str](str).take("bbbaac")) == list("bacbab")


@given(st.lists(st.integers(1, 4), min_size=1, max_size=30))
def test_nobody_is_passed_over_because_few_are_taken_at_a_time(portions: list[int]) -> None:
    """Each time all groups are there, and only some of their items are taken: turns go on where they were."""
    turns = RoundRobin[str](str)
    found = [item for portion in portions for item in islice(turns.take("abcde" * 4), portion)]
    assert found == [*"abcde" * len(found)][: len(found)]


def test_who_comes_later_is_next() -> None:
    turns = RoundRobin[str](str)
    assert [next(turns.take("aab")), next(turns.take("aab")), next(turns.take("aabc"))] == ["a", "b", "c"]
