"""The unit under a real systemd, in a container of its own: `make check-systemd ROOTFS=…` runs this as root.

SPOOLHOUSE_TEST_ROOTFS is a Debian root with systemd, and with Spoolhouse in /opt/spoolhouse; tests/README.md says how
to make one. SPOOLHOUSE_TEST_NSPAWN is the program that boots it.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine import Config, LocalServer, StartServer
from tests.engine.config import User
from tests.process.inputs import good

ROOTFS = Path(os.environ["SPOOLHOUSE_TEST_ROOTFS"])
NSPAWN = os.environ.get("SPOOLHOUSE_TEST_NSPAWN", "systemd-nspawn")
UNIT = Path(__file__).parents[2] / "systemd" / "spoolhouse.service"
UNITS = ROOTFS / "etc" / "systemd" / "system"
SETTINGS = ROOTFS / "etc" / "spoolhouse" / "spoolhouse.toml"
CREDENTIAL = ROOTFS / "etc" / "credstore" / "clickhouse_password"
SPOOL = ROOTFS / "srv" / "events"
PASSWORD = "s3cret"
DROP_IN = """[Service]
Environment=SPOOLHOUSE_SPOOL__STORAGE_PATH=/srv/events SPOOLHOUSE_SPOOL__BASE_PATH=
ReadWritePaths=/srv/events
WatchdogSec=5
TimeoutAbortSec=3
"""


class Machine:
    """A booted root; commands run inside of it."""

    def __init__(self) -> None:
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        flags = ["--register=no", "--keep-unit", "--boot", "--console=pipe"]
        self._process = subprocess.Popen(
            [NSPAWN, f"--directory={ROOTFS}", *flags, "systemd.unified_cgroup_hierarchy=1"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        until(lambda: bool(self._children.read_text().split()), "a first process")
        self._init = self._children.read_text().split()[0]
        until(lambda: self.run("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"}, "a system")

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        inside = ["nsenter", "-t", self._init, "-m", "-u", "-i", "-p", "--", *command]
        return subprocess.run(inside, capture_output=True, text=True, check=False, timeout=60)

    def do(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stderr}\n{self.log()}"
        return done.stdout

    def shown(self, name: str) -> str:
        return self.do("systemctl", "show", "--property", name, "--value", "spoolhouse").strip()

    def log(self) -> str:
        return self.run("journalctl", "--unit=spoolhouse", "--boot", "--output=cat", "--no-pager").stdout[-4000:]

    def off(self) -> None:
        self.run("systemctl", "poweroff", "--force")
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.2)


@pytest.fixture
def server(start_server: StartServer) -> LocalServer:
    return start_server(Config(users=(User(name="shop", password=PASSWORD),)))


@pytest.fixture
def machine(server: LocalServer) -> Iterator[Machine]:
    """The unit as it is shipped, a drop-in for a shared spool, and the password as a credential; not yet started."""
    shutil.copy(UNIT, UNITS)
    drop_in = UNITS / "spoolhouse.service.d" / "spool.conf"
    for path in (drop_in, SETTINGS, CREDENTIAL):
        path.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text(DROP_IN)
    CREDENTIAL.write_text(PASSWORD)
    CREDENTIAL.chmod(0o600)
    SETTINGS.write_text(f'[clickhouse]\nurl = "{server.http_url}"\nusername = "shop"\n[http]\nlisten = "off"\n')
    shutil.rmtree(SPOOL, ignore_errors=True)
    booted = Machine()
    booted.run("useradd", "--system", "--user-group", "spoolhouse")
    booted.run("useradd", "--groups", "spoolhouse", "app")
    booted.do("install", "-d", "-o", "spoolhouse", "-g", "spoolhouse", "-m", "2770", "/srv/events")
    try:
        yield booted
    finally:
        booted.off()


def drop(machine: Machine, name: str, content: bytes) -> None:
    """Put a file into the spool as another user does, who is in the group."""
    source = ROOTFS / "srv" / name
    source.write_bytes(content)
    folder = "/srv/events/span/p"
    script = f"umask 002; mkdir -p {folder}; cp /srv/{name} {folder}/.{name}; mv {folder}/.{name} {folder}/{name}"
    machine.do("su", "app", "-s", "/bin/sh", "-c", script)


def landed(server: LocalServer) -> int:
    [(rows,)] = server.query("SELECT count() FROM mastra_admin_spans")
    return int(rows)


@pytest.mark.timeout(300)
def test_it_starts_lands_reloads_and_stops(machine: Machine, server: LocalServer) -> None:
    machine.do("systemctl", "start", "spoolhouse")
    assert machine.shown("ActiveState") == "active"
    drop(machine, "a.jsonl", good("p", 100))
    until(lambda: "1 done since start" in machine.shown("StatusText"), f"file: {machine.log()}")
    assert landed(server) == 100
    SETTINGS.write_text(SETTINGS.read_text() + '[log]\nlevel = "debug"\n[workers]\ndecoders = 1\n')
    machine.do("systemctl", "reload", "spoolhouse")
    until(lambda: '"restart_needed"' in machine.log(), "reload")
    assert '"reloaded","taken":{"log.level":"debug"}' in machine.log()
    machine.do("systemctl", "stop", "spoolhouse")
    assert (machine.shown("ActiveState"), machine.shown("Result")) == ("inactive", "success")
    assert '"stopped","exit_code":0' in machine.log()


@pytest.mark.timeout(300)
def test_a_hang_is_restarted_and_a_wrong_setting_is_not(machine: Machine, server: LocalServer) -> None:
    server.kill()
    machine.do("systemctl", "start", "spoolhouse")
    until(lambda: machine.shown("StatusText").startswith("ClickHouse has not answered since "), "status of the wait")
    machine.do("kill", "-STOP", machine.shown("MainPID"))
    until(lambda: machine.shown("NRestarts") == "1", "restart by the watchdog")
    until(lambda: machine.shown("ActiveState") == "active", "start after it")
    SETTINGS.write_text("[spool]\nquite = 1\n")
    assert machine.run("systemctl", "restart", "spoolhouse").returncode != 0
    assert (machine.shown("ActiveState"), machine.shown("ExecMainStatus")) == ("failed", "78")
