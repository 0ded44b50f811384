"""The port to a storage: what each kind of it has to hold; so far there is the local one."""

import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spoolhouse.spool import fs
from spoolhouse.spool.storage import FileStorageProvider, LocalFileStorage


@pytest.fixture
def storage(tmp_path: Path) -> FileStorageProvider:
    return LocalFileStorage(tmp_path / "not" / "there")


def test_what_is_written_is_there_and_listed_from_the_oldest_on(storage: FileStorageProvider, tmp_path: Path) -> None:
    assert storage.list("") == []
    for number, name in enumerate(("span/shop/b", "span/shop/a", "span/web/c", "log/shop/d")):
        storage.write(name, name)
        os.utime(tmp_path / "not" / "there" / name, (number, number))
    assert storage.type == "local"
    assert [one.path for one in storage.list("span/shop/")] == ["span/shop/b", "span/shop/a"]
    assert [one.path for one in storage.list("span/")] == ["span/shop/b", "span/shop/a", "span/web/c"]
    assert [one.path for one in storage.list("span/w")] == ["span/web/c"]
    assert len(storage.list("")) == 4
    [one] = storage.list("log")
    assert (one.size, one.last_modified.timestamp()) == (10, 3.0)
    assert storage.read("log/shop/d") == b"log/shop/d"
    assert (storage.exists("log/shop/d"), storage.exists("log/shop/e"), storage.exists("x/y/z")) == (True, False, False)


def test_nothing_is_replaced(storage: FileStorageProvider) -> None:
    storage.write("a", b"first")
    storage.write("b", b"second")
    with pytest.raises(FileExistsError):
        storage.write("a", b"third")
    with pytest.raises(FileExistsError):
        storage.move("b", "a")
    assert (storage.read("a"), storage.read("b")) == (b"first", b"second")
    assert len(storage.list("")) == 2


def test_what_cannot_be_made_durable_is_as_it_was(
    storage: FileStorageProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write("span/shop/a", b"x")
    storage.write("log/b", b"x")
    sync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    with pytest.raises(OSError, match="Input/output"):
        storage.write("log/c", b"x")
    with pytest.raises(OSError, match="Input/output"):
        storage.move("log/b", "span/shop/b")
    assert sorted(one.path for one in storage.list("")) == ["log/b", "span/shop/a"]


def test_what_is_neither_durable_nor_undone_is_an_error(
    storage: FileStorageProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that fails, and is read-only from then on."""
    storage.write("log/b", b"x")

    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            monkeypatch.setattr(fs, "rename_without_clobber", stay)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def stay(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output"):
        storage.move("log/b", "log/c")


def test_of_several_movers_one_wins(storage: FileStorageProvider) -> None:
    storage.write("span/shop/a", b"x")

    def move(number: int) -> bool:
        try:
            storage.move("span/shop/a", f"claimed/{number}/a")
        except FileNotFoundError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(move, range(8)))
    assert won.count(True) == 1
    assert [one.path for one in storage.list("")] == [f"claimed/{won.index(True)}/a"]


def test_a_deleted_file_is_gone_and_may_be_gone_already(storage: FileStorageProvider) -> None:
    storage.write("a/b", b"x")
    storage.delete("a/b")
    storage.delete("a/b")
    storage.delete("x/y/z")
    with pytest.raises(FileNotFoundError):
        storage.read("a/b")
    with pytest.raises(FileNotFoundError):
        storage.move("a/b", "c")


OPERATIONS: list[Callable[[FileStorageProvider, str], object]] = [
    lambda storage, path: storage.write(path, b""),
    lambda storage, path: storage.read(path),
    lambda storage, path: storage.list(path),
    lambda storage, path: storage.delete(path),
    lambda storage, path: storage.move(path, "b"),
    lambda storage, path: storage.move("a", path),
]


@pytest.mark.parametrize("path", ["../a", "/etc/passwd", "a/../../b"])
@pytest.mark.parametrize("operation", range(len(OPERATIONS)))
def test_no_path_leads_out(storage: FileStorageProvider, operation: int, path: str) -> None:
    storage.write("a", b"x")
    with pytest.raises(ValueError, match="leads out"):
        OPERATIONS[operation](storage, path)


def test_no_link_is_followed(tmp_path: Path) -> None:
    storage = LocalFileStorage(tmp_path / "in")
    storage.write("a", b"x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "secret").write_text("secret")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "file").symlink_to(tmp_path / "out" / "secret")
    for operation in OPERATIONS[:2] + OPERATIONS[4:]:
        with pytest.raises(OSError, match=r".+"):
            operation(storage, "link/secret")
    with pytest.raises(OSError, match=r".+"):
        storage.read("file")
    assert [one.path for one in storage.list("")] == ["a"]
    assert storage.list("link/") == []
    assert not storage.exists("link/secret")
    assert (tmp_path / "out" / "secret").read_text() == "secret"
