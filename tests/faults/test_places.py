"""The failpoints themselves: none is missing, none has two places."""

from collections import Counter

from tests.faults.places import HARMLESS, effects, places, used


def test_every_await_and_every_durable_call_has_a_failpoint() -> None:
    """Between claim and settle: one directly before it or after it, or inside of what it calls."""
    found = list(effects())
    assert len(found) > 60, "the walk has lost its way"
    assert [effect.what for effect in found if not effect.covered] == []
    assert sorted(HARMLESS.keys() - used) == [], "exceptions of code that is gone"


def test_a_name_is_one_place() -> None:
    assert [name for name, count in Counter(places()).items() if count > 1] == []
