"""Servers: one that the tests start, kill and restart, and one that somebody else runs.

A server of our own listens on ports below the kernel's ephemeral range. Inside it, a client that keeps trying to
reach a dead server can be given the server's port as its own and so connect to itself, and the restart finds the
port taken.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn, Protocol, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.engine import child
from tests.engine.client import Endpoint, QueryError, Scalar, query
from tests.engine.config import HOST, Config, Place, render
from tests.engine.fetch import Engine, EngineError
from tests.engine.memory import folder_in_memory

START_SECONDS = 60.0
STOP_SECONDS = 15.0
ANSWER_SECONDS = 5.0
POLL_SECONDS = 0.02
PORT_ATTEMPTS = 10
LOWEST_PORT = 15_000

# PR_SET_PDEATHSIG means the *thread* that started the child: a test that starts a server in a worker thread would lose
# it with that thread. This thread lives as long as the process.
_launcher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine-launcher")


class Server:
    """A ClickHouse server that somebody else runs: it can be asked, but not stopped or looked into."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    @classmethod
    def at(cls, url: str) -> Self:
        """Return the server at `clickhouse://user:password@host:9000?http_port=8123` (the ports' defaults)."""
        parts = urlsplit(url)
        if parts.scheme != "clickhouse" or not parts.hostname:
            raise EngineError(
                f"SPOOLHOUSE_TEST_CLICKHOUSE_URL must be clickhouse://user:password@host:9000?http_port=8123, "
                f"not one with the scheme {parts.scheme!r}"
            )
        server = cls(
            Endpoint(
                host=parts.hostname,
                tcp_port=parts.port or 9000,
                http_port=int(parse_qs(parts.query).get("http_port", ["8123"])[0]),
                user=unquote(parts.username or "default"),
                password=unquote(parts.password or ""),
            )
        )
        try:
            server.query("SELECT 1")
        except (OSError, QueryError) as error:
            raise EngineError(f"the server of SPOOLHOUSE_TEST_CLICKHOUSE_URL does not answer: {error}") from error
        return server

    @property
    def native_url(self) -> str:
        """`clickhouse://host:port`."""
        return self.endpoint.url("clickhouse")

    @property
    def http_url(self) -> str:
        """`http://host:port`."""
        return self.endpoint.url("http")

    def query(
        self,
        sql: str,
        *,
        database: str = "",
        user: str | None = None,
        password: str = "",
        **settings: Scalar,
    ) -> list[tuple[Any, ...]]:
        """Run one statement over HTTP and return its rows; `QueryError` when the server refuses it."""
        return query(self.endpoint, sql, database=database, user=user, password=password, settings=settings)

    @property
    def pid(self) -> int:
        """The server's process."""
        self._refuse("has no process that we know")

    @property
    def data_dir(self) -> Path:
        """The server's data."""
        self._refuse("keeps its data where we cannot see it")

    @property
    def log(self) -> Path:
        """The server's log."""
        self._refuse("keeps its log where we cannot see it")

    def start(self) -> None:
        """Start it, on the ports that it had before if it ran before, and return when it answers."""
        self._refuse("cannot be started")

    def stop(self) -> None:
        """End it in good order; nothing happens when it does not run."""
        self._refuse("cannot be stopped")

    def kill(self) -> None:
        """End it with SIGKILL, as a crash does; nothing happens when it does not run."""
        self._refuse("cannot be killed")

    def restart(self) -> None:
        """Kill it if it runs, and start it on the same data and ports."""
        self._refuse("cannot be restarted")

    def pause(self) -> None:
        """Freeze it: its ports accept connections and nothing answers."""
        self._refuse("cannot be paused")

    def resume(self) -> None:
        """Undo `pause`."""
        self._refuse("cannot be resumed")

    def cpu_seconds(self) -> float:
        """Return the processor time, user and system, that the running process has used."""
        self._refuse("has no process that we can measure")

    def _refuse(self, why: str) -> NoReturn:
        raise EngineError(f"a server from SPOOLHOUSE_TEST_CLICKHOUSE_URL {why}; use the fixture `start_server`")


class LocalServer(Server):
    """A server of our own in a folder of its own; it never outlives this process.

    Its tables are in memory where there is room, unless `on_disk`.
    """

    def __init__(self, engine: Engine, root: Path, config: Config | None = None, *, on_disk: bool = False) -> None:
        self.config = config or Config()
        self._engine = engine
        self._root = root
        self._data = (None if on_disk else folder_in_memory(self)) or root / "data"
        self._identity = str(uuid.uuid4())
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(Endpoint(host=HOST, tcp_port=0, http_port=0))

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    @property
    def pid(self) -> int:
        """The server's process."""
        if self._process is None:
            raise EngineError("the server is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started, and neither stopped nor killed."""
        return self._process is not None

    @property
    def data_dir(self) -> Path:
        """The server's data."""
        return self._place.data

    @property
    def log(self) -> Path:
        """The server's log; what it printed is beside it, in `console.log`."""
        return self._place.log

    @property
    def console(self) -> Path:
        """What the process printed, which is where a failure to start is explained."""
        return self._root / "console.log"

    def start(self) -> None:
        """Start it, on the ports that it had before if it ran before, and return when it answers."""
        if self._process is not None:
            raise EngineError("the server is running already")
        deadline = monotonic() + START_SECONDS
        chosen = self.endpoint.tcp_port != 0
        for _ in range(PORT_ATTEMPTS):
            if not chosen:
                tcp_port, http_port = free_ports()
                self.endpoint = replace(self.endpoint, tcp_port=tcp_port, http_port=http_port)
            if self._launch(deadline):
                return
        raise EngineError(f"the ports of {self.native_url} and {self.http_url} are taken:\n{self._last_words()}")

    def stop(self) -> None:
        """End it in good order, if it runs; a server that does not end is killed."""
        if self._process is None:
            return
        self.resume()  # a frozen server would not hear us
        if self._process.stdin is not None:
            self._process.stdin.close()  # ends the library
        if self._engine.kind == "binary":
            self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reap()

    def kill(self) -> None:
        """End it with SIGKILL, as a crash does; nothing happens when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def restart(self) -> None:
        """Kill it if it runs, and start it on the same data and ports."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze it: its ports accept connections and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)  # its threads stop one by one, and may answer until the last has

    def resume(self) -> None:
        """Undo `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """Return the processor time, user and system, that the running process has used; a restart begins at 0."""
        # The name in the second field can hold spaces and brackets; the numbers begin after the last bracket.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def _place(self) -> Place:
        return Place(
            root=self._root,
            data=self._data,
            tcp_port=self.endpoint.tcp_port,
            http_port=self.endpoint.http_port,
            identity=self._identity,
        )

    def _launch(self, deadline: float) -> bool:
        """Return True when it answers, False when another process has one of its ports."""
        place = self._place
        for folder in (place.root, place.data):
            folder.mkdir(parents=True, exist_ok=True)
        place.config.write_text(render(self.config, place, self._engine.kind))
        command = [sys.executable, "-I", child.__file__]
        command += [str(os.getpid()), self._engine.kind, str(self._engine.path), str(place.config)]
        self._process = launch(command, self._root, self.console)
        ready = False
        try:
            ready = self._becomes_ready(deadline)
        finally:
            if not ready:
                self.kill()
        return ready

    def _becomes_ready(self, deadline: float) -> bool:
        while not self._answers():
            if self._ended_within(POLL_SECONDS):
                if ports_free(self.endpoint.tcp_port, self.endpoint.http_port):
                    raise EngineError(f"the server did not start:\n{self._last_words()}")
                return False
            if monotonic() > deadline:
                raise EngineError(f"no answer within {START_SECONDS:.0f} s:\n{self._last_words()}")
        return True

    def _answers(self) -> bool:
        """Ask who is there, on both ports: a stranger may have taken one between our look and our bind."""
        try:
            socket.create_connection((HOST, self.endpoint.tcp_port), ANSWER_SECONDS).close()
            answer = query(self.endpoint, "SELECT getMacro('spoolhouse_test_server')", timeout=ANSWER_SECONDS)
        except (OSError, QueryError, ValueError):
            return False
        return answer == [(self._identity,)]

    def _ended_within(self, seconds: float) -> bool:
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None

    def _last_words(self) -> str:
        """Return the end of what it printed and logged, for the person who reads the failure."""
        texts = [path.read_text(errors="replace")[-2000:] for path in (self.console, self.log) if path.exists()]
        return "\n".join(texts)


class StartServer(Protocol):
    """The fixture `start_server`: starts a server of the test's own, which is stopped when the test ends."""

    def __call__(self, config: Config | None = None) -> LocalServer:
        """Return a running server."""


def launch(command: list[str], folder: Path, console: Path) -> subprocess.Popen[bytes]:
    """Start a program that prints into `console` and ends with this process."""

    def spawn() -> subprocess.Popen[bytes]:
        with console.open("wb") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                # A Ctrl-C is for the tests, which then stop their servers; the server must not race them.
                start_new_session=True,
            )

    return _launcher.submit(spawn).result()


def free_ports() -> tuple[int, int]:
    """Return two ports that were free just now."""
    # Its own generator: the tests' seed is fixed, and two runs at once must not draw the same ports.
    source = random.SystemRandom()
    for _ in range(1000):
        first, second = source.sample(range(LOWEST_PORT, ephemeral_start()), 2)
        if ports_free(first, second):
            return first, second
    raise EngineError(f"no two free ports between {LOWEST_PORT} and {ephemeral_start()}")


def ports_free(*ports: int) -> bool:
    """Tell whether all of these ports can be listened on."""
    for port in ports:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((HOST, port))
            except OSError:
                return False
    return True


def ephemeral_start() -> int:
    """Return the first port that the kernel hands out by itself."""
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        first = 32_768
    # A machine that hands out nearly all ports leaves no room below; then the usual range must do.
    return first if first > LOWEST_PORT + 1000 else 32_768
