"""An instance's folder: claimed once, never lost, taken over only when its owner is gone."""

import asyncio
import errno
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path, PurePath

import pytest
from msgspec.structs import replace

from spoolhouse.errors import DiskError, JournalError
from spoolhouse.file_names import FileNames
from spoolhouse.monitoring.heartbeat import STUCK_AFTER, Heartbeat
from spoolhouse.spool import finalize, instance_dirs, layout
from spoolhouse.spool.claims import Claim
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal_files import FileState, JournalledFile
from spoolhouse.spool.journal_schema import FORMAT
from spoolhouse.spool.layout import Place
from spoolhouse.spool.shipment import Limits, Segment, Shipment
from tests.spool.nobody import as_nobody

FILES = 200
RACER = f"""
import sys
from pathlib import Path
from spoolhouse.spool.claims import Claim
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.layout import Place
instance = Instance.create(Path(sys.argv[1]), sys.argv[2])
places = [Place(type="span", project="p", name=f"{{number}}.jsonl") for number in range({FILES})]
print("ready", flush=True)
sys.stdin.readline()
for start in range(0, {FILES}, 5):
    for place, result in instance.claim(places[start : start + 5]):
        assert isinstance(result, Claim | FileNotFoundError), result
        if isinstance(result, Claim):
            print(place.name)
"""
OWNER = """
import sys
from pathlib import Path
from spoolhouse.spool.instance import Instance
instance = Instance.create(Path(sys.argv[1]), "other")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def instance(spool: Path) -> Iterator[Instance]:
    with closing(Instance.create(spool, "own")) as instance:
        yield instance


def _place(name: str = "a.jsonl") -> Place:
    return Place(type="span", project="p", name=name)


def _drop(spool: Path, name: str = "a.jsonl", content: bytes = b"{}\n") -> Place:
    path = spool / _place(name).relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return _place(name)


def _claim(instance: Instance, name: str = "a.jsonl", content: bytes = b"{}\n") -> JournalledFile:
    """Drop and claim a file; it is not in the journal yet."""
    ((_, result),) = instance.claim([_drop(instance.spool, name, content)])
    assert isinstance(result, Claim)
    return instance.add(result, 1)


def _shipment(name: str, *files: int) -> Shipment:
    return Shipment(
        id=name,
        instance="own",
        type="span",
        segments=tuple(Segment(file=file, start=0, end=3) for file in files),
        clock_ms=6,
        fingerprint="f",
        limits=Limits(max_rows=10, max_insert_bytes=20, side_bytes=30, max_line=40, project="trust"),
    )


def _all_files(spool: Path) -> set[str]:
    return {str(path.relative_to(spool)) for path in spool.rglob("*") if not path.is_dir() or path.is_symlink()}


def test_a_new_instance_is_locked_empty_and_in_the_list(spool: Path, instance: Instance) -> None:
    assert instance_dirs.names(spool) == ["own"]
    assert instance.is_empty()
    assert Instance.adopt(spool, "own") is None
    assert {path.name for path in instance.folder.iterdir() if "journal" not in path.name} == {"lock", "claimed"}


def test_a_name_that_is_taken_is_refused(spool: Path, instance: Instance) -> None:
    with pytest.raises(FileExistsError):
        Instance.create(spool, "own")
    instance.close()
    with pytest.raises(FileExistsError):
        Instance.create(spool, "own")


def test_a_spool_without_instances_has_none(spool: Path) -> None:
    assert instance_dirs.names(spool) == []
    assert Instance.adopt(spool, "nobody") is None
    (spool / layout.STATE).mkdir()
    (spool / layout.STATE / "file").touch()
    assert instance_dirs.names(spool) == []
    assert Instance.adopt(spool, "file") is None


def test_a_claimed_file_is_in_one_place(spool: Path, instance: Instance) -> None:
    place = _drop(spool, content=b"12345")
    status = (spool / place.relative).stat()
    ((told, claim),) = instance.claim([place])
    assert (told, claim) == (place, Claim(place=place, size=5, device=status.st_dev, inode=status.st_ino))
    assert instance.listing() == [place]
    assert not (spool / place.relative).exists()
    assert (instance.claimed / place.relative).read_bytes() == b"12345"
    assert not instance.is_empty()


@pytest.mark.parametrize("raw", [b"\xff\xfe.jsonl", b"a\nb.jsonl", b" .jsonl", b"-rf.jsonl", b"$(x);'\".jsonl"])
def test_a_name_may_hold_any_bytes(raw: bytes, spool: Path, instance: Instance) -> None:
    name = os.fsdecode(raw)
    file = _claim(instance, name)
    assert instance.listing() == [_place(name)]
    assert os.fsencode(instance.path(file.number)).endswith(raw)
    assert instance.release(_place(name)) == _place(name).relative
    assert (spool / _place(name).relative).exists()


def test_each_file_of_many_gets_its_own_answer(spool: Path, instance: Instance) -> None:
    _claim(instance, "in_flight.jsonl")
    places = [_drop(spool, "first.jsonl"), _place("gone.jsonl"), _drop(spool, "in_flight.jsonl"), _drop(spool)]
    results = instance.claim([*places, places[0]])
    kinds = [Claim, FileNotFoundError, FileExistsError, Claim, FileNotFoundError]
    assert [(place, type(result)) for place, result in results] == list(zip([*places, places[0]], kinds, strict=True))
    assert (spool / "span/p/in_flight.jsonl").exists()


@pytest.mark.parametrize(
    ("kind", "code"),
    [("link", errno.ELOOP), ("FIFO", errno.EINVAL), ("folder", errno.EINVAL), ("link to a folder", errno.ELOOP)],
)
def test_what_is_no_regular_file_stays_where_it_is(kind: str, code: int, spool: Path, instance: Instance) -> None:
    secret = spool / "secret"
    secret.write_text("kept")
    path = spool / _drop(spool).relative
    path.unlink()
    if kind == "link":
        path.symlink_to(secret.absolute())
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(spool.absolute())
    ((_, result),) = instance.claim([_place()])
    assert isinstance(result, OSError)
    assert result.errno == code
    assert os.path.lexists(path)
    assert instance.is_empty()
    assert secret.read_text() == "kept"


@pytest.mark.parametrize("linked", ["span", "span/p"])
def test_nothing_is_claimed_through_a_folder_that_became_a_link(linked: str, spool: Path, instance: Instance) -> None:
    place = _drop(spool)
    outside = spool.parent / "outside"
    (spool / linked).rename(outside)
    (spool / linked).symlink_to(outside.absolute())
    ((_, result),) = instance.claim([place])
    assert isinstance(result, OSError)
    assert not isinstance(result, FileNotFoundError | FileExistsError)
    assert (spool / place.relative).exists()
    assert instance.is_empty()


def test_what_cannot_be_read_stays_where_it_is(spool: Path, instance: Instance) -> None:
    place = _drop(spool)
    (spool / place.relative).chmod(0)
    with as_nobody(spool):
        ((_, result),) = instance.claim([place])
    assert isinstance(result, PermissionError)
    assert (spool / place.relative).exists()
    assert instance.is_empty()


def test_what_cannot_be_taken_out_of_its_folder_stays_where_it_is(spool: Path, instance: Instance) -> None:
    place = _drop(spool)
    (spool / place.relative).parent.chmod(0o555)
    with as_nobody(spool):
        ((_, result),) = instance.claim([place])
    (spool / place.relative).parent.chmod(0o755)
    assert isinstance(result, PermissionError)
    assert (spool / place.relative).exists()


def test_of_two_processes_one_gets_each_file(spool: Path) -> None:
    for number in range(FILES):
        _drop(spool, f"{number}.jsonl", str(number).encode())
    taken: dict[str, list[str]] = {}
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, str(spool), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name in ("one", "two")
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == b"ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"\n")
        racer.stdin.flush()
    for racer, name in zip(racers, ("one", "two"), strict=True):
        taken[name] = racer.communicate()[0].decode().split()
        assert racer.returncode == 0
    assert sorted(taken["one"] + taken["two"]) == sorted(f"{number}.jsonl" for number in range(FILES))
    for name, files in taken.items():
        claimed = layout.state_folder(spool) / name / layout.CLAIMED / "span" / "p"
        assert {path.name: path.read_text() for path in claimed.iterdir()} == {f: f.split(".")[0] for f in files}
    assert list((spool / "span" / "p").iterdir()) == []


def test_a_running_instance_keeps_its_folder_and_a_killed_one_does_not(spool: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(spool)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"ready\n"
        assert Instance.adopt(spool, "other") is None
        owner.send_signal(signal.SIGKILL)
    adopted = Instance.adopt(spool, "other")
    assert adopted is not None
    adopted.load()
    assert adopted.is_empty()
    adopted.remove()
    assert instance_dirs.names(spool) == []


def test_a_file_is_numbered_and_counted_as_the_journal_says(spool: Path, instance: Instance) -> None:
    first, second = _claim(instance, "1.jsonl"), _claim(instance, "2.jsonl")
    instance.journal.plan([first, second], [_shipment("s", 1, 2), _shipment("t", 1), _shipment("u", 2)])
    instance.journal.acknowledge("u", {})
    instance.close()
    with closing(_adopt(spool)) as again:
        contents = again.load()
        assert contents.files == (first, second)
        assert again.files == {1: first, 2: second}
        assert again.unacknowledged == {1: 2, 2: 1}
        assert _claim(again, "3.jsonl").number == 3


def _adopt(spool: Path, instance_id: str = "own") -> Instance:
    instance = Instance.adopt(spool, instance_id)
    assert instance is not None
    return instance


def test_a_file_is_where_the_journal_says(instance: Instance) -> None:
    file = _claim(instance)
    assert instance.path(1) == instance.claimed / "span/p/a.jsonl"
    file.state, file.target = FileState.MOVING, "span/p/processed/a.1.jsonl"
    assert instance.path(1) == instance.claimed / "span/p/a.jsonl"
    file.state = FileState.FINAL
    assert instance.path(1) == instance.spool / "span/p/processed/a.1.jsonl"


def test_a_deleted_file_is_not_mistaken_for_the_next_of_its_name(spool: Path, instance: Instance) -> None:
    """It may have died between the record of the deletion and its removal from the journal."""
    first = _claim(instance)
    instance.journal.plan([first], [_shipment("s", 1)])
    instance.journal.acknowledge("s", {})
    instance.path(1).unlink()
    instance.journal.moved({1: 2**60})
    second = _claim(instance)
    instance.journal.plan([second], [_shipment("t", 2)])
    instance.close()
    with closing(_adopt(spool)) as again:
        assert again.load().files == (second,)
        assert list(again.files) == [2]
    with closing(_adopt(spool)) as again:
        assert [file.number for file in again.journal.load().files] == [2]


def test_a_released_file_is_back_where_it_was_dropped(spool: Path, instance: Instance) -> None:
    _claim(instance, content=b"1")
    assert instance.release(_place()) == PurePath("span/p/a.jsonl")
    assert (spool / "span/p/a.jsonl").read_bytes() == b"1"
    assert instance.listing() == []


def test_a_released_file_overwrites_nothing(spool: Path, instance: Instance) -> None:
    _claim(instance, content=b"1")
    _drop(spool, content=b"2")
    _drop(spool, "a.1.jsonl", content=b"3")
    assert instance.release(_place()) == PurePath("span/p/a.2.jsonl")
    found = {path.name: path.read_bytes() for path in (spool / "span/p").iterdir()}
    assert found == {"a.jsonl": b"2", "a.1.jsonl": b"3", "a.2.jsonl": b"1"}


def test_the_longest_name_is_released_beside_itself(spool: Path, instance: Instance) -> None:
    name = "ü" * 124 + ".jsonl"
    _claim(instance, name, content=b"1")
    _drop(spool, name, content=b"2")
    released = instance.release(_place(name))
    assert (spool / released).read_bytes() == b"1"
    assert FileNames().take("span", released.name)


def test_a_file_is_released_although_its_folder_is_gone(spool: Path, instance: Instance) -> None:
    _claim(instance)
    (spool / "span/p").rmdir()
    (spool / "span").rmdir()
    assert instance.release(_place()) == PurePath("span/p/a.jsonl")
    assert (spool / "span/p/a.jsonl").exists()


def test_a_closed_instance_claims_nothing_and_releases_nothing(spool: Path, instance: Instance) -> None:
    """A thread may outlive the task that was waiting for it, and its daemon's lock."""
    _claim(instance, "mine.jsonl")
    place = _drop(spool)
    instance.close()
    ((_, result),) = instance.claim([place])
    assert isinstance(result, OSError)
    assert not isinstance(result, FileNotFoundError | FileExistsError)
    assert (spool / place.relative).exists()
    with pytest.raises(OSError, match="closed"):
        instance.release(_place("mine.jsonl"))
    instance.close()


def test_a_folder_without_a_journal_but_with_files_is_held(spool: Path, instance: Instance) -> None:
    _claim(instance)
    instance.close()
    (instance.folder / layout.JOURNAL).unlink()
    before = _all_files(spool)
    for _ in range(2):
        with pytest.raises(JournalError, match="missing"):
            Instance.adopt(spool, "own")
        assert _all_files(spool) == before


@pytest.mark.parametrize("claimed", [True, False])
@pytest.mark.parametrize("damage", ["garbage", "empty", "newer"])
def test_a_journal_that_cannot_be_read_is_held_with_all_that_is_there(
    damage: str, claimed: bool, spool: Path, instance: Instance
) -> None:
    """Even with nothing claimed: it may know of bytes that were appended to a file in processed/."""
    if claimed:
        _claim(instance)
    instance.close()
    journal = instance.folder / layout.JOURNAL
    if damage == "newer":
        with closing(sqlite3.connect(journal)) as database:
            database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    else:
        journal.write_bytes(b"" if damage == "empty" else b"garbage" * 1000)
    before, content = _all_files(spool), journal.read_bytes()
    with pytest.raises(JournalError):
        Instance.adopt(spool, "own")
    assert (_all_files(spool), journal.read_bytes()) == (before, content)


def test_a_journal_that_cannot_be_looked_at_just_now_lets_go_of_the_folder(
    spool: Path, instance: Instance, arm: Callable[[str], None]
) -> None:
    _claim(instance)
    instance.close()
    arm("journal.open=EIO")
    with pytest.raises(DiskError):
        Instance.adopt(spool, "own")
    with closing(_adopt(spool)) as again:
        again.load()
        assert again.listing() == [_place()]


@pytest.mark.parametrize("look", [1, 2])
def test_a_journal_is_not_removed_for_a_look_that_fails(
    look: int, spool: Path, instance: Instance, arm: Callable[[str], None]
) -> None:
    """A disk that fails just then does not mean that the folder was only half made."""
    instance.close()
    journal = instance.folder / layout.JOURNAL
    journal.write_bytes(b"garbage" * 1000)
    before = _all_files(spool)
    arm(f"instance.exists@{look}=EIO")
    with pytest.raises(OSError, match="Input/output error"):
        Instance.adopt(spool, "own")
    assert _all_files(spool) == before


@pytest.mark.parametrize("left", [(), ("lock",), ("lock", layout.JOURNAL), ("claimed",), ("claimed/span/p", "lock")])
def test_a_folder_that_died_at_birth_or_while_it_was_removed_is_removed(left: tuple[str, ...], spool: Path) -> None:
    folder = layout.state_folder(spool) / "dead"
    folder.mkdir(parents=True)
    for name in left:
        if "claimed" in name:
            (folder / name).mkdir(parents=True)
        else:
            (folder / name).touch()
    assert Instance.adopt(spool, "dead") is None
    assert instance_dirs.names(spool) == []


def test_a_folder_of_another_user_is_held(spool: Path, instance: Instance) -> None:
    instance.close()
    (instance.folder / layout.LOCK).chmod(0)
    with as_nobody(spool), pytest.raises(JournalError, match="Permission denied"):
        Instance.adopt(spool, "own")
    assert instance_dirs.names(spool) == ["own"]


def test_a_claimed_folder_that_cannot_be_listed_does_not_pass_for_empty(spool: Path, instance: Instance) -> None:
    _claim(instance)
    instance.close()
    (instance.folder / layout.JOURNAL).unlink()
    hidden = instance.claimed / "span"
    hidden.chmod(0)
    with as_nobody(spool), pytest.raises(JournalError):
        Instance.adopt(spool, "own")
    hidden.chmod(0o755)
    assert (instance.claimed / "span/p/a.jsonl").exists()


def test_removal_leaves_nothing(spool: Path, instance: Instance) -> None:
    _claim(instance)
    instance.release(_place())
    del instance.files[1]
    assert instance.is_empty()
    instance.remove()
    assert list(layout.state_folder(spool).iterdir()) == []
    instance.close()


def test_removal_deletes_no_file_that_came_since(spool: Path, instance: Instance) -> None:
    _drop(spool)
    instance.claim([_place()])
    instance.remove()
    with closing(_adopt(spool)) as again:
        again.load()
        assert again.listing() == [_place()]


def test_a_claim_that_goes_on_while_the_instance_is_removed_loses_no_file(spool: Path) -> None:
    """A stage crashes, its task is cancelled, but the thread that claims for it is still at work."""
    for turn in range(10):
        instance = Instance.create(spool, f"own-{turn}")
        places = [_drop(spool, f"{turn}-{number}.jsonl") for number in range(40)]
        began = threading.Event()

        def claim(instance: Instance = instance, places: list[Place] = places, began: threading.Event = began) -> None:
            for place in places:
                instance.claim([place])
                began.set()

        thread = threading.Thread(target=claim)
        thread.start()
        began.wait()
        instance.remove()
        thread.join()
        left = sum(path.name.endswith(".jsonl") for path in spool.rglob(f"{turn}-*"))
        assert left == len(places)


def test_instances_are_born_and_removed_while_neighbours_look_for_dead_ones(spool: Path) -> None:
    """Until a new folder is locked, it looks like one that died at birth; while it is removed, like one to adopt."""
    done = threading.Event()

    def live(number: int) -> None:
        for turn in range(8):
            instance = Instance.create(spool, f"{number}-{turn}")
            assert instance.is_empty()
            instance.remove()

    def look() -> None:
        while not done.is_set():
            for instance_id in instance_dirs.names(spool):
                adopted = Instance.adopt(spool, instance_id)
                if adopted is not None:
                    adopted.load()
                    assert adopted.is_empty()
                    adopted.remove()

    with ThreadPoolExecutor(6) as pool:
        neighbours = [pool.submit(look) for _ in range(3)]
        living = [pool.submit(live, number) for number in range(3)]
        try:
            for future in living:
                future.result()
        finally:
            done.set()
        for future in neighbours:
            future.result()
    assert _all_files(spool) == set()


def test_what_is_claimed_at_the_wrong_depth_keeps_the_home(spool: Path, instance: Instance) -> None:
    (instance.claimed / "stray").write_text("kept")
    (instance.claimed / "link").symlink_to(spool.absolute())
    assert instance.listing() == []
    assert not instance.is_empty()
    instance.remove()
    assert (instance.claimed / "stray").read_text() == "kept"


def test_a_file_that_is_claimed_and_journalled_is_found_by_the_next(spool: Path, instance: Instance) -> None:
    file = _claim(instance)
    instance.journal.plan([replace(file, planned_to=3)], [_shipment("s", 1)])
    instance.close()
    with closing(_adopt(spool)) as again:
        assert [shipment.id for shipment in again.load().planned] == ["s"]
        assert again.path(1).read_bytes() == b"{}\n"


@pytest.mark.parametrize("kind", ["file", "link", "FIFO"])
def test_a_name_that_changes_hands_after_the_look_is_given_back(
    kind: str, spool: Path, instance: Instance, act_at: Callable[[str, Callable[[], object]], None]
) -> None:
    """What was opened, and seen to be a regular file that we can read, is what must have been claimed."""
    place = _drop(spool)
    path = spool / place.relative

    def swap() -> None:
        path.rename(path.with_name("before.tmp"))
        if kind == "file":
            path.write_bytes(b"another")
        elif kind == "link":
            path.symlink_to("/etc/passwd")
        else:
            os.mkfifo(path)

    act_at("instance.before_claim", swap)
    ((_, result),) = instance.claim([place])
    assert isinstance(result, OSError)
    assert "another file took its name" in str(result)
    assert instance.listing() == []
    assert os.path.lexists(path)
    assert path.with_name("before.tmp").read_bytes() == b"{}\n"


@pytest.mark.parametrize("place", ["instance.locked", "instance.journal_made", "files.sync_folder", "instance.made"])
def test_a_birth_that_the_disk_refuses_leaves_nothing_and_can_be_tried_again(
    place: str, spool: Path, arm: Callable[[str], None]
) -> None:
    arm(f"{place}=ENOSPC")
    with pytest.raises(OSError, match="No space left"):
        Instance.create(spool, "own")
    assert _all_files(spool) == set()
    Instance.create(spool, "own").close()


def test_a_file_that_was_set_aside_leaves_its_name_to_the_next(spool: Path, instance: Instance) -> None:
    first = _claim(instance, content=b"1\n")
    instance.journal.plan([first], [])
    instance.move_to_removing(first.number)
    second = _claim(instance, content=b"2\n")
    assert (instance.path(1).read_bytes(), instance.path(2).read_bytes()) == (b"1\n", b"2\n")
    assert instance.move_to_removing(1) == instance.path(1)
    instance.journal.plan([second], [])
    instance.close()
    with closing(_adopt(spool)) as again:
        again.load()
        assert (again.path(1).read_bytes(), again.path(2).read_bytes()) == (b"1\n", b"2\n")
        assert not again.is_empty()
        again.remove()
    kept = {f".spoolhouse/own/{path}" for path in ("leaving/1", "claimed/span/p/a.jsonl")}
    assert kept <= _all_files(spool), "no file is ever deleted with its folder"


def test_each_file_that_is_moved_is_a_sign_of_life(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of many shipments are moved together: on a slow disk that takes longer than a stage may be silent."""
    files = [_claim(instance, f"{number}.jsonl") for number in range(3)]
    for file in files:
        file.planned_to = instance.size(file.number)
    instance.journal.plan(files, [])
    clock, stuck = [0.0], list[dict[str, float]]()
    life = Heartbeat(lambda: clock[0])

    def slowly(name: str) -> None:
        if name == "settle.before_move":
            clock[0] += STUCK_AFTER - 1
            stuck.append(life.stuck())

    monkeypatch.setattr(finalize, "reach", slowly)
    moves = finalize.Finalizer(
        instance, [file.number for file in files], delete=False, append_watch_ms=0, now_ms=lambda: 1
    )
    asyncio.run(life.follow("settle", asyncio.to_thread(moves.go_on)))
    assert stuck == [{}] * len(files)
    assert len(moves.done) == len(files)
