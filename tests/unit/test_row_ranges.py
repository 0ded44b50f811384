"""What is left out of a batch: its other rows are parts, each row once."""

from hypothesis import given
from hypothesis import strategies as st

from spoolhouse.spool.row_ranges import RowRange, SplitRange, cover, leave_out

MOST = 40


def refused(row: int, *, follows: bool = False) -> SplitRange:
    return SplitRange(part=RowRange(first=row, end=row + 1), refusal="no", follows=follows)


@given(st.integers(1, MOST), st.sets(st.integers(0, MOST - 1)), st.sets(st.integers(0, MOST - 1)))
def test_every_row_is_in_one_part(total: int, first: set[int], second: set[int]) -> None:
    """Also if rows were left out before: these stay as they are."""
    whole = [SplitRange(part=RowRange(first=0, end=total))]
    once = leave_out(whole, {row: refused(row) for row in first if row < total})
    twice = leave_out(once, {row: refused(row, follows=True) for row in second if row < total})
    assert cover([cut.part for cut in twice], total)
    left_out = {cut.part.first: cut.follows for cut in twice if cut.refusal}
    assert left_out == {row: row not in first for row in first | second if row < total}
    assert all(cut.part.rows == 1 for cut in twice if cut.refusal)


def test_parts_that_are_cut_already_are_cut_further() -> None:
    halves = [SplitRange(part=part) for part in RowRange(first=0, end=8).halves()]
    parts = [(cut.part.first, cut.part.end, cut.refusal) for cut in leave_out(halves, {3: refused(3), 4: refused(4)})]
    assert parts == [(0, 3, ""), (3, 4, "no"), (4, 5, "no"), (5, 8, "")]
