"""The producer's writer: whole files or none, nobody else's file touched, no way out of the spool."""

import errno
import json
import os
import stat
from collections.abc import Iterator
from itertools import count, repeat
from pathlib import Path

import pytest

from spoolhouse.export import SpoolWriter


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def lines(path: Path) -> list[object]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def writer(root: Path, *, max_bytes: int = 1 << 30, max_lines: int = 1 << 30) -> SpoolWriter:
    numbers = count()
    return SpoolWriter(
        root,
        max_bytes=max_bytes,
        max_lines=max_lines,
        max_age=None,
        clock=lambda: 1700000000000,
        new_id=lambda: str(next(numbers)),
    )


def test_events_become_one_file_of_their_type_and_project(tmp_path: Path) -> None:
    root = tmp_path / "not" / "there" / "yet"
    with writer(root) as spool:
        assert spool.write("span", "shop", [{"id": "ä"}, b'{"id":2}', b'{"id":3}\r\n']) == []
        spool.write("span", "shop", [{"id": 4}])
        spool.write("log", "shop", [{"id": 5}])
    assert names(root) == ["log/shop/1700000000000_1.jsonl", "span/shop/1700000000000_0.jsonl"]
    assert lines(root / "span/shop/1700000000000_0.jsonl") == [{"id": "ä"}, {"id": 2}, {"id": 3}, {"id": 4}]


def test_nothing_is_visible_before_it_is_whole(tmp_path: Path) -> None:
    with writer(tmp_path) as spool:
        spool.write("span", "shop", [{"id": 1}])
        (hidden,) = (tmp_path / "span/shop").iterdir()
        assert hidden.name.startswith(".")
        assert hidden.suffix == ".draft"
        (path,) = spool.flush()
        assert list((tmp_path / "span/shop").iterdir()) == [path]
        assert spool.flush() == []


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def work() -> None:
        with writer(tmp_path) as spool:
            spool.write("span", "shop", [{"id": 1}])
            raise LookupError

    with pytest.raises(LookupError):
        work()
    assert names(tmp_path) == []


def test_files_roll_by_lines_and_by_bytes(tmp_path: Path) -> None:
    with writer(tmp_path / "lines", max_lines=2) as spool:
        assert len(spool.write("span", "shop", [{}] * 5)) == 2
    assert [len(lines(tmp_path / "lines" / name)) for name in names(tmp_path / "lines")] == [2, 2, 1]
    with writer(tmp_path / "bytes", max_bytes=20) as spool:
        spool.write("span", "shop", [b'{"a":1}', b'{"a":2}', b'{"a":"longer than twenty"}', b'{"a":3}'])
    files = [lines(tmp_path / "bytes" / name) for name in names(tmp_path / "bytes")]
    assert files == [[{"a": 1}, {"a": 2}], [{"a": "longer than twenty"}], [{"a": 3}]]


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "span" / "shop"
    folder.mkdir(parents=True)
    (folder / "5_a.jsonl").write_text("theirs")
    ids = iter(["a", "a", "b"])
    with SpoolWriter(tmp_path, clock=lambda: 5, new_id=lambda: next(ids)) as spool:
        spool.write("span", "shop", [{}])
    assert names(tmp_path) == ["span/shop/5_a.jsonl", "span/shop/5_b.jsonl"]
    assert (folder / "5_a.jsonl").read_text() == "theirs"


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "../a", "/a", "a\\b", "a\0b", "a\nb", "x" * 256, "ä" * 128, "\ud800"]
)
def test_a_name_that_is_no_folders_is_refused(tmp_path: Path, name: str) -> None:
    with writer(tmp_path) as spool:
        for event_type, project in ((name, "shop"), ("span", name)):
            with pytest.raises(ValueError, match=r".+"):
                spool.write(event_type, project, [{}])
    assert names(tmp_path) == []


def test_a_type_named_like_the_daemons_own_folder_is_refused_but_a_project_is_not(tmp_path: Path) -> None:
    with writer(tmp_path) as spool:
        with pytest.raises(ValueError, match="folder of the daemon's own"):
            spool.write("rejected", "shop", [{}])
        spool.write("span", "processed", [{}])
    assert names(tmp_path) == ["span/processed/1700000000000_0.jsonl"]


def test_a_link_out_of_the_spool_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "spool"
    (root / "span").mkdir(parents=True)
    (root / "span" / "shop").symlink_to(outside)
    with writer(root) as spool, pytest.raises(OSError, match="symbolic link"):
        spool.write("span", "shop", [{}])
    assert list(outside.iterdir()) == []


def test_the_spool_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "spool").symlink_to("real")
    with writer(tmp_path / "spool") as spool:
        spool.write("span", "shop", [{}])
    assert names(tmp_path / "real") == ["span/shop/1700000000000_0.jsonl"]


@pytest.mark.parametrize("event", [b"", b"\n", b'{"a":\n1}', {"a": float("nan")}, {"a": "\ud800"}])
def test_what_is_no_line_of_json_is_refused_and_what_came_before_stays(
    tmp_path: Path, event: bytes | dict[str, object]
) -> None:
    with writer(tmp_path) as spool:
        with pytest.raises(ValueError, match=r".+"):
            spool.write("span", "shop", [{"id": 1}, event])
        spool.write("span", "shop", [{"id": 2}])
    assert lines(tmp_path / "span/shop/1700000000000_0.jsonl") == [{"id": 1}, {"id": 2}]


def test_bounds_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SpoolWriter(tmp_path, max_lines=0)


def test_two_writers_with_the_same_names_share_a_spool(tmp_path: Path) -> None:
    def same() -> Iterator[str]:
        yield from ("a", "b")
        yield from repeat("c")

    writers = [SpoolWriter(tmp_path, clock=lambda: 1, new_id=same().__next__) for _ in range(3)]
    for number, spool in enumerate(writers):
        spool.write("span", "shop", [{"id": number}])
    for spool in writers:
        spool.flush()
    written = [lines(tmp_path / name) for name in names(tmp_path)]
    assert written == [[{"id": 0}], [{"id": 1}], [{"id": 2}]]


def test_a_file_that_cannot_get_its_name_is_thrown_away_and_said(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, clock=lambda: 1, new_id=lambda: "x" * 300)
    spool.write("span", "shop", [{"id": 1}])
    with pytest.raises(OSError, match="too long"):
        spool.flush()
    assert names(tmp_path) == []
    assert list((tmp_path / "span/shop").iterdir()) == []


def test_the_error_of_a_full_file_is_raised_by_the_score_that_fills_it(tmp_path: Path) -> None:
    names_ = iter(["x" * 300, "a"])
    spool = SpoolWriter(tmp_path, max_bytes=10, max_age=None, new_id=names_.__next__)
    spool.write("score", "shop", {"id": 1})
    with pytest.raises(OSError, match="too long"):
        spool.create_score("shop", {"id": 2})
    assert [lines(tmp_path / name) for name in names(tmp_path)] == [[{"id": 2}]]


def test_the_error_of_a_full_file_is_raised_also_where_the_next_one_cannot_be_opened(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, max_bytes=10, max_age=None, new_id=lambda: "x" * 300)
    spool.write("span", "shop", {"id": 1})
    moved = (tmp_path / "span/shop").rename(tmp_path / "moved")
    (tmp_path / "span/shop").symlink_to(moved)
    with pytest.raises(OSError, match="Not a directory") as raised:
        spool.write("span", "shop", {"id": 2})
    assert "symbolic link" in str(raised.value.__context__)
    assert spool.flush() == []


@pytest.mark.parametrize("taken", [False, True])
def test_a_name_that_cannot_be_made_durable_is_taken_back_unless_a_daemon_was_faster(
    taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What raises is thrown away, or it would be written twice; what somebody has taken cannot be thrown away."""
    spool = writer(tmp_path)
    spool.write("span", "shop", [{"id": 1}])
    sync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            for path in (tmp_path / "span/shop").glob("*.jsonl") if taken else ():
                path.rename(tmp_path / "claimed")
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    if taken:
        assert [path.name for path in spool.flush()] == ["1700000000000_0.jsonl"]
    else:
        with pytest.raises(OSError, match="Input/output"):
            spool.flush()
    monkeypatch.undo()
    assert spool.flush() == []
    assert names(tmp_path) == (["claimed"] if taken else [])
