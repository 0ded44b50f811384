"""Adoption: whatever moment an instance died at, its files end once, where they belong."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from spoolhouse.spool import layout
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal_files import JournalledFile
from spoolhouse.spool.shipment import FileStats, Shipment
from tests.integration import build

STATS = FileStats(lines=1, rows={"spans": 1})
LATER_MS = 2**60
PROCESSED = "span/p/processed/a.jsonl"
PENDING = "span/p/a.jsonl"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path


class _Died:
    """An instance that is gone, after it came as far as the test has driven it."""

    def __init__(self, spool: Path, instance_id: str = "dead") -> None:
        self.spool = spool
        self.instance = Instance.create(spool, instance_id)

    def claim(self, name: str = "a.jsonl", content: bytes = b"{}\n") -> JournalledFile:
        return build.claim(self.instance, name, content)

    def plan(self, name: str, *files: JournalledFile) -> Shipment:
        return build.plan(self.instance, name, *files)

    def acknowledge(self, shipment: Shipment) -> None:
        self.instance.journal.acknowledge(shipment.id, {segment.file: STATS for segment in shipment.segments})

    def moving(self, file: JournalledFile, target: str = PROCESSED) -> None:
        self.instance.journal.moving({file.number: target})

    def rename(self, file: JournalledFile, target: str = PROCESSED) -> None:
        (self.spool / target).parent.mkdir(parents=True, exist_ok=True)
        self.instance.path(file.number).rename(self.spool / target)

    def moved(self, file: JournalledFile, watch_until_ms: int = build.NOW_MS) -> None:
        self.instance.journal.moved({file.number: watch_until_ms})

    def die(self) -> None:
        self.instance.close()


def _files(spool: Path) -> dict[str, bytes]:
    """Return all files with their content, those of our state folder left out."""
    found = {str(path.relative_to(spool)): path for path in spool.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(layout.STATE)}


async def test_what_was_claimed_but_not_journalled_goes_back(spool: Path) -> None:
    dead = _Died(spool)
    dead.claim()
    dead.die()
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
        assert neighbour.shipments == []
        assert neighbour.completed == []
    assert _files(spool) == {PENDING: b"{}\n"}


async def test_what_goes_back_overwrites_nothing(spool: Path) -> None:
    dead = _Died(spool)
    dead.claim(content=b"first\n")
    (spool / PENDING).write_bytes(b"second\n")
    dead.die()
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
    assert _files(spool) == {PENDING: b"second\n", "span/p/a.1.jsonl": b"first\n"}


async def test_what_cannot_go_back_keeps_nobody_from_work(spool: Path) -> None:
    """Its producer has put a file where its folder was."""
    dead = _Died(spool)
    dead.claim()
    (spool / "span/p").rmdir()
    (spool / "span/p").touch()
    dead.die()
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
        assert dead.instance.listing() != []
        (spool / "span/p").unlink()
    with closing(build.Neighbour(spool, "next")) as neighbour:
        await neighbour.scan()
    assert _files(spool) == {PENDING: b"{}\n"}


async def test_what_was_planned_is_replayed_as_it_was_and_in_order(spool: Path) -> None:
    dead = _Died(spool)
    first, second = dead.claim("1.jsonl"), dead.claim("2.jsonl")
    planned = [dead.plan("z", first), dead.plan("a", second, first), dead.plan("m", second)]
    dead.die()
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
        assert neighbour.shipments == [structs.replace(shipment, replay=True) for shipment in planned]
    assert set(_files(spool)) == {"span/p/processed/1.jsonl", "span/p/processed/2.jsonl"}


CRASHES = ("planned", "acknowledged", "moving", "renamed", "moved")


def _died_at(spool: Path, crash: str) -> _Died:
    """Return an instance with one file and one shipment, dead right after the step `crash`."""
    dead = _Died(spool)
    file = dead.claim()
    shipment = dead.plan("s", file)
    steps: list[Callable[[], None]] = [
        lambda: dead.acknowledge(shipment),
        lambda: dead.moving(file),
        lambda: dead.rename(file),
        lambda: dead.moved(file),
    ]
    for step in steps[: CRASHES.index(crash)]:
        step()
    dead.die()
    return dead


@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.parametrize("times", [1, 3])
async def test_a_file_ends_once_whatever_moment_its_instance_died_at(crash: str, times: int, spool: Path) -> None:
    """And if the one that adopts it dies at once, as often as that happens."""
    _died_at(spool, crash)
    for number in range(times - 1):
        victim = build.Neighbour(spool, f"victim-{number}")
        await victim.adopt()
        victim.close()
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
        assert [shipment.id for shipment in neighbour.shipments] == (["s"] if crash == "planned" else [])
        assert _files(spool) == {PROCESSED: b"{}\n"}
        await neighbour.scan()
    assert _files(spool) == {PROCESSED: b"{}\n"}


@pytest.mark.parametrize("crash", CRASHES)
async def test_an_adopted_instance_is_removed_once_it_is_empty(crash: str, spool: Path) -> None:
    _died_at(spool, crash)
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
        await neighbour.scan()
        assert build.instances(spool) == ["own"]
        assert list(neighbour.instances) == ["own"]


async def test_a_name_that_was_taken_meanwhile_gets_a_number(spool: Path) -> None:
    dead = _Died(spool)
    file = dead.claim()
    dead.acknowledge(dead.plan("s", file))
    dead.moving(file)
    dead.die()
    (spool / PROCESSED).parent.mkdir(parents=True)
    (spool / PROCESSED).write_bytes(b"another's\n")
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
    assert _files(spool) == {PROCESSED: b"another's\n", "span/p/processed/a.1.jsonl": b"{}\n"}


async def test_a_file_that_is_acknowledged_in_part_waits_for_the_rest(spool: Path) -> None:
    dead = _Died(spool)
    file = dead.claim()
    dead.acknowledge(dead.plan("s", file))
    dead.plan("t", file)
    dead.die()
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
        assert [shipment.id for shipment in neighbour.shipments] == ["t"]
        assert neighbour.completed == []
    assert _files(spool) == {PROCESSED: b"{}\n"}


async def test_an_orphan_of_the_name_of_a_settled_file_goes_back(spool: Path) -> None:
    """The file was settled, then one of the same name was claimed, and the daemon died before it was journalled."""
    dead = _Died(spool)
    file = dead.claim(content=b"first\n")
    dead.acknowledge(dead.plan("s", file))
    dead.moving(file)
    dead.rename(file)
    dead.moved(file, LATER_MS)
    dead.claim(content=b"second\n")
    dead.die()
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
        assert neighbour.shipments == []
    assert _files(spool) == {PROCESSED: b"first\n", PENDING: b"second\n"}


async def test_a_file_in_processed_is_watched_on(spool: Path) -> None:
    dead = _Died(spool)
    file = dead.claim()
    dead.acknowledge(dead.plan("s", file))
    dead.moving(file)
    dead.rename(file)
    dead.moved(file, LATER_MS)
    dead.die()
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
        await neighbour.scan()
        assert build.instances(spool) == ["dead", "own"]
        (watched,) = neighbour.instances["dead"].settled.values()
        assert watched.target == PROCESSED
        assert neighbour.append_watch.next_due() is not None


@pytest.mark.parametrize("crash", ["renamed", "moved"])
async def test_bytes_that_came_while_nobody_watched_are_not_given_up(crash: str, spool: Path) -> None:
    _died_at(spool, crash)
    with (spool / PROCESSED).open("ab") as writer:
        writer.write(b"more\n")
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
        await neighbour.scan()
        assert list(neighbour.instances["dead"].files) == [1]
        assert neighbour.append_watch.next_due() is not None


async def test_a_file_that_was_taken_away_is_forgotten(spool: Path) -> None:
    dead = _Died(spool)
    file = dead.claim()
    dead.acknowledge(dead.plan("s", file))
    dead.instance.path(1).unlink()
    dead.die()
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
        await neighbour.scan()
        assert build.instances(spool) == ["own"]
    assert _files(spool) == {}


async def test_a_file_that_was_deleted_before_the_record_of_it_is_forgotten(spool: Path) -> None:
    dead = _Died(spool)
    file = dead.claim()
    dead.acknowledge(dead.plan("s", file))
    dead.instance.path(1).unlink()
    dead.moved(file)
    dead.die()
    with closing(build.Neighbour(spool, delete=True)) as neighbour:
        await neighbour.scan()
        await neighbour.scan()
        assert build.instances(spool) == ["own"]


@pytest.mark.parametrize(("crash", "looks"), [("moving", 1), ("renamed", 2), ("moved", 0)])
async def test_a_file_is_looked_for_no_further_than_it_takes(
    crash: str, looks: int, spool: Path, arm: Callable[[str], None]
) -> None:
    """The folder of settled files may be closed to us: it matters only where a file is in ours no more."""
    _died_at(spool, crash)
    arm(f"adopt.look@{looks + 1}x9=EACCES")
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
        assert not neighbour.adopter.held
    assert _files(spool) == {PROCESSED: b"{}\n"}


@pytest.mark.parametrize("crash", CRASHES)
async def test_a_disk_that_has_another_number_after_a_reboot_is_the_same_disk(crash: str, spool: Path) -> None:
    """A network mount, or a volume that is attached to another machine, gets its number anew each time."""
    dead = _died_at(spool, crash)
    with closing(sqlite3.connect(dead.instance.folder / layout.JOURNAL)) as database, database:
        database.execute("UPDATE file SET device = device + 1")
    with closing(build.Neighbour(spool)) as neighbour, capture_logs() as logs:
        await neighbour.scan()
        assert [shipment.id for shipment in neighbour.shipments] == (["s"] if crash == "planned" else [])
    assert _files(spool) == {PROCESSED: b"{}\n"}
    assert [entry for entry in logs if entry["event"] == "file_vanished"] == []


async def test_a_running_neighbour_is_left_alone(spool: Path) -> None:
    running = _Died(spool, "running")
    file = running.claim()
    running.plan("s", file)
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
        assert list(neighbour.instances) == ["own"]
        assert running.instance.path(1).exists()
        running.die()
        await neighbour.scan()
        assert [shipment.id for shipment in neighbour.shipments] == ["s"]


async def test_of_two_that_look_one_adopts(spool: Path) -> None:
    for number in range(10):
        dead = _Died(spool, f"dead-{number}")
        dead.plan(str(number), dead.claim(f"{number}.jsonl"))
        dead.die()
    neighbours = [build.Neighbour(spool, "one"), build.Neighbour(spool, "two")]
    await asyncio.gather(*(neighbour.scan() for neighbour in neighbours))
    replayed = [shipment.id for neighbour in neighbours for shipment in neighbour.shipments]
    assert sorted(replayed) == [str(number) for number in range(10)]
    assert set(_files(spool)) == {f"span/p/processed/{number}.jsonl" for number in range(10)}
    for neighbour in neighbours:
        neighbour.close()


@pytest.mark.parametrize("damage", ["missing", "garbage", "content"])
async def test_a_damaged_journal_is_held_and_keeps_nobody_from_work(damage: str, spool: Path) -> None:
    bad, good = _Died(spool, "a-bad"), _Died(spool, "b-good")
    bad.plan("s", bad.claim("bad.jsonl"))
    good.plan("t", good.claim("good.jsonl"))
    bad.die()
    good.die()
    journal = bad.instance.folder / layout.JOURNAL
    if damage == "missing":
        journal.unlink()
    elif damage == "garbage":
        journal.write_bytes(b"garbage" * 1000)
    else:
        with closing(sqlite3.connect(journal)) as database, database:
            database.execute("UPDATE file SET stats = 'no json'")
    with closing(build.Neighbour(spool)) as neighbour, capture_logs() as logs:
        await neighbour.scan()
        await neighbour.scan()
        assert [shipment.id for shipment in neighbour.shipments] == ["t"]
        assert neighbour.adopter.held == {"a-bad"}
        assert "a-bad" not in neighbour.instances
    assert [entry["event"] for entry in logs].count("journal_held") == 1
    assert (bad.instance.claimed / "span/p/bad.jsonl").exists()
    assert set(_files(spool)) == {"span/p/processed/good.jsonl"}


async def test_a_instance_that_died_at_birth_is_removed(spool: Path) -> None:
    (layout.state_folder(spool) / "dead").mkdir(parents=True)
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
        assert build.instances(spool) == ["own"]


async def test_after_a_stop_nothing_is_adopted(spool: Path) -> None:
    dead = _Died(spool)
    dead.plan("s", dead.claim())
    dead.die()
    with closing(build.Neighbour(spool)) as neighbour:
        neighbour.stop.set()
        await neighbour.scan()
        assert list(neighbour.instances) == ["own"]
        assert neighbour.shipments == []


async def test_a_name_with_any_bytes_is_adopted(spool: Path) -> None:
    name = os.fsdecode(b"\xff'\n.jsonl")
    dead = _Died(spool)
    dead.plan("s", dead.claim(name))
    dead.claim(os.fsdecode(b"\xfe.jsonl"))
    dead.die()
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
    assert set(_files(spool)) == {f"span/p/processed/{name}", os.fsdecode(b"span/p/\xfe.jsonl")}


async def test_looking_goes_on_until_the_stop(spool: Path) -> None:
    neighbour = build.Neighbour(spool)
    shipments_in, shipments = build.shipment_channel(10)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(neighbour.run(shipments_in))
        for number in range(3):
            dead = _Died(spool, f"dead-{number}")
            dead.plan(str(number), dead.claim(f"{number}.jsonl"))
            dead.die()
            assert (await shipments.receive()).id == str(number)
        neighbour.stop.set()
    neighbour.close()


async def test_what_cannot_go_back_is_tried_at_each_look_and_told_once(spool: Path) -> None:
    dead = _Died(spool)
    dead.claim()
    dead.die()
    (spool / "span/p").rmdir()
    (spool / "span/p").write_bytes(b"in the way")
    with closing(build.Neighbour(spool)) as neighbour, capture_logs() as logs:
        await neighbour.scan()
        await neighbour.scan()
        assert neighbour.adopter.held == {"dead"}
        (spool / "span/p").unlink()
        await neighbour.scan()
        assert neighbour.adopter.held == set()
        await neighbour.scan()
        assert build.instances(spool) == ["own"]
    assert [entry["event"] for entry in logs].count("file_not_released") == 1
    assert _files(spool) == {PENDING: b"{}\n"}


async def test_a_journal_that_is_fixed_is_held_no_more(spool: Path) -> None:
    dead = _Died(spool)
    dead.plan("s", dead.claim())
    dead.die()
    journal = dead.instance.folder / layout.JOURNAL
    good = journal.read_bytes()
    journal.write_bytes(b"garbage" * 1000)
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
        assert neighbour.adopter.held == {"dead"}
        journal.write_bytes(good)
        await neighbour.scan()
        assert neighbour.adopter.held == set()
    assert set(_files(spool)) == {PROCESSED}


async def test_a_folder_that_is_taken_away_is_held_no_more(spool: Path) -> None:
    dead = _Died(spool)
    dead.plan("s", dead.claim())
    dead.die()
    (dead.instance.folder / layout.JOURNAL).write_bytes(b"garbage" * 1000)
    with closing(build.Neighbour(spool)) as neighbour:
        await neighbour.scan()
        assert neighbour.adopter.held == {"dead"}
        dead.instance.folder.rename(spool.parent / f"{spool.name}-saved")
        await neighbour.scan()
        assert neighbour.adopter.held == set()


@pytest.mark.parametrize("place", ["journal.moved", "journal.forget", "adopt.loaded", "adopt.watched"])
async def test_a_full_disk_lets_go_of_the_folder_and_the_next_look_adopts_it(
    place: str, spool: Path, arm: Callable[[str], None]
) -> None:
    dead = _Died(spool)
    moved, left = dead.claim(), dead.claim("b.jsonl")
    dead.acknowledge(dead.plan("s", moved))
    dead.plan("t", left)
    dead.moving(moved)
    dead.rename(moved)
    dead.die()
    with closing(build.Neighbour(spool)) as neighbour:
        arm(f"{place}=ENOSPC")
        await neighbour.scan()
        assert neighbour.adopter.held == {"dead"}
        assert list(neighbour.instances) == ["own"]
        assert neighbour.append_watch.next_due() is None
        await neighbour.scan()
        assert neighbour.adopter.held == set()
        assert [shipment.id for shipment in neighbour.shipments] == ["t"]
    assert set(_files(spool)) == {PROCESSED, "span/p/processed/b.jsonl"}
