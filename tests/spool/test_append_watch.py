"""Which files may still grow, and when to look at them."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from spoolhouse.spool.append_watch import AppendWatch, WatchedFile
from spoolhouse.spool.claims import Claim
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal_files import FileState, SettledFile
from spoolhouse.spool.layout import Place

FIRST_LOOK = 0.1


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with closing(Instance.create(tmp_path, "own")) as instance:
        yield instance


def _wait_for_due(append_watch: AppendWatch, limit: int = 100) -> list[WatchedFile]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if taken := append_watch.due(limit):
            return taken
        os.sched_yield()
    pytest.fail("nothing became due")


def test_nothing_is_due_while_nothing_is_watched() -> None:
    append_watch = AppendWatch()
    assert append_watch.next_due() is None
    assert append_watch.due(10) == []
    assert list(append_watch.waiting()) == []


def test_a_watched_file_is_due_soon_and_once(instance: Instance) -> None:
    append_watch, began = AppendWatch(), time.monotonic()
    append_watch.watch(instance, 7)
    due = append_watch.next_due()
    assert due is not None
    assert due >= began + FIRST_LOOK
    (watched,) = _wait_for_due(append_watch)
    assert time.monotonic() >= due
    assert (watched.instance, watched.file, watched.size) == (instance, 7, -1)
    assert append_watch.next_due() is None


def test_no_more_are_taken_than_asked_for_and_the_oldest_first(instance: Instance) -> None:
    append_watch = AppendWatch()
    for number in range(5):
        append_watch.watch(instance, number)
    taken = _wait_for_due(append_watch, 2)
    while len(taken) < 5:
        taken += _wait_for_due(append_watch, 2)
    assert [watched.file for watched in taken] == [0, 1, 2, 3, 4]


def test_a_file_that_does_not_change_is_looked_at_ever_more_rarely(instance: Instance) -> None:
    append_watch, watched = AppendWatch(), WatchedFile(due=0.0, instance=instance, file=1)
    for pause in (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0):
        before = time.monotonic()
        append_watch.again(watched, soon=False)
        assert before + pause <= watched.due <= time.monotonic() + pause
    before = time.monotonic()
    append_watch.again(watched, soon=True)
    assert before + 0.5 <= watched.due <= time.monotonic() + 0.5


def test_those_that_cannot_be_moved_yet_are_listed(instance: Instance) -> None:
    append_watch = AppendWatch()
    for number, state in enumerate(FileState, start=1):
        claim = Claim(place=Place(type="span", project="p", name=f"{number}.jsonl"), size=1, device=1, inode=number)
        instance.add(claim, 0).state = state
        append_watch.watch(instance, number)
    append_watch.watch(instance, 99)
    assert sorted(number for _, number in append_watch.waiting()) == [1, 2]


def test_several_threads_may_watch_while_another_looks(instance: Instance) -> None:
    append_watch, watched, threads = AppendWatch(), 500, 4
    barrier = threading.Barrier(threads)

    def watch(worker: int) -> None:
        barrier.wait()
        for number in range(watched):
            append_watch.watch(instance, worker * watched + number)

    with ThreadPoolExecutor(threads) as pool:
        working = [pool.submit(watch, worker) for worker in range(threads)]
        taken: list[WatchedFile] = []
        while len(taken) < threads * watched:
            taken += _wait_for_due(append_watch, 7)
        for future in working:
            future.result()
    assert sorted(watched.file for watched in taken) == list(range(threads * watched))


def test_many_settled_files_are_checked_less_often(instance: Instance) -> None:
    files = [
        SettledFile(number=number, target=str(number), inode=number, planned_to=0, watch_until_ms=0)
        for number in range(20_000)
    ]
    few, many, began = AppendWatch(), AppendWatch(), time.monotonic()
    few.watch_settled(instance, files[:100])
    many.watch_settled(instance, files[:10_000])
    many.watch_settled(instance, files[10_000:])
    soon, later = few.next_due(), many.next_due()
    assert soon is not None
    assert later is not None
    assert soon - began < later - began
    assert later >= began + 1
