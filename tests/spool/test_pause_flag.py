"""The flag that pauses all daemons of a spool: a file beside the instances' folders."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spoolhouse.spool import layout, pause_flag


def test_a_pause_is_a_flag_that_says_since_when_and_why(tmp_path: Path) -> None:
    assert pause_flag.paused(tmp_path) is None
    assert pause_flag.pause(tmp_path, "disk swap", "2026-01-01T00:00:00Z") is None
    assert pause_flag.paused(tmp_path) == "since 2026-01-01T00:00:00Z: disk swap"
    assert pause_flag.pause(tmp_path, "again", "2026-01-02T00:00:00Z") == "since 2026-01-01T00:00:00Z: disk swap"
    assert [path.name for path in layout.state_folder(tmp_path).iterdir()] == ["paused"]
    assert pause_flag.resume(tmp_path)
    assert pause_flag.paused(tmp_path) is None
    assert not pause_flag.resume(tmp_path)


def test_of_many_that_pause_one_is_the_first(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        told = list(pool.map(lambda number: pause_flag.pause(tmp_path, str(number), "now"), range(5)))
    assert told == [None, *["since now: 0"] * 4]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"since": 1}', b"\xff" * 10_000])
def test_any_file_of_that_name_is_a_pause(content: bytes, tmp_path: Path) -> None:
    layout.state_folder(tmp_path).mkdir()
    (layout.state_folder(tmp_path) / "paused").write_bytes(content)
    assert pause_flag.paused(tmp_path) == "by a file that was put there by hand"


@pytest.mark.parametrize("kind", ["FIFO", "dangling link", "folder"])
def test_what_is_no_file_is_a_pause_too_and_hangs_nobody(kind: str, tmp_path: Path) -> None:
    flag = layout.state_folder(tmp_path) / "paused"
    flag.parent.mkdir()
    if kind == "FIFO":
        os.mkfifo(flag)
    elif kind == "folder":
        flag.mkdir()
    else:
        flag.symlink_to("nowhere")
    assert pause_flag.paused(tmp_path) is not None


def test_a_spool_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pause_flag.pause(tmp_path / "none", "", "now")
    assert not (tmp_path / "none").exists()
    assert not pause_flag.resume(tmp_path / "none")
