"""When a file counts as complete: both clocks are arguments."""

from spoolhouse.pipeline.arrivals import Quiet, Seen
from spoolhouse.spool.layout import Place

WALL = 1_700_000_000.0
QUIET = 0.5


def _seen(name: str = "a.jsonl", *, size: int = 10, age: float = 0.0) -> Seen:
    """A file that was last written `age` seconds before WALL; negative is the future."""
    place = Place(type="span", project="p", name=name)
    return Seen(place=place, size=size, mtime_ns=int((WALL - age) * 1e9))


def test_a_file_that_was_last_written_long_ago_is_complete_at_first_sight() -> None:
    file = _seen(age=1.0)
    assert Quiet(QUIET).settled([file], now=0.0, wall=WALL) == [file]


def test_a_fresh_file_is_complete_once_it_has_been_quiet() -> None:
    quiet, file = Quiet(QUIET), _seen()
    assert quiet.settled([file], now=0.0, wall=WALL) == []
    assert quiet.due() == QUIET
    assert quiet.settled([file], now=0.4, wall=WALL + 0.4) == []
    assert quiet.settled([file], now=0.5, wall=WALL + 0.5) == [file]
    assert quiet.due() is None


def test_a_time_from_the_future_is_watched_by_the_monotonic_clock() -> None:
    quiet, file = Quiet(QUIET), _seen(age=-3600.0)
    assert quiet.settled([file], now=100.0, wall=WALL) == []
    assert quiet.settled([file], now=100.5, wall=WALL + 0.5) == [file]


def test_a_wall_clock_that_jumps_back_does_not_keep_a_file_waiting() -> None:
    quiet, file = Quiet(QUIET), _seen()
    assert quiet.settled([file], now=0.0, wall=WALL) == []
    assert quiet.settled([file], now=0.5, wall=WALL - 3600.0) == [file]


def test_a_growing_file_waits_from_its_last_change() -> None:
    quiet = Quiet(QUIET)
    for step in range(10):
        now = step * 0.25
        assert quiet.settled([_seen(size=10 + step, age=-now)], now=now, wall=WALL + now) == []
    last = _seen(size=19, age=-2.25)
    assert quiet.due() == 2.25 + QUIET
    assert quiet.settled([last], now=2.5, wall=WALL + 2.5) == []
    assert quiet.settled([last], now=2.75, wall=WALL + 2.75) == [last]


def test_a_file_that_is_only_touched_waits_too() -> None:
    quiet = Quiet(QUIET)
    quiet.settled([_seen(age=0.0)], now=0.0, wall=WALL)
    touched = _seen(age=-0.4)
    assert quiet.settled([touched], now=0.4, wall=WALL + 0.4) == []
    assert quiet.settled([touched], now=0.6, wall=WALL + 0.6) == []
    assert quiet.settled([touched], now=0.95, wall=WALL + 0.95) == [touched]


def test_a_file_that_went_away_and_came_back_starts_anew() -> None:
    quiet, file = Quiet(QUIET), _seen(age=-3600.0)
    quiet.settled([file], now=0.0, wall=WALL)
    assert quiet.settled([], now=0.2, wall=WALL + 0.2) == []
    assert quiet.due() is None
    assert quiet.settled([file], now=0.6, wall=WALL + 0.6) == []


def test_the_oldest_come_first_and_equal_times_by_place() -> None:
    old, b, a = _seen("z.jsonl", age=9.0), _seen("b.jsonl", age=5.0), _seen("a.jsonl", age=5.0)
    assert Quiet(QUIET).settled([b, a, old], now=0.0, wall=WALL) == [old, a, b]


def test_the_next_look_is_due_when_the_first_of_the_watched_may_be_complete() -> None:
    quiet = Quiet(QUIET)
    quiet.settled([_seen("a.jsonl", age=-9)], now=1.0, wall=WALL)
    quiet.settled([_seen("a.jsonl", age=-9), _seen("b.jsonl", age=-9)], now=1.2, wall=WALL)
    assert quiet.due() == 1.0 + QUIET
