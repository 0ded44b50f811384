"""File operations on a real disk, with real processes and threads in each other's way."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spoolhouse.spool import fs

HOLD_LOCK = """
import sys
from pathlib import Path
from spoolhouse.spool import fs
assert fs.lock(Path(sys.argv[1])) is not None
print("locked", flush=True)
sys.stdin.read()
"""
MANY = 50


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where files are moved to."""
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def _at_once(count: int, work: Callable[[int], object]) -> list[object]:
    """Return what `work` returned, or raised as OSError, for 0 … count-1, all started at the same moment."""
    barrier = threading.Barrier(count)

    def one(number: int) -> object:
        barrier.wait()
        try:
            return work(number)
        except OSError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count of names


def test_of_many_that_want_one_name_one_wins_and_nothing_is_lost(folder: Path, tmp_path: Path) -> None:
    sources = [tmp_path / f"{number}.jsonl" for number in range(MANY)]
    for number, source in enumerate(sources):
        source.write_text(str(number))
    results = _at_once(MANY, lambda number: fs.rename_without_clobber(sources[number], folder / "same.jsonl"))
    winners = [number for number, result in enumerate(results) if result is None]
    assert len(winners) == 1
    assert all(isinstance(result, FileExistsError) for result in results if result is not None)
    assert (folder / "same.jsonl").read_text() == str(winners[0])
    assert [source.exists() for source in sources] == [number != winners[0] for number in range(MANY)]
    assert os.listdir(folder) == ["same.jsonl"]  # noqa: PTH208  # names are enough


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_nothing_that_stands_there_is_overwritten(kind: str, folder: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "a.jsonl", folder / "a.jsonl"
    source.write_text("new")
    if kind == "file":
        target.write_text("old")
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to("nowhere")
    before = target.lstat()
    with pytest.raises(FileExistsError):
        fs.rename_without_clobber(source, target)
    assert (source.read_text(), target.lstat()) == ("new", before)
    assert os.listdir(folder) == ["a.jsonl"]  # noqa: PTH208  # names are enough


def test_one_file_that_many_want_is_moved_once(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text("once")
    results = _at_once(8, lambda number: fs.rename_without_clobber(source, folder / f"{number}.jsonl"))
    assert not source.exists()
    assert Counter(type(result) for result in results) == {type(None): 1, FileNotFoundError: 7}
    assert [path.read_text() for path in folder.iterdir()] == ["once"]


def test_a_missing_source_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fs.rename_without_clobber(tmp_path / "none", folder / "a")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("link", errno.ELOOP),
        ("link to a FIFO", errno.ELOOP),
        ("dangling link", errno.ELOOP),
        ("FIFO", errno.EINVAL),
        ("folder", errno.EINVAL),
        ("device", errno.EINVAL),
        ("socket", errno.ENXIO),
        ("nothing", errno.ENOENT),
    ],
)
def test_only_a_regular_file_is_opened_and_nothing_hangs(kind: str, code: int, tmp_path: Path) -> None:
    path, other = Path("/dev/null") if kind == "device" else tmp_path / "a", tmp_path / "other"
    other.touch()
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "link":
            path.symlink_to(other)
        elif kind == "link to a FIFO":
            os.mkfifo(tmp_path / "fifo")
            path.symlink_to(tmp_path / "fifo")
        elif kind == "dangling link":
            path.symlink_to("nowhere")
        elif kind == "FIFO":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "socket":
            listener.bind(str(path))
        before = _open_descriptors()
        with pytest.raises(OSError, match=r".") as caught:
            fs.open_regular(path)
        assert (caught.value.errno, _open_descriptors()) == (code, before)


def test_a_regular_file_is_opened_for_reading_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    descriptor, _ = fs.open_regular(tmp_path / "a")
    try:
        assert os.read(descriptor, 100) == b"content"
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(descriptor, b"x")
    finally:
        os.close(descriptor)


def test_a_file_that_cannot_be_looked_at_is_not_left_open(tmp_path: Path, arm: Callable[[str], None]) -> None:
    """A network mount may forget a file that was opened just now; it is tried again and again."""
    (tmp_path / "a").touch()
    before = _open_descriptors()
    arm("files.opened=ESTALE")
    with pytest.raises(OSError, match="Stale"):
        fs.open_regular(tmp_path / "a")
    assert _open_descriptors() == before


def test_a_lock_has_one_holder_until_it_is_closed(tmp_path: Path) -> None:
    first = fs.lock(tmp_path / "lock")
    assert first is not None
    before = _open_descriptors()
    assert fs.lock(tmp_path / "lock") is None
    assert _open_descriptors() == before
    os.close(first)
    second = fs.lock(tmp_path / "lock")
    assert second is not None
    os.close(second)


def test_of_many_that_want_a_lock_one_gets_it(tmp_path: Path) -> None:
    taken = [number for number in _at_once(MANY, lambda _: fs.lock(tmp_path / "lock")) if isinstance(number, int)]
    assert len(taken) == 1
    os.close(taken[0])


def test_a_stopped_process_keeps_its_lock_and_a_killed_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"locked\n"
        assert fs.lock(path) is None
        child.send_signal(signal.SIGSTOP)
        assert os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT) is not None
        assert fs.lock(path) is None
        child.kill()
    descriptor = fs.lock(path)
    assert descriptor is not None
    os.close(descriptor)


def test_no_child_inherits_a_lock(tmp_path: Path) -> None:
    first = fs.lock(tmp_path / "lock")
    assert first is not None
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False) as child:
        assert child.stdout is not None
        child.stdout.readline()
        os.close(first)
        second = fs.lock(tmp_path / "lock")
        assert second is not None
        os.close(second)
        child.kill()


def test_a_lock_on_a_name_that_was_replaced_counts_for_nothing(tmp_path: Path) -> None:
    """Each holder removes the file as it goes, between others' opening and locking it: still one is in at a time."""
    path, inside, crowds, turns = tmp_path / "lock", [0], [0], [0]

    def work(_: int) -> None:
        for _ in range(300):
            try:
                descriptor = fs.lock(path)
            except FileNotFoundError:
                continue
            if descriptor is not None:
                inside[0] += 1
                turns[0] += 1
                os.fstat(descriptor)  # lets the others run
                crowds[0] += inside[0] > 1
                inside[0] -= 1
                path.unlink()
                os.close(descriptor)

    assert _at_once(8, work) == [None] * 8
    assert turns[0] > 0
    assert crowds[0] == 0


def test_a_lock_is_never_taken_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        fs.lock(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_in_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fs.lock(tmp_path / "gone" / "lock")


def test_locks_that_lock_pass_the_check_which_leaves_nothing(tmp_path: Path) -> None:
    assert _at_once(16, lambda _: fs.check_locks_lock(tmp_path)) == [None] * 16
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made_by_many_at_once(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c" / "d"
    assert _at_once(MANY, lambda _: fs.make_folders(deep, below=tmp_path)) == [None] * MANY
    assert deep.is_dir()


@pytest.mark.parametrize("opened", [False, True])
def test_a_folder_whose_name_could_not_be_synced_is_made_anew(
    opened: bool, tmp_path: Path, arm: Callable[[str], None]
) -> None:
    """Else the next attempt would find it, and not sync its name."""
    arm("files.sync_folder=EIO,files.opened_made@2=EIO")
    before, deep = _open_descriptors(), tmp_path / "a" / "b"

    def make() -> None:
        with fs.opened_folders(deep, below=tmp_path) if opened else nullcontext():
            fs.make_folders(deep, below=tmp_path)

    with pytest.raises(OSError, match="Input/output error"):
        make()
    assert not deep.exists()
    make()
    assert deep.is_dir()
    assert _open_descriptors() == before


def test_a_file_in_the_way_of_a_folder_is_told_and_kept(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("kept")
    with pytest.raises(OSError, match=r"File exists|[Nn]ot a (directory|folder)"):
        fs.make_folders(tmp_path / "a" / "b", below=tmp_path)
    assert (tmp_path / "a").read_text() == "kept"


def test_a_folder_that_is_gone_needs_no_sync(tmp_path: Path) -> None:
    fs.sync_folders([tmp_path, tmp_path / "gone", tmp_path])


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often each folder is synced."""
    counts: Counter[str] = Counter()
    sync = fs.sync_folder

    def count(folder: Path | str) -> None:
        sync(folder)
        counts[os.fspath(folder)] += 1

    monkeypatch.setattr(fs, "sync_folder", count)
    return counts


def test_a_folder_that_changes_after_its_sync_has_begun_is_synced_again(tmp_path: Path, synced: Counter[str]) -> None:
    """Else the journal would say that a file is there whose name a power loss takes away."""
    syncs, folders = fs.FolderSyncs(), [tmp_path / str(number) for number in range(MANY)]
    for folder in folders:
        folder.mkdir()
        syncs.changed(folder)
    syncs.begin()
    syncs.changed(folders[7])
    syncs.finish()
    assert synced == {os.fspath(folder): 1 + (folder == folders[7]) for folder in folders}
    syncs.finish()
    assert synced.total() == MANY + 1


def test_the_error_of_a_sync_is_raised_also_if_its_folder_has_changed_since(
    tmp_path: Path, synced: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux tells an error once: the later sync succeeds, although the earlier names may be lost."""
    syncs, folders = fs.FolderSyncs(), [tmp_path / str(number) for number in range(MANY)]
    failed = threading.Event()

    def fail(_: Path | str) -> None:
        failed.set()
        raise OSError(errno.EIO, "the disk fails")

    for folder in folders:
        folder.mkdir()
        syncs.changed(folder)
    with monkeypatch.context() as patch:
        patch.setattr(fs, "sync_folder", fail)
        syncs.begin()
        assert failed.wait(60)
    for folder in folders:
        syncs.changed(folder)
    with pytest.raises(OSError, match="the disk fails"):
        syncs.finish()
    synced.clear()
    syncs.finish()
    assert synced == {os.fspath(folder): 1 for folder in folders}


def test_folders_whose_sync_failed_are_synced_by_the_next_call(
    tmp_path: Path, synced: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs, good, bad = fs.FolderSyncs(), tmp_path / "good", tmp_path / "bad"
    sync = fs.sync_folder

    def refuse(folder: Path | str) -> None:
        if folder == os.fspath(bad):
            raise OSError(errno.EIO, "the disk fails")
        sync(folder)

    for folder in (good, bad):
        folder.mkdir()
        syncs.changed(folder)
    with monkeypatch.context() as patch:
        patch.setattr(fs, "sync_folder", refuse)
        for _ in range(2):
            with pytest.raises(OSError, match="the disk fails"):
                syncs.finish()
    assert synced == {os.fspath(good): 1}
    syncs.finish()
    assert synced == {os.fspath(good): 1, os.fspath(bad): 1}


LINES = st.lists(
    st.one_of(st.integers(min_value=0, max_value=4), st.sampled_from([65534, 65535, 65536, 65537, 131071])),
    max_size=6,
)


@st.composite
def _range_of_lines(draw: st.DrawFn) -> tuple[bytes, int, int]:
    content = b"\n".join(b"x" * length for length in draw(LINES))
    first = draw(st.integers(min_value=0, max_value=len(content)))
    second = draw(st.integers(min_value=0, max_value=len(content)))
    return content, min(first, second), max(first, second)


@given(_range_of_lines())
@settings(max_examples=200, deadline=None)
def test_line_starts_are_found_wherever_a_block_ends(drawn: tuple[bytes, int, int]) -> None:
    content, start, end = drawn
    descriptor = os.memfd_create("content")
    try:
        with open(descriptor, "wb", closefd=False) as file:  # a descriptor has no path
            file.write(content)
        after = 0 if start == 0 else content.find(b"\n", start - 1) + 1 or end
        assert fs.line_start_at_or_after(descriptor, start, end) == min(after, end)
        assert fs.last_line_start(descriptor, start, end) == (content.rfind(b"\n", start, end) + 1 or start)
    finally:
        os.close(descriptor)


def test_line_starts_are_found_in_a_file_that_got_shorter(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\ntwo")
    descriptor, _ = fs.open_regular(tmp_path / "a")
    try:
        assert fs.line_start_at_or_after(descriptor, 5, 1000) == 1000
        assert fs.last_line_start(descriptor, 0, 200_000) == 4
    finally:
        os.close(descriptor)
