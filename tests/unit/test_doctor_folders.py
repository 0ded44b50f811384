"""The doctor's findings on the spool's folders and its disk."""

from pathlib import Path

from spoolhouse.doctor import folders
from spoolhouse.doctor.finding import Finding, Level
from spoolhouse.settings.spool import SpoolSettings


def examined(root: Path) -> list[Finding]:
    return list(folders.examine(root, SpoolSettings()))


def test_the_spool_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    assert [finding.level for finding in examined(tmp_path / "spool")] == [Level.FAULT]


def test_the_spool_spans_two_file_systems(tmp_path: Path) -> None:
    other = Path("/dev/shm")  # noqa: S108  # it is only looked at
    assert other.lstat().st_dev != tmp_path.lstat().st_dev
    finding = folders.one_file_system(tmp_path, [tmp_path, other])
    assert finding.level is Level.FAULT
    assert "/dev/shm" in finding.what  # noqa: S108  # see above


def test_space() -> None:
    levels = [folders.space(free, 10**12, 10**8).level for free in (10**7, 5 * 10**8, 4 * 10**10, 10**11)]
    assert levels == [Level.FAULT, Level.WARNING, Level.WARNING, Level.GOOD]


def test_inodes() -> None:
    cases = ((0, 0), (100, 10**6), (2000, 10**6), (9 * 10**5, 10**6))
    levels = [folders.inodes(free, total, 1000).level for free, total in cases]
    assert levels == [Level.GOOD, Level.FAULT, Level.WARNING, Level.GOOD]


def test_watches() -> None:
    assert folders.watches(10, 8192, 10).level is Level.GOOD
    few = folders.watches(8000, 8192, 10)
    assert few.level is Level.WARNING
    assert "max_user_watches=524288" in few.hint


def test_open_files() -> None:
    assert [folders.open_files(limit).level for limit in (-1, 256, 65536)] == [Level.GOOD, Level.WARNING, Level.GOOD]


def test_the_file_system_of_a_path_is_that_of_the_longest_mount() -> None:
    mounts = "/dev/a / ext4 rw 0 0\nhost:/x /var/spool nfs4 rw 0 0\ntmpfs /var/spool/my\\040own tmpfs rw 0 0\nbad\n"
    paths = {"/var/spool/a": "nfs4", "/var/spool": "nfs4", "/var/spooler": "ext4", "/var/spool/my own/b": "tmpfs"}
    assert {path: folders.file_system(mounts, path) for path in paths} == paths
