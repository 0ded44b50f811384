"""Dockerfile and compose.yaml say what the program does; `make check-image` builds the image and runs it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spoolhouse.settings import Settings
from tests.engine.server import free_ports
from tests.process.daemon import Daemon, command

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
COMPOSE = (ROOT / "config" / "compose.yaml").read_text()
VARIABLES = {f"SPOOLHOUSE_{name.replace('.', '__').upper()}" for name in Settings.names()}


def listed(pattern: str) -> list[str]:
    """Return the JSON list that follows a pattern: the exec form."""
    [found] = re.findall(rf"^\s*{pattern}\s+(\[.*\])$", DOCKERFILE, re.MULTILINE)
    value = json.loads(found)
    assert isinstance(value, list)
    return value


def test_the_command_is_the_daemon_without_a_shell() -> None:
    assert listed("ENTRYPOINT") == ["spoolhouse"]
    assert listed("CMD") == ["ingest"]


def test_it_does_not_run_as_root() -> None:
    assert re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE) == [("10001", "10001")]


@pytest.mark.parametrize("text", [DOCKERFILE, COMPOSE], ids=["Dockerfile", "compose.yaml"])
def test_its_settings_exist(text: str) -> None:
    given = set(re.findall(r"\bSPOOLHOUSE_[A-Z_]+", text))
    assert given
    assert given <= VARIABLES


def test_what_it_copies_reaches_the_build() -> None:
    """`.dockerignore` leaves everything out that it does not name."""
    kept = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = {
        name.removeprefix("./")
        for names in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for name in names.split()
    }
    assert copied == set(kept)


def test_the_producer_of_the_example_is_a_command() -> None:
    [words] = re.findall(r"command: \[generate, (.*)\]", COMPOSE)
    helped = command("generate", "--help").stdout
    assert all(word in helped for word in words.replace('"', "").split(", ") if word.startswith("--"))


def test_a_container_is_killed_after_the_grace() -> None:
    [seconds] = re.findall(r"stop_grace_period: (\d+)s", COMPOSE)
    [stop_timeout] = re.findall(r"--stop-timeout (\d+)", DOCKERFILE)
    assert int(seconds) == int(stop_timeout) >= Settings().shutdown.grace + 10


def health_check(listen: str) -> int:
    """Run the health check's command; return its exit code."""
    [found] = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    program, *arguments = json.loads(found)
    assert program == "python"
    environment = {**os.environ, "SPOOLHOUSE_HTTP__LISTEN": listen}
    return subprocess.run([sys.executable, *arguments], env=environment, check=False, stderr=subprocess.PIPE).returncode


def test_healthy_is_a_daemon_that_waits_for_clickhouse_and_not_one_that_is_gone(tmp_path: Path) -> None:
    listen = f"127.0.0.1:{free_ports()[0]}"
    assert health_check(listen) == 1
    with Daemon("clickhouse://127.0.0.1:1", tmp_path, env={"SPOOLHOUSE_HTTP__LISTEN": listen}) as daemon:
        daemon.wait_for("clickhouse_unavailable")
        assert health_check(listen) == 0


def test_one_that_serves_nothing_cannot_be_asked() -> None:
    assert health_check("off") == 0
