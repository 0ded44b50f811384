"""Processes of the console script that share one interpreter's imports, which cost more than most of what they do."""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

SCRIPT = Path(sysconfig.get_path("scripts"), "spoolhouse")
_SERVER = Path(__file__).with_name("fork_server.py")
_EACH_START = {"SPOOLHOUSE_TEST_STUCK_AFTER"}
"""What the product reads from the environment when it is imported."""
_SYSTEMD = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
_TERMINAL = {"COLUMNS", "LINES", "NO_COLOR", "TERM"}


def can_be_forked(env: Mapping[str, str]) -> bool:
    """Tell whether this environment, on top of the tests' own, is read by the product after its imports."""
    return not _EACH_START & env.keys() and all(
        name in _SYSTEMD | _TERMINAL or name.startswith("SPOOLHOUSE_") for name in env
    )


class ForkServer:
    """The interpreter that forks; it ends with this process."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        env = {name: value for name, value in os.environ.items() if not name.startswith("SPOOLHOUSE_")}
        with theirs:
            words = [sys.executable, str(_SERVER), str(theirs.fileno())]
            null = subprocess.DEVNULL
            self._process = subprocess.Popen(words, stdin=null, stdout=null, env=env, pass_fds=[theirs.fileno()])
        atexit.register(self._end)

    def _end(self) -> None:
        self._requests.close()
        self._process.wait()

    def ask(self, request: Mapping[str, object], standard: tuple[int, int, int], answer: int) -> None:
        """Have a process started with these descriptors; `answer` gets its id, and its exit code."""
        socket.send_fds(self._requests, [json.dumps(request).encode()], [*standard, answer])


_servers: list[ForkServer] = []
_guard = threading.Lock()


def _server() -> ForkServer:
    with _guard:
        if not _servers:
            _servers.append(ForkServer())
        return _servers[0]


class ForkedProcess:
    """As much of `subprocess.Popen` as the tests use."""

    def __init__(
        self, *arguments: str, env: Mapping[str, str], stdout: int, stderr: int, cwd: Path | None = None
    ) -> None:
        """Run a command line of the console script, with this environment alone, and nothing to read."""
        self.returncode: int | None = None
        self._guard = threading.Lock()
        self._answer, theirs = socket.socketpair()
        request = {"script": str(SCRIPT), "arguments": arguments, "env": dict(env), "cwd": str(cwd or Path.cwd())}
        with theirs, open(os.devnull) as nothing:  # noqa: PTH123  # a device
            _server().ask(request, (nothing.fileno(), stdout, stderr), theirs.fileno())
        self._has_ended = select.poll()
        self._has_ended.register(self._answer, select.POLLIN)
        self.pid = self._number()

    def _number(self) -> int:
        digits = b""
        while not digits.endswith(b"\n"):
            digits += (byte := self._answer.recv(1))
            assert byte, "the fork server has ended"
        return int(digits)

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._await(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once it has ended. Raises `subprocess.TimeoutExpired`."""
        code = self._await(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(SCRIPT), timeout or 0)
        return code

    def _await(self, timeout: float | None) -> int | None:
        with self._guard:
            if self.returncode is None and self._has_ended.poll(None if timeout is None else timeout * 1000):
                self.returncode = self._number()
                self._answer.close()
            return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a crash would."""
        self.send_signal(signal.SIGKILL)


def run(
    *arguments: str | Path, env: Mapping[str, str], cwd: Path | None = None, timeout: float = 90
) -> "subprocess.CompletedProcess[str]":
    """Run a command line to its end, with this environment alone."""
    words = [*map(str, arguments)]
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        process = ForkedProcess(*words, env=env, stdout=stdout.fileno(), stderr=stderr.fileno(), cwd=cwd)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
            process.wait()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(words, code, stdout.read(), stderr.read())
