"""Room on a disk: what is short, said with its figures, and for how long."""

import pytest

from spoolhouse.spool.disk_space import FreeSpace, MinFree, shortage

MIB = 1 << 20
LEAST = MinFree(bytes=100 * MIB, inodes=1000)


@pytest.mark.parametrize(
    ("megabytes", "inodes", "was_short", "told"),
    [
        (100, 1000, False, ""),
        (99, 1000, False, "99 MiB are free, spool.min_free is 100 MiB"),
        (0, 0, False, "0 MiB are free, spool.min_free is 100 MiB"),
        (500, 999, False, "999 inodes are free, spool.min_free_inodes is 1000"),
        (500, None, False, ""),
        (124, 5000, True, "124 MiB are free, spool.min_free is 100 MiB"),
        (125, 1249, True, "1249 inodes are free, spool.min_free_inodes is 1000"),
        (125, 1250, True, ""),
        (125, None, True, ""),
    ],
)
def test_what_is_short(megabytes: int, inodes: int | None, was_short: bool, told: str) -> None:
    assert shortage(FreeSpace(bytes=megabytes * MIB, inodes=inodes), LEAST, was_short=was_short) == told


def test_nothing_asked_for_is_never_short() -> None:
    nothing = MinFree(bytes=0, inodes=0)
    for was_short in (True, False):
        assert shortage(FreeSpace(bytes=0, inodes=0), nothing, was_short=was_short) == ""
