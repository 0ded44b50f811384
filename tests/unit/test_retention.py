"""Retention: the oldest go first, and only as many as the limits ask for."""

from hypothesis import given
from hypothesis import strategies as st

from spoolhouse.spool.archive_limits import Archived, Keep, superfluous

NOW = 1_000_000.0


def _file(since: float, size: int = 10, name: str = "a") -> Archived:
    return Archived(since=since, path=f"span/p/processed/{name}", size=size, inode=1, written=since - 100)


FILES = st.lists(st.builds(_file, st.floats(0, NOW), st.integers(0, 1000)), max_size=30).map(sorted)
LIMIT = st.none() | st.integers(1, 10_000)


@given(FILES, LIMIT, LIMIT)
def test_what_goes_is_oldest_and_what_stays_is_within_the_limits(
    files: list[Archived], max_age: int | None, max_bytes: int | None
) -> None:
    total = sum(file.size for file in files)
    keep = Keep(max_age=max_age, max_bytes=max_bytes)
    gone = list(superfluous(files, total, keep, NOW))
    left = files[len(gone) :]
    assert gone == files[: len(gone)]
    assert max_age is None or all(NOW - file.since <= max_age for file in left)
    assert max_bytes is None or sum(file.size for file in left) <= max_bytes
    if gone:
        last = gone[-1]
        too_old = max_age is not None and NOW - last.since > max_age
        too_much = max_bytes is not None and sum(file.size for file in left) + last.size > max_bytes
        assert too_old or too_much, "one less would have done"


def test_without_limits_all_is_kept() -> None:
    assert Keep(max_age=None, max_bytes=None).is_all
    assert list(superfluous([_file(0.0)], 10, Keep(max_age=None, max_bytes=None), NOW)) == []


def test_a_file_that_was_written_to_after_its_move_is_told_from_one_that_was_not() -> None:
    assert not _file(NOW).was_appended_to
    assert Archived(since=NOW, path="a", size=1, inode=1, written=NOW).was_appended_to
