"""The journal: what it has said it knows survives whatever happens to the process, and damage is always told."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from spoolhouse.errors import JournalError
from spoolhouse.spool.journal import Journal
from spoolhouse.spool.journal_files import FileState, JournalledFile
from spoolhouse.spool.journal_schema import FORMAT
from spoolhouse.spool.layout import Place
from spoolhouse.spool.shipment import FileStats, Limits, Segment, Shipment

LIMITS = Limits(
    max_rows=10, max_insert_bytes=20, side_bytes=30, max_line=40, project="reject", expired="reject", future="trust"
)
STATS = FileStats(lines=5, rejected=2, mismatched=1, expired=1, future=2, rows={"spans": 3}, failure="")

STEPS = {
    "plan": "journal.plan([file], [shipment])",
    "acknowledge": "journal.acknowledge('s', {1: FileStats(lines=5, rows={'spans': 5})})",
    "moving": "journal.moving({1: 'span/p/processed/a.jsonl'})",
    "moved": "journal.moved({1: 77})",
    "forget": "journal.forget([1])",
}
CHILD = """
import sys
from pathlib import Path, PurePath
from spoolhouse.spool.shipment import FileStats, Limits, Segment, Shipment
from spoolhouse.spool.journal import Journal
from spoolhouse.spool.journal_files import JournalledFile
from spoolhouse.spool.layout import Place
place = Place(type="span", project="p", name="a.jsonl")
file = JournalledFile(number=1, place=place, device=2, inode=3, planned_to=9, claimed_ms=4, stats=FileStats())
limits = Limits(
    max_rows=10, max_insert_bytes=20, side_bytes=30, max_line=40, project="reject", expired="reject", future="trust"
)
segment = Segment(file=1, start=0, end=9)
shipment = Shipment(
    id="s", instance="i", type="span", segments=(segment,), clock_ms=6, fingerprint="f", limits=limits)
journal = Journal(Path(sys.argv[1]), "i", create=True)
for step in sys.argv[2:]:
    exec(step)
    print("done", flush=True)
sys.stdin.read()
"""
FULL_DISK = """
import os, resource, sys
from msgspec.structs import replace
from spoolhouse.errors import DiskError
exec(sys.argv[2].rsplit("for step", 1)[0])
journal.plan([file], [shipment])
resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(sys.argv[1] + "-wal"), resource.RLIM_INFINITY))
many = [replace(file, number=number) for number in range(2, 5000)]
for _ in range(3):
    try:
        journal.plan(many, [])
    except DiskError as error:
        print(error)
    else:
        sys.exit("a full disk was not told")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.plan(many[:1], [])
journal.acknowledge("s", {1: FileStats(lines=5)})
print([file.number for file in journal.load().files])
"""


def _file(number: int, name: str = "a.jsonl", project: str = "p") -> JournalledFile:
    place = Place(type="span", project=project, name=name)
    return JournalledFile(
        number=number, place=place, device=2, inode=3, planned_to=9, claimed_ms=4, stats=FileStats()
    )  # fmt: skip


def _shipment(name: str, *files: int) -> Shipment:
    return Shipment(
        id=name,
        instance="i",
        type="span",
        segments=tuple(Segment(file=file, start=0, end=9) for file in files),
        clock_ms=6,
        fingerprint="f",
        limits=LIMITS,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with closing(Journal(path, "i", create=True)) as journal:
        yield journal


@pytest.fixture
def reopened(path: Path, journal: Journal) -> Iterator[Callable[[], Journal]]:
    """Close the journal and open it again, as the next process would."""
    opened = [journal]

    def reopen() -> Journal:
        opened[-1].close()
        opened.append(Journal(path, "i", create=False))
        return opened[-1]

    yield reopen
    opened[-1].close()


def _counts(path: Path) -> dict[str, int]:
    """Return how many rows each table of a closed journal has."""
    with closing(sqlite3.connect(path)) as database:
        count = "SELECT (SELECT count(*) FROM file), (SELECT count(*) FROM shipment), (SELECT count(*) FROM segment)"
        return dict(zip(("file", "shipment", "segment"), database.execute(count).fetchone(), strict=True))


@pytest.mark.parametrize("last", STEPS)
def test_what_was_recorded_survives_a_kill_right_after(last: str, path: Path) -> None:
    names = list(STEPS)[: list(STEPS).index(last) + 1]
    command = [sys.executable, "-c", CHILD, str(path), *(STEPS[name] for name in names)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert [child.stdout.readline() for _ in names] == [b"done\n"] * len(names)
        child.send_signal(signal.SIGKILL)
    with closing(Journal(path, "i", create=False)) as journal:
        contents = journal.load()
    expected = _file(1)
    if "acknowledge" in names:
        expected = replace(expected, stats=FileStats(lines=5, rows={"spans": 5}))
    if "moving" in names:
        expected = replace(expected, state=FileState.MOVING, target="span/p/processed/a.jsonl")
    if "moved" in names:
        expected = replace(expected, state=FileState.FINAL, watch_until_ms=77)
    assert contents.files == (() if last == "forget" else (expected,))
    assert contents.planned == ((replace(_shipment("s", 1), replay=True),) if last == "plan" else ())
    assert contents.open_files == (frozenset({1}) if last == "plan" else frozenset())


def test_what_was_planned_comes_back_as_it_was_and_to_be_replayed(
    journal: Journal, reopened: Callable[[], Journal]
) -> None:
    files = [_file(1), replace(_file(2), state=FileState.FINAL, target="x", stats=STATS, watch_until_ms=8)]
    shipment = replace(_shipment("s"), segments=(Segment(file=2, start=4, end=6), Segment(file=1, start=0, end=9)))
    journal.plan(files, [shipment])
    contents = reopened().load()
    assert contents.files == tuple(files)
    assert contents.planned == (replace(shipment, replay=True),)


def test_shipments_come_back_in_the_order_of_planning(journal: Journal, reopened: Callable[[], Journal]) -> None:
    names = [str(uuid.uuid4()) for _ in range(20)]
    journal.plan([_file(1)], [_shipment(name, 1) for name in names[:8]])
    journal.plan([], [_shipment(name, 1) for name in names[8:10]])
    journal.acknowledge(names.pop(0), {})
    journal = reopened()
    journal.plan([], [_shipment(name, 1) for name in names[9:]])
    assert [shipment.id for shipment in reopened().load().planned] == names


def test_a_file_that_grew_keeps_its_state_and_covers_more(journal: Journal, reopened: Callable[[], Journal]) -> None:
    journal.plan([_file(1)], [_shipment("s", 1)])
    journal.acknowledge("s", {1: STATS})
    journal.moving({1: "t"})
    journal.moved({1: 7})
    journal.plan([replace(_file(1), planned_to=30, watch_until_ms=9)], [_shipment("tail", 1)])
    expected = replace(
        _file(1), planned_to=30, state=FileState.FINAL, target="t", watch_until_ms=9, stats=STATS
    )  # fmt: skip
    assert reopened().load().files == (expected,)


@pytest.mark.parametrize("raw", [b"\xff\xfe\n.jsonl", b"'; DROP TABLE file; --.jsonl", "字🙂.jsonl".encode()])
def test_names_may_hold_any_bytes(raw: bytes, journal: Journal, reopened: Callable[[], Journal]) -> None:
    file = _file(1, name=os.fsdecode(raw), project=os.fsdecode(raw[::-1]))
    journal.plan([file], [])
    target = f"span/{os.fsdecode(raw)}"
    journal.moving({1: target})
    assert reopened().load().files == (replace(file, state=FileState.MOVING, target=target),)


@pytest.mark.parametrize("number", [0, 2**63 - 1, 2**63, 2**64 - 1])
def test_devices_and_inodes_may_use_all_their_bits(
    number: int, journal: Journal, reopened: Callable[[], Journal]
) -> None:
    file = replace(_file(1), device=number, inode=number)
    journal.plan([file], [])
    assert reopened().load().files == (file,)


def test_an_acknowledgement_that_comes_twice_counts_once(journal: Journal) -> None:
    journal.plan([_file(1), _file(2)], [_shipment("s", 1, 2), _shipment("t", 1)])
    journal.acknowledge("s", {1: STATS, 2: FileStats(lines=1, failure="gone")})
    journal.acknowledge("s", {1: STATS, 2: STATS})
    contents = journal.load()
    assert [file.stats for file in contents.files] == [STATS, FileStats(lines=1, failure="gone")]
    assert [shipment.id for shipment in contents.planned] == ["t"]
    journal.acknowledge("t", {1: STATS})
    twice = FileStats(lines=10, rejected=4, mismatched=2, expired=2, future=4, rows={"spans": 6})
    assert journal.load().files[0].stats == twice


def test_an_acknowledgement_of_an_unknown_shipment_changes_nothing(journal: Journal) -> None:
    journal.plan([_file(1)], [])
    journal.acknowledge("nobody", {1: STATS})
    assert journal.load().files == (_file(1),)


def test_a_shipment_is_forgotten_when_the_last_of_its_files_is_final(path: Path, journal: Journal) -> None:
    journal.plan([_file(1), _file(2)], [_shipment("s", 1, 2)])
    journal.acknowledge("s", {1: STATS, 2: STATS})
    journal.moved({1: 0})
    journal.close()
    assert _counts(path) == {"file": 2, "shipment": 1, "segment": 2}
    with closing(Journal(path, "i", create=False)) as again:
        again.moved({2: 0})
    assert _counts(path) == {"file": 2, "shipment": 0, "segment": 0}


def test_a_shipment_that_is_not_acknowledged_outlives_the_moves_of_its_files(journal: Journal) -> None:
    journal.plan([_file(1)], [_shipment("s", 1)])
    journal.moved({1: 0})
    journal.forget([1])
    assert [shipment.id for shipment in journal.load().planned] == ["s"]
    assert [file.number for file in journal.load().files] == [1]


def test_a_file_that_is_not_final_is_not_forgotten(journal: Journal) -> None:
    journal.plan([_file(1), _file(2)], [_shipment("s", 1)])
    journal.acknowledge("s", {1: STATS})
    journal.moving({2: "t"})
    journal.forget([1, 2, 3])
    assert [file.number for file in journal.load().files] == [1, 2]


def test_a_file_is_forgotten_although_its_neighbour_in_a_shipment_is_not_done(path: Path, journal: Journal) -> None:
    """Nobody asks a second time to forget it: what is left behind would stay for as long as the instance lives."""
    journal.plan([_file(1), _file(2)], [_shipment("s", 1, 2)])
    journal.acknowledge("s", {1: STATS, 2: STATS})
    journal.moved({1: 0})
    journal.forget([1])
    assert [file.number for file in journal.load().files] == [2]
    journal.moved({2: 0})
    journal.forget([2])
    journal.close()
    assert _counts(path) == {"file": 0, "shipment": 0, "segment": 0}


def test_a_file_whose_tail_was_shipped_leaves_nothing_behind(path: Path, journal: Journal) -> None:
    journal.plan([_file(1)], [_shipment("s", 1)])
    journal.acknowledge("s", {1: STATS})
    journal.moved({1: 0})
    journal.plan([_file(1)], [_shipment("tail", 1)])
    journal.acknowledge("tail", {1: STATS})
    journal.forget([1])
    journal.close()
    assert _counts(path) == {"file": 0, "shipment": 0, "segment": 0}


def test_several_threads_may_write_at_once(journal: Journal) -> None:
    def work(worker: int) -> None:
        for turn in range(20):
            number = worker * 100 + turn
            journal.plan([_file(number)], [_shipment(str(number), number)])
            journal.acknowledge(str(number), {number: STATS})

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    contents = journal.load()
    assert len(contents.files) == 120
    assert all(file.stats == STATS for file in contents.files)
    assert contents.planned == ()


def test_an_error_within_a_step_undoes_all_of_it(journal: Journal) -> None:
    journal.plan([_file(1)], [_shipment("s", 1)])
    with pytest.raises(JournalError):
        journal.plan([_file(2)], [_shipment("t", 2), _shipment("s", 2)])
    with pytest.raises(JournalError):
        journal.plan([_file(3)], [_shipment("u", 4)])  # a segment of a file that nobody knows
    contents = journal.load()
    assert [file.number for file in contents.files] == [1]
    assert [shipment.id for shipment in contents.planned] == ["s"]


def test_a_full_disk_is_told_and_leaves_the_journal_usable(path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(path), CHILD]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[1, 2]"
    with closing(Journal(path, "i", create=False)) as journal:
        assert [file.number for file in journal.load().files] == [1, 2]


def test_a_closed_journal_says_so(journal: Journal) -> None:
    journal.close()
    with pytest.raises(JournalError):
        journal.load()


def test_a_missing_journal_is_not_made_up(path: Path) -> None:
    with pytest.raises(JournalError, match="missing"):
        Journal(path, "i", create=False)
    assert not path.exists()


def test_a_journal_that_is_there_is_not_made_anew(path: Path, journal: Journal) -> None:
    journal.plan([_file(1)], [])
    journal.close()
    with pytest.raises(JournalError):
        Journal(path, "i", create=True)
    with closing(Journal(path, "i", create=False)) as again:
        assert len(again.load().files) == 1


@pytest.mark.parametrize("version", [0, FORMAT - 1, FORMAT + 1])
def test_another_format_is_refused_and_left_alone(version: int, path: Path, journal: Journal) -> None:
    journal.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(JournalError, match=f"format {version}"):
        Journal(path, "i", create=False)
    assert path.read_bytes() == before


def test_a_database_without_our_tables_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {FORMAT}")
    with pytest.raises(JournalError):
        Journal(path, "i", create=False)


@pytest.mark.parametrize("content", [b"", b"x", b"garbage" * 1000, b"SQLite format 3\0", bytes(8192)])
def test_garbage_is_refused(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(JournalError):
        Journal(path, "i", create=False)
    assert path.read_bytes() == content


def test_no_descriptor_is_left_open_by_a_journal_that_cannot_be_opened(path: Path) -> None:
    path.write_bytes(b"garbage" * 1000)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count of names
    with pytest.raises(JournalError) as caught:
        Journal(path, "i", create=False)
    assert len(os.listdir("/proc/self/fd")) == before, caught.value  # noqa: PTH208  # names are enough


def _full(path: Path) -> bytes:
    """Return a journal of some pages, closed."""
    with closing(Journal(path, "i", create=True)) as journal:
        numbers = range(1, 200)
        journal.plan([_file(number) for number in numbers], [_shipment(str(number), number) for number in numbers])
    return path.read_bytes()


def test_a_truncated_journal_is_refused_wherever_it_ends(path: Path) -> None:
    content = _full(path)
    for length in range(0, len(content), 1024):
        path.write_bytes(content[:length])
        with pytest.raises(JournalError):
            Journal(path, "i", create=False)


@pytest.mark.parametrize("seed", range(4))
def test_damage_is_told_as_such_if_it_is_told(seed: int, path: Path) -> None:
    """A flipped bit in a name cannot be found; one that can be must not end the daemon."""
    content, rng = _full(path), random.Random(seed)
    told = 0
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 8, 64])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            with closing(Journal(path, "i", create=False)) as journal:
                journal.load()
        except JournalError:
            told += 1
        path.with_name(f"{path.name}-wal").unlink(missing_ok=True)
    assert told > 0


def test_what_is_no_json_in_a_whole_database_is_told(path: Path, journal: Journal) -> None:
    journal.plan([_file(1)], [])
    journal.close()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE file SET stats = '{\"unheard\": 1}'")
    with closing(Journal(path, "i", create=False)) as again, pytest.raises(JournalError):
        again.load()
