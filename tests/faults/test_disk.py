"""Our own disk fails at each place that reads or writes it: full, broken, read-only, of another user."""

import errno
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine import Database
from tests.faults.file_oracle import File, FileOracle
from tests.faults.life import (
    DELETING,
    LONG,
    REFUSED,
    armed,
    lead_to,
    parts,
    recover,
    strike_at,
    url_for,
    wait_until,
)
from tests.faults.oracle import AnyOracle, Oracle
from tests.faults.places import on_disk
from tests.process.daemon import Daemon

DISK = [
    place
    for place in on_disk()
    # A dropped file that cannot be read is another matter: it belongs into `failed/`.
    if not place.startswith("read.") and place not in {"journal.load", *DELETING, *REFUSED}
]
SOME = [
    "instance.before_claim", "instance.claimed", "journal.plan", "journal.cuts", "rejects.write", "rejects.rename",
    "journal.acknowledge", "journal.moving", "files.move", "settle.moved", "journal.moved",
]  # fmt: skip


BY_STORE = {"clickhouse": DISK if LONG else SOME, "duckdb": ["duckdb.rows", *(DISK if LONG else ())]}


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS", "EACCES"] if LONG else ["ENOSPC"])
@pytest.mark.parametrize(
    ("oracle", "some"),
    [(store, some) for store, all_of_them in BY_STORE.items() for some in parts(all_of_them)],
    indirect=["oracle"],
    ids=lambda some: some if isinstance(some, str) else some[0],
)
def test_the_disk_fails_once(oracle: AnyOracle, some: Sequence[str], error: str) -> None:
    """The daemon tries again by itself."""
    for place in some:
        lead_to(oracle, place)
        with Daemon(url_for(oracle, place), oracle.spool, env=armed(place, error)) as daemon:
            wait_until(lambda: oracle.settled() == len(oracle.files) or daemon.has_ended())
            assert not daemon.has_ended(), f"{place}: {daemon.told()}"
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0, f"{place}: {daemon.told()}"
    recover(oracle)
    oracle.check()


@contextmanager
def small_disk(place: Path, *, size: str = "8m") -> Iterator[Path]:
    """Mount a small file system on a folder, in a namespace of its own; yield its path from outside of that."""
    place.mkdir(parents=True)
    command = f"mount -t tmpfs -o size={size} none '{place}' && echo mounted && exec cat"
    with subprocess.Popen(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mounted\n"
        yield Path(f"/proc/{holder.pid}/root{place}")


FULL_AT = ("instance.before_claim", "journal.plan", "rejects.write", "journal.acknowledge", "settle.targets")


@pytest.mark.parametrize("place", FULL_AT)
def test_the_disk_is_full(place: str, database: Database, tmp_path: Path) -> None:
    """Really full: not a byte is free, and what was journalled may not even be forgotten."""
    with small_disk(tmp_path / "small") as spool:
        oracle = Oracle(spool=spool, database=database)
        oracle.prepare()
        ballast = spool / ".ballast"
        strike_at(
            oracle,
            place,
            lambda: fill(ballast),
            ballast.unlink,
            url=database.native_url,
            says="disk_unavailable",
            SPOOLHOUSE_SPOOL__MIN_FREE="0",
        )
        oracle.check()


@pytest.mark.parametrize("place", ["duckdb.rows", "duckdb.before_commit"])
def test_the_disk_of_a_file_is_full(place: str, prepared_file: File, tmp_path: Path) -> None:
    inside = tmp_path / "small"
    with small_disk(inside, size="64m") as spool:
        oracle = FileOracle(spool=spool, file=prepared_file.copy(spool / ".data" / "events.db"))
        ballast = spool / ".ballast"
        strike_at(
            oracle,
            place,
            lambda: fill(ballast),
            ballast.unlink,
            url=f"duckdb://{inside}/.data/events.db",
            says="duckdb_unavailable",
            SPOOLHOUSE_SPOOL__MIN_FREE="0",
        )
        shutil.copytree(spool / ".data", tmp_path / "data")
        shutil.rmtree(spool / ".data")
        oracle.file = File(path=tmp_path / "data" / "events.db")
        oracle.check()


def fill(ballast: Path) -> None:
    """Write until not a byte is free."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
