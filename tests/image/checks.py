"""The container image, run for real: `make check-image` builds it and runs this; `make test` does not.

SPOOLHOUSE_TEST_CONTAINER is the program (docker, podman), SPOOLHOUSE_TEST_IMAGE the image.
"""

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine import Database, StartServer
from tests.engine.server import free_ports
from tests.process.daemon import drop
from tests.process.inputs import good

ENGINE = os.environ.get("SPOOLHOUSE_TEST_CONTAINER", "docker")
IMAGE = os.environ.get("SPOOLHOUSE_TEST_IMAGE", "spoolhouse:test")
GRACE = 40


def engine(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run([ENGINE, *arguments], capture_output=True, text=True, check=False, timeout=100)
    assert not check or done.returncode == 0, f"{arguments}: {done.stderr}"
    return done


def config() -> Mapping[str, Any]:
    [image] = json.loads(engine("image", "inspect", IMAGE).stdout)
    found: dict[str, Any] = image["Config"]
    # Podman shows the health check beside the configuration.
    found.setdefault("Healthcheck", image.get("HealthCheck") or image.get("Healthcheck"))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A running `spoolhouse ingest` in its container."""

    id: str
    port: int

    def events(self, name: str) -> list[Mapping[str, object]]:
        """Return the log records of an event."""
        done = engine("logs", self.id)
        records = [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]
        return [record for record in records if record["event"] == name]

    def wait_for(self, name: str, count: int = 1) -> None:
        until(lambda: len(self.events(name)) >= count, f"{count} times {name}", self)

    def exit_code(self) -> int:
        return int(engine("wait", self.id).stdout)

    def is_healthy(self) -> bool:
        """Run the image's own health check."""
        kind, *command = config()["Healthcheck"]["Test"]
        assert kind == "CMD"
        return engine("exec", self.id, *command, check=False).returncode == 0


def until(done: Callable[[], bool], what: str, container: Container) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, f"no {what}; said {engine('logs', container.id).stderr[-2000:]}"
        time.sleep(0.1)


@contextmanager
def running(url: str, storage: Path, **environment: str) -> Iterator[Container]:
    """Run the image on a read-only root, without capabilities, with `storage` as its spool."""
    port = free_ports()[0]
    given = {
        "SPOOLHOUSE_CLICKHOUSE__URL": url,
        "SPOOLHOUSE_HTTP__LISTEN": f"127.0.0.1:{port}",
        "SPOOLHOUSE_SPOOL__QUIET": "0.05",
        **environment,
    }
    flags = [word for name, value in given.items() for word in ("--env", f"{name}={value}")]
    storage.mkdir(exist_ok=True)
    open_to_all(storage)
    started = engine(
        "run", "--detach", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host",
        f"--volume={storage}:/spool", *flags, IMAGE,
    )  # fmt: skip
    container = Container(id=started.stdout.split()[-1], port=port)
    try:
        yield container
    finally:
        engine("rm", "--force", container.id, check=False)


def open_to_all(storage: Path) -> None:
    """Let the image's user work in it, whoever runs the tests."""
    for folder in (storage, *storage.glob("*"), *storage.glob("*/*")):
        if folder.is_dir() and folder.stat().st_uid == os.getuid():
            folder.chmod(0o777)


def give(storage: Path, name: str, content: bytes) -> Path:
    path = drop(storage, "span", "p", name, content)
    open_to_all(storage)
    return path


def count(database: Database) -> int:
    [(rows,)] = database.query("SELECT count() FROM mastra_admin_spans")
    return int(rows)


def test_what_the_image_says_of_itself() -> None:
    said = config()
    assert said["Entrypoint"] == ["spoolhouse"], "the exec form: no shell stands between us and the signal"
    assert said["Cmd"] == ["ingest"]
    assert said["User"] == "10001:10001"
    assert "/spool" in said["Volumes"]


@pytest.mark.parametrize("tool", ["pip", "gcc", "strip", "make"])
def test_no_build_tool_is_left(tool: str) -> None:
    done = engine("run", "--rm", "--entrypoint", "sh", IMAGE, "-c", f"command -v {tool}", check=False)
    assert done.stdout == ""


@pytest.mark.parametrize("module", ["pip", "ensurepip", "chdb"])
def test_what_is_not_needed_is_not_there(module: str) -> None:
    done = engine("run", "--rm", "--entrypoint", "python", IMAGE, "-c", f"import {module}", check=False)
    assert "ModuleNotFoundError" in done.stderr


def test_it_lands_files_on_a_read_only_root_and_is_healthy(database: Database, tmp_path: Path) -> None:
    storage = tmp_path / "spool"
    give(storage, "a.jsonl", good("p", 100))
    with running(database.native_url, storage) as container:
        container.wait_for("file_settled")
        assert count(database) == 100
        assert container.is_healthy()
        with urllib.request.urlopen(f"http://127.0.0.1:{container.port}/readyz", timeout=5) as answer:
            assert answer.status == 200


def test_stop_drains(database: Database, tmp_path: Path) -> None:
    """PID 1 gets the signal, finishes what is claimed, and says that it stopped."""
    storage = tmp_path / "spool"
    pending = [give(storage, f"{number}.jsonl", good("p", 20_000, first=20_000 * number)) for number in range(5)]
    with running(database.native_url, storage) as container:
        container.wait_for("started")
        until(lambda: not all(path.exists() for path in pending), "claim", container)
        engine("stop", "--time", str(GRACE), container.id)
        assert container.exit_code() == 0
        [stopped] = container.events("stopped")
        assert stopped["exit_code"] == 0
    left = sum(path.exists() for path in pending)
    assert count(database) == 20_000 * (5 - left)
    assert [path for path in (storage / ".spoolhouse").rglob("claimed/**/*") if path.is_file()] == []


def test_a_second_signal_ends_pid_1_at_once(start_server: StartServer, tmp_path: Path) -> None:
    """The kernel spares PID 1 what it has no handler for: the second signal needs one there."""
    server = start_server()
    storage = tmp_path / "spool"
    give(storage, "a.jsonl", good("p", 1))
    with running(server.native_url, storage) as container:
        container.wait_for("file_settled")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            path = give(storage, "b.jsonl", good("p", 10, first=1))
            until(lambda: not path.exists(), "claim", container)
            engine("kill", "--signal=TERM", container.id)
            container.wait_for("stop_requested")
            engine("kill", "--signal=TERM", container.id)
            assert container.exit_code() == 128 + signal.SIGTERM
        finally:
            os.kill(server.pid, signal.SIGCONT)


def test_waiting_for_clickhouse_is_healthy_and_hanging_is_not(tmp_path: Path) -> None:
    with running("clickhouse://127.0.0.1:1", tmp_path / "spool") as container:
        container.wait_for("clickhouse_unavailable")
        assert container.is_healthy()
        engine("kill", "--signal=STOP", container.id)
        assert not container.is_healthy()
        engine("kill", "--signal=CONT", container.id)
        assert container.is_healthy()
