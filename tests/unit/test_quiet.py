"""When a file counts as complete: both clocks are arguments."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from weakref import WeakSet

from msgspec.structs import replace

from spoolhouse.pipeline.scan import Ignored, Seen, StabilityFilter, Stock
from spoolhouse.spool.layout import Place

WALL = 1_700_000_000.0
QUIET = 0.5


def _seen(name: str = "a.jsonl", *, size: int = 10, age: float = 0.0) -> Seen:
    """A file that was last written `age` seconds before WALL; negative is the future."""
    place = Place(type="span", project="p", name=name)
    return Seen(place=place, size=size, mtime_ns=int((WALL - age) * 1e9))


def test_a_file_that_was_last_written_long_ago_is_complete_at_first_sight() -> None:
    file = _seen(age=1.0)
    assert list(StabilityFilter(QUIET).settled([file], clock=lambda: 0.0, wall=WALL)) == [file]


def test_a_fresh_file_is_complete_once_it_has_been_quiet() -> None:
    quiet, file = StabilityFilter(QUIET), _seen()
    assert list(quiet.settled([file], clock=lambda: 0.0, wall=WALL)) == []
    assert quiet.due() == QUIET
    assert list(quiet.settled([file], clock=lambda: 0.4, wall=WALL + 0.4)) == []
    assert list(quiet.settled([file], clock=lambda: 0.5, wall=WALL + 0.5)) == [file]
    assert quiet.due() is None


def test_a_time_from_the_future_is_watched_by_the_monotonic_clock() -> None:
    quiet, file = StabilityFilter(QUIET), _seen(age=-3600.0)
    assert list(quiet.settled([file], clock=lambda: 100.0, wall=WALL)) == []
    assert list(quiet.settled([file], clock=lambda: 100.5, wall=WALL + 0.5)) == [file]


def test_a_wall_clock_that_jumps_back_does_not_keep_a_file_waiting() -> None:
    quiet, file = StabilityFilter(QUIET), _seen()
    assert list(quiet.settled([file], clock=lambda: 0.0, wall=WALL)) == []
    assert list(quiet.settled([file], clock=lambda: 0.5, wall=WALL - 3600.0)) == [file]


def test_a_growing_file_waits_from_its_last_change() -> None:
    quiet = StabilityFilter(QUIET)
    for step in range(10):
        now = step * 0.25
        assert list(quiet.settled([_seen(size=10 + step, age=-now)], clock=partial(float, now), wall=WALL + now)) == []
    last = _seen(size=19, age=-2.25)
    assert quiet.due() == 2.25 + QUIET
    assert list(quiet.settled([last], clock=lambda: 2.5, wall=WALL + 2.5)) == []
    assert list(quiet.settled([last], clock=lambda: 2.75, wall=WALL + 2.75)) == [last]


def test_a_file_that_is_only_touched_waits_too() -> None:
    quiet = StabilityFilter(QUIET)
    list(quiet.settled([_seen(age=0.0)], clock=lambda: 0.0, wall=WALL))
    touched = _seen(age=-0.4)
    assert list(quiet.settled([touched], clock=lambda: 0.4, wall=WALL + 0.4)) == []
    assert list(quiet.settled([touched], clock=lambda: 0.6, wall=WALL + 0.6)) == []
    assert list(quiet.settled([touched], clock=lambda: 0.95, wall=WALL + 0.95)) == [touched]


def test_a_file_that_went_away_and_came_back_starts_anew() -> None:
    quiet, file = StabilityFilter(QUIET), _seen(age=-3600.0)
    list(quiet.settled([file], clock=lambda: 0.0, wall=WALL))
    assert list(quiet.settled([], clock=lambda: 0.2, wall=WALL + 0.2)) == []
    assert quiet.due() is None
    assert list(quiet.settled([file], clock=lambda: 0.6, wall=WALL + 0.6)) == []


def test_no_more_than_so_many_are_watched_and_the_others_have_their_turn() -> None:
    quiet = StabilityFilter(QUIET, most=3)
    files = [_seen(f"{number}.jsonl", age=-9.0) for number in range(5)]
    assert list(quiet.settled(files, clock=lambda: 0.0, wall=WALL)) == []
    assert list(quiet.settled(files, clock=lambda: 0.5, wall=WALL)) == files[:3]
    assert list(quiet.settled(files[3:], clock=lambda: 0.6, wall=WALL)) == []
    assert list(quiet.settled(files[3:], clock=lambda: 1.1, wall=WALL)) == files[3:]


def test_the_oldest_come_first_and_equal_times_by_place() -> None:
    old, b, a = _seen("z.jsonl", age=9.0), _seen("b.jsonl", age=5.0), _seen("a.jsonl", age=5.0)
    stock = Stock()
    stock.keep([b, a, old])
    assert stock.ready == [old, a, b]
    assert not stock.more


class _Held(Seen, frozen=True, weakref=True):
    """A file that can be counted for as long as it is held."""


def test_no_more_files_are_held_than_are_kept() -> None:
    held: WeakSet[Seen] = WeakSet()
    most = []

    def files() -> Iterator[Seen]:
        for number in range(1000):
            place = Place(type="span", project=f"p{number % 3}", name=f"{number}.jsonl")
            file = _Held(place=place, size=10, mtime_ns=number)
            held.add(file)
            yield file
            most.append(len(held))

    stock = Stock()
    stock.keep(files(), most=40)
    assert stock.more
    assert len(stock.ready) == 39
    assert max(most) < 60


def test_all_that_is_not_taken_is_counted_and_so_much_of_it_kept() -> None:
    stock = Stock()
    assert list(stock.counted(Ignored(path=str(number), reason="no such event type") for number in range(5000))) == []
    assert (stock.not_taken, len(stock.ignored)) == (5000, 1000)


def test_of_too_many_each_project_keeps_its_oldest() -> None:
    many = [_seen(f"{number:04}.jsonl", age=5000.0 - number) for number in range(1000)]
    few = [replace(one, place=replace(one.place, project=f"q{n}")) for n in range(3) for one in many[995:]]
    stock = Stock()
    stock.keep([*reversed(many), *few], most=40)
    assert stock.more
    assert [file for file in stock.ready if file.place.project == "p"] == many[:25]
    assert {file for file in stock.ready if file.place.project != "p"} == set(few)


def test_a_project_has_one_at_least_however_many_they_are() -> None:
    files = [
        replace(_seen(f"{n}.jsonl", age=n), place=Place(type="span", project=str(p), name="x"))
        for p in range(50)
        for n in (1, 2)
    ]
    stock = Stock()
    stock.keep(files, most=10)
    assert Counter(file.place.project for file in stock.ready) == {str(p): 1 for p in range(50)}


def test_the_next_look_is_due_when_the_first_of_the_watched_may_be_complete() -> None:
    quiet = StabilityFilter(QUIET)
    list(quiet.settled([_seen("a.jsonl", age=-9)], clock=lambda: 1.0, wall=WALL))
    list(quiet.settled([_seen("a.jsonl", age=-9), _seen("b.jsonl", age=-9)], clock=lambda: 1.2, wall=WALL))
    assert quiet.due() == 1.0 + QUIET
