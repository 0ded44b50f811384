"""Which files may still grow, and when to look at them."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from spoolhouse.spool.home import Claim, Home
from spoolhouse.spool.journal import FileState
from spoolhouse.spool.layout import Place
from spoolhouse.spool.tails import Tail, Tails

FIRST_LOOK = 0.1


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with closing(Home.create(tmp_path, "own")) as home:
        yield home


def _wait_for_due(tails: Tails, limit: int = 100) -> list[Tail]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if taken := tails.due(limit):
            return taken
        os.sched_yield()
    pytest.fail("nothing became due")


def test_nothing_is_due_while_nothing_is_watched() -> None:
    tails = Tails()
    assert tails.next_due() is None
    assert tails.due(10) == []
    assert list(tails.waiting()) == []


def test_a_watched_file_is_due_soon_and_once(home: Home) -> None:
    tails, began = Tails(), time.monotonic()
    tails.watch(home, 7)
    due = tails.next_due()
    assert due is not None
    assert due >= began + FIRST_LOOK
    (tail,) = _wait_for_due(tails)
    assert time.monotonic() >= due
    assert (tail.home, tail.file, tail.size) == (home, 7, -1)
    assert tails.next_due() is None


def test_no_more_are_taken_than_asked_for_and_the_oldest_first(home: Home) -> None:
    tails = Tails()
    for number in range(5):
        tails.watch(home, number)
    taken = _wait_for_due(tails, 2)
    while len(taken) < 5:
        taken += _wait_for_due(tails, 2)
    assert [tail.file for tail in taken] == [0, 1, 2, 3, 4]


def test_a_file_that_does_not_change_is_looked_at_ever_more_rarely(home: Home) -> None:
    tails, tail = Tails(), Tail(due=0.0, home=home, file=1)
    for pause in (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0):
        before = time.monotonic()
        tails.again(tail, soon=False)
        assert before + pause <= tail.due <= time.monotonic() + pause
    before = time.monotonic()
    tails.again(tail, soon=True)
    assert before + 0.5 <= tail.due <= time.monotonic() + 0.5


def test_those_that_cannot_be_moved_yet_are_listed(home: Home) -> None:
    tails = Tails()
    for number, state in enumerate(FileState, start=1):
        claim = Claim(place=Place(type="span", project="p", name=f"{number}.jsonl"), size=1, device=1, inode=number)
        home.add(claim, 0).state = state
        tails.watch(home, number)
    tails.watch(home, 99)
    assert sorted(number for _, number in tails.waiting()) == [1, 2]


def test_several_threads_may_watch_while_another_looks(home: Home) -> None:
    tails, watched, threads = Tails(), 500, 4
    barrier = threading.Barrier(threads)

    def watch(worker: int) -> None:
        barrier.wait()
        for number in range(watched):
            tails.watch(home, worker * watched + number)

    with ThreadPoolExecutor(threads) as pool:
        working = [pool.submit(watch, worker) for worker in range(threads)]
        taken: list[Tail] = []
        while len(taken) < threads * watched:
            taken += _wait_for_due(tails, 7)
        for future in working:
            future.result()
    assert sorted(tail.file for tail in taken) == list(range(threads * watched))
