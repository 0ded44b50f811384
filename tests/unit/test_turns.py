"""Turns: all items come, each group in its order, and nobody waits for more than one of each other group."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from spoolhouse.core.turns import fair

ITEMS = st.lists(st.tuples(st.integers(0, 4), st.integers()), max_size=60)


@given(ITEMS)
def test_all_come_in_turn(items: list[tuple[int, int]]) -> None:
    found = list(fair(items, lambda item: item[0]))
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
    assert list(fair("bbbaac", str)) == list("bacbab")
