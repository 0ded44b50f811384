"""What a dead instance left: each file is in one of a few states, and for each there is one thing to do."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoolhouse.spool.recovery import FileFact, Recovery, plan

NOTHING: Recovery[str] = Recovery(release=(), settle=(), moved=(), watch=(), vanished=())

# final, here, at_target, unacknowledged shipments: what to do. Nothing is to do where a replay will come by anyway.
TABLE = [
    (True, False, True, 0, "watch"),
    (True, False, True, 1, "watch"),
    (True, False, False, 0, "watch"),
    (True, True, False, 0, "watch"),
    (False, True, False, 0, "settle"),
    (False, True, False, 2, ""),
    (False, True, True, 0, "settle"),
    (False, True, True, 1, ""),
    (False, False, True, 0, "moved"),
    (False, False, True, 1, "moved"),
    (False, False, False, 0, "vanished"),
    (False, False, False, 1, ""),
]


@pytest.mark.parametrize(("final", "here", "at_target", "unacknowledged", "action"), TABLE)
def test_one_thing_is_done_with_a_file(
    *, final: bool, here: bool, at_target: bool, unacknowledged: int, action: str
) -> None:
    fact = FileFact(number=7, key="a", final=final, here=here, aside=False, at_target=at_target)
    found = plan(["a"] if here and not final else [], [fact], {7: unacknowledged} if unacknowledged else {})
    expected: dict[str, Any] = {action: (7,)} if action else {}
    assert found == Recovery(**{"release": (), "settle": (), "moved": (), "watch": (), "vanished": ()} | expected)


def test_a_file_that_was_set_aside_is_settled_and_keeps_nothing_of_its_name() -> None:
    fact = FileFact(number=7, key="a", final=False, here=False, aside=True, at_target=False)
    found = plan(["a"], [fact], {})
    assert found == Recovery(release=("a",), settle=(7,), moved=(), watch=(), vanished=())
    assert plan([], [fact], {7: 1}) == NOTHING


def test_what_was_never_journalled_goes_back() -> None:
    assert plan(["a", "b"], [], {}) == Recovery(release=("a", "b"), settle=(), moved=(), watch=(), vanished=())


def test_a_name_may_have_been_claimed_again() -> None:
    """The file that was moved and the one that stands in `claimed/` under its name since are two files."""
    for final, at_target in ((True, True), (False, True), (False, False)):
        fact = FileFact(number=1, key="a", final=final, here=False, aside=False, at_target=at_target)
        assert plan(["a"], [fact], {}).release == ("a",)
    again = FileFact(number=2, key="a", final=False, here=True, aside=False, at_target=False)
    found = plan(
        ["a"], [FileFact(number=1, key="a", final=True, here=False, aside=False, at_target=True), again], {2: 1}
    )
    assert found == Recovery(release=(), settle=(), moved=(), watch=(1,), vanished=())


def test_nothing_left_is_nothing_to_do() -> None:
    assert plan([], [], {}) == NOTHING


def fact(*, number: int, key: str, final: bool, here: bool, aside: bool, at_target: bool) -> FileFact[str]:
    return FileFact(number=number, key=key, final=final, here=here, aside=aside, at_target=at_target)


FACTS = st.lists(
    st.builds(
        fact,
        number=st.integers(0, 5),
        key=st.sampled_from("abc"),
        final=st.booleans(),
        here=st.booleans(),
        at_target=st.booleans(),
    ),
    unique_by=lambda fact: fact.number,
    max_size=5,
)


@given(st.sets(st.sampled_from("abc")), FACTS, st.dictionaries(st.integers(0, 5), st.integers(0, 2)))
def test_no_file_is_released_that_was_sent_or_done_twice(
    claimed: set[str], facts: list[FileFact[str]], unacknowledged: dict[int, int]
) -> None:
    found = plan(claimed, facts, unacknowledged)
    sent = {fact.key for fact in facts if fact.here and not fact.final}
    assert set(found.release) == claimed - sent
    numbers = [*found.settle, *found.moved, *found.watch, *found.vanished]
    assert len(numbers) == len(set(numbers))
    assert not any(unacknowledged.get(number) for number in (*found.settle, *found.vanished))
    assert {fact.number for fact in facts} - set(numbers) <= {
        number for number, count in unacknowledged.items() if count
    }
