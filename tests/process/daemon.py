"""The daemon as a child process, its logs as values.

Its interpreter starts anew from the installed console script where `installed` asks for that, or where something is to
happen before its imports. Elsewhere it is forked from one that has them already (tests/process/forked.py).
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from tests.process import forked
from tests.process.forked import ForkedProcess, can_be_forked, run

SCRIPT = forked.SCRIPT
Record = Mapping[str, object]


def as_from_a_terminal(*command: str | Path) -> list[str]:
    """Return a command that heeds SIGINT and SIGHUP, though the tests run in the background, or under nohup."""
    default = "import os, signal, sys; [signal.signal(number, signal.SIG_DFL) for number in (1, 2)]"
    return [sys.executable, "-c", f"{default}; os.execv(sys.argv[1], sys.argv[1:])", *map(str, command)]


# Gives up CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (PR_CAPBSET_DROP is 24), then becomes the command.
_OBEY_PERMISSIONS = """
import ctypes, os, sys
for capability in (1, 2):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back over HTTP."""

    code: int
    headers: Mapping[str, str]
    body: bytes


_QUICK = {"SPOOLHOUSE_SPOOL__QUIET": "0.05", "SPOOLHOUSE_SPOOL__TORN_AFTER": "0.5"}
_HTTP = {
    "off": {"SPOOLHOUSE_HTTP__LISTEN": "off"},
    "any port": {"SPOOLHOUSE_HTTP__LISTEN": "127.0.0.1:0"},
    "default": {},
}


_ELSEWHERE = re.compile("/proc/([0-9]+)/root(/.*)")
_THEN_RUN = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _start(command: Sequence[str], env: Mapping[str, str]) -> "subprocess.Popen[str]":
    null = subprocess.DEVNULL
    return subprocess.Popen(
        command, stdin=null, stdout=null, stderr=subprocess.PIPE, text=True, env={**os.environ, **env}
    )


def _fork(arguments: Sequence[str], env: Mapping[str, str]) -> tuple[ForkedProcess, IO[str]]:
    ours, theirs = os.pipe()
    with open(os.devnull, "w") as nothing:  # noqa: PTH123  # a device
        try:
            process = ForkedProcess(*arguments, env={**os.environ, **env}, stdout=nothing.fileno(), stderr=theirs)
        finally:
            os.close(theirs)
    return process, open(ours)  # noqa: PTH123  # a pipe


class Daemon:
    """A running `spoolhouse ingest`. Leaving the context kills it if it still runs."""

    def __init__(
        self,
        url: str,
        storage: Path,
        *flags: str,
        env: Mapping[str, str] | None = None,
        unprivileged: bool = False,
        http: Literal["off", "any port", "default"] = "off",
        prelude: str = "",
        from_a_terminal: bool = False,
        installed: bool = False,
    ) -> None:
        """Start it on the spool `storage` itself (no base path), with quick scans, and without HTTP unless asked for.

        Where the tests are root, `unprivileged` takes from it what lets root pass by the permissions of files.
        `prelude` is Python that it runs first, in its own interpreter. A spool below `/proc/PID/root` is one of that
        process's mount namespace: the daemon is started there, because SQLite cannot follow such a path.
        """
        elsewhere = _ELSEWHERE.fullmatch(str(storage))
        arguments = [
            "ingest", "--clickhouse-url", url,
            "--file-storage-path", elsewhere[2] if elsewhere else str(storage), "--base-path", "",
            "--poll-interval", "200", *flags,
        ]  # fmt: skip
        command = [str(SCRIPT), *arguments]
        if unprivileged:
            command = [sys.executable, "-c", _OBEY_PERMISSIONS, *command]
        if prelude:
            command = [sys.executable, "-c", prelude + _THEN_RUN, *command]
        if from_a_terminal:
            command = as_from_a_terminal(*command)
        if elsewhere:
            command = ["nsenter", "--target", elsewhere[1], "--user", "--mount", "--preserve-credentials", *command]
        self.records: list[Record] = []
        self.noise: list[str] = []
        self._news = threading.Condition()
        own = {**_QUICK, **_HTTP[http], **(env or {})}
        self._process: subprocess.Popen[str] | ForkedProcess
        if installed or command[1:] != arguments or not can_be_forked(own):
            self._process = process = _start(command, own)
            assert process.stderr is not None
            self._stderr = process.stderr
        else:
            self._process, self._stderr = _fork(arguments, own)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._stderr:
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            with self._news:
                if isinstance(record, dict):
                    self.records.append(record)
                else:
                    self.noise.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def events(self, name: str, **match: object) -> list[Record]:
        """Return the log records of that event whose keys match."""
        return [r for r in self.records if r.get("event") == name and match.items() <= r.items()]

    def wait_for(self, name: str, *, count: int = 1, timeout: float = 120, **match: object) -> list[Record]:
        """Return the records of an event once there are `count`; fail when the process ends or time is up first."""
        deadline = time.monotonic() + timeout
        with self._news:
            while len(found := self.events(name, **match)) < count:
                left = deadline - time.monotonic()
                alive = self._process.poll() is None or self._reader.is_alive()
                assert left > 0, f"no {name} in {timeout} s; said: {self.told()}"
                assert alive, f"ended with {self._process.returncode} before {name}; said: {self.told()}"
                self._news.wait(min(left, 0.2))
        return found

    def get(self, path: str) -> Answer:
        """Ask it over HTTP."""
        return get(f"{self.wait_for('http_listening')[0]['url']}{path}")

    def wait_until_frozen(self, timeout: float = 60) -> None:
        """Return once SIGSTOP has taken effect: nobody but its parent is told, so the kernel is asked."""
        deadline, pause = time.monotonic() + timeout, threading.Event()
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline, f"not stopped within {timeout} s; said: {self.told()}"
            pause.wait(0.02)

    def has_ended(self) -> bool:
        """Tell whether the process is gone."""
        return self._process.poll() is not None

    def told(self) -> str:
        """Return the last of what it said."""
        return "\n".join([json.dumps(record) for record in self.records[-15:]] + self.noise[-15:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def wait(self, timeout: float = 90) -> int:
        """Return the exit code once it has ended; negative is the number of the signal that ended it."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            self._process.send_signal(signal.SIGABRT)  # it says where each of its threads is
            self._process.wait(10)
            self._reader.join(10)
            raise AssertionError(f"still running after {timeout} s; said: {self.told()}") from error
        self._reader.join(10)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.kill()
        self._reader.join(10)
        self._stderr.close()


def once(
    url: str,
    storage: Path,
    *flags: str,
    env: Mapping[str, str] | None = None,
    unprivileged: bool = False,
    installed: bool = False,
) -> tuple[int, Daemon]:
    """Run `ingest --once` to its end; return the exit code and what it said."""
    with Daemon(url, storage, "--once", *flags, env=env, unprivileged=unprivileged, installed=installed) as daemon:
        return daemon.wait(), daemon


def command(*arguments: str, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run another command of the console script to its end."""
    environment = {**os.environ, **(env or {})}
    if can_be_forked(env or {}):
        return run(*arguments, env=environment)
    return subprocess.run(
        [str(SCRIPT), *arguments], capture_output=True, text=True, check=False, timeout=90, env=environment
    )


def get(url: str) -> Answer:
    """Return the answer to a GET request, whatever its code."""
    try:
        response = urllib.request.urlopen(url, timeout=30)  # noqa: S310  # a URL that the daemon itself said
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return Answer(code=response.status, headers=dict(response.headers.items()), body=response.read())


def drop(storage: Path, kind: str, project: str, name: str, content: bytes) -> Path:
    """Put a complete file into the spool, as a producer should: whole, by a rename."""
    folder = storage / kind / project
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{uuid.uuid4().hex}.tmp"  # `name` may be as long as a name can be
    temporary.write_bytes(content)
    return temporary.rename(folder / name)


def lines(events: Sequence[Mapping[str, object]]) -> bytes:
    """Return events as JSONL."""
    return b"".join(json.dumps(event, ensure_ascii=False).encode() + b"\n" for event in events)


assert sys.platform == "linux", "the process tests speak to Linux"
