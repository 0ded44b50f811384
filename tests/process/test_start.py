"""The start: signals count from its first moment, and a spool whose disk is not ready yet is waited for."""

import os
import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine import Database
from tests.faults.test_disk import fill
from tests.process.daemon import Daemon, drop, once
from tests.process.inputs import good
from tests.process.test_notify import Manager

SPANS = "mastra_admin_spans"
HASTE = {"SPOOLHOUSE_RETRY__FIRST": "0.05", "SPOOLHOUSE_RETRY__CAP": "0.1"}
NOTHING_GROWS = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))"
FREE = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def rows(database: Database) -> object:
    return database.query(f"SELECT count() FROM {SPANS}")[0][0]


class Starting:
    """A daemon that is held up while it reads its settings, from a pipe."""

    def __init__(self, url: str, tmp_path: Path, *flags: str) -> None:
        self.config = tmp_path / "config.toml"
        os.mkfifo(self.config)
        flags = ("--config", str(self.config), *flags)
        self.daemon = Daemon(url, tmp_path / "spool", *flags, from_a_terminal=True)
        self._pipe = self.config.open("w")  # it opens once it is read

    def go_on(self, text: str = "") -> None:
        """Let it read an empty file, and whoever reads the file again `text`."""
        self.config.unlink()
        self.config.write_text(text)
        self._pipe.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("flags", [(), ("--once",)])
def test_a_stop_in_the_midst_of_the_start_is_clean(
    number: signal.Signals, flags: tuple[str, ...], database: Database, tmp_path: Path
) -> None:
    path = drop(tmp_path / "spool", "span", "p", "a.jsonl", good("p"))
    starting = Starting(database.native_url, tmp_path, *flags)
    with starting.daemon as daemon:
        daemon.signal(number)
        starting.go_on()
        assert daemon.wait() == 0, daemon.told()
        assert daemon.events("stop_requested")
    assert path.exists()


def test_a_reload_in_the_midst_of_the_start_kills_nobody(database: Database, tmp_path: Path) -> None:
    """What was read before it is read again."""
    starting = Starting(database.native_url, tmp_path)
    with starting.daemon as daemon:
        daemon.signal(signal.SIGHUP)
        starting.go_on("[spool]\nmax_line = 1_000\n")
        [reloaded] = daemon.wait_for("reloaded")
        assert reloaded["taken"] == {"spool.max_line": "1000"}
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()


def test_a_reload_while_the_spool_is_made_kills_nobody(database: Database, tmp_path: Path) -> None:
    here = tmp_path / "here"
    env = {"SPOOLHOUSE_TEST_FAILPOINTS": f"instance.locked=wait:{here}"}
    with Daemon(database.native_url, tmp_path / "spool", env=env, from_a_terminal=True) as daemon:
        until(here.exists)
        daemon.signal(signal.SIGHUP)
        here.unlink()
        daemon.wait_for("reloaded")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    pause = threading.Event()
    for _ in range(1200):
        if condition():
            return
        pause.wait(0.05)
    raise AssertionError("it never came")


def test_a_disk_that_is_full_at_the_start_is_waited_for(database: Database, tmp_path: Path) -> None:
    manager = Manager(tmp_path / "notify")
    spool = tmp_path / "spool"
    drop(spool, "span", "p", "a.jsonl", good("p", 5))
    env = {**HASTE, **manager.environment, "WATCHDOG_USEC": "300000"}
    try:
        with Daemon(database.native_url, spool, env=env, prelude=NOTHING_GROWS, http="any port") as daemon:
            told = manager.wait_for("READY", "1")
            assert "make room" in told["STATUS"] or "ulimit" in told["STATUS"]
            (record, *_) = daemon.wait_for("disk_unavailable", attempts=4)
            assert record["hint"]
            for _ in range(5):
                manager.wait_for("WATCHDOG", "1")
            assert daemon.get("/livez").code == 200
            assert daemon.get("/readyz").code == 503
            resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, FREE)
            daemon.wait_for("disk_available")
            daemon.wait_for("file_settled")
            assert daemon.get("/readyz").code == 200
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0, daemon.told()
    finally:
        manager.close()
    assert rows(database) == 5


def test_a_stop_while_the_disk_is_full_at_the_start_is_clean(database: Database, tmp_path: Path) -> None:
    """At once, whatever the pause before the next try."""
    path = drop(tmp_path, "span", "p", "a.jsonl", good("p", 5))
    env = {"SPOOLHOUSE_RETRY__FIRST": "300", "SPOOLHOUSE_RETRY__CAP": "300"}
    with Daemon(database.native_url, tmp_path, env=env, prelude=NOTHING_GROWS) as daemon:
        daemon.wait_for("disk_unavailable")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert path.exists()


def test_a_run_with_an_end_waits_as_long_as_the_grace(database: Database, tmp_path: Path) -> None:
    path = drop(tmp_path, "span", "p", "a.jsonl", good("p", 5))
    env = {**HASTE, "SPOOLHOUSE_SHUTDOWN__GRACE": "1"}
    with Daemon(database.native_url, tmp_path, "--once", env=env, prelude=NOTHING_GROWS) as daemon:
        assert daemon.wait() == 1, daemon.told()
        assert daemon.events("disk_unavailable")
        assert "journal.sqlite" in "".join(daemon.noise)
    assert path.exists()


@contextmanager
def mounted(place: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system on a folder in a namespace of its own; yield what remounts it, and says where it is seen."""
    place.mkdir(parents=True)
    with subprocess.Popen(
        ["unshare", "--map-root-user", "--mount", "sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None

        def mount(options: str) -> Path:
            print(f"mount -t tmpfs -o {options} none '{place}' && echo mounted", file=holder.stdin, flush=True)
            assert holder.stdout is not None
            assert holder.stdout.readline() == "mounted\n"
            return Path(f"/proc/{holder.pid}/root{place}")

        mount("size=8m")
        yield mount
        holder.stdin.close()


@pytest.mark.parametrize("base", ["", "observability"], ids=["there", "to be made"])
def test_a_spool_that_is_read_only_at_the_start_is_waited_for(base: str, database: Database, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as mount:
        storage = mount("remount,ro")
        env = {**HASTE, "SPOOLHOUSE_SPOOL__MIN_FREE": "0"}
        with Daemon(database.native_url, storage, "--base-path", base, env=env) as daemon:
            (record, *_) = daemon.wait_for("disk_unavailable", attempts=4)
            assert record["hint"] == "mount its file system for writing"
            mount("remount,rw")
            daemon.wait_for("started")
            drop(storage / base, "span", "p", "a.jsonl", good("p", 5))
            daemon.wait_for("file_settled")
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0, daemon.told()
    assert rows(database) == 5


def test_a_spool_without_a_free_byte_at_the_start_is_waited_for(database: Database, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as mount:
        storage = mount("remount,rw")
        drop(storage, "span", "p", "a.jsonl", good("p", 5))
        fill(storage / ".ballast")
        with Daemon(database.native_url, storage, env={**HASTE, "SPOOLHOUSE_SPOOL__MIN_FREE": "0"}) as daemon:
            (record, *_) = daemon.wait_for("disk_unavailable", attempts=4)
            assert "make room" in str(record["hint"])
            (storage / ".ballast").unlink()
            daemon.wait_for("file_settled")
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0, daemon.told()
    assert rows(database) == 5


def test_a_spool_of_another_user_is_a_wrong_setting(tmp_path: Path) -> None:
    """Waiting would not make it ours."""
    spool = tmp_path / "spool"
    spool.mkdir(mode=0o555)
    code, daemon = once("clickhouse://127.0.0.1:1", spool, unprivileged=True)
    assert code == 78, daemon.told()
    assert "not readable and writable" in daemon.told()
    code, daemon = once("clickhouse://127.0.0.1:1", spool / "a" / "b", unprivileged=True)
    assert code == 78, daemon.told()
    assert "set spool.storage_path" in daemon.told()
